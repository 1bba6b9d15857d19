package host

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/catchup"
	"github.com/themis-bft/themis/protocol"
)

// Counts are totals since the start.
type Counts struct {
	Offered         [addedKinds]uint64 // requests offered to the pool, by what became of them
	Overdue         uint64             // suspicions
	Relayed         uint64             // RELAY frames
	BatchesProposed uint64
	Fetches         uint64 // bodies asked for
	BodiesServed    uint64
	StateServed     uint64 // fragments of checkpoints
}

// Status is what a Node shows of itself.
type Status struct {
	Protocol   protocol.Status
	Pending    int          // requests in the pool
	Bytes      int          // of them
	Sessions   int          // that wait
	Unproposed int          // pending and in no batch of ours in this view
	OldestFor  bft.Duration // how long the oldest pending request has waited in this view
	Patience   bft.Duration // T; 0 while suspicion is suspended
	Linked     bft.ReplicaSet
	Rejections [][protocol.ReasonCount]uint64 // by replica and reason
	Evidence   []uint64                       // contradictions, by replica
	Counts     Counts
	CatchUp    CatchUpStatus
}

// CatchUpStatus is how far a state transfer is. Target is 0 when none runs.
type CatchUpStatus struct {
	Target bft.SeqNum
	Fetch  catchup.FetchStats
}

// Status copies what the node knows; the result shares nothing with it.
func (n *Node) Status() Status {
	s := Status{
		Protocol: *n.view(),
		Pending:  len(n.pool.byKey), Bytes: n.pool.bytes, Sessions: len(n.pool.queues),
		Unproposed: n.pool.unproposed, Patience: n.pool.waiting.patience,
		Rejections: make([][protocol.ReasonCount]uint64, len(n.peers)),
		Evidence:   make([]uint64, len(n.peers)),
		Counts:     n.counts,
		CatchUp:    n.transferStatus(),
	}
	if e := n.pool.oldest; e != nil {
		s.OldestFor = n.now - e.since
	}
	for i := range n.peers {
		p := &n.peers[i]
		s.Rejections[i], s.Evidence[i] = p.rejected, p.evidence
		if p.linked {
			s.Linked = s.Linked.With(bft.ReplicaID(i))
		}
	}
	return s
}
