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

// chosenSet is a new primary that chooses the VIEW-CHANGEs of its NEW-VIEW: those that claim
// least, to hide what was prepared, or two sets that both hold and decide differently, each
// for a part of the receivers. With its own claims it is free, and with those of its
// accomplices.
type chosenSet struct {
	Honest
	both bool
	part bft.ReplicaSet
	held map[bft.ReplicaID]*pbft.ViewChange
	view bft.View
	lies []*pbft.NewView
}

func newChosenSet(r *rng.Source) Strategy {
	return &chosenSet{both: r.Intn(2) == 0, part: bft.ReplicaSet(r.Uint64()), held: make(map[bft.ReplicaID]*pbft.ViewChange)}
}

// Observe collects VIEW-CHANGEs for the next view that is its own.
func (s *chosenSet) Observe(e *Env, _, _ bft.ReplicaID, m protocol.Message) {
	vc, ok := m.(*pbft.ViewChange)
	if !ok || vc.View < s.view || e.primary(vc.View) != e.Self || vc.View > s.view+bft.View(4*e.Membership.N()) {
		return
	}
	if vc.View > s.view {
		s.view, s.lies = vc.View, nil
		clear(s.held)
	}
	s.held[vc.Replica] = vc
}

// Outgoing replaces own NEW-VIEWs, and sends each twice.
func (s *chosenSet) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	nv, ok := p.Msg.(*pbft.NewView)
	if !ok || nv.Replica != e.Self {
		emit(p)
		return
	}
	if s.lies == nil || s.lies[0].View != nv.View {
		s.lies = s.choose(e, nv)
	}
	lie := s.lies[0]
	if s.both && s.part.Has(p.To) {
		lie = s.lies[len(s.lies)-1]
	}
	p.Msg = lie
	emit(p)
	emit(p)
}

// choose returns NEW-VIEWs that hold, of all sets that it can make the one that decides for
// the fewest batches first and the one that decides for the most last.
func (s *chosenSet) choose(e *Env, nv *pbft.NewView) []*pbft.NewView {
	pool := append([]*pbft.ViewChange(nil), nv.Set...)
	for id := range e.Membership.N() { // in the order of the replicas: nothing hangs on a map's
		vc := s.held[bft.ReplicaID(id)]
		known := vc == nil || vc.View != nv.View
		for _, have := range pool {
			known = known || have.Replica == vc.Replica
		}
		if !known {
			pool = append(pool, vc)
		}
	}
	lies := []*pbft.NewView{nv, nv}
	fewest, most := 1<<30, -1
	for range 24 {
		set := s.draw(e, pool, nv.View)
		start, choices, ok := e.follows(set)
		if !ok {
			continue
		}
		batches := int(start)
		for _, c := range choices {
			if !c.Digest.IsNull() {
				batches++
			}
		}
		m := &pbft.NewView{View: nv.View, Replica: e.Self, Set: set, Start: start, Choices: choices}
		if batches < fewest {
			fewest, lies[0] = batches, e.Sign(m).(*pbft.NewView)
		}
		if batches > most {
			most, lies[1] = batches, e.Sign(m).(*pbft.NewView)
		}
	}
	return lies
}

// draw makes a quorum of the pool, ascending, with other claims of the faulty ones.
func (s *chosenSet) draw(e *Env, pool []*pbft.ViewChange, v bft.View) []*pbft.ViewChange {
	order := append([]*pbft.ViewChange(nil), pool...)
	e.Rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	order = order[:min(len(order), e.quorum()+e.Rand.Intn(2))]
	set := make([]*pbft.ViewChange, 0, len(order))
	for id := range e.Membership.N() {
		for _, vc := range order {
			if int(vc.Replica) != id {
				continue
			}
			if e.Faulty.Has(vc.Replica) && e.Rand.Intn(2) == 0 {
				c := &pbft.ViewChange{View: v, Replica: vc.Replica, Base: vc.Base}
				if e.Rand.Intn(2) == 0 {
					c.Q = vc.Q
				}
				vc = e.SignAs(vc.Replica, c).(*pbft.ViewChange)
			}
			set = append(set, vc)
		}
	}
	return set
}
