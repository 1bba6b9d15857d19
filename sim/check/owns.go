package check

import (
	"github.com/themis-bft/themis/bft"
)

// manyDigests is how many digests of one slot a VIEW-CHANGE may claim as pre-prepared; who had more
// may leave the oldest out, and is not held to it here.
const manyDigests = 16

// Leaves says that honest replica r sends its VIEW-CHANGE l. It must own up to everything above its
// checkpoint that r ever said in an earlier view (S7o): what it proposed, also in a NEW-VIEW, or
// sent PREPARE for stands in Q, unless P has a later view, and what it sent COMMIT for in P. The others
// counted on it; what only one of f+1 would own up to can neither be decided nor be given up.
func (o *Oracle) Leaves(r bft.ReplicaID, l Left) {
	said := o.votes.said[r]
	kept := said[:0]
	for _, v := range said {
		if v.Seq <= l.Base {
			continue // a checkpoint stands for it, now and in every later VIEW-CHANGE
		}
		kept = append(kept, v)
		if v.View < l.View && !l.ownsUp(v) {
			o.Complain("S7o", "%v leaves for view %d and is silent on its %v for %v in slot %d of view %d", r, l.View, v.Kind, v.Digest, v.Seq, v.View)
		}
	}
	o.votes.said[r] = kept
}

// ownsUp reports whether l claims what the vote v says, or something later.
func (l *Left) ownsUp(v Vote) bool {
	for _, p := range l.P {
		if p.Seq == v.Seq && (p.View > v.View || v.Kind == VoteCommit && p.View == v.View && p.Digest == v.Digest) {
			return true
		}
	}
	digests := 0
	for _, q := range l.Q {
		if q.Seq != v.Seq {
			continue
		}
		if digests++; v.Kind != VoteCommit && q.Digest == v.Digest && q.View >= v.View {
			return true
		}
	}
	return digests >= manyDigests
}
