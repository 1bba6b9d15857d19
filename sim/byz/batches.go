package byz

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/rng"
	"github.com/themis-bft/themis/wire"
)

// falseBatch is a primary that puts into its batches what is not to be there: requests in
// another order, one twice, one that was executed long ago, one of its own invention, none of
// one client's. Every receiver gets the same, or each something else.
type falseBatch struct {
	Honest
	rate  int
	how   int
	each  bool
	old   []*wire.Request
	alike map[bft.Digest]*pbft.PrePrepare // by the digest of the honest one
}

func newFalseBatch(r *rng.Source) Strategy {
	return &falseBatch{
		rate: 200 << r.Intn(3), how: r.Intn(6), each: r.Intn(3) == 0,
		alike: make(map[bft.Digest]*pbft.PrePrepare),
	}
}

// Outgoing changes own proposals and stands by the change.
func (s *falseBatch) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	switch m := p.Msg.(type) {
	case *pbft.PrePrepare:
		other, known := s.alike[m.Digest]
		if !known {
			if !e.Rand.PerMille(s.rate) {
				break
			}
			other = s.change(e, m)
		}
		if s.each && known {
			other = s.change(e, m)
		}
		s.alike[m.Digest] = other
		p.Msg = other
	case *pbft.Commit:
		if other, ok := s.alike[m.Digest]; ok {
			p.Msg = &pbft.Commit{View: m.View, Seq: m.Seq, Digest: other.Digest}
		}
	}
	emit(p)
}

func (s *falseBatch) change(e *Env, m *pbft.PrePrepare) *pbft.PrePrepare {
	x, ok := bodyOf(m.Batch)
	if !ok {
		return m
	}
	n := len(x.Requests)
	q := x.Requests[e.Rand.Intn(n)]
	switch s.how {
	case 0:
		e.Rand.Shuffle(n, func(i, j int) { x.Requests[i], x.Requests[j] = x.Requests[j], x.Requests[i] })
	case 1: // one twice, or each
		x.Requests = append(x.Requests, q)
		if e.Rand.Intn(2) == 0 {
			x.Requests = append(x.Requests, x.Requests...)
		}
	case 2: // one of long ago
		if len(s.old) > 0 {
			x.Requests = append(x.Requests, s.old[e.Rand.Intn(len(s.old))])
		}
	case 3: // its own
		c := *q
		c.Raw, c.First = nil, c.First+1
		if !e.Accomplice(&c) {
			c.Ops = [][]byte{[]byte("invented")}
		}
		x.Requests = append(x.Requests, &c)
	case 4: // not this one
		if n > 1 {
			x.Requests = x.Requests[1:]
		}
	default: // at another time
		x.Time += bft.Time(e.Rand.Between(-20, 20)) * bft.Time(bft.Second)
	}
	s.old = keep(e.Rand, s.old, q, keptMax)
	b := x.bytes()
	return &pbft.PrePrepare{View: m.View, Seq: m.Seq, Digest: wire.BodyDigest(b), Batch: b}
}

// nullFlood is a primary that proposes nothing, as fast as it can, to eat sequence numbers.
type nullFlood struct {
	Honest
	view   bft.View
	seq    bft.SeqNum
	digest bool // name a digest all the same
}

func newNullFlood(r *rng.Source) Strategy { return &nullFlood{digest: r.Intn(2) == 0} }

// Observe learns where the others are.
func (s *nullFlood) Observe(_ *Env, _, _ bft.ReplicaID, m protocol.Message) {
	switch m := m.(type) {
	case *pbft.Commit:
		s.view, s.seq = max(s.view, m.View), max(s.seq, m.Seq)
	case *pbft.NewView:
		s.view = max(s.view, m.View)
	}
}

// Outgoing empties every third proposal.
func (s *nullFlood) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	if m, ok := p.Msg.(*pbft.PrePrepare); ok && m.Seq%3 == 0 {
		p.Msg = s.null(e, m.View, m.Seq)
	}
	emit(p)
}

// Wake proposes a window of nothing, and beyond.
func (s *nullFlood) Wake(e *Env) {
	if e.primary(s.view) != e.Self {
		return
	}
	for i := range e.Membership.Window + 4 {
		e.broadcast(s.null(e, s.view, s.seq+1+i))
	}
}

func (s *nullFlood) null(e *Env, v bft.View, n bft.SeqNum) *pbft.PrePrepare {
	m := &pbft.PrePrepare{View: v, Seq: n}
	if s.digest {
		e.Rand.Fill(m.Digest[:])
	}
	return m
}

// withheldBody is a primary that shows its batches to few, or to nobody, and gives the others
// the digest alone: it would have to be asked for the body, and does not answer.
type withheldBody struct {
	Honest
	shown  bft.ReplicaSet
	serves bool
}

func newWithheldBody(r *rng.Source) Strategy {
	s := &withheldBody{serves: r.Intn(4) == 0}
	if r.Intn(2) == 0 {
		s.shown = bft.ReplicaSet(r.Uint64() & r.Uint64())
	}
	return s
}

// Outgoing takes bodies away.
func (s *withheldBody) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	if m, ok := p.Msg.(*pbft.PrePrepare); ok && !s.shown.Has(p.To) {
		if e.Rand.Intn(2) == 0 {
			return // a vote of another names the digest
		}
		p.Msg = &pbft.PrePrepare{View: m.View, Seq: m.Seq, Digest: m.Digest}
	}
	if p.Msg == nil && p.Kind == wire.KindBody && !s.serves {
		return
	}
	emit(p)
}
