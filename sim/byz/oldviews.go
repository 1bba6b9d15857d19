package byz

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/rng"
)

// viewFlap asks for the next view, the one after, one a million ahead, and the next again.
type viewFlap struct {
	Honest
	high bft.View
	base pbft.Stable
	turn int
}

func newViewFlap(*rng.Source) Strategy { return &viewFlap{} }

// Observe learns the view and a proof of a checkpoint.
func (s *viewFlap) Observe(_ *Env, _, _ bft.ReplicaID, m protocol.Message) {
	switch m := m.(type) {
	case *pbft.Commit:
		s.high = max(s.high, m.View)
	case *pbft.Stable:
		if m.Seq > s.base.Seq {
			s.base = *m
		}
	}
}

// Wake asks for three views at once.
func (s *viewFlap) Wake(e *Env) {
	if s.turn++; s.turn%2 != 0 {
		return
	}
	for _, ahead := range []bft.View{1, 2, 1_000_000, 1} {
		e.broadcast(e.Sign(&pbft.ViewChange{View: s.high + ahead, Replica: e.Self, Base: s.base}))
	}
}

// oldViews plays back whole quorums of VIEW-CHANGE, and the NEW-VIEWs of views long left.
type oldViews struct {
	Honest
	changes map[bft.View][]*pbft.ViewChange
	news    []*pbft.NewView
	views   []bft.View
}

func newOldViews(*rng.Source) Strategy {
	return &oldViews{changes: make(map[bft.View][]*pbft.ViewChange)}
}

// Observe records.
func (s *oldViews) Observe(e *Env, _, _ bft.ReplicaID, m protocol.Message) {
	switch m := m.(type) {
	case *pbft.ViewChange:
		set := s.changes[m.View]
		for _, have := range set {
			if have.Replica == m.Replica {
				return
			}
		}
		if set == nil {
			s.views = append(s.views, m.View)
		}
		s.changes[m.View] = append(set, m)
	case *pbft.NewView:
		s.news = keep(e.Rand, s.news, m, 32)
	}
}

// Wake plays a view back: the messages of others in their names, its own on its link.
func (s *oldViews) Wake(e *Env) {
	if len(s.views) > 0 {
		for _, vc := range s.changes[s.views[e.Rand.Intn(len(s.views))]] {
			e.broadcast(vc)
		}
	}
	if len(s.news) > 0 {
		e.broadcast(s.news[e.Rand.Intn(len(s.news))])
	}
}

// taintedViewChange puts one part that does not hold among many that do.
type taintedViewChange struct {
	Honest
	how int
}

func newTaintedViewChange(r *rng.Source) Strategy { return &taintedViewChange{how: r.Intn(8)} }

// Outgoing taints own VIEW-CHANGEs.
func (s *taintedViewChange) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	if vc, ok := p.Msg.(*pbft.ViewChange); ok && vc.Replica == e.Self {
		c := e.copyOf(vc).(*pbft.ViewChange)
		s.taint(e, c)
		p.Msg = e.Sign(c)
	}
	emit(p)
}

func (s *taintedViewChange) taint(e *Env, c *pbft.ViewChange) {
	far := pbft.Claim{Seq: c.Base.Seq + e.Membership.Window + 1, View: c.View - 1}
	switch k := len(c.Base.Endorse); {
	case s.how == 0 && k > 0:
		c.Base.Endorse[e.Rand.Intn(k)].Sig[0] ^= 1
	case s.how == 1 && k > 0:
		c.Base.Endorse[e.Rand.Intn(k)].Replica = e.Self
	case s.how == 2:
		c.P = append(c.P, far)
	case s.how == 3:
		c.Q = append(c.Q, far)
	case s.how == 4 && len(c.P) > 0:
		c.P[e.Rand.Intn(len(c.P))].View = c.View // a certificate of the view that it asks for
	case s.how == 5 && len(c.P) > 0:
		c.P = append([]pbft.Claim{{Seq: 0}}, c.P...) // of slot 0
	case s.how == 6 && len(c.P) > 0:
		c.P = append(c.P, c.P[len(c.P)-1]) // twice
	case s.how == 7 && k > 0:
		c.Base.Digest[0] ^= 1
	default:
		c.P = append(c.P, pbft.Claim{Seq: c.Base.Seq, View: c.View - 1})
	}
}
