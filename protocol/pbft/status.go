package pbft

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
)

// Links lose messages; what a peer lacks is resent when its STATUS shows it (P8). These bounds
// keep STATUS from being an amplifier.
const (
	answersPerPeriod = 8  // answers to one peer per period of our own STATUS
	resendSlots      = 32 // slots whose votes one answer repeats
	resendBodies     = 4  // PRE-PREPAREs with bodies in one answer
	statusSlots      = 64 // width of the bitmaps

	// answerBytes is how much of bodies, VIEW-CHANGE and NEW-VIEW one peer gets per period, and
	// the last of them whole: as much as it may FETCH at once.
	answerBytes = bft.ServeBurstBytes
)

// spend takes one answer from a peer's budget.
func (c *Core) spend(id bft.ReplicaID) bool {
	if c.peers[id].budget == 0 {
		return false
	}
	c.peers[id].budget--
	return true
}

// spendBytes takes a large message from a peer's budget.
func (c *Core) spendBytes(id bft.ReplicaID, n int) bool {
	if c.peers[id].bytes <= 0 {
		return false
	}
	c.peers[id].bytes -= n
	return true
}

// fillBudgets begins a period.
func (c *Core) fillBudgets() {
	for i := range c.peers {
		c.peers[i].budget, c.peers[i].bytes = answersPerPeriod, answerBytes
	}
}

// sendStatus tells peers where we stand.
func (c *Core) sendStatus(to bft.ReplicaSet, out *protocol.Effects) {
	if to == 0 {
		return
	}
	m := &Status{View: c.view, Active: c.active, Stable: c.stable.Seq, Committed: c.committed, Open: c.open()}
	for i := range bft.SeqNum(statusSlots) {
		s := c.slots.At(m.Open + 1 + i)
		if s == nil {
			break
		}
		if s.acceptedIn(c.view) {
			m.Accepted |= 1 << i
		}
		if s.preparedIn(c.view) {
			m.Prepared |= 1 << i
		}
	}
	if !c.active {
		for _, vc := range c.set() {
			m.ViewChanges = m.ViewChanges.With(vc.Replica)
		}
	}
	c.send(to, m, out)
}

// open is the last slot for which this replica needs no vote of its view any more. A slot that it
// executed on the claims of others, or in an earlier view before NEW-VIEW brought it up again,
// needs some until a checkpoint covers it: before this replica is prepared there it sends no
// COMMIT, and who lacks just that one cannot go on.
func (c *Core) open() bft.SeqNum {
	if c.active && !mutant.On("pbft-executed-not-agreed-again") {
		for n := c.stable.Seq + 1; n <= c.committed; n++ {
			if s := c.slots.At(n); s != nil && !s.preparedIn(c.view) {
				return n - 1
			}
		}
	}
	return c.committed
}

// noteAhead asks the others at once, at most once per period, when somebody is ahead of us.
func (c *Core) noteAhead(out *protocol.Effects) {
	if !c.ahead {
		c.ahead = true
		c.sendStatus(c.others, out)
	}
}

// noteGap asks the primary at once, at most once per period, for the proposal before one that it sent, if that
// was lost or came before we entered the view: what follows cannot execute, and a period may be longer
// than anybody's patience.
func (c *Core) noteGap(n bft.SeqNum, out *protocol.Effects) {
	s := c.slots.At(n - 1)
	if n-1 <= max(c.committed, c.bound) || s == nil || s.decided || s.acceptedIn(c.view) || c.gap || mutant.On("pbft-gap-waits-for-the-period") {
		return
	}
	c.gap = true
	c.sendStatus(bft.SetOf(c.primary()), out)
}

// onStatus resends what the sender lacks and we have.
func (c *Core) onStatus(from bft.ReplicaID, m *Status, out *protocol.Effects) protocol.Reason {
	c.peers[from].committed = m.Committed
	if m.View > c.view || m.Committed > c.committed {
		c.noteAhead(out)
	}
	if m.View > c.view && mutant.On("pbft-view-from-status") {
		c.leaveView(m.View, protocol.CauseJoined, out)
	}
	if !c.spend(from) && !mutant.On("pbft-status-unbounded") {
		return protocol.ReasonOverloaded
	}
	to := bft.SetOf(from)
	if !mutant.On("pbft-view-change-not-resent") {
		c.resendView(from, m, out)
	}
	if m.Stable < c.stable.Seq {
		p := c.stable
		c.send(to, &p, out)
	}
	if m.Committed < c.committed {
		c.resendDecided(to, m, out)
	}
	if m.Active && (m.View == c.view && c.active || m.View < c.view && !c.active) {
		c.resendVotes(from, m, out)
	}
	for n, b := range c.ballots(m.Stable) {
		if b.have.Has(c.self) {
			c.send(to, &Checkpoint{Seq: n, Digest: b.digests[c.self], Replica: c.self, Sig: b.sigs[c.self]}, out)
		}
	}
	return protocol.ReasonNone
}

// ballots iterates over our unproven checkpoints above n, ascending.
func (c *Core) ballots(n bft.SeqNum) func(yield func(bft.SeqNum, *ballot) bool) {
	return func(yield func(bft.SeqNum, *ballot) bool) {
		for at := max(n, c.stable.Seq)/c.every*c.every + c.every; at <= c.slots.High(); at += c.every {
			if b := c.ckpts[at]; b != nil && !yield(at, b) {
				return
			}
		}
	}
}

// resendView helps a peer into our view: NEW-VIEW if there is one, else our VIEW-CHANGE.
func (c *Core) resendView(from bft.ReplicaID, m *Status, out *protocol.Effects) {
	to := bft.SetOf(from)
	switch {
	case c.active:
		if c.newView != nil && (m.View < c.view || m.View == c.view && !m.Active) && c.spendBytes(from, c.viewBytes) {
			c.send(to, c.newView, out)
		}
	case m.View < c.view || m.View == c.view && !m.Active && !m.ViewChanges.Has(c.self):
		if own := c.changes[c.self]; own != nil && own.View == c.view && c.spendBytes(from, c.viewBytes) {
			c.send(to, own, out)
		}
	}
}

// resendDecided claims to a peer that is behind what we committed.
func (c *Core) resendDecided(to bft.ReplicaSet, m *Status, out *protocol.Effects) {
	d := &Decided{First: m.Committed + 1}
	for n := d.First; n <= c.committed && len(d.Digests) < resendSlots; n++ {
		s := c.slots.At(n)
		if s == nil || !s.decided {
			break
		}
		d.Digests = append(d.Digests, s.decidedDigest)
	}
	if len(d.Digests) > 0 {
		c.send(to, d, out)
	}
}

// resendVotes repeats our messages of the peer's view for slots that the peer has open. That may
// be a view that we asked to leave: what was said and logged may be said again, and the peer may
// lack just our vote to commit what others have executed.
func (c *Core) resendVotes(from bft.ReplicaID, m *Status, out *protocol.Effects) {
	to, left, primary := bft.SetOf(from), resendBodies, c.q.Primary(m.View)
	if m.View < c.view && mutant.On("pbft-old-votes-not-resent") {
		return
	}
	for i := range bft.SeqNum(resendSlots) {
		n := m.Open + 1 + i
		s := c.slots.At(n)
		if s == nil || !s.acceptedIn(m.View) {
			continue
		}
		if m.Accepted>>i&1 == 0 && primary == c.self && c.proposedIn(m.View, n) && left > 0 {
			left--
			if b, ok := c.bodyOf(s.digest); ok && c.spendBytes(from, len(b)) {
				c.send(to, &PrePrepare{View: m.View, Seq: n, Digest: s.digest, Batch: b}, out)
			}
		}
		if m.Prepared>>i&1 == 0 && primary != c.self {
			c.send(to, &Prepare{View: m.View, Seq: n, Digest: s.digest}, out)
		}
		if s.prepared {
			c.send(to, &Commit{View: m.View, Seq: n, Digest: s.digest}, out)
		}
	}
}

// proposedIn reports whether we as the primary of view v proposed slot n ourselves. What NEW-VIEW fixed comes
// with that alone; where it ended is not known of a view that was left before a restart.
func (c *Core) proposedIn(v bft.View, n bft.SeqNum) bool {
	return n > c.bound && (v == c.boundView || mutant.On("pbft-fixed-slots-resent"))
}

// onDecided counts claims of commitment. f+1 equal ones hold one of a correct replica: the
// slot is decided, whatever view we are in (A.7, rule 5).
func (c *Core) onDecided(from bft.ReplicaID, m *Decided, out *protocol.Effects) protocol.Reason {
	reason := protocol.ReasonBelowWindow
	for i, d := range m.Digests {
		n := m.First + bft.SeqNum(i)
		s := c.slots.At(n)
		if n <= c.committed || s == nil {
			continue
		}
		o := &s.claims[from]
		if o.cast && o.digest != d && !mutant.On("pbft-claims-not-compared") {
			c.evidence(from, m.Kind(), n, o.digest, d, out)
			return protocol.ReasonConflict
		}
		*o = vote{cast: true, digest: d}
		reason = protocol.ReasonNone
		if !s.decided && claimsFor(s, d).Len() >= c.claimsNeeded() {
			c.commitSlot(n, s, d, out)
		}
	}
	if last := m.First + bft.SeqNum(len(m.Digests)) - 1; c.committed >= last && c.committed < c.peers[from].committed {
		c.sendStatus(bft.SetOf(from), out) // there is more
	}
	return reason
}

// claimsFor are the replicas that claim that d was decided in slot s.
func claimsFor(s *slot, d bft.Digest) bft.ReplicaSet {
	set := count(s.claims, 0, d)
	for i := range s.claims {
		if s.claims[i].cast && mutant.On("pbft-claims-not-compared") {
			set = set.With(bft.ReplicaID(i))
		}
	}
	return set
}

func (c *Core) claimsNeeded() int {
	if mutant.On("pbft-claims-small") {
		return c.q.F
	}
	return c.q.Weak()
}

// claimants are the replicas that claim to have committed what we decided: they have the body.
func (c *Core) claimants(s *slot) bft.ReplicaSet {
	return count(s.claims, 0, s.decidedDigest) | count(s.commits, s.view, s.decidedDigest)
}

// Status returns what the core shows of itself.
func (c *Core) Status() protocol.Status {
	st := protocol.Status{
		View: c.view, Active: c.active, Primary: c.primary(), Committed: c.committed,
		Stable: c.stable.Seq, StateDigest: c.stableState, High: c.high(), Assigned: c.assigned,
		Diverged: c.diverged, ViewChanges: c.causes, Equivocations: c.conflict,
	}
	for n := c.stable.Seq + 1; n <= c.high(); n++ {
		if s := c.slots.At(n); s.accepted || s.decided {
			st.Slots++
		}
	}
	if !c.active {
		for _, vc := range c.set() {
			st.ViewChangesHeld = st.ViewChangesHeld.With(vc.Replica)
		}
	}
	st.Missing, st.Waiting = c.missing()
	return st
}

// missing says which quorum the next slot waits for, and who has not spoken.
func (c *Core) missing() (string, bft.ReplicaSet) {
	all := c.q.All()
	if !c.active {
		var held bft.ReplicaSet
		for _, vc := range c.set() {
			held = held.With(vc.Replica)
		}
		if held.Len() < c.q.Quorum() {
			return "view-change", all &^ held
		}
		return "new-view", bft.SetOf(c.primary())
	}
	s := c.slots.At(c.committed + 1)
	switch {
	case s == nil:
		return "", 0
	case s.decided:
		return "body", 0
	case s.preparedIn(c.view):
		return "commit", all &^ count(s.commits, c.view, s.digest)
	case s.acceptedIn(c.view):
		return "prepare", all &^ count(s.prepares, c.view, s.digest).With(c.primary())
	}
	for i := range s.prepares {
		if p, k := s.prepares[i], s.commits[i]; p.cast && p.view == c.view || k.cast && k.view == c.view {
			return "pre-prepare", bft.SetOf(c.primary())
		}
	}
	return "", 0
}
