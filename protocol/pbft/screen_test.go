package pbft

import (
	"testing"

	"github.com/themis-bft/themis/protocol"
)

// TestScreen: what is sure to be rejected is refused, what anybody can make in any number is
// verified on a budget, and what the core may use now or in a moment is let through. That the
// core agrees is checked for every message that the tests of this package deliver (screened).
func TestScreen(t *testing.T) {
	codec := NewCodec(membership(4, 1))
	in := protocol.Hint{View: 5, Active: true, Stable: 8, High: 16}
	out := protocol.Hint{View: 5, Stable: 8, High: 16}
	const none, costly = protocol.ReasonNone, true
	for _, c := range []struct {
		name   string
		m      protocol.Message
		h      protocol.Hint
		refuse protocol.Reason
		costly bool
	}{
		{"proposal of this view", &PrePrepare{View: 5, Seq: 9}, in, none, false},
		{"proposal of an old view", &PrePrepare{View: 4, Seq: 9}, in, protocol.ReasonOldView, false},
		{"proposal of the view that is being left", &PrePrepare{View: 4, Seq: 9}, out, protocol.ReasonOldView, false},
		{"proposal of the coming view", &PrePrepare{View: 6, Seq: 9}, in, none, costly},
		{"proposal before NEW-VIEW", &PrePrepare{View: 5, Seq: 9}, out, none, costly},
		{"proposal below the window", &PrePrepare{View: 5, Seq: 8}, in, protocol.ReasonBelowWindow, false},
		{"the same of the coming view", &PrePrepare{View: 6, Seq: 8}, in, none, costly},
		{"proposal above the window", &PrePrepare{View: 5, Seq: 17}, in, none, costly},
		{"vote of an old view", &Prepare{View: 4, Seq: 9}, in, none, false},
		{"vote of the coming view", &Commit{View: 6, Seq: 9}, in, none, false},
		{"old NEW-VIEW", &NewView{View: 4}, in, protocol.ReasonOldView, false},
		{"NEW-VIEW again", &NewView{View: 5}, in, protocol.ReasonDuplicate, false},
		{"NEW-VIEW that is awaited", &NewView{View: 5}, out, none, costly},
		{"NEW-VIEW", &NewView{View: 6}, in, none, costly},
		{"VIEW-CHANGE, which may be answered", &ViewChange{View: 4}, in, none, costly},
		{"stable CHECKPOINT", &Checkpoint{Seq: 8}, in, protocol.ReasonBelowWindow, false},
		{"CHECKPOINT", &Checkpoint{Seq: 12}, in, none, costly},
		{"known proof", &Stable{Seq: 8}, in, protocol.ReasonBelowWindow, false},
		{"proof", &Stable{Seq: 12}, in, none, costly},
		{"STATUS", &Status{View: 4}, in, none, false},
	} {
		if got := codec.Screen(c.m, c.h); got != (protocol.Screened{Refuse: c.refuse, Costly: c.costly}) {
			t.Errorf("%s: refused for %v, costly %t; want %v, %t", c.name, got.Refuse, got.Costly, c.refuse, c.costly)
		}
	}
}
