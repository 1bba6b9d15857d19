package byz

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/rng"
	"github.com/themis-bft/themis/wire"
)

// archivedMax is how many requests an archive keeps.
const archivedMax = 512

// archive keeps every request that it sees, OPENs above all. As a primary it leaves one client out and fills
// its batches with what was executed long ago, its victim's too, or proposes nothing else. As a backup
// it relays what it kept to the primary. Nobody may lose a session by that, or wait for ever.
type archive struct {
	Honest
	only   bool // nothing new in its batches
	opens  bool // keeps OPENs alone
	relays int  // per wake
	kept   []*wire.Request
	alike  map[bft.Digest]*pbft.PrePrepare // by the digest of the honest one
}

func newArchive(r *rng.Source) Strategy {
	return &archive{only: r.Intn(3) == 0, opens: r.Intn(3) == 0, relays: r.Intn(8), alike: make(map[bft.Digest]*pbft.PrePrepare)}
}

func (s *archive) keep(e *Env, q *wire.Request) {
	if q.IsOpen() || !s.opens {
		s.kept = keep(e.Rand, s.kept, q, archivedMax)
	}
}

// Hears keeps what clients send.
func (s *archive) Hears(e *Env, _ int, k wire.Kind, payload []byte) bool {
	if k == wire.KindRequest || k == wire.KindRetry || k == wire.KindRelay {
		if q, err := wire.DecodeRequest(append([]byte(nil), payload...)); err == nil {
			s.keep(e, &q)
		}
	}
	return true
}

// Observe keeps what others propose.
func (s *archive) Observe(e *Env, _, _ bft.ReplicaID, m protocol.Message) {
	if m, ok := m.(*pbft.PrePrepare); ok && e.Rand.Intn(4) == 0 {
		if x, ok := bodyOf(m.Batch); ok {
			s.keep(e, x.Requests[e.Rand.Intn(len(x.Requests))])
		}
	}
}

// Wake relays.
func (s *archive) Wake(e *Env) {
	for range min(s.relays, len(s.kept)) {
		frame := s.kept[e.Rand.Intn(len(s.kept))].Append(nil)
		e.others(func(to bft.ReplicaID) { e.Send(Parcel{To: to, Kind: wire.KindRelay, Payload: frame}) })
	}
}

// Outgoing changes own proposals and stands by the change.
func (s *archive) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	switch m := p.Msg.(type) {
	case *pbft.PrePrepare:
		if s.alike[m.Digest] == nil {
			s.alike[m.Digest] = s.change(e, m)
		}
		p.Msg = s.alike[m.Digest]
	case *pbft.Commit:
		if other := s.alike[m.Digest]; other != nil {
			p.Msg = &pbft.Commit{View: m.View, Seq: m.Seq, Digest: other.Digest}
		}
	}
	emit(p)
}

func (s *archive) change(e *Env, m *pbft.PrePrepare) *pbft.PrePrepare {
	x, ok := bodyOf(m.Batch)
	if !ok || len(s.kept) == 0 {
		return m
	}
	var chosen []*wire.Request
	for _, q := range x.Requests {
		if !s.only && q.Client != e.Victim {
			chosen = append(chosen, q)
		}
	}
	for n := 1 + e.Rand.Intn(6); n > 0 && len(chosen) < max(e.Membership.BatchCount, 1); n-- {
		chosen = append(chosen, s.kept[e.Rand.Intn(len(s.kept))])
	}
	x.Requests = chosen
	b := x.bytes()
	return &pbft.PrePrepare{View: m.View, Seq: m.Seq, Digest: wire.BodyDigest(b), Batch: b}
}
