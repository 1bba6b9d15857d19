package client

import "github.com/themis-bft/themis/bft"

// counters are the totals of a session since its start.
type counters struct {
	sent, retries, accepted, expired, unmatched uint64
	opens, closed, refused                      uint64
}

// Stats is a snapshot of a session: a value, safe to print and compare.
type Stats struct {
	Session     uint64         // number of the open session, 0 if there is none
	View        bft.View       // that f+1 replicas claim to have reached
	Primary     bft.ReplicaID  // of that view
	Linked      bft.ReplicaSet // replicas with a link
	Queued      int            // operations not sent yet
	Outstanding int            // operations sent and not answered
	Abandoned   int            // those of them whose deadline has passed

	Sent      uint64 // operations sent
	Retries   uint64 // RETRY frames, one for all replicas they went to together
	Accepted  uint64 // operations answered by f+1 replicas
	Expired   uint64 // operations ended by their deadline
	Unmatched uint64 // replies for another session or number
	Opens     uint64 // OPEN requests made
	Closed    uint64 // sessions that the replicas closed
	Refused   uint64 // OPEN requests that were refused
	Replicas  []ReplicaStats
}

// ReplicaStats is what a session knows of one replica.
type ReplicaStats struct {
	Linked     bool
	View       bft.View // highest it claimed
	Replies    uint64
	Deviations uint64 // results that differ from what f+1 replicas vouched for
	Unmatched  uint64 // replies for another session or number
	Doubted    bool   // it was asked and kept silent, or lost what the others hold
}

// Deviations is the sum over all replicas.
func (s *Stats) Deviations() uint64 {
	var sum uint64
	for _, r := range s.Replicas {
		sum += r.Deviations
	}
	return sum
}

// Stats returns the current figures.
func (s *Session) Stats() Stats {
	st := Stats{
		Session: s.session, View: s.view, Primary: s.primary(), Linked: s.up, Queued: s.queued(),
		Sent: s.counters.sent, Retries: s.counters.retries, Accepted: s.counters.accepted,
		Expired: s.counters.expired, Unmatched: s.counters.unmatched,
		Opens: s.counters.opens, Closed: s.counters.closed, Refused: s.counters.refused,
		Replicas: make([]ReplicaStats, len(s.peers)),
	}
	for n := s.done; n < s.next; n++ {
		if c := s.slot(n); c.state == slotPending {
			st.Outstanding++
			if c.abandoned {
				st.Abandoned++
			}
		}
	}
	for i := range s.peers {
		p := &s.peers[i]
		st.Replicas[i] = ReplicaStats{
			Linked: s.up.Has(bft.ReplicaID(i)), View: p.view, Replies: p.replies,
			Deviations: p.deviations, Unmatched: p.unmatched, Doubted: p.doubted,
		}
	}
	return st
}
