package byz

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/rng"
	"github.com/themis-bft/themis/wire"
)

// slowDrip serves state and bodies, each part just before who waits for it gives up.
type slowDrip struct {
	Honest
	part int64 // per mille of patience
	free int   // so many parts come at once
}

func newSlowDrip(r *rng.Source) Strategy {
	return &slowDrip{part: [...]int64{100, 500, 900, 990}[r.Intn(4)], free: r.Intn(4)}
}

// Outgoing delays what peers asked for.
func (s *slowDrip) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	if p.Msg == nil && (p.Kind == wire.KindStateItem || p.Kind == wire.KindBody) {
		if s.free--; s.free < 0 {
			p.After += e.Patience * bft.Duration(s.part) / 1000
		}
	}
	emit(p)
}

// falseIndex serves true pages of state under other numbers, offsets or checkpoints.
type falseIndex struct {
	Honest
	last *wire.StateFragment
}

func newFalseIndex(*rng.Source) Strategy { return &falseIndex{} }

// Outgoing changes what a fragment says it is.
func (s *falseIndex) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	if p.Msg == nil && p.Kind == wire.KindStateItem {
		if f, err := wire.DecodeStateFragment(p.Payload); err == nil {
			c := f
			switch e.Rand.Intn(5) {
			case 0:
				c.Want.Item++
			case 1:
				c.Want.Item = wire.StateItem(e.Rand.Uint64())
			case 2:
				c.Want.Seq += e.Membership.CheckpointEvery
			case 3: // the bytes of one under the name of another
				if s.last != nil {
					c.Bytes, c.Total = s.last.Bytes, max(s.last.Total, c.Want.Offset+uint32(len(s.last.Bytes)))
				}
			default:
				c.Want.Offset += uint32(len(c.Bytes))
				c.Total += uint32(len(c.Bytes))
			}
			s.last = &f
			emit(Parcel{To: p.To, Kind: p.Kind, Payload: c.Append(nil), After: p.After})
			if e.Rand.Intn(4) != 0 {
				return
			}
		}
	}
	emit(p)
}

// lonelyProof knows a certificate first: it gathers CHECKPOINTs the moment they are sent, adds
// those of the faulty, shows the proof to one replica alone and then vanishes for that one: it
// serves it nothing.
type lonelyProof struct {
	Honest
	victim bft.ReplicaID
	drawn  bool
	mute   bool // silent towards the victim in everything, once it has shown a proof
	shown  bft.SeqNum
	votes  map[ballot]map[bft.ReplicaID][]byte
}

// ballot is what a CHECKPOINT votes for.
type ballot struct {
	seq    bft.SeqNum
	digest bft.Digest
}

func newLonelyProof(r *rng.Source) Strategy {
	return &lonelyProof{mute: r.Intn(2) == 0, votes: make(map[ballot]map[bft.ReplicaID][]byte)}
}

// Observe gathers signatures.
func (s *lonelyProof) Observe(e *Env, _, _ bft.ReplicaID, m protocol.Message) {
	c, ok := m.(*pbft.Checkpoint)
	if !ok || c.Seq <= s.shown {
		return
	}
	s.draw(e)
	b := ballot{c.Seq, c.Digest}
	if s.votes[b] == nil {
		s.votes[b] = make(map[bft.ReplicaID][]byte)
	}
	s.votes[b][c.Replica] = c.Sig
	for id := range e.Faulty.All() {
		if s.votes[b][id] == nil && len(s.votes[b]) < e.quorum() {
			s.votes[b][id] = e.SignAs(id, &pbft.Checkpoint{Seq: c.Seq, Digest: c.Digest, Replica: id}).(*pbft.Checkpoint).Sig
		}
	}
	if len(s.votes[b]) < e.quorum() {
		return
	}
	proof := &pbft.Stable{Seq: c.Seq, Digest: c.Digest}
	for i := range e.Membership.N() {
		if sig := s.votes[b][bft.ReplicaID(i)]; sig != nil && len(proof.Endorse) < e.quorum() {
			proof.Endorse = append(proof.Endorse, pbft.Endorsement{Replica: bft.ReplicaID(i), Sig: sig})
		}
	}
	e.Send(Parcel{To: s.victim, Msg: proof})
	e.Did(ShownAlone)
	s.shown = c.Seq
	clear(s.votes)
}

func (s *lonelyProof) draw(e *Env) {
	for !s.drawn {
		s.victim = bft.ReplicaID(e.Rand.Intn(e.Membership.N()))
		s.drawn = !e.Faulty.Has(s.victim)
	}
}

// Outgoing serves the victim nothing.
func (s *lonelyProof) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	s.draw(e)
	if p.To == s.victim {
		switch p.Msg.(type) {
		case nil:
			if p.Kind == wire.KindStateItem || p.Kind == wire.KindBody {
				return
			}
		case *pbft.Checkpoint:
			return // its own vote arrives inside the proof only
		default:
			if s.mute && s.shown > 0 {
				return
			}
		}
	}
	emit(p)
}
