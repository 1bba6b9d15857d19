package check

import (
	"bytes"
	"slices"

	"github.com/themis-bft/themis/bft"
)

// Claimed is one entry of a view change: a slot and digest with the latest view in which it was
// prepared (P) or pre-prepared (Q).
type Claimed struct {
	Seq    bft.SeqNum
	Digest bft.Digest
	View   bft.View
}

// Left is one replica's view change: its proven checkpoint and what it claims above it.
type Left struct {
	Replica bft.ReplicaID
	View    bft.View
	Digest  bft.Digest // of the whole message but its signature, as VoteViewChange has it
	Base    bft.SeqNum
	P, Q    []Claimed
}

// Entered is what a replica entered a view with.
type Entered struct {
	View    bft.View
	Primary bft.ReplicaID
	Set     []Left
	Start   bft.SeqNum
	Digests []bft.Digest // of the slots Start+1, Start+2, …
}

// Enters checks that a view which an honest replica entered follows from the view changes it
// names, by the rule written here a second time (S7e).
func (o *Oracle) Enters(r bft.ReplicaID, e Entered) {
	if want := bft.ReplicaID(uint64(e.View) % uint64(o.cfg.N)); e.Primary != want {
		o.Complain("S7e", "%v enters view %d by the word of %v, its primary is %v", r, e.View, e.Primary, want)
	}
	members := map[bft.ReplicaID]bool{}
	start, top := bft.SeqNum(0), bft.SeqNum(0)
	for _, l := range e.Set {
		members[l.Replica] = true
		if l.View != e.View {
			o.Complain("S7e", "%v enters view %d with %v's view change for %d", r, e.View, l.Replica, l.View)
		}
		said, ever := o.votes.cast[ballot{replica: l.Replica, kind: VoteViewChange, view: l.View}]
		if !o.cfg.Liars.Has(l.Replica) && (!ever || said != l.Digest) {
			o.Complain("S7e", "%v enters view %d with a view change that %v never sent", r, e.View, l.Replica)
		}
		for _, c := range slices.Concat(l.P, l.Q) {
			if c.View >= e.View || c.Seq <= l.Base || o.cfg.Window > 0 && c.Seq > l.Base+o.cfg.Window {
				o.Complain("S7e", "%v enters view %d on a claim of %v above %d for slot %d in view %d", r, e.View, l.Replica, l.Base, c.Seq, c.View)
			}
		}
		start = max(start, l.Base)
		for _, c := range slices.Concat(l.P, l.Q) {
			top = max(top, c.Seq)
		}
	}
	if len(members) != len(e.Set) || len(members) < o.cfg.quorum() {
		o.Complain("S7e", "%v enters view %d with %d view changes of %d replicas", r, e.View, len(e.Set), len(members))
	}
	if e.Start != start || len(e.Digests) != int(max(top, start)-start) {
		o.Complain("S7e", "%v enters view %d at %d with %d slots, its set says %d to %d", r, e.View, e.Start, len(e.Digests), start, top)
		return
	}
	for i, got := range e.Digests {
		n := start + 1 + bft.SeqNum(i)
		o.votes.fixed[ballot{replica: r, view: e.View, seq: n}] = got
		want, decided := o.follows(e.Set, n)
		if !decided || got != want {
			o.Complain("S7e", "%v enters view %d with %v in slot %d; its set says %v (decided: %v)", r, e.View, got, n, want, decided)
		}
	}
}

// follows is the digest that a set fixes for slot n: of those that enough members do not
// contradict and F+1 have seen, the one of the highest view, then the smallest; else nothing, if a
// quorum claims nothing.
func (o *Oracle) follows(set []Left, n bft.SeqNum) (best bft.Digest, decided bool) {
	quiet, bestView := 0, bft.View(0)
	for _, l := range set {
		mine := at(l.P, n)
		if mine == nil {
			quiet++
			continue
		}
		against, seen := 0, 0
		for _, other := range set {
			if p := at(other.P, n); p != nil && (p.View > mine.View || p.View == mine.View && p.Digest != mine.Digest) {
				against++
			}
			for _, q := range other.Q {
				if q.Seq == n && q.Digest == mine.Digest && q.View >= mine.View {
					seen++
					break
				}
			}
		}
		if len(set)-against < o.cfg.quorum() || seen <= o.cfg.F {
			continue
		}
		if !decided || mine.View > bestView || mine.View == bestView && bytes.Compare(mine.Digest[:], best[:]) < 0 {
			best, bestView, decided = mine.Digest, mine.View, true
		}
	}
	return best, decided || quiet >= o.cfg.quorum()
}

func at(claims []Claimed, n bft.SeqNum) *Claimed {
	for i := range claims {
		if claims[i].Seq == n {
			return &claims[i]
		}
	}
	return nil
}
