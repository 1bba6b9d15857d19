package byz

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/rng"
	"github.com/themis-bft/themis/wire"
)

// falseCheckpoint signs digests of states that nobody has: one for all, or one for each.
type falseCheckpoint struct {
	Honest
	each bool
}

func newFalseCheckpoint(r *rng.Source) Strategy { return &falseCheckpoint{each: r.Intn(2) == 0} }

// Outgoing changes own CHECKPOINTs.
func (s *falseCheckpoint) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	if m, ok := p.Msg.(*pbft.Checkpoint); ok && m.Replica == e.Self {
		c := *m
		c.Digest[0] ^= 0x55
		if s.each {
			c.Digest[1] ^= byte(1 + p.To)
		}
		p.Msg = e.Sign(&c)
	}
	emit(p)
}

// falseDecided claims decisions of its own invention.
type falseDecided struct {
	Honest
	high bft.SeqNum
}

func newFalseDecided(*rng.Source) Strategy { return &falseDecided{} }

// Observe learns how far the others are.
func (s *falseDecided) Observe(_ *Env, _, _ bft.ReplicaID, m protocol.Message) {
	if c, ok := m.(*pbft.Commit); ok {
		s.high = max(s.high, c.Seq)
	}
}

// Outgoing changes own DECIDEDs.
func (s *falseDecided) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	if m, ok := p.Msg.(*pbft.Decided); ok {
		c := e.copyOf(m).(*pbft.Decided)
		if e.Rand.Intn(2) == 0 {
			c.Digests[e.Rand.Intn(len(c.Digests))][3] ^= 1
		} else {
			c.First++
		}
		p.Msg = c
	}
	emit(p)
}

// Wake offers decisions that nobody asked for.
func (s *falseDecided) Wake(e *Env) {
	m := &pbft.Decided{First: s.high + 1 + bft.SeqNum(e.Rand.Intn(3)), Digests: make([]bft.Digest, 1+e.Rand.Intn(4))}
	for i := range m.Digests {
		if e.Rand.Intn(2) == 0 {
			e.Rand.Fill(m.Digests[i][:])
		}
	}
	e.broadcast(m)
}

// falseStatus claims to be ahead, behind, or in another view.
type falseStatus struct {
	Honest
	memory memory
}

func newFalseStatus(*rng.Source) Strategy { return &falseStatus{} }

// Outgoing changes STATUS, always.
func (s *falseStatus) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	if _, ok := p.Msg.(*pbft.Status); ok {
		p = s.memory.change(e, p)
		p = s.memory.change(e, p)
	}
	emit(p)
}

// lyingSource serves state and bodies that are wrong, of wrong size, or not at all.
type lyingSource struct {
	Honest
	how int
}

func newLyingSource(r *rng.Source) Strategy { return &lyingSource{how: r.Intn(4)} }

// Outgoing changes what peers asked for.
func (s *lyingSource) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	if p.Msg == nil && (p.Kind == wire.KindStateItem || p.Kind == wire.KindBody) {
		switch {
		case s.how == 0:
			return
		case s.how == 1 && p.Kind == wire.KindStateItem:
			if f, err := wire.DecodeStateFragment(p.Payload); err == nil && f.Total < bft.StateItemBytesMax {
				f.Total++
				p.Payload = f.Append(nil)
			}
		case s.how == 2 && p.Kind == wire.KindStateItem:
			if f, err := wire.DecodeStateFragment(p.Payload); err == nil && len(f.Bytes) > 0 {
				f.Bytes = append([]byte(nil), f.Bytes...)
				f.Bytes[e.Rand.Intn(len(f.Bytes))] ^= 1
				p.Payload = f.Append(nil)
			}
		default:
			p = changeBytes(e, p)
		}
	}
	emit(p)
}

// lyingReplies answers clients with false results, all liars with the same one, and with false
// hints of the view.
type lyingReplies struct {
	Honest
	rate int
}

func newLyingReplies(r *rng.Source) Strategy { return &lyingReplies{rate: 250 << r.Intn(3)} }

// Reply returns a lie.
func (s *lyingReplies) Reply(e *Env, r wire.Reply) *wire.Reply {
	if !e.Rand.PerMille(s.rate) {
		return &r
	}
	if e.Rand.Intn(4) == 0 {
		r.View += bft.View(e.Rand.Between(1, 1<<20))
	}
	if r.Session == 0 {
		return &r // a false session number only ever hurts the liar's case
	}
	r.Result = append([]byte("lie"), r.Result...)
	return &r
}

// forgedRequests puts requests into its batches that no client signed.
type forgedRequests struct {
	Honest
	rate int
	how  int
}

func newForgedRequests(r *rng.Source) Strategy {
	return &forgedRequests{rate: 100 << r.Intn(4), how: r.Intn(4)}
}

// Outgoing changes own proposals.
func (s *forgedRequests) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	m, ok := p.Msg.(*pbft.PrePrepare)
	if !ok || (uint64(m.Seq)*2654435761)%1000 >= uint64(s.rate) { // the same slots for every receiver
		emit(p)
		return
	}
	t, reqs, err := wire.DecodeBody(m.Batch)
	if err != nil {
		emit(p)
		return
	}
	var raw [][]byte
	for i := range reqs {
		raw = append(raw, reqs[i].Raw)
	}
	q := reqs[0]
	switch s.how {
	case 0: // another number, the old signature
		q.First++
	case 1: // another client, the old signature
		q.Client = e.Victim
	case 2: // another operation
		q.Ops = [][]byte{append([]byte{'!'}, q.Ops[0]...)}
	default: // no signature
		q.First, q.Sig = q.First+1, nil
	}
	q.Raw = nil
	body := wire.AppendBody(nil, t, append(raw, q.Append(nil)))
	p.Msg = &pbft.PrePrepare{View: m.View, Seq: m.Seq, Digest: wire.BodyDigest(body), Batch: body}
	emit(p)
}

// stateFlip is honest code on a machine that fails once.
type stateFlip struct {
	Honest
	at bft.SeqNum
}

func newStateFlip(r *rng.Source) Strategy { return &stateFlip{at: bft.SeqNum(1 + r.Intn(30))} }

// FlipsStateAt is the slot after which the state is wrong.
func (s *stateFlip) FlipsStateAt() bft.SeqNum { return s.at }

// futureFlood sends votes for slots and views that are far ahead, to fill memories.
type futureFlood struct {
	Honest
	view bft.View
	seq  bft.SeqNum
}

func newFutureFlood(*rng.Source) Strategy { return &futureFlood{} }

// Observe learns where the others are.
func (s *futureFlood) Observe(_ *Env, _, _ bft.ReplicaID, m protocol.Message) {
	if p, ok := m.(*pbft.Prepare); ok {
		s.view, s.seq = max(s.view, p.View), max(s.seq, p.Seq)
	}
}

// Wake sends a handful of votes.
func (s *futureFlood) Wake(e *Env) {
	for range 4 {
		view := s.view + bft.View(e.Rand.Intn(4))
		seq := s.seq + 1 + bft.SeqNum(e.Rand.Tail(int64(e.Membership.Window)))
		if e.Rand.Intn(8) == 0 {
			view, seq = bft.ViewMax-1, bft.SeqMax-1
		}
		var d bft.Digest
		e.Rand.Fill(d[:])
		e.broadcast(&pbft.Commit{View: view, Seq: seq, Digest: d})
		if e.primary(view) != e.Self {
			e.broadcast(&pbft.Prepare{View: view, Seq: seq, Digest: d})
		}
	}
}
