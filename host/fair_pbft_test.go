package host_test

import (
	"testing"

	"github.com/themis-bft/themis/app/counter"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/wire"
)

// say hands a message of replica 0 to others.
func (c *cluster) say(m protocol.Message, to ...bft.ReplicaID) {
	payload := c.codec.Append(nil, m)
	for _, id := range to {
		b := c.boxes[id]
		b.node.Handle(c.at(), b.verifier.Peer(0, m.Kind(), payload, c.at().Wall), &b.out)
		c.meet(b)
		c.tick(b)
	}
}

// prePrepare proposes envelopes in view 0.
func (c *cluster) prePrepare(slot bft.SeqNum, raw ...[]byte) *pbft.PrePrepare {
	body := wire.AppendBody(nil, c.at().Wall, raw)
	return &pbft.PrePrepare{Seq: slot, Digest: wire.BodyDigest(body), Batch: body}
}

// open is an OPEN as its client signs it every time.
func (c *cluster) open(client bft.ClientID, nonce uint64) []byte {
	r := wire.Request{Client: client, First: nonce, Flags: wire.FlagOpen, Answer: bft.AllReplicas(4), Ops: [][]byte{{}}}
	r.Sig = c.auth.Client(client).Sign(nil, r.AppendSigned(nil, wire.ClientDomain(c.m)))
	return r.Append(nil)
}

// next is an addition of a client that has all earlier answers.
func (c *cluster) next(client bft.ClientID, session, number uint64) []byte {
	r := wire.Request{Client: client, Session: session, First: number, Done: number, Answer: bft.AllReplicas(4), Ops: [][]byte{counter.Add(1)}}
	r.Sig = c.auth.Client(client).Sign(nil, r.AppendSigned(nil, wire.ClientDomain(c.m)))
	return r.Append(nil)
}

func (c *cluster) pass(d bft.Duration) {
	until := c.now + d
	c.run("time", func() bool { return c.now >= until })
}

// view is the highest view of replicas 1 to 3.
func (c *cluster) view() (v bft.View) {
	for _, b := range c.boxes[1:] {
		v = max(v, b.node.Status().Protocol.View)
	}
	return v
}

func (c *cluster) committed() bft.SeqNum { return c.boxes[1].node.Status().Protocol.Committed }

// TestRepeatsDoNotHideStarving: the primary serves one client, and in every batch repeats what the starved one had
// executed. The next primary serves the starved one, as soon as without the repeats.
func TestRepeatsDoNotHideStarving(t *testing.T) {
	for _, repeat := range []bool{false, true} {
		c := opened(t)
		victim, liar := bft.ClientID{2}, bft.ClientID{7}
		c.clientOf(victim, wire.KindRequest, 0, 1<<31, 0)
		c.run("open", c.answered(1<<31, 4))
		c.clientOf(liar, wire.KindRequest, 0, 1<<32, 0)
		c.run("open", c.answered(1<<32, 4))
		c.clientOf(victim, wire.KindRequest, 2, 100, 0)
		c.run("first", c.answered(100, 4))
		next := c.committed() + 1
		c.boxes[0].dead = true // from here on it is ours
		c.clientOf(victim, wire.KindRetry, 2, 101, 1, 2, 3)
		for n, end := uint64(0), c.now+6*bft.Second; !c.answered(101, 2)(); n++ {
			if c.now > end {
				t.Fatalf("repeats %t: not served in six seconds", repeat)
			}
			batch := [][]byte{c.next(liar, 3, 1000+n)}
			if repeat {
				batch = append(batch, c.envelope(victim, victim, 2, 100))
			}
			if c.view() == 0 {
				c.say(c.prePrepare(next, batch...), 1, 2, 3)
				next++
			}
			c.pass(100 * bft.Millisecond)
		}
	}
}

// TestOldOpensAreNoCover: the primary proposes nothing but OPENs that were executed long ago, each so that it
// is known here when it is proposed and forgotten when it is decided. Others must be served all the same.
func TestOldOpensAreNoCover(t *testing.T) {
	c := opened(t)
	victim, liar := bft.ClientID{2}, bft.ClientID{7}
	const opens, base = 5, 1 << 32
	for i := range uint64(opens) {
		c.clientOf(liar, wire.KindRequest, 0, base+i, 0)
		c.run("open", c.answered(base+i, 4))
	}
	next := c.committed() + 1
	c.boxes[0].dead = true
	c.clientOf(victim, wire.KindRetry, 0, 1<<31, 1, 2, 3)
	var last *pbft.PrePrepare
	for n, end := uint64(0), c.now+6*bft.Second; c.view() == 0; n++ {
		if c.now > end {
			t.Fatal("nobody was served in six seconds, and nobody suspects the primary")
		}
		m := c.prePrepare(next, c.open(liar, base+n%opens))
		c.say(m, 1, 2)
		if last != nil {
			c.say(&pbft.Commit{Seq: last.Seq, Digest: last.Digest}, 1, 2)
		}
		last, next = m, next+1
		c.pass(200 * bft.Millisecond)
	}
	c.run("the next primary serves", c.answered(1<<31, 3))
}

// TestSessionOfEarlyRequestsIsServed: a client has requests ordered in the name of a session that does not exist yet, opens
// it, and repeats them to replicas of which one has a younger filter than the others. They are executed,
// and no correct primary is suspected.
func TestSessionOfEarlyRequestsIsServed(t *testing.T) {
	c := opened(t)
	early := bft.ClientID{7}
	session := uint64(c.committed()) + 4
	for i := range uint64(3) {
		c.clientOf(early, wire.KindRequest, session, i, 0)
		c.pass(50 * bft.Millisecond)
	}
	for i := uint64(0); uint64(c.committed())+1 < session; i++ {
		c.client(wire.KindRequest, 1, i, 0)
		c.run("filler", c.answered(i, 4))
	}
	if uint64(c.committed())+1 != session {
		t.Fatalf("slot %d was to be next, %d is decided", session, c.committed())
	}
	c.clientOf(early, wire.KindRequest, 0, 1<<32, 0)
	c.run("open", c.answered(1<<32, 4))
	c.boxes[3].dead = true // for more than a window
	for i := uint64(20); i < 60; i++ {
		c.client(wire.KindRequest, 1, i, 0)
		c.run("others", c.answered(i, 3))
	}
	late := c.boxes[3]
	late.dead = false
	c.run("back", func() bool { return late.node.Status().Protocol.Committed == c.committed() })
	before := c.boxes[1].executor.Counts().Executed
	c.clientOf(early, wire.KindRequest, session, 0, 3)
	c.pass(3 * bft.Second)
	c.clientOf(early, wire.KindRetry, session, 1, 0, 1, 2, 3)
	c.pass(3 * bft.Second)
	if got := c.boxes[1].executor.Counts().Executed - before; got != 2 || c.view() != 0 {
		t.Fatalf("%d of 2 operations are executed, in view %d", got, c.view())
	}
}

// TestKeptRequestsAreNoCover: the primary has kept the requests of more sessions than the filter holds. It repeats
// them in turn, those of the starved client among them, so that each passes for new here. With nothing
// else in its batches it is silent; if it serves one client besides, it starves the other.
func TestKeptRequestsAreNoCover(t *testing.T) {
	for _, test := range []struct {
		name   string
		serves bool
		each   int // repeats in a batch
		every  bft.Duration
	}{
		{"much that is old", false, 3, 50 * bft.Millisecond},
		{"now and then what is old", false, 1, 300 * bft.Millisecond},
		{"one client is served", true, 3, 50 * bft.Millisecond},
	} {
		c := opened(t)
		var kept [][]byte
		for i := range 24 {
			id := bft.ClientID{byte(20 + i)}
			kept = append(kept, c.envelope(id, id, c.session(id, 1<<31+uint64(i)), uint64(100+i)))
			c.clientOf(id, wire.KindRequest, uint64(c.committed()), uint64(100+i), 0)
			c.run("operation", c.answered(uint64(100+i), 4))
		}
		victim, session, liar := bft.ClientID{43}, uint64(c.committed())-1, bft.ClientID{7}
		ours := c.session(liar, 1<<32)
		next := c.committed() + 1
		c.boxes[0].dead = true
		c.clientOf(victim, wire.KindRetry, session, 200, 1, 2, 3)
		for n, end := 0, c.now+3*bft.Second; c.view() == 0; n++ {
			if c.now > end {
				t.Fatalf("%s: nobody suspects the primary", test.name)
			}
			var batch [][]byte
			for i := range test.each {
				batch = append(batch, kept[(n+8*i)%len(kept)])
			}
			if test.serves {
				batch = append(batch, c.next(liar, ours, uint64(1000+n)))
			}
			c.say(c.prePrepare(next, batch...), 1, 2, 3)
			next++
			c.pass(test.every)
		}
		for _, b := range c.boxes[1:] {
			if s := b.node.Status(); s.Counts.Overdue == 0 {
				t.Errorf("%s: %v did not suspect: %v", test.name, b.id, s.Protocol.ViewChanges)
			}
		}
		c.run("the next primary serves", c.answered(200, 3))
	}
}

// session opens a session and returns its number.
func (c *cluster) session(id bft.ClientID, nonce uint64) uint64 {
	c.clientOf(id, wire.KindRequest, 0, nonce, 0)
	c.run("open", c.answered(nonce, 4))
	return uint64(c.committed())
}
