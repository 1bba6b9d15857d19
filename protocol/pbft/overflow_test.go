package pbft

import (
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
)

// failViews lets r0 propose in slot 1 what r1 alone prepares. Then r1 is cut off while more proposals reach
// r0 and r2 in so many later views, and none prepares. It reports whether anything is decided when the
// network is good from then on, and r3 silent.
func failViews(t *testing.T, rounds int) bool {
	t.Helper()
	c := newCluster(t, 4, 1)
	c.drop = func(p packet) bool {
		return p.kind == KindCommit || p.to == 3 || p.kind == KindPrepare && p.to != 1
	}
	c.request()
	c.run()
	if !c.nodes[1].core.slots.At(1).hasP {
		t.Fatal("r1 is not prepared")
	}
	c.drop = func(p packet) bool {
		return p.to == 1 || p.from == 1 || p.kind == KindCommit || p.kind == KindPrepare
	}
	proposed := 0
	for views := 0; proposed < rounds && views < 2*rounds+40; views++ { // the window ends it sooner
		for _, id := range []int{0, 2, 3} {
			x := c.nodes[id]
			if x.core.active {
				c.step(x, protocol.Overdue{View: x.core.view, Cause: protocol.CauseSilence})
			} else {
				x.timers[timerNewView] = 1
				c.fire(x.id, timerNewView)
			}
		}
		c.run()
		if c.nodes[0].core.active && c.nodes[2].core.active {
			before := c.counter
			c.request()
			c.run()
			if c.counter > before {
				proposed++
			}
		}
	}
	for _, id := range []int{0, 2} { // both have just left the last view when the network becomes good
		x := c.nodes[id]
		c.step(x, protocol.Overdue{View: x.core.view, Cause: protocol.CauseSilence})
	}
	c.drop = nil
	c.net = nil
	c.nodes[3].dead = true
	for range 20 {
		for range 3 {
			c.fireAll(timerStatus)
			c.run()
			c.fireAll(timerFetch)
			c.run()
			c.request()
			c.run()
		}
		if c.nodes[0].core.committed > 0 {
			c.reach(1)
			return true
		}
		c.fireAll(protocol.TimerPatience)
		c.run()
		c.fireAll(timerNewView)
		c.run()
	}
	return false
}

// TestOldPreparedOutlivesFailedViews: however many views failed, what one replica prepared in an old one
// stands in the way of nothing when the network is good again.
func TestOldPreparedOutlivesFailedViews(t *testing.T) {
	for _, rounds := range []int{1, 5, bft.QEntriesMax - 1, bft.QEntriesMax, bft.QEntriesMax + 3} {
		if !failViews(t, rounds) {
			t.Errorf("after %d views that failed nothing is decided any more", rounds)
		}
	}
}

// TestRestartedPrimaryAccusesItselfOfNothing: the primary of view 1 left it and restarted; it no longer knows
// which slots its NEW-VIEW fixed. Proposals of those, sent again, would look like a fault of it.
func TestRestartedPrimaryAccusesItselfOfNothing(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(p packet) bool { return p.kind == KindCommit }
	c.order(1)
	c.suspect(0, 2, 3)
	if v := c.nodes[1].core.view; v != 1 || !c.nodes[2].core.slots.At(1).acceptedIn(1) {
		t.Fatalf("view %d, slot 1 is not fixed", v)
	}
	c.suspect(1)
	c.boot(1)
	c.drop = nil
	c.say(2, 1, &Status{View: 1, Active: true})
	if !c.nodes[1].core.slots.At(1).acceptedIn(1) || len(c.net) == 0 {
		t.Fatal("after the restart nothing is known of slot 1 in view 1")
	}
	for _, p := range c.net {
		if p.from == 1 && p.kind == KindPrePrepare {
			t.Error("what NEW-VIEW fixed is proposed once more; who lacks the body takes that for a second choice")
		}
	}
}

// TestLostProposalIsAskedForAtOnce: a proposal is lost, the next one comes. The primary is asked at once, and
// not when the next period begins, by which time others may have lost their patience; in each view anew.
func TestLostProposalIsAskedForAtOnce(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.m.InFlight = 2
	for v := range bft.View(2) {
		before, lost := c.nodes[0].core.committed, 0
		c.drop = func(p packet) bool {
			if p.kind != KindPrePrepare || p.to != 3 && p.to != 2 || lost == 2 {
				return false
			}
			lost++
			return true
		}
		c.order(2)
		if lost != 2 || c.nodes[2].core.view != v {
			t.Fatalf("%d proposals were lost in view %d", lost, c.nodes[2].core.view)
		}
		c.reach(before + 2)
		c.suspect(0, 1, 2, 3)
	}
}

// TestRefusedAboveTheWindowIsAskedFor: r1 lacks the proof of a checkpoint while the others go on. When its window
// moves it asks for what it had to refuse above it, and does not wait for a period to begin.
func TestRefusedAboveTheWindowIsAskedFor(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(p packet) bool { return p.to == 1 && (p.kind == KindCheckpoint || p.kind == KindStable) }
	c.order(10)
	if own, others := c.nodes[1].core.committed, c.nodes[0].core.committed; own != 8 || others != 10 {
		t.Fatalf("r1 committed %d, the others %d", own, others)
	}
	c.drop = nil
	for _, from := range []bft.ReplicaID{0, 2, 3} {
		c.say(from, 1, &Checkpoint{Seq: 8, Digest: c.nodes[0].state[8], Replica: from})
	}
	c.run()
	c.reach(10)
}
