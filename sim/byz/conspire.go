package byz

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/rng"
)

// slotKey names one assignment of a digest to a slot.
type slotKey struct {
	view   bft.View
	seq    bft.SeqNum
	digest bft.Digest
}

// rushing sees every vote the moment it is sent and answers before it arrives. It counts for
// each receiver how many honest votes are under way and gives the votes of all faulty
// replicas only where they complete a quorum, and only to the lucky half of the receivers: the
// others stay one vote short. It holds the keys and links of all that are faulty.
type rushing struct {
	Honest
	lucky   bft.ReplicaSet // who gets PREPAREs, by slot shifted
	decide  bool           // whether anybody gets COMMITs
	at      map[slotKey]*edge
	highest bft.SeqNum
}

// edge is how close one slot is to its quorums, by receiver.
type edge struct {
	prepares, commits map[bft.ReplicaID]bft.ReplicaSet // who voted towards it
	prepared, decided bft.ReplicaSet                   // who got our votes
}

func newRushing(r *rng.Source) Strategy {
	return &rushing{lucky: bft.ReplicaSet(r.Uint64()), decide: r.Intn(4) != 0, at: make(map[slotKey]*edge)}
}

// Outgoing withholds own votes: they are given in Observe.
func (s *rushing) Outgoing(_ *Env, p Parcel, emit func(Parcel)) {
	switch p.Msg.(type) {
	case *pbft.Prepare, *pbft.Commit:
		return
	}
	emit(p)
}

// Observe counts a vote and answers it.
func (s *rushing) Observe(e *Env, from, to bft.ReplicaID, m protocol.Message) {
	if e.Faulty.Has(from) || e.Faulty.Has(to) {
		return
	}
	switch m := m.(type) {
	case *pbft.PrePrepare:
		s.votes(e, from, to, slotKey{m.View, m.Seq, m.Digest}, false)
	case *pbft.Prepare:
		s.votes(e, from, to, slotKey{m.View, m.Seq, m.Digest}, false)
	case *pbft.Commit:
		s.votes(e, from, to, slotKey{m.View, m.Seq, m.Digest}, true)
	}
}

func (s *rushing) votes(e *Env, from, to bft.ReplicaID, k slotKey, commit bool) {
	if k.seq+2*e.Membership.Window < s.highest {
		return
	}
	if k.seq > s.highest {
		s.highest = k.seq
		s.forget(e)
	}
	x := s.at[k]
	if x == nil {
		x = &edge{prepares: make(map[bft.ReplicaID]bft.ReplicaSet), commits: make(map[bft.ReplicaID]bft.ReplicaSet)}
		s.at[k] = x
	}
	count, given := x.prepares, &x.prepared
	if commit {
		count, given = x.commits, &x.decided
	}
	count[to] = count[to].With(from).With(to) // it votes itself
	ours := e.Faulty.Len()
	if e.Faulty.Has(e.primary(k.view)) && !commit {
		ours-- // the primary's proposal was its vote
	}
	if given.Has(to) || count[to].Len()+ours < e.quorum() || !s.favours(to, k, commit) {
		return
	}
	*given = given.With(to)
	if count[to].Len()+ours == e.quorum() {
		e.Did(Completed)
	}
	for id := range e.Faulty.All() {
		switch {
		case commit:
			e.SendAs(id, Parcel{To: to, Msg: &pbft.Commit{View: k.view, Seq: k.seq, Digest: k.digest}})
		case id != e.primary(k.view):
			e.SendAs(id, Parcel{To: to, Msg: &pbft.Prepare{View: k.view, Seq: k.seq, Digest: k.digest}})
		}
	}
}

// favours draws who is lucky, by slot, without a draw: the same for all liars.
func (s *rushing) favours(to bft.ReplicaID, k slotKey, commit bool) bool {
	shift := (uint64(k.seq) + uint64(k.view)*7) % 32
	if commit {
		return s.decide && (uint64(s.lucky)>>32>>(shift%16))&(1<<to) != 0
	}
	return uint64(s.lucky)>>shift&(1<<to) != 0 || k.seq%4 == 0
}

// forget keeps the memory of a long run small.
func (s *rushing) forget(e *Env) {
	for k := range s.at { // deletes by a rule: the order does not matter
		if k.seq+2*e.Membership.Window < s.highest {
			delete(s.at, k)
		}
	}
}

// brink makes "decide" and "leave the view" coincide: the moment the first COMMIT of a slot is
// under way it completes the quorum at one replica alone and asks all others to leave.
type brink struct {
	Honest
	rate int
	base pbft.Stable
	done map[bft.SeqNum]bool
}

func newBrink(r *rng.Source) Strategy {
	return &brink{rate: 50 << r.Intn(4), done: make(map[bft.SeqNum]bool)}
}

// Outgoing withholds COMMITs of slots at the brink.
func (s *brink) Outgoing(_ *Env, p Parcel, emit func(Parcel)) {
	if m, ok := p.Msg.(*pbft.Commit); ok && s.done[m.Seq] {
		return
	}
	emit(p)
}

// Observe waits for a COMMIT.
func (s *brink) Observe(e *Env, from, to bft.ReplicaID, m protocol.Message) {
	switch m := m.(type) {
	case *pbft.Stable:
		if m.Seq > s.base.Seq {
			s.base = *m
		}
	case *pbft.Commit:
		if _, seen := s.done[m.Seq]; seen || e.Faulty.Has(from) || e.Faulty.Has(to) {
			return
		}
		s.done[m.Seq] = e.Rand.PerMille(s.rate)
		if !s.done[m.Seq] {
			return
		}
		e.Did(Brought)
		for id := range e.Faulty.All() {
			e.SendAs(id, Parcel{To: to, Msg: &pbft.Commit{View: m.View, Seq: m.Seq, Digest: m.Digest}})
			vc := e.SignAs(id, &pbft.ViewChange{View: m.View + 1, Replica: id, Base: s.base})
			e.others(func(other bft.ReplicaID) {
				if other != to {
					e.SendAs(id, Parcel{To: other, Msg: vc})
				}
			})
		}
	}
}
