package byz

import (
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/rng"
	"github.com/themis-bft/themis/wire"
)

// selfCrowned starts views of which it is not the primary, with sets that it overheard; or, if
// it is, sooner than a quorum has asked for them, naming one VIEW-CHANGE several times.
type selfCrowned struct {
	Honest
	repeats bool
	heard   map[bft.View][]*pbft.ViewChange
	done    map[bft.View]bool
}

func newSelfCrowned(r *rng.Source) Strategy {
	return &selfCrowned{repeats: r.Intn(2) == 0, heard: make(map[bft.View][]*pbft.ViewChange), done: make(map[bft.View]bool)}
}

// Outgoing notes own VIEW-CHANGEs.
func (s *selfCrowned) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	if vc, ok := p.Msg.(*pbft.ViewChange); ok {
		s.note(e, vc)
	}
	emit(p)
}

// Observe notes those of others.
func (s *selfCrowned) Observe(e *Env, _, _ bft.ReplicaID, m protocol.Message) {
	if vc, ok := m.(*pbft.ViewChange); ok {
		s.note(e, vc)
	}
}

func (s *selfCrowned) note(e *Env, vc *pbft.ViewChange) {
	set := s.heard[vc.View]
	if s.done[vc.View] || len(vc.Sig) == 0 ||
		slices.ContainsFunc(set, func(o *pbft.ViewChange) bool { return o.Replica == vc.Replica }) {
		return
	}
	set = append(set, vc)
	s.heard[vc.View] = set
	if s.repeats {
		set = nil
		for range e.quorum() {
			set = append(set, vc)
		}
	}
	if s.repeats != (e.primary(vc.View) == e.Self) || len(set) < e.quorum() {
		return
	}
	slices.SortFunc(set, func(a, b *pbft.ViewChange) int { return int(a.Replica) - int(b.Replica) })
	start, choices, ok := e.follows(set)
	if !ok {
		return
	}
	s.done[vc.View] = true
	delete(s.heard, vc.View)
	e.broadcast(e.Sign(&pbft.NewView{View: vc.View, Replica: e.Self, Set: set, Start: start, Choices: choices}))
}

// overrule starts its views as it must and then proposes something else in the slots that its own
// NEW-VIEW fixed, to those who may still lack the bodies, which it serves to nobody.
type overrule struct {
	equivocate
	last *pbft.PrePrepare
}

func newOverrule(*rng.Source) Strategy {
	return &overrule{equivocate: equivocate{alt: make(map[bft.Digest]bft.Digest)}}
}

// Outgoing puts proposals behind own NEW-VIEWs.
func (s *overrule) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	if p.Msg == nil && p.Kind == wire.KindBody {
		return
	}
	emit(p)
	switch m := p.Msg.(type) {
	case *pbft.PrePrepare:
		s.last = m
	case *pbft.NewView:
		if m.Replica != e.Self || s.last == nil {
			return
		}
		for _, c := range m.Choices {
			again := s.other(s.last)
			emit(Parcel{To: p.To, Msg: &pbft.PrePrepare{View: m.View, Seq: c.Seq, Digest: again.Digest, Batch: again.Batch}})
		}
	}
}

// Observe keeps a proposal to twist.
func (s *overrule) Observe(_ *Env, _, _ bft.ReplicaID, m protocol.Message) {
	if p, ok := m.(*pbft.PrePrepare); ok {
		s.last = p
	}
}

// falseBody proposes the digest of one batch with the bytes of another.
type falseBody struct{ equivocate }

func newFalseBody(*rng.Source) Strategy {
	return &falseBody{equivocate{alt: make(map[bft.Digest]bft.Digest)}}
}

// Outgoing changes one proposal in four, for everybody alike.
func (s *falseBody) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	if m, ok := p.Msg.(*pbft.PrePrepare); ok && m.Seq%4 == 1 {
		p.Msg = &pbft.PrePrepare{View: m.View, Seq: m.Seq, Digest: m.Digest, Batch: s.other(m).Batch}
	}
	emit(p)
}
