package pbft

import (
	"bytes"
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
)

// decide computes what a new view starts with from a set of VIEW-CHANGEs alone (A.6 of the
// protocol notes, docs/protocols/pbft.md; model-checked as ViewChangeRule). set holds one
// VIEW-CHANGE per replica, all for the same view. ok is false when the set is not enough.
//
// The start is the highest proven checkpoint. For each slot above it, up to the highest one
// claimed in a P or a Q, a digest D qualifies at view v if
//
//	claimed: some member claims (n, D, v) in P,
//	A1: at least Quorum members claim for n nothing, or a lower view, or (D, v), and
//	A2: at least Weak members claim (n, D, ≥ v) in Q.
//
// The qualifying D of the highest v is chosen, at equal views the smallest; else null if (B)
// at least Quorum members claim nothing for n in P; else the set decides nothing.
//
// Slots claimed in a Q alone end as null: left to the new primary, each would take another batch in
// every view that fails, until Q has no room for the digest that some replica prepared, without which A2
// never holds again. Once a correct replica has prepared, f+1 correct ones have the slot in Q, so that no
// set leaves it out and no digest that is new to all comes.
func decide(q bft.Quorums, set []*ViewChange) (start bft.SeqNum, choices []Choice, ok bool) {
	if len(set) < q.Quorum() && !mutant.On("pbft-new-view-small-set") {
		return 0, nil, false
	}
	start, top := span(set)
	for n := start + 1; n <= top; n++ {
		d, decided := decideSlot(q, set, n)
		if !decided {
			return 0, nil, false
		}
		if d.IsNull() && mutant.On("pbft-gap-without-null") {
			continue
		}
		choices = append(choices, Choice{Seq: n, Digest: d})
	}
	return start, choices, true
}

// span returns the highest proven checkpoint and the highest slot claimed.
func span(set []*ViewChange) (start, top bft.SeqNum) {
	for _, vc := range set {
		start = max(start, vc.Base.Seq)
	}
	if mutant.On("pbft-start-lowest") {
		for _, vc := range set {
			start = min(start, vc.Base.Seq)
		}
	}
	top = start
	for _, vc := range set {
		if k := len(vc.P); k > 0 {
			top = max(top, vc.P[k-1].Seq)
		}
		if k := len(vc.Q); k > 0 && !mutant.On("pbft-preprepared-left-free") {
			top = max(top, vc.Q[k-1].Seq)
		}
	}
	return start, top
}

func decideSlot(q bft.Quorums, set []*ViewChange, n bft.SeqNum) (bft.Digest, bool) {
	var best *Claim
	silent := 0
	for _, vc := range set {
		c := claimAt(vc.P, n)
		if c == nil {
			silent++
			continue
		}
		if better(c, best) && qualifies(q, set, c) {
			best = c
		}
	}
	need := q.Quorum()
	if mutant.On("pbft-null-weak") {
		need--
	}
	switch {
	case best != nil && mutant.On("pbft-prepared-dropped"):
		return bft.NullDigest, true
	case best != nil:
		return best.Digest, true
	case silent >= need:
		return bft.NullDigest, true
	}
	return bft.Digest{}, false
}

// better reports whether c comes before best: higher view, then smaller digest.
func better(c, best *Claim) bool {
	if best == nil {
		return true
	}
	if mutant.On("pbft-lower-view-wins") {
		return c.View < best.View
	}
	if c.View != best.View {
		return c.View > best.View
	}
	return bytes.Compare(c.Digest[:], best.Digest[:]) < 0
}

// qualifies holds conditions A1 and A2 against the claim c.
func qualifies(q bft.Quorums, set []*ViewChange, c *Claim) bool {
	fits, vouch := 0, 0
	for _, vc := range set {
		p := claimAt(vc.P, c.Seq)
		if p == nil || p.View < c.View || p.View == c.View && (p.Digest == c.Digest || mutant.On("pbft-a1-same-view")) {
			fits++
		}
		if v, ok := vc.preprepared(c.Seq, c.Digest); ok && v >= c.View {
			vouch++
		}
	}
	quorum, weak := q.Quorum(), q.Weak()
	if mutant.On("pbft-a1-weak") {
		quorum--
	}
	if mutant.On("pbft-a2-weak") {
		weak--
	}
	return fits >= quorum && vouch >= weak
}

// claimAt returns the claim for slot n in a list with at most one per slot, or nil.
func claimAt(p []Claim, n bft.SeqNum) *Claim {
	i, ok := slices.BinarySearchFunc(p, n, func(c Claim, n bft.SeqNum) int {
		switch {
		case c.Seq < n:
			return -1
		case c.Seq > n:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return &p[i]
}

// preprepared returns the view for (n, d) in Q.
func (m *ViewChange) preprepared(n bft.SeqNum, d bft.Digest) (bft.View, bool) {
	i, ok := slices.BinarySearchFunc(m.Q, Claim{Seq: n, Digest: d}, compareClaims)
	if !ok {
		return 0, false
	}
	return m.Q[i].View, true
}

// compareClaims orders by slot, then digest.
func compareClaims(a, b Claim) int {
	switch {
	case a.Seq < b.Seq:
		return -1
	case a.Seq > b.Seq:
		return 1
	}
	return bytes.Compare(a.Digest[:], b.Digest[:])
}
