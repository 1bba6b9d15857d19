package byz

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/rng"
)

// wrongDigest votes in the right slot for the wrong digest: a random one, or that of another
// slot; before the right vote, after it, or instead.
type wrongDigest struct {
	Honest
	rate int
	how  int
	last bft.Digest
}

func newWrongDigest(r *rng.Source) Strategy {
	return &wrongDigest{rate: 100 << r.Intn(4), how: r.Intn(3)}
}

// Outgoing changes votes.
func (s *wrongDigest) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	d := s.last
	if e.Rand.Intn(2) == 0 || d.IsNull() {
		e.Rand.Fill(d[:])
	}
	wrong := p
	switch m := p.Msg.(type) {
	case *pbft.Prepare:
		wrong.Msg, s.last = &pbft.Prepare{View: m.View, Seq: m.Seq, Digest: d}, m.Digest
	case *pbft.Commit:
		wrong.Msg, s.last = &pbft.Commit{View: m.View, Seq: m.Seq, Digest: d}, m.Digest
	default:
		emit(p)
		return
	}
	if !e.Rand.PerMille(s.rate) {
		emit(p)
		return
	}
	if s.how == 0 {
		emit(p)
	}
	emit(wrong)
	if s.how == 1 {
		emit(p)
	}
}

// stutter sends every vote as often as a quorum has members, so that who counts messages and
// not senders has a quorum of one.
type stutter struct{ Honest }

func newStutter(*rng.Source) Strategy { return &stutter{} }

// Outgoing repeats votes.
func (s *stutter) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	times := 1
	switch p.Msg.(type) {
	case *pbft.Prepare, *pbft.Commit, *pbft.Checkpoint, *pbft.ViewChange, *pbft.NewView:
		times = e.quorum()
	}
	for range times {
		emit(p)
	}
}

// nameThief sends signed votes in another's name: with its own signature, with one that the
// other made under something else, with none, and what the other really signed on its own link.
type nameThief struct {
	Honest
	seen []protocol.Signed
}

func newNameThief(*rng.Source) Strategy { return &nameThief{} }

// Observe keeps what others signed.
func (s *nameThief) Observe(e *Env, _, _ bft.ReplicaID, m protocol.Message) {
	if x, ok := m.(protocol.Signed); ok {
		s.seen = keep(e.Rand, s.seen, x, digestsMax)
	}
}

// Wake steals a name.
func (s *nameThief) Wake(e *Env) {
	for range 3 {
		if len(s.seen) == 0 {
			return
		}
		stolen := s.seen[e.Rand.Intn(len(s.seen))]
		c := e.copyOf(stolen).(protocol.Signed)
		var m protocol.Message = c
		switch e.Rand.Intn(4) {
		case 0: // its own key under the other's name
			m = e.Sign(advance(e, c))
		case 1: // the other's signature under something else
			m = advance(e, c)
		case 2:
			m = c.WithSignature(nil)
		}
		to := bft.ReplicaID(e.Rand.Intn(e.Membership.N()))
		e.Send(Parcel{To: to, Msg: m})
	}
}

// advance puts m one view or one checkpoint further.
func advance(e *Env, m protocol.Signed) protocol.Signed {
	switch m := m.(type) {
	case *pbft.Checkpoint:
		m.Seq += e.Membership.CheckpointEvery
	case *pbft.ViewChange:
		m.View++
	case *pbft.NewView:
		m.View++
	}
	return m
}

// extremes sends every kind of message with numbers at the ends of their range and at the
// edges of the window.
type extremes struct {
	Honest
	view bft.View
	seq  bft.SeqNum
	base pbft.Stable
}

func newExtremes(*rng.Source) Strategy { return &extremes{} }

// Observe learns where the others are.
func (s *extremes) Observe(_ *Env, _, _ bft.ReplicaID, m protocol.Message) {
	switch m := m.(type) {
	case *pbft.Commit:
		s.view, s.seq = max(s.view, m.View), max(s.seq, m.Seq)
	case *pbft.Stable:
		if m.Seq > s.base.Seq {
			s.base = *m
		}
	}
}

// Wake sends one of each.
func (s *extremes) Wake(e *Env) {
	var d bft.Digest
	e.Rand.Fill(d[:])
	n, v := s.drawSeq(e), s.drawView(e)
	for _, m := range []protocol.Message{
		&pbft.PrePrepare{View: v, Seq: n, Digest: d, Batch: []byte{1}},
		&pbft.Prepare{View: v, Seq: n, Digest: d},
		&pbft.Commit{View: v, Seq: n, Digest: d},
		&pbft.Status{View: v, Active: e.Rand.Intn(2) == 0, Stable: n, Committed: s.drawSeq(e), Open: s.drawSeq(e), Accepted: e.Rand.Uint64(), Prepared: 1<<64 - 1, ViewChanges: 1<<64 - 1},
		&pbft.Decided{First: n, Digests: []bft.Digest{d, {}}},
		e.Sign(&pbft.Checkpoint{Seq: n, Digest: d, Replica: e.Self}),
		e.Sign(&pbft.ViewChange{View: v, Replica: e.Self, Base: s.base, P: []pbft.Claim{{Seq: n, Digest: d, View: s.drawView(e)}}}),
		e.Sign(&pbft.NewView{View: v, Replica: e.Self, Start: n, Choices: []pbft.Choice{{Seq: n, Digest: d}}}),
		&pbft.Stable{Seq: n, Digest: d, Endorse: s.base.Endorse},
	} {
		e.broadcast(m)
	}
}

func (s *extremes) drawSeq(e *Env) bft.SeqNum {
	w, every := e.Membership.Window, e.Membership.CheckpointEvery
	low := s.seq / every * every
	return [...]bft.SeqNum{
		0, 1, low, low + w, low + w + 1, s.seq + w, s.seq + 1, bft.SeqMax - 1, bft.SeqMax, bft.SeqMax + 1, 1 << 63, 1<<64 - 1,
		bft.SeqMax / every * every, bft.SeqNum(e.Rand.Uint64()),
	}[e.Rand.Intn(14)]
}

func (s *extremes) drawView(e *Env) bft.View {
	return [...]bft.View{0, s.view, s.view + 1, bft.ViewMax - 1, bft.ViewMax, bft.ViewMax + 1, 1 << 63, 1<<64 - 1, bft.View(e.Rand.Uint64())}[e.Rand.Intn(9)]
}
