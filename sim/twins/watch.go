package twins

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/check"
)

// invariants is what a core can say about its own state.
type invariants interface{ CheckInvariants() error }

// watchStep holds an endpoint against its own invariants, and an honest one against its past.
// The copies of a twin are honest code too and keep their invariants.
func (c *cluster) watchStep(x *endpoint, ev protocol.Event) {
	if i, ok := x.core.(invariants); ok {
		if err := i.CheckInvariants(); err != nil {
			c.oracle.Complain("I", "%s after %T: %v", c.name(x.at), ev, err)
		}
	}
	before := x.status
	x.status = x.core.Status()
	if !x.honest {
		return
	}
	c.oracle.Shows(x.id, check.Progress{View: x.status.View, Stable: x.status.Stable})
	if x.status.Active && (x.status.View > before.View || !before.Active) {
		c.entered(x, ev)
	}
	for _, r := range x.out.Reject {
		if r.Reason.Faulty() && !c.twin(r.From) {
			c.oracle.Complain("refused", "%s refuses what honest %v sent: %v", c.name(x.at), r.From, r.Reason)
		}
	}
	for _, e := range x.out.Evidence {
		if !c.twin(e.Against) {
			c.oracle.Complain("evidence", "%s holds that honest %v contradicted itself in view %d slot %d", c.name(x.at), e.Against, e.View, e.Seq)
		}
	}
}

func (c *cluster) twin(id bft.ReplicaID) bool {
	for _, t := range c.schedule.Twins {
		if t == id {
			return true
		}
	}
	return false
}

// entered tells the oracle with which NEW-VIEW an honest replica entered its view.
func (c *cluster) entered(x *endpoint, ev protocol.Event) {
	c.outcome.Entered++
	var m protocol.Message
	switch ev := ev.(type) {
	case protocol.Received:
		m = ev.Verified.Message()
	case protocol.Certified:
		m = ev.Msg
	}
	nv, ok := m.(*pbft.NewView)
	if !ok || nv.View != x.status.View {
		c.oracle.Complain("S7e", "%s enters view %d by %T", c.name(x.at), x.status.View, ev)
		return
	}
	e := check.Entered{View: nv.View, Primary: nv.Replica, Start: nv.Start}
	for _, vc := range nv.Set {
		e.Set = append(e.Set, check.Left{Replica: vc.Replica, View: vc.View, Digest: whole(vc.Sig), Base: vc.Base.Seq, P: claimed(vc.P), Q: claimed(vc.Q)})
	}
	for _, choice := range nv.Choices {
		e.Digests = append(e.Digests, choice.Digest)
	}
	c.oracle.Enters(x.id, e)
}

func claimed(claims []pbft.Claim) []check.Claimed {
	out := make([]check.Claimed, len(claims))
	for i, k := range claims {
		out[i] = check.Claimed{Seq: k.Seq, Digest: k.Digest, View: k.View}
	}
	return out
}

// watchSend tells the oracle what a message of an honest replica promises, and notes which
// batches a twin proposed.
func (c *cluster) watchSend(x *endpoint, m protocol.Message) {
	if !x.honest {
		if p, ok := m.(*pbft.PrePrepare); ok {
			c.proposed(proposal{view: p.View, seq: p.Seq, digest: p.Digest})
		}
		return
	}
	cast := func(k check.VoteKind, v bft.View, n bft.SeqNum, d bft.Digest) {
		c.oracle.Cast(x.id, check.Vote{Kind: k, View: v, Seq: n, Digest: d})
	}
	switch m := m.(type) {
	case *pbft.PrePrepare:
		cast(check.VoteProposal, m.View, m.Seq, m.Digest)
	case *pbft.Prepare:
		cast(check.VotePrepare, m.View, m.Seq, m.Digest)
	case *pbft.Commit:
		cast(check.VoteCommit, m.View, m.Seq, m.Digest)
	case *pbft.Checkpoint:
		cast(check.VoteCheckpoint, 0, m.Seq, m.Digest)
	case *pbft.Decided:
		for i, d := range m.Digests {
			c.oracle.Claimed(x.id, m.First+bft.SeqNum(i), d)
		}
	case *pbft.ViewChange:
		if m.Replica != x.id {
			return // somebody else's, resent
		}
		cast(check.VoteViewChange, m.View, 0, whole(m.Sig))
		for _, k := range m.P {
			c.oracle.Prepared(x.id, k.View, k.Seq, k.Digest)
		}
	case *pbft.NewView:
		if m.Replica != x.id {
			return
		}
		cast(check.VoteNewView, m.View, 0, whole(m.Sig))
		for _, k := range m.Choices {
			cast(check.VoteProposal, m.View, k.Seq, k.Digest)
		}
	}
}

// whole makes a digest of a signature, which here is a hash of all that was signed.
func whole(sig []byte) (d bft.Digest) {
	copy(d[:], sig)
	return d
}

func (c *cluster) proposed(p proposal) {
	for _, q := range c.proposals {
		if q.view == p.view && q.seq == p.seq {
			c.outcome.Conflicting = c.outcome.Conflicting || q.digest != p.digest
			return
		}
	}
	c.proposals = append(c.proposals, p)
}

// watchCommit tells the oracle what an endpoint executes.
func (c *cluster) watchCommit(x *endpoint, k *protocol.Committed) {
	if int(k.Seq) != len(x.states) {
		c.oracle.Complain("S2", "%s executes slot %d after slot %d", c.name(x.at), k.Seq, len(x.states)-1)
	}
	c.note("%s executes slot %d: %v (view %d)", c.name(x.at), k.Seq, k.Digest, k.View)
	c.outcome.Hash = mix(c.outcome.Hash ^ binary.LittleEndian.Uint64(k.Digest[:]) ^ uint64(x.at)<<32 ^ uint64(k.Seq))
	if !x.honest {
		return
	}
	c.oracle.Ordered(x.id, k.Seq, k.View, k.Digest, k.Body)
	switch {
	case c.freshFrom == 0:
		c.outcome.InView |= 1 << min(k.View, 63)
	case c.fresh[k.Digest] && (c.freshSlot == 0 || k.Seq < c.freshSlot):
		c.freshSlot = k.Seq
	}
}

// name is an endpoint in charts: r1, and r1' for its second copy.
func (c *cluster) name(at int) string {
	if at < c.schedule.Replicas {
		return fmt.Sprintf("r%d", at)
	}
	return fmt.Sprintf("r%d'", c.schedule.identity(at))
}

// split is who hears whom now.
func (c *cluster) split() string {
	var side [2][]string
	for at := range c.endpoints {
		s := c.sides >> at & 1
		side[s] = append(side[s], c.name(at))
	}
	if len(side[1]) == 0 {
		return "no split"
	}
	return strings.Join(side[0], " ") + " | " + strings.Join(side[1], " ")
}

// stands is where every endpoint stands, for complaints about progress.
func (c *cluster) stands() string {
	var b strings.Builder
	for _, x := range c.endpoints {
		fmt.Fprintf(&b, "%s view %d active %t slot %d missing %q; ", c.name(x.at), x.status.View, x.status.Active, x.status.Committed, x.status.Missing)
	}
	return b.String()
}

func (c *cluster) note(format string, args ...any) {
	if c.chart != nil {
		fmt.Fprintf(c.chart, "-- %s\n", fmt.Sprintf(format, args...))
	}
}

func (c *cluster) showPacket(p *packet, lost bool) {
	if c.chart == nil {
		return
	}
	arrow := "->"
	if lost {
		arrow = "-x"
	}
	fmt.Fprintf(c.chart, "%-3s %s %-3s  %s\n", c.name(p.from), arrow, c.name(p.to), pbft.Describe(p.verified.Message()))
}
