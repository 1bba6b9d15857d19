package pbft

import (
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// say delivers a message of a peer to a replica as if it had come over their link.
func (c *cluster) say(from, to bft.ReplicaID, m protocol.Message) {
	c.t.Helper()
	if s, ok := m.(protocol.Signed); ok && s.Signer() == from {
		m = s.WithSignature(tags{}.sign(from, c.codec.AppendSigned(nil, s)))
	}
	v, reason := protocol.Verify(c.codec, from, m, tags{})
	if reason != protocol.ReasonNone {
		c.t.Fatalf("%s from %s: %v", Describe(m), from, reason)
	}
	c.step(c.nodes[to], protocol.Received{Verified: v})
}

func digestOf(i uint64) bft.Digest { return wire.BodyDigest(batch(i)) }

func (c *cluster) preprepare(to bft.ReplicaID, n bft.SeqNum, i uint64) {
	c.say(0, to, &PrePrepare{Seq: n, Digest: digestOf(i), Batch: batch(i)})
}

// TestFirstVoteCounts: a sender that votes again for another digest is not counted twice, and
// its contradiction is.
func TestFirstVoteCounts(t *testing.T) {
	c := newCluster(t, 4, 1)
	x := c.nodes[1]
	c.say(3, 1, &Prepare{Seq: 1, Digest: digestOf(2)})
	c.say(3, 1, &Prepare{Seq: 1, Digest: digestOf(1)})
	c.preprepare(1, 1, 1)
	if s := x.core.slots.At(1); !s.accepted || s.prepared {
		t.Fatalf("accepted %t, prepared %t with the second vote of r3", s.accepted, s.prepared)
	}
	if x.core.conflict != 1 || x.rejects[protocol.ReasonConflict] != 1 {
		t.Fatalf("%d contradictions, rejections %v", x.core.conflict, x.rejects)
	}
}

// TestOneClaimDecidesNothing: f claims of commitment may all be lies; f+1 are not.
func TestOneClaimDecidesNothing(t *testing.T) {
	c := newCluster(t, 4, 1)
	x := c.nodes[3]
	c.preprepare(3, 1, 1)
	c.say(2, 3, &Decided{First: 1, Digests: []bft.Digest{digestOf(1)}})
	c.say(2, 3, &Decided{First: 1, Digests: []bft.Digest{digestOf(1)}})
	if x.core.committed != 0 {
		t.Fatal("one replica's claims were enough")
	}
	c.say(1, 3, &Decided{First: 1, Digests: []bft.Digest{digestOf(1)}})
	if x.core.committed != 1 {
		t.Fatal("two replicas' equal claims were not enough")
	}
}

// TestProposalAgainstADecision: what f+1 claims decided is not voted against, though the primary
// proposes something else; its contradiction is counted.
func TestProposalAgainstADecision(t *testing.T) {
	c := newCluster(t, 4, 1)
	x := c.nodes[3]
	for _, from := range []bft.ReplicaID{1, 2} {
		c.say(from, 3, &Decided{First: 1, Digests: []bft.Digest{digestOf(1)}})
	}
	c.preprepare(3, 1, 2)
	if s := x.core.slots.At(1); s.accepted || x.core.conflict != 1 || x.rejects[protocol.ReasonConflict] != 1 {
		t.Fatalf("accepted %t, %d contradictions, rejections %v", s.accepted, x.core.conflict, x.rejects)
	}
}

// fill commits slots 1 to 4 everywhere while nobody hears a CHECKPOINT.
func fill(t *testing.T) *cluster {
	c := newCluster(t, 4, 1)
	c.drop = func(p packet) bool { return p.kind == KindCheckpoint }
	for range 4 {
		c.request()
		c.run()
	}
	c.reach(4)
	return c
}

// TestCheckpointNeedsEqualDigests: three CHECKPOINTs with two digests prove nothing.
func TestCheckpointNeedsEqualDigests(t *testing.T) {
	c := fill(t)
	x := c.nodes[1]
	c.say(2, 1, &Checkpoint{Seq: 4, Digest: dg("x"), Replica: 2})
	c.say(3, 1, &Checkpoint{Seq: 4, Digest: x.state[4], Replica: 3})
	if x.core.stable.Seq != 0 {
		t.Fatal("stable with two equal digests of three")
	}
	c.say(0, 1, &Checkpoint{Seq: 4, Digest: x.state[4], Replica: 0})
	if x.core.stable.Seq != 4 {
		t.Fatal("not stable with a quorum")
	}
}

// TestFirstCheckpointCounts: a replica that signs two digests for one slot counts once.
func TestFirstCheckpointCounts(t *testing.T) {
	c := fill(t)
	x := c.nodes[1]
	c.say(2, 1, &Checkpoint{Seq: 4, Digest: dg("x"), Replica: 2})
	c.say(2, 1, &Checkpoint{Seq: 4, Digest: x.state[4], Replica: 2})
	c.say(3, 1, &Checkpoint{Seq: 4, Digest: x.state[4], Replica: 3})
	if x.core.stable.Seq != 0 || x.core.conflict != 1 {
		t.Fatalf("stable at %d with %d contradictions", x.core.stable.Seq, x.core.conflict)
	}
}

// TestDivergedStateIsReplaced: a replica whose own checkpoint differs from a proven one stops
// executing, asks for the state, and goes on from it (reliability C2).
func TestDivergedStateIsReplaced(t *testing.T) {
	c := fill(t)
	x := c.nodes[1]
	good := proof(c.codec, 4, dg("x"), 0, 2, 3)
	c.say(0, 1, &good)
	if st := x.core.Status(); !st.Diverged || x.catchUp == nil || x.catchUp.Seq != 4 || x.catchUp.Digest != dg("x") {
		t.Fatalf("status %+v, wants %+v", st, x.catchUp)
	}
	c.preprepare(1, 5, 9)
	for _, from := range []bft.ReplicaID{0, 2, 3} {
		if from != 0 {
			c.say(from, 1, &Prepare{Seq: 5, Digest: digestOf(9)})
		}
		c.say(from, 1, &Commit{Seq: 5, Digest: digestOf(9)})
	}
	if x.core.committed != 4 {
		t.Fatalf("executes slot %d on a state that is wrong", x.core.committed)
	}
	x.state[4] = dg("x")
	c.step(x, protocol.Installed{Seq: 4, Digest: dg("x")})
	if st := x.core.Status(); st.Diverged || st.Committed != 5 || st.Stable != 4 {
		t.Fatalf("after installation: %+v", st)
	}
}

// TestBadTimeIsNoSuspicion: a time that is off is refused; a forged request ends the view.
func TestBadTimeIsNoSuspicion(t *testing.T) {
	c := newCluster(t, 4, 1)
	x := c.nodes[1]
	c.step(x, protocol.BodyRefused{From: 0, Reason: protocol.ReasonBadTime})
	c.step(x, protocol.BodyRefused{From: 2, Reason: protocol.ReasonBadRequest})
	if !x.core.active {
		t.Fatal("left the view for a time, or for a backup's body")
	}
	c.step(x, protocol.BodyRefused{From: 0, Reason: protocol.ReasonBadRequest})
	if x.core.active || x.core.causes[protocol.CauseBadBody] != 1 {
		t.Fatal("stays with a primary that forges requests")
	}
}

// TestOneViewChangeMovesNobody: f replicas, however often and however far they ask, move no view
// and grow nothing (reliability B3).
func TestOneViewChangeMovesNobody(t *testing.T) {
	c := newCluster(t, 4, 1)
	for v := bft.View(1); v < 2000; v += 7 {
		c.say(3, 1, &ViewChange{View: v, Replica: 3})
	}
	if x := c.nodes[1].core; x.view != 0 || !x.active {
		t.Fatalf("one replica moved the view to %d", x.view)
	}
}

// TestNewViewTimerCountsLaterViews: who waits in view 2 starts its timer although the third
// member of the quorum is in view 3 already and repeats nothing of view 2.
func TestNewViewTimerCountsLaterViews(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.nodes[0].dead = true
	c.say(2, 1, &ViewChange{View: 2, Replica: 2})
	c.say(3, 1, &ViewChange{View: 3, Replica: 3})
	x := c.nodes[1]
	if x.core.view != 2 || x.core.active {
		t.Fatalf("view %d, want the smaller of the two", x.core.view)
	}
	if _, ok := x.timers[timerNewView]; !ok {
		t.Fatal("waits for ever: the NEW-VIEW timer does not run")
	}
}

// TestStatusIsNoAmplifier: a peer gets a bounded number of answers per period.
func TestStatusIsNoAmplifier(t *testing.T) {
	c := fill(t)
	c.drop = func(packet) bool { return true }
	before := len(c.net)
	for range 1000 {
		c.say(3, 1, &Status{Active: true})
	}
	if sent := len(c.net) - before; sent > answersPerPeriod*(resendSlots*3+4) {
		t.Fatalf("1000 STATUS were answered with %d messages", sent)
	}
	if c.nodes[1].rejects[protocol.ReasonOverloaded] < 900 {
		t.Fatalf("rejections %v", c.nodes[1].rejects)
	}
}

// TestWindowBounds: votes for slots at the edges of the window, and far outside, are accepted
// or rejected as the window says, without arithmetic that wraps (reliability A8).
func TestWindowBounds(t *testing.T) {
	for _, test := range []struct {
		n    bft.SeqNum
		want protocol.Reason
	}{
		{1, protocol.ReasonNone}, {8, protocol.ReasonNone}, {9, protocol.ReasonAboveWindow}, {bft.SeqMax, protocol.ReasonAboveWindow},
	} {
		c := newCluster(t, 4, 1)
		c.say(2, 1, &Commit{Seq: test.n, Digest: digestOf(1)})
		c.say(2, 1, &Commit{View: bft.ViewMax, Seq: test.n, Digest: digestOf(1)})
		if got := c.nodes[1].rejects[test.want]; test.want != protocol.ReasonNone && got != 2 {
			t.Errorf("slot %d: %v", test.n, c.nodes[1].rejects)
		}
		if test.want == protocol.ReasonNone && len(c.nodes[1].rejects) != 0 {
			t.Errorf("slot %d: %v", test.n, c.nodes[1].rejects)
		}
	}
}

// TestVotesThatOvertakeNewView are kept and used (upstream defect L2).
func TestVotesThatOvertakeNewView(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(p packet) bool { return p.kind == KindCommit }
	c.request()
	c.run()
	c.drop = func(p packet) bool { return p.to == 3 && p.kind == KindNewView }
	c.nodes[0].dead = true
	c.fireAll(protocol.TimerPatience)
	c.run()
	if x := c.nodes[3].core; x.active || c.nodes[1].core.committed != 0 {
		t.Fatalf("r3 active %t; r1 committed %d", x.active, c.nodes[1].core.committed)
	}
	c.drop = func(p packet) bool { return p.kind == KindPrepare && p.to == 3 }
	c.fire(3, timerStatus)
	c.run()
	c.reach(1) // with the PREPAREs that came before NEW-VIEW, for no other reached r3
}

// TestProposalBringsTheMissingBody: a slot that claims decided goes on when its body comes with
// a resent PRE-PREPARE before the answer to FETCH does (simulator seed 319 of the first campaign).
func TestProposalBringsTheMissingBody(t *testing.T) {
	c := newCluster(t, 4, 1)
	x := c.nodes[3]
	for _, from := range []bft.ReplicaID{1, 2} {
		c.say(from, 3, &Decided{First: 1, Digests: []bft.Digest{digestOf(1)}})
	}
	if x.core.committed != 0 || len(x.core.wanted) != 1 {
		t.Fatalf("committed %d, wants %d bodies", x.core.committed, len(x.core.wanted))
	}
	c.preprepare(3, 1, 1)
	if x.core.committed != 1 {
		t.Fatal("the slot is decided, its body is here, and nothing moves")
	}
}

// TestProposalOfAnotherSlotBringsTheMissingBody: so does the PRE-PREPARE for another slot, if a
// faulty primary proposed one batch twice (simulator seed 551, complaint I6).
func TestProposalOfAnotherSlotBringsTheMissingBody(t *testing.T) {
	c := newCluster(t, 4, 1)
	x := c.nodes[3]
	for _, from := range []bft.ReplicaID{1, 2} {
		c.say(from, 3, &Decided{First: 1, Digests: []bft.Digest{digestOf(1)}})
	}
	c.preprepare(3, 2, 1)
	if x.core.committed != 1 {
		t.Fatal("slot 1 is decided, its body came for slot 2, and nothing moves")
	}
}

// leftAlone is a cluster in which r3 is dead, r2 left view 0 alone after its COMMIT for slot 1
// reached r1 only, r1 executed it, and the primary r0 lacks that COMMIT (simulator seed 11705).
// r2 got no COMMIT, so that r1 alone can claim the slot.
func leftAlone(t *testing.T) *cluster {
	c := newCluster(t, 4, 1)
	c.nodes[3].dead = true
	c.drop = func(p packet) bool { return p.kind == KindCommit && (p.from == 2 && p.to == 0 || p.to == 2) }
	c.request()
	c.run()
	c.fire(2, protocol.TimerPatience)
	c.run()
	if a, b := c.nodes[0].core.committed, c.nodes[1].core.committed; a != 0 || b != 1 {
		t.Fatalf("r0 committed %d and r1 %d, want 0 and 1", a, b)
	}
	c.drop = nil
	return c
}

// TestVotesOfAViewThatWasLeft: who left a view repeats its votes to who is still in it.
func TestVotesOfAViewThatWasLeft(t *testing.T) {
	c := leftAlone(t)
	c.fireAll(timerStatus)
	c.run()
	c.reach(1)
}

// TestPrimaryLeavesWhenStalled: a primary whose slots in flight do not commit leaves its view, so
// that one backup that left before it is not alone for ever.
func TestPrimaryLeavesWhenStalled(t *testing.T) {
	c := leftAlone(t)
	c.drop = func(p packet) bool { return p.from == 2 && p.kind != KindViewChange && p.kind != KindNewView }
	c.fire(0, timerStalled)
	c.run()
	c.drop = nil
	c.fireAll(timerStatus)
	c.run()
	c.reach(1)
	if v := c.nodes[1].core.view; v != 1 {
		t.Fatalf("view %d, want 1", v)
	}
}

// TestWhoIsBehindDoesNotSuspect: while f+1 peers say that they committed more, the primary is not
// silent; a replica that left it would be out alone (found on a live cluster of ten).
func TestWhoIsBehindDoesNotSuspect(t *testing.T) {
	c := newCluster(t, 4, 1)
	for _, from := range []bft.ReplicaID{0, 2} {
		c.say(from, 1, &Status{Active: true, Committed: 7})
	}
	c.fire(1, protocol.TimerPatience)
	x := c.nodes[1]
	if !x.core.active {
		t.Fatal("left the view although f+1 peers see progress in it")
	}
	if _, ok := x.timers[protocol.TimerPatience]; !ok {
		t.Fatal("the pool's patience was not set again")
	}
	c.say(0, 1, &Status{Active: true, Committed: 1000}) // one liar alone does not excuse twice
	c.fire(1, protocol.TimerPatience)
	if x.core.active {
		t.Fatal("the primary is excused although no second replica sees new progress")
	}
	c.fire(3, protocol.TimerPatience)
	if c.nodes[3].core.active {
		t.Fatal("stays with a silent primary")
	}
}

// TestExecutedSlotsAreAgreedOnAgain: a slot that one replica executed comes up again in the new
// view, and the PREPARE that this replica lacks there is lost once. Its COMMIT is needed, for the
// fourth replica is dead; so its STATUS asks for votes of a slot that it executed long ago.
func TestExecutedSlotsAreAgreedOnAgain(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(p packet) bool { return p.kind == KindCommit && p.to != 1 || p.kind == KindDecided }
	c.request()
	c.run()
	if c.nodes[1].core.committed != 1 || c.nodes[2].core.committed != 0 {
		t.Fatal("only r1 was to execute slot 1")
	}
	c.nodes[0].dead = true
	c.drop = func(p packet) bool { return p.kind == KindDecided || p.kind == KindPrepare && p.to == 1 }
	c.fireAll(protocol.TimerPatience)
	c.run()
	c.drop = func(p packet) bool { return p.kind == KindDecided }
	for range 3 {
		c.fireAll(timerStatus)
		c.run()
	}
	c.reach(1)
}

// TestUnfairnessIsExcusedOnce: a primary and one correct replica that is ahead excuse a suspicion of unfairness by
// whoever is behind once in a view, however far the others get meanwhile; silence they excuse again.
func TestUnfairnessIsExcusedOnce(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(packet) bool { return true }
	x := c.nodes[1]
	ahead := bft.SeqNum(0)
	suspect := func(cause protocol.Cause) {
		ahead++
		for _, from := range []bft.ReplicaID{0, 3} {
			c.say(from, 1, &Status{Active: true, Committed: ahead})
		}
		c.step(x, protocol.Overdue{View: x.core.view, Cause: cause})
	}
	for _, cause := range []protocol.Cause{protocol.CauseSilence, protocol.CauseUnfairness, protocol.CauseSilence} {
		if suspect(cause); !x.core.active {
			t.Fatalf("left the view for %v although f+1 peers see progress in it", cause)
		}
	}
	if suspect(protocol.CauseUnfairness); x.core.active {
		t.Fatal("unfairness is excused again in the same view")
	}
	c.drop = nil
	for _, id := range []bft.ReplicaID{2, 3} {
		c.step(c.nodes[id], protocol.Overdue{View: 0, Cause: protocol.CauseSilence})
	}
	c.rounds(3)
	if !x.core.active || x.core.view == 0 {
		t.Fatalf("view %d, active %t", x.core.view, x.core.active)
	}
	if x.core.pardonEnd != 0 {
		t.Fatal("a view begins with its excuse used")
	}
}

// TestUnfairnessIsExcusedEverMoreSeldom: under load a window of slots passes between two suspicions. The excuse
// comes back after ever more slots, so that a primary that lets replicas lag in turn is replaced all the same.
func TestUnfairnessIsExcusedEverMoreSeldom(t *testing.T) {
	c := newCluster(t, 4, 1)
	x, excused := c.nodes[1], 0
	for {
		c.order(int(c.m.Window))
		for _, from := range []bft.ReplicaID{0, 3} {
			c.say(from, 1, &Status{Active: true, Committed: 1<<40 + bft.SeqNum(excused)})
		}
		if c.step(x, protocol.Overdue{View: 0, Cause: protocol.CauseUnfairness}); !x.core.active {
			break
		}
		if excused++; excused > 2 {
			t.Fatalf("excused %d times in %d slots", excused, x.core.committed)
		}
	}
	if excused != 2 {
		t.Fatalf("excused %d times", excused)
	}
}
