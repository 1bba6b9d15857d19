package exec

import (
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// TestSessionWindow holds the window against the table itself: envelopes that leave it do not
// decode, and still no number outside may alias the bit of another one.
func TestSessionWindow(t *testing.T) {
	const w = bft.SessionOpsMax
	s := &session{}
	s.mark(0)
	s.mark(w - 1)
	for number, want := range map[uint64]numberState{
		0: numberExecuted, 1: numberFresh, w - 1: numberExecuted, w: numberOutside, w + 1: numberOutside, 2*w - 1: numberOutside,
	} {
		if got := s.state(number); got != want {
			t.Errorf("number %d with done 0: %v, want %v", number, got, want)
		}
	}
	s.advance(1)
	for number, want := range map[uint64]numberState{0: numberExecuted, 1: numberFresh, w - 1: numberExecuted, w: numberFresh, w + 1: numberOutside} {
		if got := s.state(number); got != want {
			t.Errorf("number %d with done 1: %v, want %v", number, got, want)
		}
	}
	s.advance(5 * w)
	for number := uint64(5 * w); number < 6*w; number++ {
		if s.state(number) != numberFresh {
			t.Fatalf("number %d is taken after a jump of done", number)
		}
	}
}

// TestOutsideIsRefused: the executor asks the table also for what wire would not let through.
func TestOutsideIsRefused(t *testing.T) {
	f := newFixture(t, 8)
	number := f.open(1)
	r := opReq(1, number, bft.SessionOpsMax-1, 0, "in", "out")
	var out Output
	f.e.request(&position{slot: 2}, &r, &out)
	f.ran(1)
	if len(out.Replies) != 2 || out.Replies[0].Status != wire.StatusOK || out.Replies[1].Status != wire.StatusWindow {
		t.Fatalf("%+v", out.Replies)
	}
}
