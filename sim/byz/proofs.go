package byz

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/rng"
)

// forgedProofs offers proofs of stable checkpoints that no quorum signed: too few members, one
// member several times, its own signature under all names, or signatures of another digest.
type forgedProofs struct {
	Honest
	own  *pbft.Checkpoint
	seen *pbft.Stable
}

func newForgedProofs(*rng.Source) Strategy { return &forgedProofs{} }

// Outgoing notes own CHECKPOINTs and puts forged proofs into own VIEW-CHANGEs now and then.
func (s *forgedProofs) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	switch m := p.Msg.(type) {
	case *pbft.Checkpoint:
		if m.Replica == e.Self {
			s.own = m
		}
	case *pbft.ViewChange:
		if m.Replica == e.Self && e.Rand.Intn(2) == 0 {
			c := e.copyOf(m).(*pbft.ViewChange)
			c.Base, c.P, c.Q = s.forge(e), nil, nil
			p.Msg = e.Sign(c)
		}
	}
	emit(p)
}

// Observe keeps a true proof to twist.
func (s *forgedProofs) Observe(_ *Env, _, _ bft.ReplicaID, m protocol.Message) {
	if st, ok := m.(*pbft.Stable); ok {
		s.seen = st
	}
}

// Wake offers a forged proof to all.
func (s *forgedProofs) Wake(e *Env) {
	st := s.forge(e)
	e.broadcast(&st)
}

func (s *forgedProofs) forge(e *Env) pbft.Stable {
	if s.seen != nil && e.Rand.Intn(3) == 0 {
		c := *s.seen
		c.Digest[0] ^= 1
		return c
	}
	st := pbft.Stable{Seq: e.Membership.CheckpointEvery}
	if s.own != nil {
		st.Seq = s.own.Seq + e.Membership.CheckpointEvery*bft.SeqNum(e.Rand.Intn(2))
	}
	e.Rand.Fill(st.Digest[:])
	own := e.Sign(&pbft.Checkpoint{Seq: st.Seq, Digest: st.Digest, Replica: e.Self}).(*pbft.Checkpoint)
	members := [...]int{1, e.Membership.F, e.quorum(), e.Membership.N()}[e.Rand.Intn(4)]
	same := e.Rand.Intn(2) == 0
	for i := range members {
		id := bft.ReplicaID(i)
		if same || members == 1 {
			id = e.Self
		}
		st.Endorse = append(st.Endorse, pbft.Endorsement{Replica: id, Sig: own.Sig})
	}
	return st
}
