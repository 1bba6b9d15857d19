package pbft

import (
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
)

// Screen tells what a core that is at h, or further, would reject: proposals and NEW-VIEWs of
// views that were left, slots that a stable checkpoint covers, proofs that say nothing new. A
// PRE-PREPARE for a view to come, or above the window, is verified on the budget of its sender,
// as everything signed is: anybody can make any number of those. A VIEW-CHANGE for an old view
// is no exception, since it is answered with NEW-VIEW.
func (c *Codec) Screen(m protocol.Message, h protocol.Hint) protocol.Screened {
	switch m := m.(type) {
	case *PrePrepare:
		return screenPrePrepare(m, h)
	case *NewView:
		switch {
		case m.View < h.View:
			return protocol.Screened{Refuse: protocol.ReasonOldView}
		case m.View == h.View && h.Active:
			return protocol.Screened{Refuse: protocol.ReasonDuplicate}
		}
		return protocol.Screened{Costly: true}
	case *Checkpoint:
		if m.Seq <= h.Stable {
			return protocol.Screened{Refuse: protocol.ReasonBelowWindow}
		}
		return protocol.Screened{Costly: true}
	case *Stable:
		if m.Seq <= h.Stable {
			return protocol.Screened{Refuse: protocol.ReasonBelowWindow}
		}
		return protocol.Screened{Costly: true}
	case *ViewChange:
		return protocol.Screened{Costly: true}
	}
	return protocol.Screened{}
}

func screenPrePrepare(m *PrePrepare, h protocol.Hint) protocol.Screened {
	switch {
	case m.View < h.View && !mutant.On("pbft-screen-lets-old-views"):
		return protocol.Screened{Refuse: protocol.ReasonOldView}
	case m.View > h.View && mutant.On("pbft-screen-refuses-coming-views"):
		return protocol.Screened{Refuse: protocol.ReasonFutureView}
	case m.View == h.View && h.Active && m.Seq <= h.Stable:
		return protocol.Screened{Refuse: protocol.ReasonBelowWindow}
	}
	return protocol.Screened{Costly: m.View > h.View || !h.Active || m.Seq > h.High}
}
