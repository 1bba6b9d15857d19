package pbft

import (
	"fmt"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// askBatch asks for a batch while the primary may open a slot: pipelined up to InFlight, never
// beyond the window. An idle system therefore answers at once, and a loaded one fills its
// batches by itself (design, decision 6).
func (c *Core) askBatch(out *protocol.Effects) {
	if c.asked || !c.mayPropose() {
		return
	}
	c.asked = true
	c.propose = protocol.Propose{View: c.view}
	out.Propose = &c.propose
}

func (c *Core) mayPropose() bool {
	return c.leads() && c.assigned < c.committed+c.cfg.Membership.InFlight &&
		(c.assigned < c.high() || mutant.On("pbft-no-high-mark")) && c.committed >= c.stable.Seq
}

// onProposed assigns the next slot to a batch (P2).
func (c *Core) onProposed(ev protocol.Proposed, out *protocol.Effects) {
	if ev.View != c.view || !c.asked {
		return // of a view that was left; its requests are still pending
	}
	c.asked = false
	if !c.leads() {
		panic(fmt.Sprintf("pbft: a batch was asked for in view %d, which this replica does not lead", ev.View))
	}
	if c.assigned >= c.high() && !mutant.On("pbft-no-high-mark") {
		return // our own state was found wrong and went back since we asked; clients repeat
	}
	c.assigned++
	if !c.flying {
		c.watchFlight(out)
	}
	c.accept(c.assigned, ev.Digest, ev.Body, out)
	c.send(c.others, &PrePrepare{View: c.view, Seq: c.assigned, Digest: ev.Digest, Batch: ev.Body}, out)
	c.askBatch(out)
}

// inWindow says whether votes for slot n count, or why not.
func (c *Core) inWindow(n bft.SeqNum, out *protocol.Effects) protocol.Reason {
	switch {
	case n <= c.stable.Seq:
		return protocol.ReasonBelowWindow
	case n > c.high() && !mutant.On("pbft-votes-above-window") || n > c.slots.High():
		c.noteAhead(out)
		c.above = true
		return protocol.ReasonAboveWindow
	}
	return protocol.ReasonNone
}

// onPrePrepare accepts a proposal of the primary (P3): first one per view and slot.
func (c *Core) onPrePrepare(from bft.ReplicaID, m *PrePrepare, out *protocol.Effects) protocol.Reason {
	switch {
	case m.View < c.view:
		return protocol.ReasonOldView
	case m.View > c.view || !c.active && !mutant.On("pbft-accepts-before-new-view"):
		c.noteAhead(out)
		return protocol.ReasonFutureView // resent when our STATUS shows that we entered
	}
	if r := c.inWindow(m.Seq, out); r != protocol.ReasonNone {
		return r
	}
	s := c.slots.At(m.Seq)
	if s.acceptedIn(c.view) && !mutant.On("pbft-second-preprepare") {
		if s.digest == m.Digest {
			return protocol.ReasonDuplicate
		}
		c.evidence(from, m.Kind(), m.Seq, s.digest, m.Digest, out)
		return protocol.ReasonConflict
	}
	if m.Seq <= c.bound && !mutant.On("pbft-new-view-overruled") {
		return protocol.ReasonConflict // NEW-VIEW fixed this slot
	}
	if s.decided && s.decidedDigest != m.Digest && !mutant.On("pbft-decision-contradicted") {
		c.evidence(from, m.Kind(), m.Seq, s.decidedDigest, m.Digest, out)
		return protocol.ReasonConflict
	}
	c.accept(m.Seq, m.Digest, m.Batch, out)
	c.noteGap(m.Seq, out)
	return protocol.ReasonNone
}

// accept pre-prepares (view, n, d), its body at hand: Q, the log, and as a backup PREPARE.
func (c *Core) accept(n bft.SeqNum, d bft.Digest, b []byte, out *protocol.Effects) {
	s := c.slots.At(n)
	c.keepBody(n, d, b, out)
	s.accepted, s.prepared, s.view, s.digest = true, false, c.view, d
	s.noteQ(Claim{Seq: n, Digest: d, View: c.view})
	c.persistVote(votePrePrepared, n, c.view, d, out)
	if c.primary() != c.self {
		s.prepares[c.self] = vote{cast: true, view: c.view, digest: d}
		c.send(c.others, &Prepare{View: c.view, Seq: n, Digest: d}, out)
	}
	c.progress(n, s, out)
	c.advance(out) // this slot or another was decided by claims, before this body came
}

// castVote enters a vote unless the sender already said something as new or newer.
func (c *Core) castVote(votes []vote, from bft.ReplicaID, v bft.View, n bft.SeqNum, d bft.Digest, k wire.Kind, out *protocol.Effects) protocol.Reason {
	o := &votes[from]
	switch {
	case v < c.view || o.cast && v < o.view:
		return protocol.ReasonOldView
	case v > c.view:
		c.noteAhead(out)
	}
	if o.cast && v == o.view && !mutant.On("pbft-vote-overwritten") {
		if o.digest == d {
			if mutant.On("pbft-messages-counted") {
				votes[(int(from)+1)%c.n] = *o
			}
			return protocol.ReasonDuplicate
		}
		c.evidence(from, k, n, o.digest, d, out)
		return protocol.ReasonConflict
	}
	*o = vote{cast: true, view: v, digest: d}
	return protocol.ReasonNone
}

func (c *Core) onPrepare(from bft.ReplicaID, m *Prepare, out *protocol.Effects) protocol.Reason {
	if r := c.inWindow(m.Seq, out); r != protocol.ReasonNone {
		return r
	}
	s := c.slots.At(m.Seq)
	if r := c.castVote(s.prepares, from, m.View, m.Seq, m.Digest, m.Kind(), out); r != protocol.ReasonNone {
		return r
	}
	if s.acceptedIn(m.View) && s.digest != m.Digest && count(s.prepares, m.View, m.Digest).Len() == c.q.Weak() {
		c.evidence(c.q.Primary(m.View), KindPrePrepare, m.Seq, s.digest, m.Digest, out) // f+1 saw another proposal
	}
	c.progress(m.Seq, s, out)
	return protocol.ReasonNone
}

func (c *Core) onCommit(from bft.ReplicaID, m *Commit, out *protocol.Effects) protocol.Reason {
	if r := c.inWindow(m.Seq, out); r != protocol.ReasonNone {
		return r
	}
	s := c.slots.At(m.Seq)
	if r := c.castVote(s.commits, from, m.View, m.Seq, m.Digest, m.Kind(), out); r != protocol.ReasonNone {
		return r
	}
	c.progress(m.Seq, s, out)
	return protocol.ReasonNone
}

// progress moves a slot of the current view from accepted to prepared to committed (P4, P5).
func (c *Core) progress(n bft.SeqNum, s *slot, out *protocol.Effects) {
	if !c.active || !s.acceptedIn(c.view) {
		return
	}
	prepares, commits := c.q.Quorum()-1, c.q.Quorum()
	if mutant.On("pbft-prepared-early") {
		prepares--
	}
	if mutant.On("pbft-committed-early") {
		commits--
	}
	if !s.prepared && count(s.prepares, c.view, s.digest).Len() >= prepares {
		s.prepared = true
		s.noteP(Claim{Seq: n, Digest: s.digest, View: c.view})
		c.persistVote(votePrepared, n, c.view, s.digest, out)
		s.commits[c.self] = vote{cast: true, view: c.view, digest: s.digest}
		c.send(c.others, &Commit{View: c.view, Seq: n, Digest: s.digest}, out)
	}
	if s.prepared && !s.decided && count(s.commits, c.view, s.digest).Len() >= commits {
		c.commitSlot(n, s, s.digest, out)
	}
}

// commitSlot marks a slot as committed and executes what is next in order (P6).
func (c *Core) commitSlot(n bft.SeqNum, s *slot, d bft.Digest, out *protocol.Effects) {
	s.decided, s.decidedDigest, s.decidedView = true, d, c.view
	c.persistVote(voteDecided, n, c.view, d, out)
	c.advance(out)
}

// advance hands decided slots to execution, gapless, and lets the primary go on.
func (c *Core) advance(out *protocol.Effects) {
	before := c.committed
	for !c.diverged {
		n := c.committed + 1
		s := c.slots.At(n)
		if next := c.slots.At(n + 1); mutant.On("pbft-gap-executed-over") && s != nil && !s.decided && next != nil && next.decided {
			n, s = n+1, next
		}
		if s == nil || !s.decided {
			break
		}
		b, ok := c.bodyOf(s.decidedDigest)
		if !ok {
			c.want(n, s.decidedDigest, c.claimants(s), out)
			break
		}
		c.keepBody(n, s.decidedDigest, b, out) // no news, unless a lower slot had the same batch
		out.Commit = append(out.Commit, protocol.Committed{Seq: n, View: c.view, Digest: s.decidedDigest, Body: b})
		c.committed = n
	}
	if c.committed == before {
		return
	}
	if c.failed > 0 && c.active && c.committed > c.bound { // the view works
		c.failed = 0
		c.setPatience(out)
	}
	c.assigned = max(c.assigned, c.committed)
	c.watchFlight(out)
	c.settle(out)
	c.askBatch(out)
}

// evidence counts a contradiction. Over links it convinces only us.
func (c *Core) evidence(against bft.ReplicaID, k wire.Kind, n bft.SeqNum, first, other bft.Digest, out *protocol.Effects) {
	c.conflict++
	out.Evidence = append(out.Evidence, protocol.Evidence{
		Against: against, Kind: k, View: c.view, Seq: n, First: first, Other: other,
	})
}

// onBodyRefused leaves the view of a primary that proposed a forged request. A time too far
// from our clock may be our own fault, or the age of a resent proposal: it is only refused.
func (c *Core) onBodyRefused(ev protocol.BodyRefused, out *protocol.Effects) {
	if ev.Reason != protocol.ReasonBadTime && c.active && ev.From == c.primary() && ev.From != c.self {
		c.leaveView(c.view+1, protocol.CauseBadBody, out)
	}
}
