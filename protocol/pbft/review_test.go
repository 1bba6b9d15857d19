package pbft

import (
	"encoding/binary"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// rounds lets periodic STATUS and the repeats of FETCH go on for a while.
func (c *cluster) rounds(n int) {
	c.t.Helper()
	for range n {
		c.fireAll(timerStatus)
		c.run()
		c.fireAll(timerFetch)
		c.run()
	}
}

// bootCut restarts a replica whose snapshot and log were cut at its stable checkpoint: what was
// decided at or below it is gone.
func (c *cluster) bootCut(id bft.ReplicaID) {
	x := c.nodes[id]
	at := x.core.stable
	var kept []protocol.Record
	for _, r := range x.log {
		if r.Kind.Latest() || r.Seq > at.Seq {
			kept = append(kept, r)
		}
	}
	x.log = kept
	x.dead, x.timers, x.wants = false, map[protocol.Timer]bft.Duration{}, false
	x.state, x.batches = x.state[:at.Seq+1], x.batches[:at.Seq+1]
	x.out.Reset()
	cfg := protocol.Config{
		Self: id, Membership: c.m, Patience: bft.Second, NewViewPatience: bft.Second,
		PatienceMax: 8 * bft.Second, Resend: bft.Second / 10,
	}
	x.core = New(cfg, protocol.Boot{Records: x.log, Executed: at.Seq, State: at.Digest}, &x.out).(*Core)
	c.effects(x)
}

// TestClaimsThatNobodyHas: a replica within one interval of a proven checkpoint waits for claims
// of commitment. Where too few are left to make them (one replica is down, another restarted from
// a snapshot of that very checkpoint), it must fetch the state: else the next checkpoint never
// becomes stable and the window of everybody fills up.
func TestClaimsThatNobodyHas(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(p packet) bool { return p.to == 3 }
	for range 4 {
		c.request()
		c.run()
	}
	if c.nodes[1].core.stable.Seq != 4 || c.nodes[3].core.committed != 0 {
		t.Fatalf("r1 is stable at %d, r3 committed %d", c.nodes[1].core.stable.Seq, c.nodes[3].core.committed)
	}
	c.bootCut(1)
	c.nodes[2].dead = true
	c.drop = nil
	c.rounds(30)
	if x := c.nodes[3]; x.core.committed < 4 && (x.catchUp == nil || x.catchUp.Seq != 4) {
		t.Fatalf("r3 is stuck at slot %d below the proven checkpoint 4 and asks for no state: %+v", x.core.committed, x.core.Status())
	}
}

// TestSlownessIsNoStateTransfer: the same replica asks for no state while claims bring it on.
func TestSlownessIsNoStateTransfer(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(p packet) bool { return p.to == 3 }
	for range 4 {
		c.request()
		c.run()
	}
	c.drop = nil
	c.rounds(2)
	if x := c.nodes[3]; x.core.committed != 4 || x.catchUp != nil {
		t.Fatalf("committed %d, asks for %+v", x.core.committed, x.catchUp)
	}
}

// TestBodiesDoNotPileUp: a primary that proposes to each backup another batch, view after view,
// leaves no bodies behind once a checkpoint has covered the slots.
func TestBodiesDoNotPileUp(t *testing.T) {
	c := newCluster(t, 4, 1)
	x := c.nodes[1]
	forged := uint64(1 << 32)
	for range 6 {
		for n := x.core.committed + 1; n <= x.core.high(); n++ {
			forged++
			if p := x.core.primary(); p != 1 {
				c.say(p, 1, &PrePrepare{View: x.core.view, Seq: n, Digest: digestOf(forged), Batch: batch(forged)})
			}
		}
		c.run()
		c.fireAll(protocol.TimerPatience)
		c.run()
		for range 9 {
			c.request()
			c.run()
		}
	}
	used := map[bft.Digest]bool{}
	for n := x.core.slots.Low() + 1; n <= x.core.slots.High(); n++ {
		s := x.core.slots.At(n)
		used[s.decidedDigest], used[s.digest] = true, true
		for _, q := range s.q {
			used[q.Digest] = true
		}
	}
	for d, b := range x.core.bodies {
		if b.seq <= x.core.slots.Low() {
			t.Fatalf("%d bodies, %d referred to; %s of slot %d is kept although slots up to %d are gone",
				len(x.core.bodies), len(used), d, b.seq, x.core.slots.Low())
		}
	}
}

// TestDivergedReplicaFollowsTheTarget: what a diverged replica fetches is dropped by its peers
// sooner or later; it must go on to the newest proven checkpoint.
func TestDivergedReplicaFollowsTheTarget(t *testing.T) {
	c := fill(t)
	x := c.nodes[1]
	c.say(0, 1, ptr(proof(c.codec, 4, dg("x"), 0, 2, 3)))
	if !x.core.diverged || x.catchUp.Seq != 4 {
		t.Fatalf("diverged %t, wants %+v", x.core.diverged, x.catchUp)
	}
	c.say(0, 1, ptr(proof(c.codec, 8, dg("y"), 0, 2, 3)))
	c.say(0, 1, ptr(proof(c.codec, 12, dg("z"), 0, 2, 3)))
	if x.catchUp.Seq != 12 {
		t.Fatalf("still asks for slot %d, while 12 is proven", x.catchUp.Seq)
	}
}

// TestPrimaryProposesAfterInstallation: a primary whose state was below its own stable checkpoint
// (restart, or a diverged state) asks for a batch once the state is installed.
func TestPrimaryProposesAfterInstallation(t *testing.T) {
	c := newCluster(t, 4, 1)
	for range 8 {
		c.request()
		c.run()
	}
	c.bootCut(0)
	x := c.nodes[0]
	c.step(x, protocol.Installed{Seq: 8, Digest: x.state[8]})
	if !x.wants {
		t.Fatal("asks for no batch after a restart") // the reference: nothing was missing
	}
	low := c.nodes[0].core.stable
	var kept []protocol.Record
	for _, r := range x.log {
		if r.Kind.Latest() || r.Seq > low.Seq {
			kept = append(kept, r)
		}
	}
	x.wants = false
	x.out.Reset()
	x.state, x.batches, x.log = x.state[:1], x.batches[:1], kept
	x.core = New(x.core.cfg, protocol.Boot{Records: kept}, &x.out).(*Core) // the newest snapshot was damaged
	c.effects(x)
	c.rounds(1)
	if x.catchUp == nil || x.catchUp.Seq != 8 || x.wants {
		t.Fatalf("asks for state %+v, for a batch %t", x.catchUp, x.wants)
	}
	x.state = append([]bft.Digest(nil), c.nodes[1].state[:9]...)
	x.batches = append([]bft.Digest(nil), c.nodes[1].batches[:9]...)
	c.step(x, protocol.Installed{Seq: 8, Digest: x.state[8]})
	if !x.wants {
		t.Fatalf("the primary has its state and never asks for a batch: %+v", x.core.Status())
	}
}

// TestDecidedBodyIsAskedForAfterRestart: a restart between a slot's decision by claims and the
// coming of its body asks for that body again, though nothing else ever happens.
func TestDecidedBodyIsAskedForAfterRestart(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(p packet) bool { return p.to == 3 }
	c.request()
	c.run()
	c.drop = nil
	x := c.nodes[3]
	d := c.nodes[0].batches[1]
	for i := range 3 {
		c.nodes[i].dead = true // nobody serves the body
	}
	for _, from := range []bft.ReplicaID{1, 2} {
		c.say(from, 3, &Decided{First: 1, Digests: []bft.Digest{d}})
	}
	c.boot(3)
	for i := range 3 {
		c.nodes[i].dead = false
	}
	c.drop = func(p packet) bool { return p.to == 3 && p.kind == KindPrePrepare }
	c.rounds(4)
	if x.core.committed != 1 {
		t.Fatalf("slot 1 is decided and nobody asks for its body: %+v", x.core.Status())
	}
}

// TestRefusedWantsAreRepeated: when more bodies are missing than may be asked for at a time, the
// rest are asked for even if the first ones come by another way or are no longer needed.
func TestRefusedWantsAreRepeated(t *testing.T) {
	c := newCluster(t, 4, 1)
	x := c.nodes[3]
	for i := range wantedMax { // asked for long ago; all of them are at hand by now
		d := digestOf(uint64(1000 + i))
		x.core.wanted = append(x.core.wanted, want{digest: d, seq: 1, next: 1})
		x.core.bodies[d] = body{bytes: batch(uint64(1000 + i)), seq: 1}
	}
	x.timers[timerFetch] = bft.Second
	cl := []Claim{{Seq: 1, Digest: digestOf(7), View: 0}}
	for i := range bft.ReplicaID(2) { // who serves it
		c.nodes[i].core.bodies[digestOf(7)] = body{bytes: batch(7), seq: 1}
	}
	c.drop = func(p packet) bool { return true }
	c.say(1, 3, newView(c.codec, 1, 1, viewChange(c.codec, 0, 1, Stable{}, cl, cl),
		viewChange(c.codec, 1, 1, Stable{}, cl, cl), viewChange(c.codec, 2, 1, Stable{}, nil, nil)))
	c.run()
	if x.core.slots.At(1).accepted {
		t.Fatal("the body was asked for beyond the limit")
	}
	c.fire(3, timerFetch)
	c.fire(3, timerFetch)
	if !x.core.slots.At(1).accepted {
		t.Fatal("the body that NEW-VIEW names is never asked for again")
	}
}

// TestQDropsTheOldestView: where Q is full the entry of the lowest view goes, also when it is not
// the first that was entered.
func TestQDropsTheOldestView(t *testing.T) {
	var s slot
	for i := range bft.QEntriesMax {
		s.noteQ(Claim{Seq: 1, Digest: digestOf(uint64(i)), View: bft.View(i)})
	}
	s.noteQ(Claim{Seq: 1, Digest: digestOf(0), View: 100})
	s.noteQ(Claim{Seq: 1, Digest: digestOf(99), View: 101})
	for _, q := range s.q {
		if q.Digest == digestOf(0) {
			return
		}
	}
	t.Fatal("the entry of view 100 was dropped, one of view 1 kept")
}

// TestOneBatchInTwoSlots: a batch that a faulty primary put into two slots stays here as long as
// the later slot needs it, however that one was decided.
func TestOneBatchInTwoSlots(t *testing.T) {
	c := newCluster(t, 4, 1)
	x := c.nodes[3]
	decide := func(n bft.SeqNum, i uint64) {
		for _, from := range []bft.ReplicaID{1, 2} {
			c.say(from, 3, &Decided{First: n, Digests: []bft.Digest{digestOf(i)}})
		}
	}
	for n := bft.SeqNum(1); n <= 12; n++ {
		i := uint64(n)
		if n == 12 {
			i = 1
		}
		if n < 9 {
			c.preprepare(3, n, i)
		} else if n < 12 {
			x.core.bodies[digestOf(i)] = body{bytes: batch(i), seq: n}
		}
		decide(n, i)
	}
	if x.core.committed != 12 {
		t.Fatalf("committed %d", x.core.committed)
	}
	for n := bft.SeqNum(4); n <= 12; n += 4 {
		c.say(1, 3, ptr(proof(c.codec, n, x.state[n], 0, 1, 2)))
	}
	if x.core.Body(digestOf(1)) == nil {
		t.Fatal("the body of slot 12 went with slot 1")
	}
}

// TestStatusServesBoundedBytes: what a peer makes others send by STATUS is bounded in bytes, as
// what it may FETCH is.
func TestStatusServesBoundedBytes(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(p packet) bool { return p.kind == KindPrepare }
	x := c.nodes[0]
	for range 2 {
		c.counter++
		b := binary.LittleEndian.AppendUint64(make([]byte, 1<<20-64), c.counter)
		x.wants = false
		c.step(x, protocol.Proposed{View: 0, Digest: wire.BodyDigest(b), Body: b})
	}
	c.net = nil
	for range 100 {
		c.say(3, 0, &Status{Active: true})
	}
	bytes := 0
	for _, p := range c.net {
		bytes += len(p.payload)
	}
	if bytes > bft.ServeBurstBytes+2<<20 {
		t.Fatalf("100 STATUS drew %d bytes in one period", bytes)
	}
}

// TestNewViewNeedsNoBodyBelowTheCheckpoint: the primary of a new view whose own checkpoint became
// stable above a choice has dropped that body, needs it no more, and sends NEW-VIEW.
func TestNewViewNeedsNoBodyBelowTheCheckpoint(t *testing.T) {
	c := newCluster(t, 4, 1)
	x := c.nodes[1]
	c.drop = func(packet) bool { return true }
	c.fire(1, protocol.TimerPatience) // its VIEW-CHANGE has base 0
	x.core.bodies[digestOf(2)] = body{bytes: batch(2), seq: 8}
	for n := bft.SeqNum(1); n <= 8; n++ {
		for _, from := range []bft.ReplicaID{2, 3} {
			x.core.bodies[digestOf(2)] = body{bytes: batch(2), seq: 8}
			c.say(from, 1, &Decided{First: n, Digests: []bft.Digest{digestOf(2)}})
		}
	}
	c.say(2, 1, ptr(proof(c.codec, 8, x.state[8], 0, 2, 3)))
	if x.core.stable.Seq != 8 {
		t.Fatalf("stable at %d", x.core.stable.Seq)
	}
	cl := []Claim{{Seq: 1, Digest: digestOf(7)}}
	for _, from := range []bft.ReplicaID{2, 3} {
		c.say(from, 1, viewChange(c.codec, from, 1, Stable{}, cl, cl))
	}
	if !x.core.active {
		t.Fatalf("wants %d bodies of slots that nobody needs: %+v", len(x.core.wanted), x.core.Status())
	}
}

// TestBodiesBeyondTheWindowAreNotFetched: a primary that is far behind cannot keep a body of a slot
// above its window, so asking for it would go round for ever; it is asked for when the state is there.
func TestBodiesBeyondTheWindowAreNotFetched(t *testing.T) {
	c := newCluster(t, 4, 1)
	x := c.nodes[1]
	c.drop = func(packet) bool { return true }
	c.fire(1, protocol.TimerPatience)
	base := proof(c.codec, 100, dg("s"), 0, 2, 3)
	cl := []Claim{{Seq: 101, Digest: digestOf(7)}}
	c.nodes[2].core.bodies[digestOf(7)] = body{bytes: batch(7), seq: 101}
	for _, from := range []bft.ReplicaID{2, 3} {
		c.say(from, 1, viewChange(c.codec, from, 1, base, cl, cl))
	}
	if x.core.active || len(x.core.wanted) != 0 {
		t.Fatalf("active %t, %d bodies asked for", x.core.active, len(x.core.wanted))
	}
	c.say(2, 1, &base)
	x.state = append(make([]bft.Digest, 100), dg("s"))
	x.batches = make([]bft.Digest, 101)
	c.step(x, protocol.Installed{Seq: 100, Digest: dg("s")})
	if !x.core.active {
		t.Fatalf("has the state and sends no NEW-VIEW: %+v", x.core.Status())
	}
}

// TestNewViewFitsAFrame: whatever faulty replicas claim, the VIEW-CHANGEs of all fit one NEW-VIEW,
// and what a correct replica claims passes the check.
func TestNewViewFitsAFrame(t *testing.T) {
	for _, n := range []int{4, 7, 10, 16, 31, 64} {
		m := membership(n, (n-1)/3)
		m.CheckpointEvery, m.Window = 256, bft.WindowSlotsMax
		c := NewCodec(m)
		if c.claims < 2*bft.WindowSlotsMax {
			t.Errorf("n=%d: %d claims for a window of %d", n, c.claims, m.Window)
		}
		vc := &ViewChange{View: 99, Base: Stable{Seq: 256, Digest: dg("s")}, Sig: make([]byte, bft.SignatureBytesMax)}
		for i := range c.q.Quorum() {
			vc.Base.Endorse = append(vc.Base.Endorse, Endorsement{Replica: bft.ReplicaID(i), Sig: vc.Sig})
		}
		for s := range bft.SeqNum(bft.WindowSlotsMax) {
			vc.P = append(vc.P, Claim{Seq: 257 + s, Digest: dg("a")})
			for i := range bft.QEntriesMax {
				vc.Q = append(vc.Q, Claim{Seq: 257 + s, Digest: bft.Digest{byte(i + 1)}})
			}
		}
		if fits := c.claimsCanonical(vc); fits != (len(vc.P)+len(vc.Q) <= c.claims) {
			t.Errorf("n=%d: %d claims of %d pass: %t", n, len(vc.P)+len(vc.Q), c.claims, fits)
		}
		vc.Q = vc.Q[:c.claims-len(vc.P)]
		if !c.claimsCanonical(vc) {
			t.Errorf("n=%d: %d claims do not pass", n, c.claims)
		}
		nv := &NewView{View: 99, Choices: make([]Choice, bft.WindowSlotsMax), Sig: vc.Sig}
		for range n {
			nv.Set = append(nv.Set, vc)
		}
		if size := len(c.Append(nil, nv)) + 1; size > bft.PeerFrameBytesMax {
			t.Errorf("n=%d: a NEW-VIEW of %d bytes, a frame holds %d", n, size, bft.PeerFrameBytesMax)
		}
	}
}

// TestOwnClaimsAreTrimmed: a replica with more in Q than fits leaves the lowest views out.
func TestOwnClaimsAreTrimmed(t *testing.T) {
	c := newCluster(t, 4, 1)
	x := c.nodes[1].core
	x.view = 9
	for n := bft.SeqNum(1); n <= 8; n++ {
		for v := range bft.View(3) {
			x.slots.At(n).noteQ(Claim{Seq: n, Digest: digestOf(uint64(v)), View: v})
		}
	}
	x.codec.claims = 16
	vc := x.makeViewChange(10)
	if !x.codec.claimsCanonical(vc) || len(vc.Q) != 16 {
		t.Fatalf("%d claims do not pass", len(vc.Q))
	}
	for _, q := range vc.Q {
		if q.View == 0 {
			t.Fatal("kept a claim of view 0 and dropped one of a later view")
		}
	}
}

// TestNothingIsTrimmedBeforeItMust: with the largest window that fits, what f faulty primaries in a row
// make a correct replica claim stays in its VIEW-CHANGE, whatever the number of replicas.
func TestNothingIsTrimmedBeforeItMust(t *testing.T) {
	for n := 4; n <= bft.ReplicasMax; n += 3 {
		m := membership(n, (n-1)/3)
		q := m.Quorums()
		for m.Window = bft.WindowSlotsMax; !q.WindowFits(m.Window); m.Window-- {
		}
		if m.Window < 64 {
			t.Errorf("n=%d: the window may have %d slots at most", n, m.Window)
		}
		c := NewCodec(m)
		vc := &ViewChange{View: 99, Sig: make([]byte, bft.SignatureBytesMax)}
		for s := range m.Window {
			var slot slot
			slot.noteP(Claim{Seq: s + 1, Digest: digestOf(0)})
			for v := range bft.View(q.F + 1) {
				slot.noteQ(Claim{Seq: s + 1, Digest: digestOf(uint64(v)), View: v + 1})
			}
			vc.P, vc.Q = append(vc.P, slot.p), append(vc.Q, slot.q...)
		}
		if got, want := len(vc.P)+len(vc.Q), int(m.Window)*(q.F+2); got != want || got > c.claims {
			t.Errorf("n=%d, window %d: %d claims, want %d; there is room for %d", n, m.Window, got, want, c.claims)
		}
	}
}

// TestInstallationEndsTheFlight: slots that an installed state covers are in flight no more, and
// the timer that watched them says nothing of the next ones.
func TestInstallationEndsTheFlight(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(packet) bool { return true }
	c.request()
	x := c.nodes[0]
	if _, ok := x.timers[timerStalled]; !ok {
		t.Fatal("a slot is in flight and nobody watches")
	}
	c.say(1, 0, ptr(proof(c.codec, 100, dg("s"), 1, 2, 3)))
	x.state = append(make([]bft.Digest, 100), dg("s"))
	x.batches = make([]bft.Digest, 101)
	c.step(x, protocol.Installed{Seq: 100, Digest: dg("s")})
	if _, ok := x.timers[timerStalled]; ok {
		t.Fatal("nothing is in flight and the timer runs")
	}
}

// TestNewViewIsTheVoteOfItsPrimary: r2 and r3 prepare in view 1 on the NEW-VIEW of r1 and their PREPAREs. r1
// leaves that view before its NEW-VIEW is back from signing, and r3 dies. The claim of r2 needs one
// more that vouches, and that is r1 (simulator seed 10003861: nobody decided, for ever).
func TestNewViewIsTheVoteOfItsPrimary(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(p packet) bool { return p.kind == KindCommit || p.kind == KindNewView && p.to == 0 }
	c.request()
	c.run()
	r1 := c.nodes[1]
	r1.unsigned = true
	c.suspect(0, 2, 3)
	if s := c.nodes[2].core.slots.At(1); len(r1.signed) != 1 || r1.core.active || !s.hasP || s.p.View != 1 {
		t.Fatalf("r2 was to be prepared in view 1 before r1 enters it: %+v", c.nodes[2].core.Status())
	}
	c.cutOff(3)
	c.overdueNewView(0, 1)
	for _, ev := range r1.signed {
		c.step(r1, ev)
	}
	c.run()
	if r2 := c.nodes[2].core; !r2.active || r2.view != 2 {
		t.Fatalf("view 2 does not begin: %+v", r2.Status())
	}
	c.nodes[3].dead = true
	c.rounds(3)
	c.reach(1)
}

// TestNewViewAfterARestart: the primary dies after its NEW-VIEW left and before it entered. What it
// proposed is in its log as claimed, and accepted when the NEW-VIEW, sent again, lets it in.
func TestNewViewAfterARestart(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.drop = func(p packet) bool { return p.kind == KindCommit || p.kind == KindNewView && p.from == 1 }
	c.request()
	c.run()
	r1 := c.nodes[1]
	r1.unsigned = true
	c.suspect(0, 2, 3)
	if len(r1.signed) != 1 || r1.core.active {
		t.Fatal("r1 was to wait for its own NEW-VIEW")
	}
	r1.unsigned, r1.signed, c.drop = false, nil, nil
	c.boot(1)
	if s := r1.core.slots.At(1); !r1.core.active || r1.core.view != 1 || !s.acceptedIn(1) || s.q[len(s.q)-1].View != 1 {
		t.Fatalf("r1 did not go on with its view: %+v", r1.core.Status())
	}
	c.rounds(3)
	c.reach(1)
}

// TestNewViewInsideTheWindow: the primary of view 1 slept through a checkpoint. It has every body, but
// its window does not reach the last slots that it would propose, and what it cannot claim it
// must not vote for: NEW-VIEW waits until the window has moved.
func TestNewViewInsideTheWindow(t *testing.T) {
	c := newCluster(t, 4, 1)
	r1 := c.nodes[1]
	c.cutOff(1)
	c.order(7)
	c.drop = func(p packet) bool { return p.from == 1 || p.to == 1 || p.kind == KindCommit }
	c.order(2)
	if top := c.nodes[2].core.slots.At(9); !top.hasP || r1.core.high() != 8 {
		t.Fatalf("slot 9 was to be prepared, above the window of r1: %+v", c.nodes[2].core.Status())
	}
	c.nodes[0].dead = true
	sent := 0
	c.drop = func(p packet) bool {
		if p.kind != KindNewView || p.from != 1 {
			return false
		}
		m, _ := c.codec.Decode(p.kind, p.payload)
		nv := m.(*NewView)
		if top := nv.Start + bft.SeqNum(len(nv.Choices)); r1.core.high() < top {
			t.Fatalf("a NEW-VIEW up to slot %d, and the window of its primary ends at %d", top, r1.core.high())
		}
		sent++
		return false
	}
	c.suspect(2, 3)
	c.rounds(6)
	if sent == 0 {
		t.Fatalf("r1 never began its view: %+v", r1.core.Status())
	}
	c.reach(9)
}
