package pbft

import (
	"fmt"
	"strings"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// The tests of this file and of regression_view_test.go replay defects that other systems had;
// docs/regressions.md says which test belongs to which. This one holds votes, checkpoints, bodies.

// refused delivers a message of a peer that the verify stage must refuse.
func (c *cluster) refused(from bft.ReplicaID, m protocol.Message, want protocol.Reason) {
	c.t.Helper()
	if _, reason := protocol.Verify(c.codec, from, m, tags{}); reason != want {
		c.t.Fatalf("%s from %s: %v, want %v", Describe(m), from, reason, want)
	}
}

// stateOf prints everything that a core decides by, so that two moments can be compared.
func stateOf(c *Core) string {
	s := fmt.Sprint(c.view, c.active, c.committed, c.assigned, c.asked, c.bound, c.sentView, c.waiting, c.failed,
		c.stable.Seq, c.diverged, c.target, c.conflict, len(c.bodies), len(c.wanted), len(c.proofs), len(c.ckpts))
	for n := c.slots.Low() + 1; n <= c.slots.High(); n++ {
		s += fmt.Sprint("\n", n, *c.slots.At(n))
	}
	for i, vc := range c.changes {
		s += fmt.Sprint("\n", i, vc != nil)
	}
	return s
}

// TestPrimaryAndOneBackupPrepareNothing (S4, B4, T1): PRE-PREPARE, a PREPARE of the primary and the
// replica's own are two replicas, not three; another digest can then be prepared by the other two.
func TestPrimaryAndOneBackupPrepareNothing(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(packet) bool { return true }
	c.preprepare(1, 1, 1)
	c.refused(0, &Prepare{Seq: 1, Digest: digestOf(1)}, protocol.ReasonWrongSender)
	s := c.nodes[1].core.slots.At(1)
	if s.prepared {
		t.Fatal("prepared by the primary and one backup")
	}
	c.say(2, 1, &Prepare{Seq: 1, Digest: digestOf(1)})
	if !s.prepared {
		t.Fatal("not prepared by the primary and two backups")
	}
}

// TestVotesAreOfTheirKindAndLink (S1, S3): a PREPARE is no COMMIT although their bodies are equal, and
// what one replica sends counts for that replica alone, however often and with whatever it relays.
func TestVotesAreOfTheirKindAndLink(t *testing.T) {
	c := newCluster(t, 4, 1)
	x := c.nodes[1]
	c.preprepare(1, 1, 1)
	for _, from := range []bft.ReplicaID{2, 3} {
		c.say(from, 1, &Prepare{Seq: 1, Digest: digestOf(1)})
	}
	s := x.core.slots.At(1)
	if !s.prepared || s.decided || count(s.commits, 0, digestOf(1)) != bft.SetOf(1) {
		t.Fatalf("prepared %t, decided %t, COMMITs of %b", s.prepared, s.decided, count(s.commits, 0, digestOf(1)))
	}
	for range 5 {
		c.say(3, 1, &Commit{Seq: 1, Digest: digestOf(1)})
	}
	if s.decided || x.rejects[protocol.ReasonDuplicate] != 4 {
		t.Fatalf("decided %t by one replica's COMMIT sent five times; %v", s.decided, x.rejects)
	}
	c.say(0, 1, &Commit{Seq: 1, Digest: digestOf(1)})
	if x.core.committed != 1 {
		t.Fatal("not committed by three")
	}
}

// TestCommitsAloneCommitNothing (S14): a quorum of COMMITs is not enough for who is not prepared: it
// would commit a slot that it cannot claim in its VIEW-CHANGE.
func TestCommitsAloneCommitNothing(t *testing.T) {
	c := newCluster(t, 4, 1)
	x := c.nodes[1]
	c.preprepare(1, 1, 1)
	for _, from := range []bft.ReplicaID{0, 2, 3} {
		c.say(from, 1, &Commit{Seq: 1, Digest: digestOf(1)})
	}
	if x.core.committed != 0 || len(x.core.makeViewChange(1).P) != 0 {
		t.Fatalf("committed %d without being prepared", x.core.committed)
	}
	c.say(2, 1, &Prepare{Seq: 1, Digest: digestOf(1)})
	if vc := x.core.makeViewChange(1); x.core.committed != 1 || len(vc.P) != 1 {
		t.Fatalf("committed %d, claims %v", x.core.committed, vc.P)
	}
}

// TestCommitsForTwoDigestsCommitNeither (B20): what the votes of two digests add up to is no quorum.
func TestCommitsForTwoDigestsCommitNeither(t *testing.T) {
	c := newCluster(t, 4, 1)
	x := c.nodes[1]
	c.preprepare(1, 1, 1)
	c.say(2, 1, &Prepare{Seq: 1, Digest: digestOf(1)}) // prepared: PRE-PREPARE, r1, r2
	c.say(2, 1, &Commit{Seq: 1, Digest: digestOf(1)})
	c.say(0, 1, &Commit{Seq: 1, Digest: digestOf(2)})
	c.say(3, 1, &Commit{Seq: 1, Digest: digestOf(2)})
	if s := x.core.slots.At(1); !s.prepared || x.core.committed != 0 {
		t.Fatalf("prepared %t, committed %d with two COMMITs for either digest", s.prepared, x.core.committed)
	}
	c.say(3, 1, &Commit{Seq: 1, Digest: digestOf(1)}) // its second word
	if x.core.committed != 0 {
		t.Fatal("the second word of a replica counted")
	}
}

// TestCopiesOfACheckpointAreOneVote (S2): however often one signed CHECKPOINT comes, and through whomever,
// it is one vote.
func TestCopiesOfACheckpointAreOneVote(t *testing.T) {
	c := fill(t)
	x := c.nodes[1]
	k := signed(c.codec, &Checkpoint{Seq: 4, Digest: x.state[4], Replica: 2})
	for range 5 {
		c.say(2, 1, k)
		c.refused(3, k, protocol.ReasonWrongSender)
		c.refused(0, k, protocol.ReasonWrongSender)
	}
	if x.core.stable.Seq != 0 || x.core.ckpts[4].have != bft.SetOf(1, 2) {
		t.Fatalf("stable at %d; CHECKPOINTs of %b", x.core.stable.Seq, x.core.ckpts[4].have)
	}
	forged := proof(c.codec, 4, x.state[4], 1, 2)
	forged.Endorse = append(forged.Endorse, forged.Endorse[1])
	c.refused(3, &forged, protocol.ReasonBadProof)
}

// TestProofsAreComparedByWhatTheyProve (B17): two proofs of one checkpoint by different members, one of
// them with an equivocator, are the same proof: no divergence, no second transfer, the same new view.
func TestProofsAreComparedByWhatTheyProve(t *testing.T) {
	c := fill(t)
	x := c.nodes[1]
	d := x.state[4]
	a, b := proof(c.codec, 4, d, 0, 1, 2), proof(c.codec, 4, d, 1, 2, 3)
	c.say(3, 1, &Checkpoint{Seq: 4, Digest: dg("x"), Replica: 3}) // r3 tells us something else
	c.say(0, 1, &a)
	c.say(2, 1, &b)
	if x.core.stable.Seq != 4 || x.core.diverged || x.catchUp != nil {
		t.Fatalf("stable at %d, diverged %t, wants %+v", x.core.stable.Seq, x.core.diverged, x.catchUp)
	}
	cl := []Claim{{Seq: 5, Digest: digestOf(9)}}
	nv := newView(c.codec, 1, 1, viewChange(c.codec, 0, 1, a, cl, cl), viewChange(c.codec, 2, 1, b, nil, cl),
		viewChange(c.codec, 3, 1, b, nil, nil))
	if reason := c.codec.Check(1, nv, tags{}); reason != protocol.ReasonNone || nv.Start != 4 || len(nv.Choices) != 1 {
		t.Fatalf("%v: start %d, %d choices", reason, nv.Start, len(nv.Choices))
	}
}

// TestEquivocatedCheckpointIsEvidence (B17): a replica that signs one digest for some and another for
// the rest harms nobody: all become stable, and who gets both words says so.
func TestEquivocatedCheckpointIsEvidence(t *testing.T) {
	c := fill(t)
	good := c.nodes[1].state[4]
	for _, to := range []bft.ReplicaID{0, 1} {
		c.say(3, to, &Checkpoint{Seq: 4, Digest: dg("x"), Replica: 3})
	}
	c.say(3, 2, &Checkpoint{Seq: 4, Digest: good, Replica: 3})
	c.drop = func(p packet) bool { return p.from == 3 || p.to == 3 }
	c.rounds(3)
	for _, x := range c.nodes[:3] {
		if x.core.stable.Seq != 4 || x.core.diverged {
			t.Fatalf("%s is stable at %d, diverged %t", x.id, x.core.stable.Seq, x.core.diverged)
		}
		if reason := c.codec.Check(x.id, ptr(x.core.stable), tags{}); reason != protocol.ReasonNone {
			t.Fatalf("%s would show a proof that is none: %v", x.id, reason)
		}
	}
	c = fill(t)
	c.say(3, 1, &Checkpoint{Seq: 4, Digest: dg("x"), Replica: 3})
	c.say(3, 1, &Checkpoint{Seq: 4, Digest: good, Replica: 3})
	if e := c.nodes[1].out.Evidence; len(e) != 1 || e[0].Against != 3 || e[0].First != dg("x") || e[0].Other != good {
		t.Fatalf("evidence %+v", e)
	}
}

// TestNoNewsChangesNothing (B12): a peer that says what is known already (STATUS of the same height, the
// proof of the same checkpoint, claims of committed slots, a state that execution has reached)
// changes nothing that the core decides by, and the primary goes on proposing in its view.
func TestNoNewsChangesNothing(t *testing.T) {
	c := newCluster(t, 4, 1)
	for range 6 {
		c.request()
		c.run()
	}
	c.nodes[3].dead = true
	c.fireAll(protocol.TimerPatience)
	c.run()
	c.request()
	c.run()
	c.reach(7)
	for _, x := range c.nodes[:3] {
		before := stateOf(x.core)
		for _, y := range c.nodes[:3] {
			if x == y {
				continue
			}
			st := y.core
			c.say(y.id, x.id, &Status{View: st.view, Active: true, Stable: st.stable.Seq, Committed: st.committed, Open: st.committed})
			c.say(y.id, x.id, ptr(st.stable))
			c.say(y.id, x.id, &Decided{First: 5, Digests: y.batches[5:8]})
			c.say(y.id, x.id, st.newView)
			c.step(x, protocol.LinkUp{Peer: y.id})
		}
		c.step(x, protocol.Installed{Seq: 4, Digest: x.state[4]})
		c.run()
		if after := stateOf(x.core); after != before {
			t.Fatalf("%s: no news changed\n%s\nto\n%s", x.id, before, after)
		}
	}
	c.request()
	c.run()
	c.reach(8)
}

// TestOneReplicaGrowsNothing (B18, C4, C7): whatever numbers one replica chooses for its messages,
// nothing that outlives a step grows with them.
func TestOneReplicaGrowsNothing(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(packet) bool { return true }
	x := c.nodes[1]
	slots := x.core.slots.High() - x.core.slots.Low()
	for i := range uint64(3000) {
		v, n := bft.View(i*i*i), bft.SeqNum(i*i*977)+1
		if i%7 == 0 {
			v, n = bft.ViewMax-bft.View(i), bft.SeqMax-bft.SeqNum(i)
		}
		c.say(3, 1, &Commit{View: v, Seq: n, Digest: digestOf(i)})
		if c.codec.q.Primary(v) != 3 {
			c.say(3, 1, &Prepare{View: v, Seq: n, Digest: digestOf(i)})
		} else {
			c.say(3, 1, &PrePrepare{View: v, Seq: n, Digest: digestOf(i), Batch: batch(i)})
		}
		c.say(3, 1, &Status{View: v, Active: true, Stable: n, Committed: n, Open: n})
		c.say(3, 1, &Decided{First: n, Digests: []bft.Digest{digestOf(i)}})
		c.say(3, 1, Checkpoint{Seq: n / 4 * 4, Digest: digestOf(i), Replica: 3}.orFour())
		c.say(3, 1, &ViewChange{View: max(v, 1), Replica: 3})
		c.net = c.net[:0]
	}
	k := x.core
	held := 0
	for n := k.slots.Low() + 1; n <= k.slots.High(); n++ {
		held += len(k.slots.At(n).q)
	}
	if got := k.slots.High() - k.slots.Low(); got != slots || held != 0 || len(k.bodies) != 0 || len(k.wanted) != 0 ||
		len(k.proofs) != 0 || len(k.ckpts) > int(slots/k.every) || k.view != 0 || !k.active {
		t.Fatalf("%d slots, %d entries of Q, %d bodies, %d wanted, %d proofs, %d ballots, view %d",
			got, held, len(k.bodies), len(k.wanted), len(k.proofs), len(k.ckpts), k.view)
	}
}

// orFour moves a CHECKPOINT of slot 0, which is none, to slot 4.
func (m Checkpoint) orFour() *Checkpoint {
	m.Seq = max(m.Seq, 4)
	return &m
}

// TestEmptyMessages (B19, C3, C5): the zero value and the empty encoding of every kind, and lists with nothing
// in them, are refused or harmless, and can be printed.
func TestEmptyMessages(t *testing.T) {
	c := newCluster(t, 4, 1)
	empty := []protocol.Message{
		&PrePrepare{}, &Prepare{}, &Commit{}, &Status{}, &Checkpoint{}, &ViewChange{}, &NewView{}, &Decided{}, &Stable{},
		signed(c.codec, &NewView{View: 1, Replica: 1}),
		signed(c.codec, &NewView{View: 1, Replica: 1, Set: []*ViewChange{{}, {}, {}}}),
		signed(c.codec, &NewView{View: 1, Replica: 1, Choices: make([]Choice, 8)}),
		signed(c.codec, &ViewChange{View: 1, Replica: 1}),
		signed(c.codec, &ViewChange{View: 1, Replica: 1, Base: Stable{Seq: 4}}),
		signed(c.codec, &ViewChange{View: 1, Replica: 1, P: make([]Claim, 3), Q: make([]Claim, 3)}),
	}
	for _, m := range empty {
		if Describe(m) == "" {
			t.Errorf("%T prints nothing", m)
		}
		for from := range bft.ReplicaID(4) {
			if from == 2 {
				continue
			}
			if v, reason := protocol.Verify(c.codec, from, m, tags{}); reason == protocol.ReasonNone {
				c.step(c.nodes[2], protocol.Received{Verified: v})
			} else if k := m.Kind(); k == KindStatus {
				t.Errorf("%s from %s: %v", Describe(m), from, reason)
			}
		}
		if _, err := c.codec.Decode(m.Kind(), nil); err == nil {
			t.Errorf("%T: no byte at all decodes", m)
		}
	}
	if reason := c.codec.Check(1, empty[9], tags{}); reason != protocol.ReasonBadNewView {
		t.Errorf("a signed NEW-VIEW from nobody: %v", reason)
	}
	if x := c.nodes[2].core; x.view != 0 || !x.active || x.committed != 0 {
		t.Errorf("empty messages moved a replica: %+v", x.Status())
	}
}

// TestEveryKindIsLostOnce (L1, B6): each message of one kind is lost the first time it is sent to each
// peer, also those of a view change and of a checkpoint; everybody arrives all the same, though
// with the dead primary all three votes of the living are needed.
func TestEveryKindIsLostOnce(t *testing.T) {
	for k := KindPrePrepare; k <= KindStable; k++ {
		lost, c := map[string]bool{}, newCluster(t, 4, 1)
		losses := 0
		c.drop = func(p packet) bool {
			id := fmt.Sprint(p.from, p.to, p.kind, string(p.payload))
			if p.kind != k || lost[id] {
				return false
			}
			lost[id] = true
			losses++
			return true
		}
		work := func(from, to int) {
			for i := from; i <= to; i++ {
				c.request()
				c.run()
				c.rounds(6)
				c.reach(bft.SeqNum(i))
			}
		}
		work(1, 5)
		c.nodes[0].dead = true
		c.fireAll(protocol.TimerPatience)
		c.run()
		c.rounds(6)
		work(6, 10)
		if x := c.nodes[2].core; x.view != 1 || x.stable.Seq != 8 {
			t.Errorf("kind %d: view %d, stable at %d", k, x.view, x.stable.Seq)
		}
		if losses == 0 && k != KindDecided && k != KindStable { // these two only where somebody is behind
			t.Errorf("kind %d was never sent", k)
		}
	}
}

// TestNewPrimaryFetchesTheBody (L11): the replica that leads the next view never got the proposal. It
// learns the digest from the claims of others, fetches the body from one of them, and goes on.
func TestNewPrimaryFetchesTheBody(t *testing.T) {
	c := newCluster(t, 5, 1)
	c.drop = func(p packet) bool { return p.kind == KindPrePrepare && p.to == 1 || p.kind == KindCommit }
	c.request()
	c.run()
	body := c.nodes[2].core.slots.At(1).digest
	if c.nodes[1].core.Body(body) != nil || !c.nodes[2].core.slots.At(1).prepared {
		t.Fatal("r1 was to lack the body of what r2 prepared")
	}
	c.nodes[0].dead = true
	c.drop = nil
	c.fireAll(protocol.TimerPatience)
	c.run()
	c.rounds(3)
	c.reach(1)
	if x := c.nodes[1]; x.batches[1] != body || x.core.view != 1 || wire.BodyDigest(x.core.Body(body)) != body {
		t.Fatalf("view %d, slot 1 is %s, want %s", x.core.view, x.batches[1], body)
	}
}

// TestPrimaryStopsAtTheHighMark (L8): however many batches wait, a primary opens no slot above the window,
// so that none is sent that it could not log.
func TestPrimaryStopsAtTheHighMark(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.m.InFlight = 100
	c.drop = func(p packet) bool { return p.kind == KindCheckpoint || p.kind == KindCommit }
	for range 30 {
		c.request()
		c.run()
	}
	x := c.nodes[0].core
	if x.assigned != 8 || c.counter != 8 {
		t.Fatalf("assigned up to %d with %d batches, the window ends at 8", x.assigned, c.counter)
	}
	c.drop = nil
	c.rounds(6)
	for range 30 {
		c.request()
		c.run()
	}
	c.reach(30)
}

// TestTagsNameKindAndSender (S3): what stands in front of a signed message tells kind and sender apart by itself, and
// none is the beginning of another, so that not even equal contents could be taken for one another.
func TestTagsNameKindAndSender(t *testing.T) {
	c := NewCodec(membership(4, 1))
	tag := func(m protocol.Signed, unsigned []byte) string {
		signed := c.AppendSigned(nil, m)
		return string(signed[:len(signed)-len(unsigned)])
	}
	tags := map[string]string{}
	for id := range bft.ReplicaID(4) {
		k, v, n := &Checkpoint{Seq: 4, Replica: id}, &ViewChange{View: 1, Replica: id}, &NewView{View: 1, Replica: id}
		tags[fmt.Sprint("checkpoint ", id)] = tag(k, k.appendUnsigned(nil))
		tags[fmt.Sprint("view-change ", id)] = tag(v, v.appendUnsigned(nil))
		tags[fmt.Sprint("new-view ", id)] = tag(n, n.appendUnsigned(nil))
	}
	for a, x := range tags {
		for b, y := range tags {
			if a != b && strings.HasPrefix(x, y) {
				t.Errorf("the tag of %s begins with that of %s", a, b)
			}
		}
	}
}
