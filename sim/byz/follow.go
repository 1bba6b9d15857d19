package byz

import (
	"bytes"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol/pbft"
)

// follows is what a set of VIEW-CHANGEs decides, as the adversary reckons it when it makes
// NEW-VIEWs that hold: written here again, since the protocol shows its rule to nobody.
func (e *Env) follows(set []*pbft.ViewChange) (start bft.SeqNum, choices []pbft.Choice, ok bool) {
	top := bft.SeqNum(0)
	for _, vc := range set {
		start = max(start, vc.Base.Seq)
		for _, c := range vc.P {
			top = max(top, c.Seq)
		}
	}
	if top > start+e.Membership.Window {
		return 0, nil, false
	}
	for n := start + 1; n <= top; n++ {
		d, decided := e.slot(set, n)
		if !decided {
			return 0, nil, false
		}
		choices = append(choices, pbft.Choice{Seq: n, Digest: d})
	}
	return start, choices, true
}

func (e *Env) slot(set []*pbft.ViewChange, n bft.SeqNum) (bft.Digest, bool) {
	var best *pbft.Claim
	quiet := 0
	for _, vc := range set {
		mine := claimFor(vc.P, n)
		if mine == nil {
			quiet++
			continue
		}
		better := best == nil || mine.View > best.View || mine.View == best.View && bytes.Compare(mine.Digest[:], best.Digest[:]) < 0
		if better && e.vouched(set, mine) {
			best = mine
		}
	}
	if best != nil {
		return best.Digest, true
	}
	return bft.NullDigest, quiet >= e.quorum()
}

// vouched holds a claim against the others' claims.
func (e *Env) vouched(set []*pbft.ViewChange, c *pbft.Claim) bool {
	fits, seen := 0, 0
	for _, vc := range set {
		if p := claimFor(vc.P, c.Seq); p == nil || p.View < c.View || p.View == c.View && p.Digest == c.Digest {
			fits++
		}
		for _, q := range vc.Q {
			if q.Seq == c.Seq && q.Digest == c.Digest && q.View >= c.View {
				seen++
				break
			}
		}
	}
	return fits >= e.quorum() && seen > e.Membership.F
}

func claimFor(list []pbft.Claim, n bft.SeqNum) *pbft.Claim {
	for i := range list {
		if list[i].Seq == n {
			return &list[i]
		}
	}
	return nil
}

// quorum is the smallest number of replicas of which any two sets share a correct one.
func (e *Env) quorum() int { return (e.Membership.N() + e.Membership.F + 2) / 2 }
