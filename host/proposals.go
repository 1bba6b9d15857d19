package host

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
)

// proposals remembers for which slots of the window the primary of the current view proposed
// here. The requests of such a slot were offered to the pool; those of a slot that came by claims
// of others, or from an older view, were perhaps not. It goes by slots and not by digests: a
// primary that proposes something else than is decided must not hide its work by that.
type proposals struct {
	view  bft.View
	slots []bft.SeqNum // the slot in each place, 0 for none
}

func newProposals(m *bft.Membership) proposals {
	return proposals{slots: make([]bft.SeqNum, max(m.Window, 1))}
}

func (p *proposals) place(slot bft.SeqNum) *bft.SeqNum {
	return &p.slots[uint64(slot)%uint64(len(p.slots))]
}

// note takes a proposal that came while the protocol had the given status, BEFORE the step that
// may decide its slot. What is open fits the window, so that nothing open is overwritten.
func (p *proposals) note(slot bft.SeqNum, from bft.ReplicaID, s *protocol.Status) {
	if !s.Active || s.Primary != from || slot <= s.Committed || slot > s.High {
		return
	}
	if s.View != p.view {
		clear(p.slots)
		p.view = s.View
	}
	*p.place(slot) = slot
}

// had reports whether the primary of the view in which a slot was decided proposed for it here.
func (p *proposals) had(slot bft.SeqNum, view bft.View) bool {
	return p.view == view && *p.place(slot) == slot || mutant.On("node-claims-are-service")
}
