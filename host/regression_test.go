package host_test

import (
	"fmt"
	"testing"

	"github.com/themis-bft/themis/app/counter"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/wire"
)

// These tests replay defects that other systems had; docs/regressions.md says which.

// opened is a cluster in which client 1 has a session, that of slot 1.
func opened(t *testing.T) *cluster {
	c := newCluster(t)
	c.client(wire.KindRequest, 0, 1<<30, 0)
	c.run("open", c.answered(1<<30, 4))
	return c
}

// executed fails unless each of the given replicas has executed that many operations.
func (c *cluster) executed(n uint64, ids ...bft.ReplicaID) {
	c.t.Helper()
	for _, id := range ids {
		if got := c.boxes[id].executor.Counts().Executed; got != n {
			c.t.Errorf("%v executed %d operations, want %d", id, got, n)
		}
	}
}

// propose shows backups a batch of these envelopes in the name of the primary of view 0.
func (c *cluster) propose(slot bft.SeqNum, raw ...[]byte) {
	c.say(c.prePrepare(slot, raw...), 1, 2, 3)
}

// envelope is a request for one addition, signed in the name of a client by whoever signs.
func (c *cluster) envelope(client, signer bft.ClientID, session, number uint64) []byte {
	r := wire.Request{Client: client, Session: session, First: number, Answer: bft.AllReplicas(4), Ops: [][]byte{counter.Add(1)}}
	r.Sig = c.auth.Client(signer).Sign(nil, r.AppendSigned(nil, wire.ClientDomain(c.m)))
	return r.Append(nil)
}

// TestRequestsOutliveTheView (L3, B21): operation 0 is asked of everybody, operation 1 of one backup in the middle
// of a view change, and the client never repeats them. What is proposed in the first four views is
// lost, so that all must still know both in the fifth, also r0, which proposed them in the first
// one. They are ordered there, once.
func TestRequestsOutliveTheView(t *testing.T) {
	c := opened(t)
	early := func(f frame) bool {
		if f.kind != pbft.KindPrePrepare {
			return false
		}
		m, err := c.codec.Decode(f.kind, f.payload)
		return err == nil && m.(*pbft.PrePrepare).View < 4
	}
	c.lose = func(f frame) bool { return early(f) || f.kind == pbft.KindNewView }
	c.client(wire.KindRetry, 1, 0, 0, 1, 2, 3)
	c.run("nobody is in a view", func() bool {
		return !c.boxes[2].node.Status().Protocol.Active && !c.boxes[3].node.Status().Protocol.Active
	})
	c.client(wire.KindRequest, 1, 1, 3)
	c.lose = early
	c.run("both are answered", func() bool { return c.answered(0, 4)() && c.answered(1, 4)() })
	if v := c.boxes[3].node.Status().Protocol.View; v != 4 {
		t.Fatalf("answered in view %d", v)
	}
	c.executed(2, 0, 1, 2, 3)
}

// TestStarvedClientGetsAnotherPrimary (L7, T9): the primary never proposes what one client asks for and serves another one
// without a pause. Progress of the other ends no wait: the view changes, for unfairness.
func TestStarvedClientGetsAnotherPrimary(t *testing.T) {
	c := opened(t)
	starved, nonce := bft.ClientID{2}, uint64(1<<31)
	c.lose = func(f frame) bool { return f.to == 0 && f.kind == wire.KindRelay }
	c.clientOf(starved, wire.KindRetry, 0, nonce, 1, 2, 3)
	number := uint64(0)
	for ; number < 200 && !c.answered(nonce, 3)(); number++ {
		c.client(wire.KindRetry, 1, number, 0, 1, 2, 3)
		c.run("the favoured client is served", c.answered(number, 3))
	}
	if number == 0 || !c.answered(nonce, 3)() {
		t.Fatalf("starved for %d operations of the other client", number)
	}
	unfair := uint64(0)
	for _, b := range c.boxes[1:] {
		unfair += b.node.Status().Protocol.ViewChanges[protocol.CauseUnfairness]
	}
	if unfair < 2 {
		t.Fatalf("%d replicas left for unfairness", unfair)
	}
}

// TestInventedRequestsEndTheView (S11): the primary proposes an operation of a client that never asked for it. Nobody
// prepares it, everybody leaves, and the client's session is untouched.
func TestInventedRequestsEndTheView(t *testing.T) {
	c := opened(t)
	c.lose = func(f frame) bool { return f.from == 0 || f.to == 0 }
	victim := bft.ClientID{1}
	c.propose(2, c.envelope(victim, bft.ClientID{9}, 1, 0))
	c.run("all leave", func() bool {
		for _, b := range c.boxes[1:] {
			if s := b.node.Status().Protocol; s.View != 1 || !s.Active {
				return false
			}
		}
		return true
	})
	c.executed(0, 1, 2, 3)
	c.client(wire.KindRequest, 1, 0, 1)
	c.run("the client's own operation", c.answered(0, 3))
	c.executed(1, 1, 2, 3)
}

// TestRepeatsInBatchesRunOnce (S12, C6): the primary puts one request twice into a batch and into the next two slots
// as well. It runs once, is answered with the first result, and ends no replica.
func TestRepeatsInBatchesRunOnce(t *testing.T) {
	c := opened(t)
	c.lose = func(f frame) bool { return f.from == 0 || f.to == 0 }
	client := bft.ClientID{1}
	raw := c.envelope(client, client, 1, 0)
	c.propose(2, raw, raw)
	c.propose(3, raw)
	c.propose(4, raw, c.envelope(client, client, 1, 1), raw)
	c.run("three slots", func() bool { return c.answered(1, 3)() })
	c.executed(2, 1, 2, 3)
	for _, b := range c.boxes[1:] {
		if n := b.executor.Counts().Repeated; n != 4 {
			t.Errorf("%v skipped %d repeats, want 4", b.id, n)
		}
	}
}

// TestRestartedClient (L4): a client that has lost everything but its key opens a session of its own and counts from 0
// again; numbers that come in another order than that of their making all run; what was executed
// and not heard is answered again.
func TestRestartedClient(t *testing.T) {
	c := opened(t)
	for i := range uint64(6) {
		c.client(wire.KindRequest, 1, i, 0)
		c.run("first life", c.answered(i, 4))
	}
	c.client(wire.KindRequest, 0, 1<<32, 0)
	c.run("second OPEN", c.answered(1<<32, 4))
	session := uint64(c.boxes[0].node.Status().Protocol.Committed)
	for _, i := range []uint64{9, 3, 7, 0} {
		before := c.boxes[1].executor.Counts().Executed
		c.client(wire.KindRequest, session, i, 0)
		c.run("second life", func() bool { return c.boxes[1].executor.Counts().Executed == before+1 })
	}
	c.run("all caught up", func() bool { return c.boxes[3].node.Status().Pending == 0 })
	c.executed(10, 0, 1, 2, 3)
	for _, b := range c.boxes {
		before := b.replies[9]
		c.client(wire.KindRetry, session, 9, b.id)
		if b.replies[9] != before+1 {
			t.Errorf("%v does not answer again what it executed", b.id)
		}
	}
	c.executed(10, 0, 1, 2, 3)
}

// TestNobodyActsAsAnother (S11): over the link of one client no request of another is taken, and no number is so high
// that it shuts the rest of a session out.
func TestNobodyActsAsAnother(t *testing.T) {
	c := opened(t)
	thief, victim := bft.ClientID{2}, bft.ClientID{1}
	b := c.boxes[0]
	if _, r := b.verifier.Client(thief, wire.KindRequest, c.envelope(victim, victim, 1, 0)); r != protocol.ReasonBadClient {
		t.Errorf("another's request is taken: %v", r)
	}
	if _, r := b.verifier.Client(thief, wire.KindRequest, c.envelope(thief, victim, 1, 0)); r == protocol.ReasonNone {
		t.Error("a request with another's signature is taken")
	}
	for _, number := range []uint64{1<<64 - 1, 1 << 62, bft.SessionOpsMax} {
		if _, r := b.verifier.Client(victim, wire.KindRequest, c.envelope(victim, victim, 1, number)); r != protocol.ReasonMalformed {
			t.Errorf("number %d: %v", number, r)
		}
	}
	in, r := b.verifier.Client(thief, wire.KindRequest, c.envelope(thief, thief, 1, 5)) // in the victim's session
	if r != protocol.ReasonNone {
		t.Fatalf("a request of the thief in a session that is not its own: %v", r)
	}
	b.node.Handle(c.at(), in, &b.out)
	c.meet(b)
	c.client(wire.KindRequest, 1, 0, 0)
	c.run("the victim's session is open", c.answered(0, 4))
	c.executed(1, 0, 1, 2, 3)
}

// TestRepliesAfterStateTransfer (B13): the primary commits with two backups and leaves the third out, which then jumps over
// the slots with a state. f+1 answers are enough without it, and the replies are part of that state:
// a client that asks it for what it never executed is answered.
func TestRepliesAfterStateTransfer(t *testing.T) {
	c := opened(t)
	c.lose = func(f frame) bool { return f.to == 3 || f.from == 3 }
	const last = 13
	for i := range uint64(last + 1) {
		c.client(wire.KindRequest, 1, i, 0)
		c.run("without r3", c.answered(i, 3))
	}
	c.lose = nil
	late := c.boxes[3]
	c.run("r3 has the state", func() bool {
		return late.node.Status().Protocol.Committed == c.boxes[1].node.Status().Protocol.Committed
	})
	if n := late.executor.Counts().Executed; n > last/2 {
		t.Fatalf("r3 executed %d operations itself: nothing was transferred", n)
	}
	for _, number := range []uint64{2, last} {
		before := late.replies[number]
		c.client(wire.KindRetry, 1, number, 3)
		if late.replies[number] != before+1 {
			t.Errorf("r3 has no reply to operation %d", number)
		}
	}
}

// TestWhoCatchesUpIsNeeded (B7, L9, S9): one replica misses up to several checkpoints, and in the moment in which it is heard again
// another one dies for good, the primary too: the group has no quorum without the one that is behind,
// whichever it is. It catches up by claims or by state, also as the next primary, and all go on.
func TestWhoCatchesUpIsNeeded(t *testing.T) {
	for behind := range bft.ReplicaID(4) {
		for dies := range bft.ReplicaID(4) {
			for _, missed := range []uint64{1, 3, 4, 5, 9, 14} {
				if behind != dies {
					catchUpIsNeeded(t, behind, dies, missed)
				}
			}
		}
	}
}

func catchUpIsNeeded(t *testing.T, behind, dies bft.ReplicaID, missed uint64) {
	c := opened(t)
	c.lose = func(f frame) bool { return f.to == behind || f.from == behind }
	for i := range missed {
		for id := range bft.ReplicaID(4) {
			if id != behind {
				c.client(wire.KindRetry, 1, i, id)
			}
		}
		c.run("without the one that is cut off", c.answered(i, 3))
	}
	c.lose = nil
	c.boxes[dies].dead = true
	for i := missed; i < missed+6; i++ {
		for id := range bft.ReplicaID(4) {
			if id != dies {
				c.client(wire.KindRetry, 1, i, id)
			}
		}
		c.run(fmt.Sprintf("%v was behind by %d when %v died, operation %d", behind, missed, dies, i), c.answered(i, 3))
	}
	c.run(fmt.Sprintf("%v is level", behind), func() bool {
		for _, b := range c.boxes {
			if !b.dead && b.node.Status().Protocol.Committed != c.boxes[behind].node.Status().Protocol.Committed {
				return false
			}
		}
		return true
	})
}

// storm lets links lose for a while what they like, each direction on its own and some all of it,
// while the client goes on asking some of the replicas.
func (c *cluster) storm(next func(uint64) uint64, number uint64) {
	var loss [4][4]uint64 // per cent
	for i := range loss {
		for j := range loss {
			if loss[i][j] = next(40); next(3) == 0 {
				loss[i][j] = 100
			}
		}
	}
	c.lose = func(f frame) bool { return next(100) < loss[f.from][f.to] }
	end, ask := c.now+bft.Duration(1+next(4))*bft.Second, c.now
	c.run("the storm passes", func() bool {
		for id := bft.ReplicaID(0); c.now >= ask && id < 4; id++ {
			if next(4) > 0 {
				c.client(wire.KindRetry, 1, number, id)
			}
		}
		if c.now >= ask {
			ask += 200 * bft.Millisecond
		}
		return c.now >= end
	})
	c.lose = nil
}

// TestNoStormIsForEver (B15, L1, L5): after whatever cuts between any two replicas, also one way only, a client that
// repeats itself is answered by all that live, one of four being dead, and nothing runs twice.
func TestNoStormIsForEver(t *testing.T) {
	for seed := range uint64(20) {
		rng := (seed + 1) * 0x9e3779b97f4a7c15
		next := func(n uint64) uint64 {
			rng ^= rng << 13
			rng ^= rng >> 7
			rng ^= rng << 17
			return rng % n
		}
		c := opened(t)
		for number := range uint64(4) {
			c.storm(next, 2*number)
			dead := c.boxes[next(4)]
			dead.dead = true
			ask := c.now
			c.run(fmt.Sprintf("seed %d: storm %d is over, %v is dead", seed, number, dead.id), func() bool {
				for id := bft.ReplicaID(0); c.now >= ask && id < 4; id++ {
					c.client(wire.KindRetry, 1, 2*number+1, id)
				}
				if c.now >= ask {
					ask += 500 * bft.Millisecond
				}
				return c.answered(2*number+1, 3)()
			})
			dead.dead = false
		}
		for _, b := range c.boxes {
			if n := b.executor.Counts().Executed; n > 8 {
				t.Errorf("seed %d: %v executed %d operations of 8", seed, b.id, n)
			}
		}
	}
}
