package pbft

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// tags is the signature scheme of these tests: the tag names its signer, so that a wrong
// signer, a changed message and a missing signature all fail.
type tags struct{}

func (tags) sign(id bft.ReplicaID, msg []byte) []byte {
	d := wire.DigestOf(fmt.Sprintf("tag %d", id), msg)
	return d[:8]
}

func (t tags) VerifyReplica(id bft.ReplicaID, msg, sig []byte) bool {
	return string(t.sign(id, msg)) == string(sig)
}

// packet is a message on its way.
type packet struct {
	from, to bft.ReplicaID
	kind     wire.Kind
	payload  []byte
}

// cluster drives n cores over an ordered network with no delay, with instant execution whose
// state is the hash of what was executed. It is the smallest driver that honours the contract.
type cluster struct {
	t       testing.TB
	m       *bft.Membership
	codec   *Codec
	nodes   []*node
	net     []packet
	drop    func(packet) bool // nil: nothing is lost
	log     func(string)      // for golden conversations
	counter uint64
	screens int // messages held against Screen
}

type node struct {
	id      bft.ReplicaID
	core    *Core
	out     protocol.Effects
	dead    bool
	log     []protocol.Record
	state   []bft.Digest // state[n] after slot n
	batches []bft.Digest // executed batch of slot n
	timers  map[protocol.Timer]bft.Duration
	wants   bool // a Propose is outstanding
	view    bft.View
	catchUp *protocol.Target
	rejects map[protocol.Reason]int

	unsigned bool                 // NEW-VIEWs of its own leave, and come back when release is called
	signed   []protocol.Certified // that wait for it

	hint     protocol.Hint // what a verify stage may know of the core: now and then refreshed
	refusals int           // messages that Screen refused
}

func membership(n, f int) *bft.Membership {
	return &bft.Membership{
		Protocol: "pbft", App: "test", F: f, Scheme: "test", Replicas: make([]bft.Replica, n),
		CheckpointEvery: 4, Window: 8, InFlight: 2, BatchCount: 10, BatchBytes: 1 << 16, Sessions: 16,
	}
}

func newCluster(t testing.TB, n, f int) *cluster {
	c := &cluster{t: t, m: membership(n, f)}
	c.codec = NewCodec(c.m)
	for i := range n {
		c.nodes = append(c.nodes, &node{id: bft.ReplicaID(i), state: []bft.Digest{{}}, batches: []bft.Digest{{}}})
		c.boot(bft.ReplicaID(i))
	}
	c.run()
	return c
}

func (c *cluster) boot(id bft.ReplicaID) {
	x := c.nodes[id]
	x.dead, x.timers, x.wants = false, map[protocol.Timer]bft.Duration{}, false
	x.state, x.batches, x.rejects = x.state[:1], x.batches[:1], map[protocol.Reason]int{}
	x.hint = protocol.Hint{}
	x.out.Reset()
	cfg := protocol.Config{
		Self: id, Membership: c.m, Patience: bft.Second, NewViewPatience: bft.Second,
		PatienceMax: 8 * bft.Second, Resend: bft.Second / 10,
	}
	x.core = New(cfg, protocol.Boot{Records: x.log}, &x.out).(*Core)
	c.effects(x)
}

func (c *cluster) step(x *node, ev protocol.Event) {
	c.t.Helper()
	x.out.Reset()
	x.core.Step(ev, &x.out)
	if err := x.core.CheckInvariants(); err != nil {
		c.t.Fatalf("%s after %T: %v", x.id, ev, err)
	}
	c.effects(x)
}

// effects meets the obligations of the last step in their order.
func (c *cluster) effects(x *node) {
	for _, r := range x.out.Persist {
		r.Data = append([]byte(nil), r.Data...)
		x.log = append(x.log, r)
	}
	var later []protocol.Event
	for _, o := range x.out.Send {
		m := o.Msg
		if o.Certify {
			s := m.(protocol.Signed)
			m = s.WithSignature(tags{}.sign(x.id, c.codec.AppendSigned(nil, s)))
			if back := (protocol.Certified{Msg: m}); x.unsigned && m.Kind() == KindNewView {
				x.signed = append(x.signed, back)
			} else {
				later = append(later, back)
			}
		}
		for to := range o.To.All() {
			c.net = append(c.net, packet{from: x.id, to: to, kind: m.Kind(), payload: c.codec.Append(nil, m)})
		}
	}
	for _, k := range x.out.Commit {
		later = append(later, c.execute(x, k)...)
	}
	for _, op := range x.out.Timers {
		delete(x.timers, op.Timer)
		if op.After > 0 {
			x.timers[op.Timer] = op.After
		}
	}
	if p := x.out.Propose; p != nil {
		x.wants, x.view = true, p.View
	}
	for _, f := range x.out.Fetch {
		if src := c.nodes[f.From]; !src.dead {
			if b := src.core.Body(f.Digest); b != nil {
				later = append(later, protocol.BodyArrived{Digest: f.Digest, Body: b})
			}
		}
	}
	for _, r := range x.out.Reject {
		x.rejects[r.Reason]++
	}
	if t := x.out.CatchUp; t != nil {
		x.catchUp = t
	}
	for _, ev := range later {
		c.step(x, ev)
	}
}

func (c *cluster) execute(x *node, k protocol.Committed) []protocol.Event {
	if int(k.Seq) != len(x.state) {
		c.t.Fatalf("%s executes slot %d after slot %d", x.id, k.Seq, len(x.state)-1)
	}
	x.state = append(x.state, wire.DigestOf("state", append(x.state[k.Seq-1][:], k.Digest[:]...)))
	x.batches = append(x.batches, k.Digest)
	if k.Seq%c.m.CheckpointEvery == 0 {
		return []protocol.Event{protocol.Executed{Seq: k.Seq, Digest: x.state[k.Seq]}}
	}
	return nil
}

// run delivers until nothing is on its way.
func (c *cluster) run() {
	for steps := 0; len(c.net) > 0; steps++ {
		if steps > 200000 {
			c.t.Fatal("the network never becomes quiet")
		}
		p := c.net[0]
		c.net = c.net[1:]
		c.deliver(p)
	}
}

func (c *cluster) deliver(p packet) {
	x := c.nodes[p.to]
	if x.dead || c.drop != nil && c.drop(p) {
		return
	}
	m, err := c.codec.Decode(p.kind, p.payload)
	if err != nil {
		c.t.Fatalf("decode kind %d: %v", p.kind, err)
	}
	v, reason := protocol.Verify(c.codec, p.from, m, tags{})
	if reason != protocol.ReasonNone {
		x.rejects[reason]++
		return
	}
	if !c.screened(x, m, v) {
		c.step(x, protocol.Received{Verified: v})
	}
}

// screened holds what Screen refuses on a hint that may be old against the core: it must reject
// the message and do nothing else.
func (c *cluster) screened(x *node, m protocol.Message, v protocol.Verified) bool {
	c.t.Helper()
	if c.screens++; c.screens%3 == 0 {
		st := x.core.Status()
		x.hint = protocol.Hint{View: st.View, Active: st.Active, Stable: st.Stable, High: st.High}
	}
	if c.codec.Screen(m, x.hint).Refuse == protocol.ReasonNone {
		return false
	}
	x.refusals++
	x.out.Reset()
	x.core.Step(protocol.Received{Verified: v}, &x.out)
	o := &x.out
	if len(o.Reject) != 1 || len(o.Send)+len(o.Persist)+len(o.Commit)+len(o.Timers)+len(o.Fetch)+len(o.Evidence) != 0 ||
		o.Propose != nil || o.Stable != nil || o.CatchUp != nil {
		c.t.Fatalf("%s at %+v: Screen refused %+v of %s, and the core made of it %+v", x.id, x.hint, m, v.From(), *o)
	}
	c.effects(x)
	return true
}

// request gives the primary of its view one batch.
func (c *cluster) request() {
	for _, x := range c.nodes {
		if x.wants && !x.dead && x.core.leads() && x.view == x.core.view {
			c.counter++
			b := binary.LittleEndian.AppendUint64(make([]byte, 12), c.counter)
			x.wants = false
			c.step(x, protocol.Proposed{View: x.view, Digest: wire.BodyDigest(b), Body: b})
			return
		}
	}
}

// fire lets a timer fire at a replica if it is set.
func (c *cluster) fire(id bft.ReplicaID, t protocol.Timer) {
	x := c.nodes[id]
	if _, ok := x.timers[t]; !ok || x.dead {
		return
	}
	if t == protocol.TimerPatience {
		c.step(x, protocol.Overdue{View: x.core.view, Cause: protocol.CauseSilence})
		return
	}
	delete(x.timers, t)
	c.step(x, protocol.TimerFired{Timer: t})
}

func (c *cluster) fireAll(t protocol.Timer) {
	for i := range c.nodes {
		c.fire(bft.ReplicaID(i), t)
	}
}

// agree fails if two replicas executed different batches in a slot.
func (c *cluster) agree() {
	for _, x := range c.nodes {
		for _, y := range c.nodes {
			for n := 1; n < min(len(x.batches), len(y.batches)); n++ {
				if x.batches[n] != y.batches[n] {
					c.t.Fatalf("slot %d: %s executed %s, %s executed %s", n, x.id, x.batches[n], y.id, y.batches[n])
				}
			}
		}
	}
}

// reach fails unless every live replica committed slot n.
func (c *cluster) reach(n bft.SeqNum) {
	c.t.Helper()
	c.agree()
	for _, x := range c.nodes {
		if !x.dead && x.core.committed < n {
			c.t.Fatalf("%s committed %d, want %d: %+v", x.id, x.core.committed, n, x.core.Status())
		}
	}
}

func TestNormalCaseAndCheckpoints(t *testing.T) {
	for _, n := range []int{4, 5, 6, 7, 10} {
		c := newCluster(t, n, (n-1)/3)
		for range 30 {
			c.request()
			c.run()
		}
		c.reach(30)
		for _, x := range c.nodes {
			if x.core.stable.Seq != 28 {
				t.Fatalf("n=%d: %s is stable at %d, want 28", n, x.id, x.core.stable.Seq)
			}
		}
	}
}

func TestPrimaryDiesAndReturns(t *testing.T) {
	c := newCluster(t, 4, 1)
	for range 6 {
		c.request()
		c.run()
	}
	c.nodes[0].dead = true
	c.fireAll(protocol.TimerPatience)
	c.run()
	for range 10 {
		c.request()
		c.run()
	}
	c.reach(16)
	if v := c.nodes[1].core.view; v != 1 {
		t.Fatalf("view %d, want 1", v)
	}
	c.boot(0)
	for range 10 {
		c.run()
		c.fireAll(timerStatus)
		c.fireAll(timerFetch)
	}
	if x := c.nodes[0]; x.core.view != 1 || !x.core.active {
		t.Fatalf("the old primary did not enter view 1: %+v", x.core.Status())
	}
	if x := c.nodes[0]; x.catchUp == nil && x.core.committed < 16 {
		t.Fatalf("the old primary neither caught up nor asked for state: %+v", x.core.Status())
	}
}

// installs gives a replica the state that it asked for, from another.
func (c *cluster) installs(to, from bft.ReplicaID) {
	c.t.Helper()
	x, y := c.nodes[to], c.nodes[from]
	if x.catchUp == nil || x.catchUp.Digest != y.state[x.catchUp.Seq] {
		c.t.Fatalf("%s asks for %+v: %+v", x.id, x.catchUp, x.core.Status())
	}
	at := x.catchUp.Seq
	x.state, x.batches = slices.Clone(y.state[:at+1]), slices.Clone(y.batches[:at+1])
	c.step(x, protocol.Installed{Seq: at, Digest: x.state[at]})
}

// installAll gives every replica that asked for a state that state, if another has it.
func (c *cluster) installAll() {
	for _, x := range c.nodes {
		for _, y := range c.nodes {
			if x.catchUp != nil && y != x && int(x.catchUp.Seq) < len(y.state) && y.state[x.catchUp.Seq] == x.catchUp.Digest {
				c.installs(x.id, y.id)
				x.catchUp = nil
			}
		}
	}
}

func TestLossyViewChanges(t *testing.T) {
	for seed := range uint64(300) {
		c := newCluster(t, 4, 1)
		rng := seed*0x9e3779b97f4a7c15 + 1
		next := func(n uint64) uint64 {
			rng ^= rng << 13
			rng ^= rng >> 7
			rng ^= rng << 17
			return rng % n
		}
		lossy := true
		c.drop = func(packet) bool { return lossy && next(100) < 30 }
		for range 40 {
			c.request()
			c.run()
			c.fire(bft.ReplicaID(next(4)), protocol.Timer(next(4)))
			if next(3) == 0 {
				c.fireAll(timerStatus)
			}
			if next(20) == 0 {
				c.boot(bft.ReplicaID(next(4)))
			}
			c.run()
			c.agree()
		}
		lossy = false
		before := c.nodes[0].core.committed
		for range 40 {
			c.fireAll(timerStatus)
			c.fireAll(timerFetch)
			c.run()
			c.fireAll(timerNewView)
			c.run()
			c.installAll()
			c.request()
			c.run()
		}
		c.agree()
		if now := c.nodes[0].core.committed; now <= before {
			t.Fatalf("seed %d: stuck at slot %d: %+v", seed, now, c.nodes[0].core.Status())
		}
	}
}
