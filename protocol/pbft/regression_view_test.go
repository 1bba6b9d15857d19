package pbft

import (
	"slices"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/storage"
)

// Defects of view changes; see regression_test.go.

// cutOff loses everything to and from one replica.
func (c *cluster) cutOff(id bft.ReplicaID) {
	c.drop = func(p packet) bool { return p.from == id || p.to == id }
}

// order commits k batches among the replicas that are connected.
func (c *cluster) order(k int) {
	for range k {
		c.request()
		c.run()
	}
}

// suspect lets the patience of some replicas end, of a primary that with its own slots, and delivers.
func (c *cluster) suspect(ids ...bft.ReplicaID) {
	for _, id := range ids {
		c.fire(id, protocol.TimerPatience)
		c.fire(id, timerStalled)
	}
	c.run()
}

// overdueNewView lets the wait of some replicas for NEW-VIEW end, and delivers.
func (c *cluster) overdueNewView(ids ...bft.ReplicaID) {
	for _, id := range ids {
		c.fire(id, timerNewView)
	}
	c.run()
}

// TestStaleClaimLosesToTheNewer (S7, B1, T2): r0 alone is prepared with b1 in view 0 and is then cut off. View 1
// knows nothing of that claim and commits null in the same slot, at r3 only. In view 2 r3 is gone and the
// claim of r0, which comes first in the set, stands against those of view 1.
func TestStaleClaimLosesToTheNewer(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(p packet) bool { return p.kind == KindCommit || p.kind == KindPrepare && p.to != 0 }
	c.request()
	c.run()
	if s := c.nodes[0].core.slots.At(1); !s.hasP || c.nodes[1].core.slots.At(1).hasP {
		t.Fatal("r0 alone was to be prepared in view 0")
	}
	c.nodes[0].wants = false
	c.drop = func(p packet) bool { return p.from == 0 || p.to == 0 || p.kind == KindCommit && p.to != 3 }
	c.suspect(1, 2, 3)
	c.run()
	if c.nodes[3].core.committed != 1 || c.nodes[1].core.committed != 0 {
		t.Fatal("r3 alone was to commit slot 1 in view 1")
	}
	want := c.nodes[3].batches[1]
	c.cutOff(3)
	c.suspect(1, 2) // r0, in view 0, is taken along
	if nv := c.nodes[2].core.newView; nv.View != 2 || nv.Set[0].Replica != 0 || len(nv.Set[0].P) != 1 || nv.Set[0].P[0].Digest == want {
		t.Fatalf("the stale claim was to be first in the set: %s", Describe(nv))
	}
	c.rounds(3)
	if x := c.nodes[2]; x.core.view != 2 || x.core.committed != 1 || x.batches[1] != want {
		t.Fatalf("view %d, slot 1 is %v, r3 executed %s", x.core.view, x.batches, want)
	}
	c.drop = nil
	c.order(3)
	c.rounds(3)
	c.reach(4)
}

// TestTwoViewChangesWithAHole (S8): the slot after the checkpoint was proposed to nobody, the next two are
// prepared and not committed. The hole becomes null; the second and third view change in a row,
// also without commits in between, keep each claim at its slot.
func TestTwoViewChangesWithAHole(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.m.InFlight = 3
	c.order(4)
	c.reach(4)
	c.drop = func(p packet) bool {
		if p.kind == KindPrePrepare {
			m, _ := c.codec.Decode(p.kind, p.payload)
			return m.(*PrePrepare).Seq == 5
		}
		return p.kind == KindCommit
	}
	c.order(3)
	six, seven := c.nodes[0].core.slots.At(6).digest, c.nodes[0].core.slots.At(7).digest
	if x := c.nodes[1].core; x.slots.At(5).accepted || !x.slots.At(6).prepared || !x.slots.At(7).prepared || x.stable.Seq != 4 {
		t.Fatal("the hole was not made")
	}
	for v := bft.View(1); v <= 3; v++ {
		c.drop = func(p packet) bool { // in view 1 all prepare, in views 2 and 3 nobody does
			return p.kind == KindCommit || p.kind == KindStatus || p.kind == KindPrepare && v > 1
		}
		c.suspect(0, 1, 2, 3)
		for _, x := range c.nodes {
			nv := x.core.newView
			if x.core.view != v || !x.core.active || nv == nil || nv.Start != 4 || len(nv.Choices) != 3 ||
				!nv.Choices[0].Digest.IsNull() || nv.Choices[1].Digest != six || nv.Choices[2].Digest != seven {
				t.Fatalf("view %d at %s: %s", v, x.id, Describe(nv))
			}
		}
	}
	c.drop = nil
	c.rounds(3)
	c.reach(7)
	if b := c.nodes[2].batches; !b[5].IsNull() || b[6] != six || b[7] != seven {
		t.Fatalf("executed %v", b[5:])
	}
	c.order(2)
	c.reach(9)
}

// TestBehindTheSetsCheckpoint (S9): r3 misses two checkpoints and a view change whose set starts at the newer
// one. It enters the view, executes nothing that it does not have, asks for the state, and once
// that is installed it votes where NEW-VIEW put it: with r0 dead its vote is needed.
func TestBehindTheSetsCheckpoint(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.cutOff(3)
	c.order(9)
	c.drop = func(p packet) bool { return p.to == 3 && p.kind != KindViewChange && p.kind != KindNewView }
	c.suspect(0, 1, 2)
	c.drop = func(p packet) bool { return p.to == 3 && p.kind == KindDecided }
	x := c.nodes[3]
	if x.core.view != 1 || !x.core.active || x.core.newView.Start != 8 {
		t.Fatalf("r3 did not enter the view: %+v", x.core.Status())
	}
	if x.core.committed != 0 || len(x.state) != 1 || x.core.stable.Seq != 0 || x.catchUp == nil || x.catchUp.Seq != 8 {
		t.Fatalf("committed %d, stable at %d, asks for %+v", x.core.committed, x.core.stable.Seq, x.catchUp)
	}
	c.nodes[0].dead = true
	c.installs(3, 1)
	c.run()
	c.rounds(2)
	c.order(3)
	c.rounds(1)
	c.reach(12)
	if x.core.stable.Seq != 12 {
		t.Fatalf("r3 is stable at %d", x.core.stable.Seq)
	}
}

// TestWokenAfterStateTransfer (B7): the new primary itself is one checkpoint behind the set that it holds, and
// the body that NEW-VIEW needs lies above its window. It is inactive until the state is there; the
// installation alone, without any other message, must let it go on.
func TestWokenAfterStateTransfer(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.cutOff(1)
	c.order(19) // stable at 16; slots 17 to 19 are executed without r1
	c.drop = func(p packet) bool {
		return p.to == 1 && p.kind != KindViewChange || p.from == 1 && p.kind == KindNewView
	}
	c.suspect(0, 2, 3)
	x := c.nodes[1]
	if x.core.view != 1 || x.core.active || x.core.committed != 0 {
		t.Fatalf("r1 was to hold the VIEW-CHANGEs and wait: %+v", x.core.Status())
	}
	c.drop = func(p packet) bool { return p.to == 1 && p.kind == KindDecided }
	c.rounds(1) // shows r1 the proof of the checkpoint
	if x.core.active || x.catchUp == nil || x.catchUp.Seq != 16 {
		t.Fatalf("r1 asks for %+v: %+v", x.catchUp, x.core.Status())
	}
	c.drop = nil
	c.installs(1, 2)
	if !x.core.active || x.core.view != 1 {
		t.Fatalf("has the state and was not woken: %+v", x.core.Status())
	}
	c.run()
	c.nodes[0].dead = true // now r1, r2 and r3 are needed
	c.order(3)
	c.rounds(1)
	c.reach(22)
}

// TestNewestCheckpointKnownToOne (B5, B8): slot 4 is executed by all, and r3 alone holds the proof. Whether r3 is in the set
// of the new view or not, everybody computes the same start from the set, enters, and goes on.
func TestNewestCheckpointKnownToOne(t *testing.T) {
	for name, gone := range map[string]bft.ReplicaID{"r3 in the set": 0, "r3 not in the set": 3} {
		c := newCluster(t, 4, 1)
		c.drop = func(p packet) bool { return p.kind == KindCheckpoint && p.to != 3 }
		c.order(6)
		if c.nodes[3].core.stable.Seq != 4 || c.nodes[1].core.stable.Seq != 0 {
			t.Fatalf("%s: r3 stable at %d, r1 at %d", name, c.nodes[3].core.stable.Seq, c.nodes[1].core.stable.Seq)
		}
		c.cutOff(gone)
		c.nodes[gone].wants = false
		for _, x := range c.nodes {
			if x.id != gone {
				c.fire(x.id, protocol.TimerPatience)
			}
		}
		c.run()
		want := bft.SeqNum(4)
		if gone == 3 {
			want = 0
		}
		for _, x := range c.nodes {
			if x.id != gone && (!x.core.active || x.core.view != 1 || x.core.newView.Start != want) {
				t.Fatalf("%s: %s: %+v", name, x.id, x.core.Status())
			}
			if x.id != gone && want == 4 && x.core.stable.Seq != 4 {
				t.Fatalf("%s: %s did not take the proof from the set", name, x.id)
			}
		}
		c.order(1)
		c.drop = nil
		c.rounds(3)
		c.order(6)
		c.rounds(2)
		c.reach(13)
	}
}

// TestWatermarksOfTheSet (B5): Fabric mixed the members whose claims match with all members, and changed views for
// ever. Members with a lower, an equal or a higher base than the start all count as members
// that claim nothing, in every order.
func TestWatermarksOfTheSet(t *testing.T) {
	c5, c5q := claims{claim(5, "c", 0)}, claims{claim(5, "c", 0)}
	for name, test := range map[string]struct {
		set   []*ViewChange
		start bft.SeqNum
		want  string
	}{
		"one member has the newest checkpoint and the only claim": {
			[]*ViewChange{vc(0, 4, c5, c5q), vc(1, 0, nil, claims{a0}), vc(2, 0, nil, claims{claim(5, "c", 0)})}, 4, "c",
		},
		"claims below the start decide nothing": {
			[]*ViewChange{vc(0, 4, nil, nil), vc(1, 0, claims{a0}, claims{a0}), vc(2, 0, claims{b1}, claims{b1})}, 4, "",
		},
		"three bases": {
			[]*ViewChange{vc(0, 0, nil, nil), vc(1, 4, c5, c5q), vc(2, 8, nil, nil)}, 8, "",
		},
		"a hole above the start, of which a member below it cannot know": {
			[]*ViewChange{vc(0, 4, claims{claim(6, "c", 0)}, claims{claim(6, "c", 0)}), vc(1, 0, nil, nil), vc(3, 4, nil, claims{claim(6, "c", 0)})}, 4, "0c",
		},
		"the primary without the checkpoint": {
			[]*ViewChange{vc(1, 0, nil, nil), vc(2, 4, c5, c5q), vc(3, 4, c5, c5q)}, 4, "c",
		},
	} {
		for range 3 {
			test.set = append(test.set[1:], test.set[0])
			start, got, ok := decide(bft.Quorums{N: 4, F: 1}, test.set)
			s := ""
			for _, ch := range got {
				if ch.Digest.IsNull() {
					s += "0"
				} else {
					s += string(ch.Digest[:1])
				}
			}
			if !ok || start != test.start || s != test.want {
				t.Errorf("%s: decided %t, start %d, %q; want start %d, %q", name, ok, start, s, test.start, test.want)
			}
		}
	}
}

// TestWeakQuorumStartsNoView (S10, B3, L6, T4, T5, T6): with n = 7 the third replica that leaves takes the others along, the
// second does not, copies do not count, and no number of them below five starts the view.
func TestWeakQuorumStartsNoView(t *testing.T) {
	c := newCluster(t, 7, 2)
	c.drop = func(packet) bool { return true }
	x := c.nodes[1]
	for range 4 {
		c.say(4, 1, &ViewChange{View: 1, Replica: 4})
		c.say(5, 1, &ViewChange{View: 1, Replica: 5})
	}
	if x.core.view != 0 || !x.core.active {
		t.Fatal("two replicas of seven took the third along")
	}
	c.say(6, 1, &ViewChange{View: 1, Replica: 6})
	if x.core.view != 1 || x.core.active {
		t.Fatal("three replicas of seven take nobody along")
	}
	for range 4 {
		c.say(6, 1, &ViewChange{View: 1, Replica: 6})
	}
	if x.core.sentView != 0 || x.core.active {
		t.Fatal("NEW-VIEW from four of seven")
	}
	c.say(3, 1, &ViewChange{View: 1, Replica: 3})
	if !x.core.active || x.core.sentView != 1 {
		t.Fatal("no NEW-VIEW from five of seven")
	}
}

// TestOldNewViewIsNothing (S6): the NEW-VIEW of the current and of an older view changes nothing any more.
func TestOldNewViewIsNothing(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.order(2)
	c.suspect(0, 1, 2, 3)
	first := c.nodes[2].core.newView
	c.order(2)
	c.suspect(0, 1, 2, 3)
	c.order(2)
	x := c.nodes[3]
	before, current := stateOf(x.core), x.core.newView
	clear(x.rejects)
	c.say(1, 3, first)
	c.say(2, 3, current)
	c.say(0, 3, current)
	if after := stateOf(x.core); after != before || x.core.newView != current {
		t.Fatalf("a NEW-VIEW that came again changed\n%s\nto\n%s", before, after)
	}
	if x.rejects[protocol.ReasonOldView] != 1 || x.rejects[protocol.ReasonDuplicate] != 2 {
		t.Fatalf("rejections %v", x.rejects)
	}
	c.order(1)
	c.reach(7)
}

// TestForgedClaimsChooseNothing (S5, B2, T3): a faulty member may claim what it likes in P and Q; a digest that no correct
// replica pre-prepared in that view is never chosen, and what was committed is.
func TestForgedClaimsChooseNothing(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(p packet) bool { return p.kind == KindCommit && p.to != 2 }
	c.request()
	c.run()
	if c.nodes[2].core.committed != 1 {
		t.Fatal("r2 was to commit slot 1 alone")
	}
	forged := claims{{Seq: 1, Digest: dg("x"), View: 0}, {Seq: 2, Digest: dg("y"), View: 0}}
	c.drop = func(p packet) bool { return p.from == 3 || p.to == 3 }
	c.say(3, 1, &ViewChange{View: 1, Replica: 3, P: forged, Q: forged})
	c.suspect(0, 1, 2)
	c.rounds(3)
	x := c.nodes[1].core
	if x.view != 1 || !x.active || len(x.newView.Choices) == 0 || x.newView.Choices[0].Digest != c.nodes[2].batches[1] {
		t.Fatalf("%+v", x.Status())
	}
	for _, ch := range x.newView.Choices[1:] {
		if !ch.Digest.IsNull() {
			t.Fatalf("slot %d starts with a digest of the liar", ch.Seq)
		}
	}
	c.order(2)
	for _, y := range c.nodes[:3] {
		if y.core.committed < 3 {
			t.Fatalf("%s committed %d", y.id, y.core.committed)
		}
	}
}

// TestPatienceDoublesAndReturns (L5, T7): the timers of views that fail in a row double up to the limit, the patience after
// NEW-VIEW runs, and both return to their first value once a new slot commits.
func TestPatienceDoublesAndReturns(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.nodes[0].dead = true
	c.drop = func(p packet) bool { return p.kind == KindNewView }
	c.suspect(1, 2, 3)
	x := c.nodes[3]
	var waits []bft.Duration
	for range 6 {
		waits = append(waits, x.timers[timerNewView]/bft.Second)
		c.overdueNewView(1, 2, 3)
	}
	if want := []bft.Duration{1, 2, 0, 8, 8, 8}; !slices.Equal(waits, want) {
		t.Fatalf("waits for NEW-VIEW of %v seconds, want %v; r3 leads view 3 and waits for nobody", waits, want)
	}
	c.drop = nil
	for range 8 { // a view that a living replica leads
		c.overdueNewView(1, 2, 3)
		c.rounds(1)
	}
	if !x.core.active || x.core.failed < 4 {
		t.Fatalf("%d failed: %+v", x.core.failed, x.core.Status())
	}
	watch := c.nodes[3]
	for _, y := range c.nodes[1:] {
		if !y.core.leads() {
			watch = y
		}
	}
	if got := watch.timers[protocol.TimerPatience]; got != 8*bft.Second {
		t.Fatalf("patience %d after NEW-VIEW, want the limit", got)
	}
	c.order(1)
	if got := watch.timers[protocol.TimerPatience]; got != bft.Second || watch.core.failed != 0 {
		t.Fatalf("patience %d and %d failed views after a commit", got, watch.core.failed)
	}
}

// TestAllChangesMissed (B10): r3 hears no VIEW-CHANGE at all. NEW-VIEW carries them, also when only another
// backup is left to show it.
func TestAllChangesMissed(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(p packet) bool { return p.to == 3 && (p.kind == KindViewChange || p.kind == KindNewView) }
	c.order(2)
	c.suspect(0, 1, 2)
	if x := c.nodes[3].core; x.view != 0 || c.nodes[2].core.view != 1 {
		t.Fatalf("r3 is in view %d", x.view)
	}
	c.drop = func(p packet) bool {
		return p.to == 3 && p.kind == KindViewChange || p.from == 1 && p.kind == KindNewView
	}
	c.rounds(2)
	if x := c.nodes[3].core; x.view != 1 || !x.active {
		t.Fatalf("r3 did not enter with NEW-VIEW alone: %+v", x.Status())
	}
	c.order(1)
	c.reach(3)
}

// TestDecidedWhileTheViewChanges (B11): r3 learns by claims that slots 1 and 2 were committed while it waits for NEW-VIEW, which
// brings the same slots up again, and a state transfer that it no longer needs ends. Each slot is executed once
// (the cluster fails on a second time), and r3 votes in all of them.
func TestDecidedWhileTheViewChanges(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(p packet) bool { return p.to == 3 && p.kind == KindCommit }
	c.order(2)
	x := c.nodes[3]
	if x.core.committed != 0 || !x.core.slots.At(2).prepared {
		t.Fatal("r3 was to be prepared and not committed")
	}
	c.drop = func(p packet) bool { return p.kind == KindNewView && p.to == 3 }
	c.suspect(0, 1, 2, 3)
	c.rounds(1)
	if x.core.active || x.core.committed != 2 {
		t.Fatalf("r3 was to commit by claims while inactive: %+v", x.core.Status())
	}
	c.drop = nil
	c.rounds(2)
	if x.core.view != 1 || !x.core.active || len(x.core.newView.Choices) != 2 || !x.core.slots.At(1).preparedIn(1) || !x.core.slots.At(2).preparedIn(1) {
		t.Fatalf("r3 takes no part in the slots that came up again: %+v", x.core.Status())
	}
	c.order(4)
	c.step(x, protocol.Installed{Seq: 4, Digest: x.state[4]})
	c.order(1)
	c.reach(7)
	if len(x.state) != 8 {
		t.Fatalf("r3 executed %d slots", len(x.state)-1)
	}
}

// TestWhoSentCommitLeaves (B14): three replicas sent COMMIT and hear none. A promise to commit is no promise to stay: they
// leave, and the new view commits what they had prepared.
func TestWhoSentCommitLeaves(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(p packet) bool { return p.kind == KindCommit }
	c.request()
	c.run()
	d := c.nodes[1].core.slots.At(1).digest
	for _, x := range c.nodes[1:] {
		if s := x.core.slots.At(1); !s.prepared || !s.commits[x.id].cast {
			t.Fatalf("%s was to have sent COMMIT", x.id)
		}
	}
	c.nodes[0].dead = true
	c.suspect(1, 2, 3)
	for _, x := range c.nodes[1:] {
		if x.core.view != 1 || !x.core.active {
			t.Fatalf("%s stays: %+v", x.id, x.core.Status())
		}
	}
	c.drop = nil
	c.rounds(2)
	c.reach(1)
	if c.nodes[3].batches[1] != d {
		t.Fatalf("slot 1 is %s, %s was prepared everywhere", c.nodes[3].batches[1], d)
	}
}

// TestPartitionedReplicaMovesNobody (B15): a single replica behind a cut suspects again and again. Once healed the group is
// where it was, goes on, and the lonely one follows; and it had not climbed.
func TestPartitionedReplicaMovesNobody(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.order(1)
	c.cutOff(3)
	for range 50 {
		c.fire(3, protocol.TimerPatience)
		c.fire(3, timerNewView)
		c.fire(3, timerStatus)
		c.order(1)
	}
	x := c.nodes[3]
	if x.core.view != 1 {
		t.Fatalf("r3 climbed to view %d alone", x.core.view)
	}
	c.drop = nil
	for range 30 {
		c.rounds(1)
		if x.catchUp != nil && x.catchUp.Seq > x.core.committed {
			c.installs(3, 1)
			c.run()
		}
		c.order(1)
	}
	c.rounds(2)
	for _, y := range c.nodes[:3] {
		if y.core.view != 0 || !y.core.active {
			t.Fatalf("%s was moved: %+v", y.id, y.core.Status())
		}
	}
	c.reach(81)
	c.suspect(0, 1, 2) // and r3 counts again in the next view
	c.nodes[0].dead = true
	c.order(3)
	c.rounds(1)
	c.reach(84)
}

// TestStatusMovesNoView (B16): whoever and however many say in STATUS that they are in a view, only its NEW-VIEW leads there.
func TestStatusMovesNoView(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(packet) bool { return true }
	x := c.nodes[3]
	for range 3 {
		for from := range bft.ReplicaID(3) {
			c.say(from, 3, &Status{View: 6, Active: true, Stable: 40, Committed: 41, Open: 41, ViewChanges: 15})
		}
		c.fire(3, timerStatus)
	}
	if x.core.view != 0 || !x.core.active || x.core.primary() != 0 || x.core.committed != 0 || x.catchUp != nil {
		t.Fatalf("%+v, asks for %+v", x.core.Status(), x.catchUp)
	}
}

// TestRestartKeepsTheTarget (B9): the replica that restarts inside a view change asks for the same view with the same
// bytes, accepts nothing of the old view, and, if it leads the next one, sends the same NEW-VIEW.
func TestRestartKeepsTheTarget(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(p packet) bool { return p.kind == KindCommit }
	c.order(1)
	c.drop = func(packet) bool { return true }
	for _, id := range []bft.ReplicaID{1, 2} {
		c.suspect(id)
		x := c.nodes[id]
		before := string(c.codec.Append(nil, x.core.own))
		c.boot(id)
		if x.core.view != 1 || x.core.active || string(c.codec.Append(nil, x.core.own)) != before {
			t.Fatalf("%s: after the restart view %d, active %t", id, x.core.view, x.core.active)
		}
		c.say(0, id, &PrePrepare{Seq: 2, Digest: digestOf(7), Batch: batch(7)})
		if x.core.slots.At(2).accepted {
			t.Fatalf("%s accepts in a view that it left", id)
		}
	}
	x := c.nodes[1]
	cl := claims{{Seq: 1, Digest: c.nodes[2].core.slots.At(1).digest}}
	c.say(2, 1, &ViewChange{View: 1, Replica: 2, P: cl, Q: cl})
	c.say(0, 1, &ViewChange{View: 1, Replica: 0, P: cl, Q: cl})
	first := string(c.codec.Append(nil, x.core.newView))
	for i, r := range x.log {
		if r.Kind == storage.RecordNewView { // the crash came before the view was entered
			x.log = x.log[:i+1]
			break
		}
	}
	c.boot(1)
	if x.core.newView == nil || string(c.codec.Append(nil, x.core.newView)) != first {
		t.Fatal("another NEW-VIEW, or none, after the restart")
	}
}

// TestSecondViewChangeIsIgnored (T4, T10): of a replica that sends two VIEW-CHANGEs for one view with different claims the
// first counts, and the two are never taken for one another.
func TestSecondViewChangeIsIgnored(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(packet) bool { return true }
	x := c.nodes[1]
	cl := claims{{Seq: 1, Digest: dg("x")}}
	first, second := &ViewChange{View: 1, Replica: 3}, &ViewChange{View: 1, Replica: 3, P: cl, Q: cl}
	if Describe(first) == Describe(second) {
		t.Fatal("two different messages print the same")
	}
	c.say(3, 1, first)
	c.say(3, 1, second)
	c.say(2, 1, &ViewChange{View: 1, Replica: 2})
	nv := x.core.newView
	if nv == nil || len(nv.Set) != 3 || len(nv.Set[2].P) != 0 || len(nv.Choices) != 0 {
		t.Fatalf("%+v with the second VIEW-CHANGE of r3: %+v", nv, x.core.Status())
	}
	if x.rejects[protocol.ReasonDuplicate] != 1 {
		t.Fatalf("rejections %v", x.rejects)
	}
}
