package pbft

import (
	"slices"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
)

// chaos is a cluster whose replicas crash between any two records of a step, restart from their
// last snapshot with a log that was cut there, and install states that they asked for.
type chaos struct {
	*cluster
	rng   uint64
	snaps []snap
	loss  uint64 // per cent
	crash uint64 // of 1000 deliveries
}

// snap is what a disk holds beside the log.
type snap struct {
	state, batches []bft.Digest
}

func newChaos(t *testing.T, seed uint64, n int) *chaos {
	c := &chaos{cluster: newCluster(t, n, 1), rng: seed*0x9e3779b97f4a7c15 + 1}
	for range c.nodes {
		c.snaps = append(c.snaps, snap{state: []bft.Digest{{}}, batches: []bft.Digest{{}}})
	}
	return c
}

func (c *chaos) next(n uint64) uint64 {
	c.rng ^= c.rng << 13
	c.rng ^= c.rng >> 7
	c.rng ^= c.rng << 17
	return c.rng % n
}

// snapshot writes the stable state of a replica and cuts its log there.
func (c *chaos) snapshot(x *node) {
	at := x.core.stable.Seq
	if x.core.diverged || int(at) >= len(x.state) || int(at) < len(c.snaps[x.id].state) {
		return
	}
	c.snaps[x.id] = snap{slices.Clone(x.state[:at+1]), slices.Clone(x.batches[:at+1])}
	latest := map[uint8]int{}
	for i, r := range x.log {
		latest[uint8(r.Kind)] = i
	}
	var kept []protocol.Record
	for i, r := range x.log {
		if r.Kind.Latest() && latest[uint8(r.Kind)] == i || !r.Kind.Latest() && r.Seq > at {
			kept = append(kept, r)
		}
	}
	x.log = kept
}

// restart boots a replica from its disk.
func (c *chaos) restart(x *node) {
	s := c.snaps[x.id]
	cfg := x.core.cfg
	x.dead, x.timers, x.wants, x.catchUp = false, map[protocol.Timer]bft.Duration{}, false, nil
	x.state, x.batches = slices.Clone(s.state), slices.Clone(s.batches)
	x.out.Reset()
	at := bft.SeqNum(len(s.state) - 1)
	x.core = New(cfg, protocol.Boot{Records: x.log, Executed: at, State: s.state[at]}, &x.out).(*Core)
	if err := x.core.CheckInvariants(); err != nil {
		c.t.Fatalf("%s after its restart: %v", x.id, err)
	}
	c.effects(x)
}

// tear steps one event of which a crash leaves only some records.
func (c *chaos) tear(x *node, ev protocol.Event) {
	x.out.Reset()
	x.core.Step(ev, &x.out)
	for _, r := range x.out.Persist[:c.next(uint64(len(x.out.Persist)+1))] {
		r.Data = slices.Clone(r.Data)
		x.log = append(x.log, r)
	}
	if c.next(2) == 0 {
		x.dead = true // for a while
		return
	}
	c.restart(x)
}

// install delivers a state that was asked for, unless execution has overtaken it.
func (c *chaos) install(x *node) {
	t := x.catchUp
	if t == nil || x.dead {
		return
	}
	for _, y := range c.nodes {
		if n := int(t.Seq); !y.dead && n < len(y.state) && y.state[n] == t.Digest && y != x {
			x.catchUp = nil
			if n < len(x.state) {
				return
			}
			x.state, x.batches = slices.Clone(y.state[:n+1]), slices.Clone(y.batches[:n+1])
			c.step(x, protocol.Installed{Seq: t.Seq, Digest: t.Digest})
			return
		}
	}
}

// storm runs for a while with losses and crashes; at most one replica is down at a time.
func (c *chaos) storm() {
	for range 60 {
		c.request()
		c.drain()
		x := c.nodes[c.next(uint64(len(c.nodes)))]
		switch c.next(9) {
		case 0:
			c.fireAll(timerStatus)
		case 1:
			c.fire(x.id, protocol.TimerPatience)
		case 2:
			c.fire(x.id, timerNewView)
		case 3:
			c.fire(x.id, timerFetch)
		case 4:
			c.install(x)
		case 7:
			c.fire(x.id, timerStalled)
		case 5:
			if !x.dead {
				c.snapshot(x)
			}
		case 6:
			for _, y := range c.nodes {
				if y.dead {
					c.restart(y)
				}
			}
		}
		c.drain()
		c.agree()
	}
}

// drain delivers what is on its way, in any order, and loses and crashes.
func (c *chaos) drain() {
	for steps := 0; len(c.net) > 0 && steps < 100000; steps++ {
		i := int(c.next(uint64(min(len(c.net), 8))))
		p := c.net[i]
		c.net = slices.Delete(c.net, i, i+1)
		x := c.nodes[p.to]
		if x.dead || c.next(100) < c.loss {
			continue
		}
		if c.next(1000) < c.crash && !slices.ContainsFunc(c.nodes, func(y *node) bool { return y.dead }) {
			m, _ := c.codec.Decode(p.kind, p.payload)
			if v, r := protocol.Verify(c.codec, p.from, m, tags{}); r == protocol.ReasonNone {
				c.tear(x, protocol.Received{Verified: v})
			}
			continue
		}
		c.deliver(p)
	}
}

// heal ends all faults but one dead replica, if down, and wants progress of all others.
func (c *chaos) heal(seed uint64, down int) {
	c.loss, c.crash, c.drop = 0, 0, nil
	for i, x := range c.nodes {
		if i == down {
			x.dead = true
		} else if x.dead {
			c.restart(x)
		}
	}
	goal := bft.SeqNum(0)
	for _, x := range c.nodes {
		goal = max(goal, x.core.committed+20)
	}
	for round := range 400 {
		c.fireAll(timerStatus)
		c.drain()
		c.fireAll(timerFetch)
		c.drain()
		for _, x := range c.nodes {
			c.install(x)
		}
		c.drain()
		c.request()
		c.drain()
		done := true
		for _, x := range c.nodes {
			done = done && (x.dead || x.core.committed >= goal)
		}
		if done {
			c.agree()
			return
		}
		if round%20 == 19 { // patience ends, at the silent ones first
			c.fireAll(timerNewView)
			c.drain()
			c.fireAll(protocol.TimerPatience)
			c.drain()
		}
	}
	for _, x := range c.nodes {
		c.t.Logf("%s dead=%t wants=%t catchUp=%+v %+v", x.id, x.dead, x.wants, x.catchUp, x.core.Status())
	}
	c.t.Fatalf("seed %d: not everybody reached slot %d", seed, goal)
}

// TestChaos: whatever crashed, tore and got lost, no two replicas execute different batches, and
// once it is over the living make progress, with one replica down as with none.
func TestChaos(t *testing.T) {
	seeds := uint64(100)
	if testing.Short() {
		seeds = 30
	}
	refusals := 0
	for seed := range seeds {
		n := 4 + int(seed%3)
		c := newChaos(t, seed, n)
		c.loss, c.crash = seed%5*8, seed%7*3
		for range 3 {
			c.storm()
			c.heal(seed, int(c.next(uint64(n+2))))
			c.loss, c.crash = seed%5*8, seed%7*3
		}
		for _, x := range c.nodes {
			refusals += x.refusals
		}
	}
	if refusals == 0 {
		t.Error("Screen refused nothing: it was not tried")
	}
}
