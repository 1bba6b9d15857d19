package pbft

import (
	"cmp"
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/storage"
)

// leaveView asks for view v (V1): no ordering message of a lower view is counted any more, and none
// is sent that was not logged, and thus claimed in P or Q, before. The VIEW-CHANGE is made once,
// logged, and resent on STATUS until superseded.
func (c *Core) leaveView(v bft.View, cause protocol.Cause, out *protocol.Effects) {
	if v > bft.ViewMax {
		return // 2^62 views of at least a millisecond do not pass
	}
	if c.active {
		c.failed = min(c.failed+1, 32)
	} else if cause != protocol.CauseJoined {
		c.failed = min(c.failed+1, 32)
	}
	c.view, c.active, c.asked = v, false, false
	c.causes[cause]++
	c.own = c.makeViewChange(v)
	c.persistView(out)
	c.stopTimer(protocol.TimerPatience, out)
	c.watchFlight(out)
	c.stopTimer(timerNewView, out)
	c.waiting = false
	c.certify(c.own, out)
	c.checkQuorum(out)
}

// onOverdue follows the suspicion of the pool, unless it is we who are behind. That excuses unfairness
// once in a view, once more after a window of slots, then after twice as many, and so on: who is behind may
// have missed the service, but a primary that lets another one lag each time would else never be replaced
// for it, since under load a window passes between two suspicions.
func (c *Core) onOverdue(ev protocol.Overdue, out *protocol.Effects) {
	unfair := ev.Cause == protocol.CauseUnfairness
	final := unfair && c.committed < c.pardonEnd && !mutant.On("pbft-unfairness-always-excused")
	switch {
	case !c.active || ev.View != c.view:
	case !final && c.behind():
		if unfair {
			c.pardonEnd = c.committed + c.window<<min(c.pardons, 40)
			c.pardons++
		}
		c.setPatience(out)
		c.sendStatus(c.others, out)
	default:
		c.leaveView(c.view+1, ev.Cause, out)
	}
}

// behind reports whether at least one correct replica has committed more than we did, and more
// than when we last asked: it sees progress, so the primary is not silent; who left now would be
// out alone. The f+1st highest number that peers state is no more than what some correct one
// committed, and each use of the excuse needs a higher one, so that liars cannot hold anybody.
func (c *Core) behind() bool {
	if mutant.On("pbft-behind-suspects") {
		return false
	}
	stated := make([]bft.SeqNum, 0, c.n)
	for i := range c.peers {
		stated = append(stated, c.peers[i].committed)
	}
	slices.Sort(stated)
	sure := stated[c.n-c.q.Weak()]
	if sure <= c.committed || sure <= c.excused {
		return false
	}
	c.excused = sure
	return true
}

// watchFlight keeps the primary's own eye on its slots in flight. Backups whose requests are
// executed have no reason to leave, and one that left alone is too few: if a slot then lacks the
// vote of the one that left, only the primary sees that nothing moves.
func (c *Core) watchFlight(out *protocol.Effects) {
	flying := c.leads() && c.assigned > c.committed
	switch {
	case flying:
		out.Timers = append(out.Timers, protocol.TimerOp{Timer: timerStalled, After: 2 * c.backoff(c.cfg.Patience)})
	case c.flying:
		c.stopTimer(timerStalled, out)
	}
	c.flying = flying
}

func (c *Core) onStalled(out *protocol.Effects) {
	c.flying = false
	switch {
	case !c.leads() || c.assigned <= c.committed || mutant.On("pbft-primary-never-stalls"):
	case c.behind():
		c.watchFlight(out)
		c.sendStatus(c.others, out)
	default:
		c.leaveView(c.view+1, protocol.CauseSilence, out)
	}
}

// makeViewChange collects the claims of this replica above its stable checkpoint.
func (c *Core) makeViewChange(v bft.View) *ViewChange {
	vc := &ViewChange{View: v, Replica: c.self, Base: c.stable}
	for n := c.stable.Seq + 1; n <= c.high(); n++ {
		s := c.slots.At(n)
		if s.hasP && !mutant.On("pbft-p-dropped") && (!mutant.On("pbft-p-of-last-view-only") || s.p.View+1 == v) {
			vc.P = append(vc.P, s.p)
		}
		if !mutant.On("pbft-q-dropped") {
			vc.Q = append(vc.Q, s.q...)
		}
	}
	if extra := len(vc.P) + len(vc.Q) - c.codec.claims; extra > 0 { // no decision is lost, but choices are; with a membership that fits, not before f+1 failed views
		slices.SortStableFunc(vc.Q, func(a, b Claim) int { return cmp.Compare(a.View, b.View) })
		vc.Q = vc.Q[extra:]
	}
	slices.SortFunc(vc.Q, compareClaims)
	return vc
}

// onViewChange keeps the newest VIEW-CHANGE of each sender, its first of that view.
func (c *Core) onViewChange(m *ViewChange, out *protocol.Effects) protocol.Reason {
	old := c.changes[m.Replica]
	switch {
	case m.View < c.view || m.Replica == c.self && (m.View != c.view || c.active):
		if m.Replica != c.self {
			c.showNewView(m.Replica, out)
		}
		return protocol.ReasonOldView
	case old != nil && m.View < old.View:
		return protocol.ReasonOldView
	case old != nil && m.View == old.View:
		c.showNewView(m.Replica, out)
		return protocol.ReasonDuplicate
	}
	c.changes[m.Replica] = m
	if m.View == c.view && c.active {
		c.showNewView(m.Replica, out)
		return protocol.ReasonNone
	}
	c.join(out)
	c.checkQuorum(out)
	c.tryNewView(out)
	return protocol.ReasonNone
}

// join follows f+1 distinct replicas that left our view, to the smallest of their views: at
// least one of them is correct (TOCS'02, section 4.5.2).
func (c *Core) join(out *protocol.Effects) {
	if mutant.On("pbft-no-join") {
		return
	}
	for {
		senders, smallest := 0, bft.ViewMax
		for _, vc := range c.changes {
			if vc != nil && vc.View > c.view {
				senders++
				smallest = min(smallest, vc.View)
			}
		}
		if senders < c.q.Weak() {
			return
		}
		c.leaveView(smallest, protocol.CauseJoined, out)
	}
}

// checkQuorum starts the wait for NEW-VIEW once a quorum has left for our view or a later one.
// Later ones count too: who went on from our view resends nothing of it.
func (c *Core) checkQuorum(out *protocol.Effects) {
	if c.active || c.waiting {
		return
	}
	senders := 0
	for _, vc := range c.changes {
		if vc != nil && vc.View >= c.view {
			senders++
		}
	}
	if senders >= c.q.Quorum() {
		c.waiting = true
		out.Timers = append(out.Timers, protocol.TimerOp{Timer: timerNewView, After: c.backoff(c.cfg.NewViewPatience)})
	}
}

// backoff doubles d for every view that failed in a row, up to the configured limit.
func (c *Core) backoff(d bft.Duration) bft.Duration {
	k := c.failed
	if mutant.On("pbft-patience-never-grows") {
		return d
	}
	if k > 0 {
		k-- // the first view change after progress waits the configured time
	}
	for range k {
		if d *= 2; d >= c.cfg.PatienceMax {
			return c.cfg.PatienceMax
		}
	}
	return d
}

// setPatience gives the pool its T. The primary does not suspect itself.
func (c *Core) setPatience(out *protocol.Effects) {
	if c.leads() {
		c.stopTimer(protocol.TimerPatience, out)
		return
	}
	out.Timers = append(out.Timers, protocol.TimerOp{Timer: protocol.TimerPatience, After: c.backoff(c.cfg.Patience)})
}

func (c *Core) stopTimer(t protocol.Timer, out *protocol.Effects) {
	out.Timers = append(out.Timers, protocol.TimerOp{Timer: t})
}

// set returns the VIEW-CHANGEs held for the current view, ascending by replica.
func (c *Core) set() []*ViewChange {
	var set []*ViewChange
	for _, vc := range c.changes {
		if vc != nil && vc.View == c.view {
			set = append(set, vc)
		}
	}
	return set
}

// tryNewView starts the view as its primary (V4): a set that decides, our own VIEW-CHANGE in
// it, and every body at hand. One NEW-VIEW per view, also across restarts.
func (c *Core) tryNewView(out *protocol.Effects) {
	if c.active || c.primary() != c.self || c.sentView == c.view && !mutant.On("pbft-new-view-twice") {
		return
	}
	if own := c.changes[c.self]; own == nil || own.View != c.view {
		return // not signed yet
	}
	set := c.set()
	start, choices, ok := decide(c.q, set)
	if !ok {
		return
	}
	if !c.haveBodies(set, choices, out) {
		return
	}
	c.sentView = c.view
	nv := &NewView{View: c.view, Replica: c.self, Set: set, Start: start, Choices: choices}
	c.noteChoices(choices, out)
	out.Persist = append(out.Persist, protocol.Record{Kind: storage.RecordNewView, Data: c.codec.Append(nil, nv)})
	c.certify(nv, out)
}

// noteChoices enters what a NEW-VIEW of our own proposes into Q, and the log, before it leaves. The others
// count it as our vote, and we may leave the view before it comes back signed and lets us in: a
// VIEW-CHANGE that did not own up to it could leave what they prepared without f+1 that vouch (A2).
func (c *Core) noteChoices(choices []Choice, out *protocol.Effects) {
	if mutant.On("pbft-new-view-is-no-vote") {
		return
	}
	for _, ch := range choices {
		if ch.Seq <= c.stable.Seq {
			continue
		}
		b, _ := c.bodyOf(ch.Digest)
		c.keepBody(ch.Seq, ch.Digest, b, out)
		c.slots.At(ch.Seq).noteQ(Claim{Seq: ch.Seq, Digest: ch.Digest, View: c.view})
		c.persistVote(votePrePrepared, ch.Seq, c.view, ch.Digest, out)
	}
}

// haveBodies reports whether every choice above the own stable checkpoint lies in the window and has
// its body here, and asks for those that can be kept; the others must wait until the window has moved.
func (c *Core) haveBodies(set []*ViewChange, choices []Choice, out *protocol.Effects) bool {
	complete := true
	for _, ch := range choices {
		_, have := c.bodyOf(ch.Digest)
		if ch.Seq <= c.stable.Seq || have && (ch.Seq <= c.high() || mutant.On("pbft-new-view-above-window")) {
			continue
		}
		complete = false
		if !have && c.slots.At(ch.Seq) != nil {
			c.want(ch.Seq, ch.Digest, holders(set, ch), out)
		}
	}
	return complete
}

// holders are the members of set that claim to have pre-prepared a choice.
func holders(set []*ViewChange, ch Choice) bft.ReplicaSet {
	var ids bft.ReplicaSet
	for _, vc := range set {
		if _, ok := vc.preprepared(ch.Seq, ch.Digest); ok {
			ids = ids.With(vc.Replica)
		}
	}
	return ids
}

// onNewView enters a view (V5). That the message follows from its own set was checked before;
// nothing else lets a replica enter a view (A.7, rule 6).
func (c *Core) onNewView(m *NewView, out *protocol.Effects) protocol.Reason {
	switch {
	case m.View < c.view && !mutant.On("pbft-view-goes-down"):
		return protocol.ReasonOldView
	case m.View == c.view && c.active:
		return protocol.ReasonDuplicate
	}
	if _, choices, ok := decide(c.q, c.set()); ok && mutant.On("pbft-new-view-of-own-set") {
		m = &NewView{View: m.View, Replica: m.Replica, Set: m.Set, Start: m.Start, Choices: choices, Sig: m.Sig}
	}
	c.view, c.active, c.asked, c.own, c.pardons, c.pardonEnd, c.gap = m.View, true, false, nil, 0, 0, false
	c.enterView(m)
	c.persistView(out)
	c.stopTimer(timerNewView, out)
	c.waiting = false
	c.setPatience(out)
	c.watchFlight(out)
	for _, vc := range m.Set {
		if vc.Base.Seq == m.Start && m.Start > c.stable.Seq {
			c.noteProof(vc.Base, out)
			break
		}
	}
	c.applyNewView(out)
	c.askBatch(out)
	c.sendStatus(c.others, out)
	return protocol.ReasonNone
}

// enterView remembers what NEW-VIEW fixed.
func (c *Core) enterView(m *NewView) {
	c.newView = m
	c.bound, c.boundView = m.Start+bft.SeqNum(len(m.Choices)), m.View
	c.assigned = max(c.bound, c.committed)
}

// applyNewView pre-prepares what NEW-VIEW chose, slot by slot: inside the window and with the
// body at hand. It changes nothing where that is done, so it may be called whenever the window
// moved or a body came. Slots executed before are agreed on again and not executed again.
func (c *Core) applyNewView(out *protocol.Effects) {
	if !c.active || c.newView == nil {
		return
	}
	for _, ch := range c.newView.Choices {
		if ch.Seq <= c.stable.Seq || ch.Seq > c.high() {
			continue
		}
		s := c.slots.At(ch.Seq)
		if s.acceptedIn(c.view) {
			continue
		}
		if b, have := c.bodyOf(ch.Digest); have {
			c.accept(ch.Seq, ch.Digest, b, out)
		} else {
			c.want(ch.Seq, ch.Digest, holders(c.newView.Set, ch), out)
		}
		if !c.active || c.newView == nil {
			return
		}
	}
}

// showNewView sends the NEW-VIEW of the current view to a replica that is not in it.
func (c *Core) showNewView(to bft.ReplicaID, out *protocol.Effects) {
	if c.active && c.newView != nil && c.spend(to) && c.spendBytes(to, c.viewBytes) {
		c.send(bft.SetOf(to), c.newView, out)
	}
}
