package byz

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/rng"
	"github.com/themis-bft/themis/wire"
)

// equivocate is a primary that proposes one batch to some backups and another to the rest, and
// stands by each story afterwards. In one variant everybody gets both.
type equivocate struct {
	twoFaced
	rate int
	side bft.ReplicaSet // who gets the other batch
	both bool
	alt  map[bft.Digest]bft.Digest
}

func newEquivocate(r *rng.Source) Strategy {
	s := &equivocate{rate: 100 << r.Intn(4), side: bft.ReplicaSet(r.Uint64()), both: r.Intn(3) == 0, alt: make(map[bft.Digest]bft.Digest)}
	if r.Intn(2) == 0 {
		s.rate = 1000
	}
	return s
}

// Outgoing emits the proposal that p's receiver is to believe in, and matching votes.
func (s *equivocate) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	switch m := p.Msg.(type) {
	case *pbft.PrePrepare:
		if _, known := s.alt[m.Digest]; !known && !e.Rand.PerMille(s.rate) {
			break
		}
		other := s.other(m)
		second := Parcel{To: p.To, Msg: other, After: p.After}
		if s.both && s.side.Has(p.To) {
			p, second = second, p
		}
		if s.both {
			emit(p)
			p = second
		} else if s.side.Has(p.To) {
			p = second
		}
	case *pbft.Commit:
		if d, ok := s.alt[m.Digest]; ok && s.side.Has(p.To) && !s.both {
			p.Msg = &pbft.Commit{View: m.View, Seq: m.Seq, Digest: d}
		}
	}
	emit(p)
}

// other is the same proposal with a batch whose time is one nanosecond later, the requests in
// reverse order.
func (s *equivocate) other(m *pbft.PrePrepare) *pbft.PrePrepare {
	t, reqs, err := wire.DecodeBody(m.Batch)
	if err != nil {
		return m
	}
	raw := make([][]byte, 0, len(reqs))
	for i := len(reqs) - 1; i >= 0; i-- {
		raw = append(raw, reqs[i].Raw)
	}
	body := wire.AppendBody(nil, t+1, raw)
	d := wire.BodyDigest(body)
	s.alt[m.Digest] = d
	return &pbft.PrePrepare{View: m.View, Seq: m.Seq, Digest: d, Batch: body}
}

// usurp proposes though it is not the primary: a batch of its own for the slot of each proposal
// that it sees, or for the next, with its votes for it; to some only, or to all.
type usurp struct {
	equivocate
	ahead bft.SeqNum
	done  map[bft.SeqNum]bool
}

func newUsurp(r *rng.Source) Strategy {
	return &usurp{
		equivocate: equivocate{side: bft.ReplicaSet(r.Uint64()), alt: make(map[bft.Digest]bft.Digest)},
		ahead:      bft.SeqNum(r.Intn(2)), done: make(map[bft.SeqNum]bool),
	}
}

// Outgoing emits p.
func (s *usurp) Outgoing(_ *Env, p Parcel, emit func(Parcel)) { emit(p) }

// Observe answers the first sight of a proposal with another one.
func (s *usurp) Observe(e *Env, from, _ bft.ReplicaID, m protocol.Message) {
	p, ok := m.(*pbft.PrePrepare)
	if !ok || s.done[p.Seq] || from != e.primary(p.View) || from == e.Self {
		return
	}
	s.done[p.Seq] = true
	mine := s.other(p)
	mine.Seq += s.ahead
	e.others(func(to bft.ReplicaID) {
		if !s.side.Has(to) {
			return
		}
		e.Send(Parcel{To: to, Msg: mine})
		e.Send(Parcel{To: to, Msg: &pbft.Prepare{View: mine.View, Seq: mine.Seq, Digest: mine.Digest}})
		e.Send(Parcel{To: to, Msg: &pbft.Commit{View: mine.View, Seq: mine.Seq, Digest: mine.Digest}})
	})
}

// twoFaced sends every other replica the votes that confirm what that replica voted for. Alone
// it is harmless; more than f of them break agreement.
type twoFaced struct {
	Honest
	said map[told]bool
}

type told struct {
	to bft.ReplicaID
	v  pbft.Prepare
}

func newTwoFaced(*rng.Source) Strategy { return &twoFaced{} }

// Observe answers a vote with agreement.
func (s *twoFaced) Observe(e *Env, from, _ bft.ReplicaID, m protocol.Message) {
	p, ok := m.(*pbft.Prepare)
	if !ok || e.Faulty.Has(from) {
		return
	}
	if s.said == nil {
		s.said = make(map[told]bool)
	}
	key := told{to: from, v: *p}
	if s.said[key] {
		return
	}
	s.said[key] = true
	e.Send(Parcel{To: from, Msg: &pbft.Prepare{View: p.View, Seq: p.Seq, Digest: p.Digest}}) // as primary it may not
	e.Send(Parcel{To: from, Msg: &pbft.Commit{View: p.View, Seq: p.Seq, Digest: p.Digest}})
}
