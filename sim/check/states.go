package check

import "github.com/themis-bft/themis/bft"

// Progress is what a replica shows of itself; none of it ever goes back (S7d).
type Progress struct {
	View   bft.View
	Stable bft.SeqNum
}

// Inside checks that a vote which honest replica r sends while its stable checkpoint is low lies
// in its window (S7w): a replica that votes above it can be made to hold any number of slots.
func (o *Oracle) Inside(r bft.ReplicaID, low bft.SeqNum, v Vote) {
	if high := low + o.cfg.Window; o.cfg.Window > 0 && v.Seq > high {
		o.Complain("S7w", "%v sends %v for slot %d, its window ends at %d", r, v.Kind, v.Seq, high)
	}
}

type stateBook struct {
	own    map[bft.SeqNum]bft.Digest // digest of each checkpoint as the first honest replica computed it
	stable map[bft.SeqNum]bft.Digest
	last   []Progress
}

func newStateBook(n int) stateBook {
	return stateBook{
		own: make(map[bft.SeqNum]bft.Digest), stable: make(map[bft.SeqNum]bft.Digest), last: make([]Progress, n),
	}
}

// Checkpointed says that honest replica r has this state at a checkpoint (S1, S9).
func (o *Oracle) Checkpointed(r bft.ReplicaID, seq bft.SeqNum, digest bft.Digest) {
	if before, ok := o.states.own[seq]; ok && before != digest {
		o.Complain("S1", "%v has state %v at checkpoint %d, another honest replica has %v", r, digest, seq, before)
		return
	}
	o.states.own[seq] = digest
}

// Stable says that honest replica r holds a checkpoint for stable (S7c).
func (o *Oracle) Stable(r bft.ReplicaID, seq bft.SeqNum, digest bft.Digest) {
	if before, ok := o.states.stable[seq]; ok && before != digest {
		o.Complain("S7c", "%v holds %v stable at %d, another honest replica holds %v", r, digest, seq, before)
		return
	}
	o.states.stable[seq] = digest
	o.backed(r, "holds stable", Vote{Kind: VoteCheckpoint, Seq: seq, Digest: digest})
	if own, ok := o.states.own[seq]; ok && own != digest {
		o.Complain("S7c", "%v holds %v stable at %d, honest replicas computed %v", r, digest, seq, own)
	}
}

// Shows says what honest replica r shows of itself now, before or after a restart (S7d).
func (o *Oracle) Shows(r bft.ReplicaID, p Progress) {
	last := o.states.last[r]
	if p.View < last.View || p.Stable < last.Stable {
		o.Complain("S7d", "%v went back: view %d → %d, stable %d → %d", r, last.View, p.View, last.Stable, p.Stable)
	}
	o.states.last[r] = Progress{View: max(p.View, last.View), Stable: max(p.Stable, last.Stable)}
}

// Ends is how a replica stands when a run has ended and everything was healed.
type Ends struct {
	Replica  bft.ReplicaID
	Executed bft.SeqNum
	State    bft.Digest // digest of its whole state now
}

// Final compares the honest replicas at the end: same log, same state (S6, S9).
func (o *Oracle) Final(all []Ends) {
	for i, e := range all {
		if e.Executed != o.log.last {
			o.Complain("S6", "%v ends at slot %d, the log has %d", e.Replica, e.Executed, o.log.last)
		}
		if i > 0 && e.Executed == all[0].Executed && e.State != all[0].State {
			o.Complain("S9", "%v ends with state %v, %v with %v", e.Replica, e.State, all[0].Replica, all[0].State)
		}
	}
}
