package byz

import (
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/rng"
)

// chosenSet prepares the ground and then chooses. As the primary of one view it brings some
// slots so far that one correct replica alone is prepared, with the votes of all faulty ones, and
// lets them lie. As the primary of the next it waits until it has more VIEW-CHANGEs than it
// needs and makes NEW-VIEWs of those that claim least, to hide what was prepared, or two that
// both hold and decide differently, each for a part of the receivers. With its own claims it is
// free, and with those of its accomplices.
type chosenSet struct {
	Honest
	both  bool
	part  bft.ReplicaSet
	held  map[bft.ReplicaID]*pbft.ViewChange
	view  bft.View
	kept  *pbft.NewView // the honest one, while it waits
	waits int
	lies  []*pbft.NewView
}

func newChosenSet(r *rng.Source) Strategy {
	return &chosenSet{both: r.Intn(2) == 0, part: bft.ReplicaSet(r.Uint64()), held: make(map[bft.ReplicaID]*pbft.ViewChange)}
}

// lone returns which correct replicas see the proposal of a slot, and the one of them that gets
// the votes of the faulty: all liars reckon the same.
func (s *chosenSet) lone(e *Env, v bft.View, n bft.SeqNum) (few bft.ReplicaSet, lone bft.ReplicaID, ok bool) {
	if !e.Faulty.Has(e.primary(v)) || uint64(n)%5 != 2 {
		return 0, 0, false
	}
	size := e.Membership.N()
	for i := range size {
		id := bft.ReplicaID((uint64(n) + uint64(i)) % uint64(size))
		if e.Faulty.Has(id) {
			continue
		}
		if few == 0 {
			lone = id
		}
		if few = few.With(id); few.Len() >= e.quorum()-e.Faulty.Len() {
			break
		}
	}
	return few, lone, true
}

// Observe collects VIEW-CHANGEs for the next view that is its own.
func (s *chosenSet) Observe(e *Env, _, _ bft.ReplicaID, m protocol.Message) {
	vc, ok := m.(*pbft.ViewChange)
	if !ok || vc.View < s.view || e.primary(vc.View) != e.Self || vc.View > s.view+bft.View(4*e.Membership.N()) {
		return
	}
	if vc.View > s.view {
		s.view, s.lies, s.kept = vc.View, nil, nil
		clear(s.held)
	}
	s.held[vc.Replica] = vc
	if s.kept != nil && len(s.held) >= e.Membership.N()-1 {
		s.start(e)
	}
}

// Wake waits no longer.
func (s *chosenSet) Wake(e *Env) {
	if s.kept == nil {
		return
	}
	if s.waits--; s.waits <= 0 {
		s.start(e)
	}
}

// start sends what it chose.
func (s *chosenSet) start(e *Env) {
	s.lies, s.kept = s.choose(e, s.kept), nil
	e.others(func(to bft.ReplicaID) { e.Send(Parcel{To: to, Msg: s.lieTo(to)}) })
}

func (s *chosenSet) lieTo(to bft.ReplicaID) *pbft.NewView {
	if s.both && s.part.Has(to) {
		return s.lies[1]
	}
	return s.lies[0]
}

// Outgoing holds votes and proposals of chosen slots back, and replaces own NEW-VIEWs; it sends
// each twice.
func (s *chosenSet) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	switch m := p.Msg.(type) {
	case *pbft.PrePrepare:
		if few, _, ok := s.lone(e, m.View, m.Seq); ok && !few.Has(p.To) && !e.Faulty.Has(p.To) {
			return
		}
	case *pbft.Prepare:
		if _, lone, ok := s.lone(e, m.View, m.Seq); ok && p.To != lone {
			return
		}
	case *pbft.Commit:
		if _, _, ok := s.lone(e, m.View, m.Seq); ok {
			return
		}
	case *pbft.NewView:
		if m.Replica != e.Self {
			break
		}
		if s.lies == nil || s.lies[0].View != m.View {
			if s.kept == nil {
				s.kept, s.waits = m, 2
				if s.view != m.View {
					s.view = m.View
					clear(s.held)
				}
			}
			return
		}
		p.Msg = s.lieTo(p.To)
		emit(p)
	}
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
		m := &pbft.NewView{View: nv.View, Replica: e.Self, Set: set, Start: start, Choices: choices}
		batches := batchesOf(m)
		if batches < fewest {
			fewest, lies[0] = batches, e.Sign(m).(*pbft.NewView)
		}
		if batches > most {
			most, lies[1] = batches, e.Sign(m).(*pbft.NewView)
		}
	}
	if !slices.Equal(lies[0].Choices, nv.Choices) && fewest < batchesOf(nv) {
		e.Did(Hid)
	}
	if s.both && (fewest != most || !slices.Equal(lies[0].Choices, lies[1].Choices)) {
		e.Did(TwoNewViews)
	}
	return lies
}

// batchesOf is how far a NEW-VIEW reaches: its start and what it fixes above.
func batchesOf(nv *pbft.NewView) int {
	n := int(nv.Start)
	for _, c := range nv.Choices {
		if !c.Digest.IsNull() {
			n++
		}
	}
	return n
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
