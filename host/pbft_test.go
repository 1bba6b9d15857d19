package host_test

import (
	"testing"

	"github.com/themis-bft/themis/app/counter"
	"github.com/themis-bft/themis/auth/ideal"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/exec"
	"github.com/themis-bft/themis/host"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/wire"
)

// box is one replica without threads: verifier, node and execute stage.
type box struct {
	id       bft.ReplicaID
	node     *host.Node
	verifier *host.Verifier
	executor *exec.Executor
	out      host.Output
	done     exec.Output
	replies  map[uint64]int // with a result, to the number of the operation
	dead     bool
}

func (b *box) word(q *wire.Request) host.Word {
	worked, served := b.executor.Work(q)
	return host.Word{Executed: b.executor.Executed(), Worked: worked, Served: served}
}

// cluster drives boxes on one clock, with a network that loses nothing and keeps order.
type cluster struct {
	t     *testing.T
	m     *bft.Membership
	auth  *ideal.Authority
	codec protocol.Codec
	boxes []*box
	now   bft.Duration
	queue []frame
	lose  func(frame) bool // nil: nothing is lost
}

type frame struct {
	from, to bft.ReplicaID
	kind     wire.Kind
	payload  []byte
}

func newCluster(t *testing.T) *cluster {
	m := &bft.Membership{
		Protocol: "pbft", App: "counter", F: 1, Replicas: make([]bft.Replica, 4), Open: true, CheckpointEvery: 4,
		Window: 8, InFlight: 2, BatchCount: 8, BatchBytes: 64 << 10, Sessions: 16, TimeSkew: 10 * bft.Second, // the nonces of OPENs are small here, hence of a time near 0
	}
	c := &cluster{t: t, m: m, auth: ideal.New(3, m), codec: pbft.NewCodec(m)}
	for i := range m.N() {
		id := bft.ReplicaID(i)
		b := &box{id: id, replies: map[uint64]int{}, verifier: host.NewVerifier(m, c.codec, c.auth, 256)}
		b.executor = exec.New(m, id, counter.New(), c.auth.Admits, nil)
		genesis := b.executor.Genesis()
		cfg := protocol.Config{
			Self: id, Membership: m, Patience: bft.Second / 2, NewViewPatience: bft.Second / 2,
			PatienceMax: 8 * bft.Second, Resend: bft.Second / 5,
		}
		b.node = host.New(host.Options{
			Protocol: cfg, New: pbft.New, Held: genesis,
			Boot: protocol.Boot{State: genesis.Digest()},
		}, &b.out)
		c.boxes = append(c.boxes, b)
		c.meet(b)
	}
	return c
}

func (c *cluster) at() host.Instant { return host.Instant{Mono: c.now, Wall: bft.Time(c.now)} }

// meet meets the obligations of a box's output, and of what follows from that.
func (c *cluster) meet(b *box) {
	for !b.out.Empty() {
		o := b.out
		b.out = host.Output{}
		for _, f := range o.Frames {
			c.queue = append(c.queue, frame{b.id, f.To, wire.Kind(f.Bytes[4]), f.Bytes[wire.FrameHeaderBytes:]})
		}
		for _, s := range o.Send {
			c.send(b, s)
		}
		for _, x := range o.Commit {
			b.executor.Execute(x, &b.done)
		}
		if o.Install != nil {
			if held, err := b.executor.Install(o.Install, false); err == nil {
				b.node.Handle(c.at(), host.Installed{Held: held}, &b.out)
			}
		}
		for _, l := range o.Lookup {
			switch known := b.executor.Lookup(&l.Request, !l.Relay, c.at().Wall, &b.done); {
			case !known:
				b.node.Handle(c.at(), host.Unexecuted{Request: l.Request, Relay: l.Relay, Word: b.word(&l.Request)}, &b.out)
			case l.Doubt:
				b.node.Handle(c.at(), host.Known{Key: l.Request.Key()}, &b.out)
			}
		}
		for _, r := range b.done.Replies {
			if r.Status == wire.StatusOK {
				b.replies[r.Number]++
			}
		}
		for _, held := range b.done.Checkpoints {
			b.node.Handle(c.at(), host.Checkpoint{Held: held}, &b.out)
		}
		b.done.Reset()
	}
}

func (c *cluster) send(b *box, s protocol.Outgoing) {
	if s.Certify {
		m := s.Msg.(protocol.Signed)
		s.Msg = m.WithSignature(c.auth.Replica(b.id).Sign(nil, c.codec.AppendSigned(nil, m)))
		b.node.Handle(c.at(), host.Certified{Msg: s.Msg}, &b.out)
	}
	payload := c.codec.Append(nil, s.Msg)
	for to := range s.To.All() {
		c.queue = append(c.queue, frame{b.id, to, s.Msg.Kind(), payload})
	}
}

// run delivers and ticks until the condition holds, or fails.
func (c *cluster) run(what string, until func() bool) {
	c.t.Helper()
	for end := c.now + 20*bft.Second; !until(); {
		if c.now > end {
			for _, b := range c.boxes {
				c.t.Logf("%v: %+v", b.id, b.node.Status())
			}
			c.t.Fatalf("%s: not within 20 s", what)
		}
		for len(c.queue) > 0 {
			f := c.queue[0]
			c.queue = c.queue[1:]
			if c.lose != nil && c.lose(f) {
				continue
			}
			if b := c.boxes[f.to]; !b.dead && !c.boxes[f.from].dead {
				b.node.Handle(c.at(), b.verifier.Peer(f.from, f.kind, f.payload, c.at().Wall), &b.out)
				c.meet(b)
				c.tick(b)
			}
		}
		c.now += 5 * bft.Millisecond
		for _, b := range c.boxes {
			c.tick(b)
		}
	}
}

func (c *cluster) tick(b *box) {
	for !b.dead {
		at, ok := b.node.Deadline()
		if !ok || at > c.now {
			return
		}
		b.node.Tick(c.at(), &b.out)
		c.meet(b)
	}
}

// client sends an envelope to replicas.
func (c *cluster) client(kind wire.Kind, session, number uint64, to ...bft.ReplicaID) {
	c.clientOf(bft.ClientID{1}, kind, session, number, to...)
}

// clientOf does so in the name of a client.
func (c *cluster) clientOf(id bft.ClientID, kind wire.Kind, session, number uint64, to ...bft.ReplicaID) {
	r := wire.Request{Client: id, Session: session, First: number, Answer: bft.AllReplicas(4), Ops: [][]byte{counter.Add(1)}}
	if session == 0 {
		r.Flags, r.Ops = wire.FlagOpen, [][]byte{{}}
	}
	r.Sig = c.auth.Client(id).Sign(nil, r.AppendSigned(nil, wire.ClientDomain(c.m)))
	payload := r.Append(nil)
	for _, x := range to {
		b := c.boxes[x]
		in, reason := b.verifier.Client(id, kind, payload)
		if reason != protocol.ReasonNone {
			c.t.Fatalf("request %d: %v", number, reason)
		}
		b.node.Handle(c.at(), in, &b.out)
		c.meet(b)
	}
}

func (c *cluster) answered(number uint64, by int) func() bool {
	return func() bool {
		n := 0
		for _, b := range c.boxes {
			if b.replies[number] > 0 && !b.dead {
				n++
			}
		}
		return n >= by
	}
}

// Nodes with PBFT order what a client asks of the primary, get over the death of the primary
// when the client asks everybody, and bring back who was away.
func TestNodesWithPBFT(t *testing.T) {
	c := newCluster(t)
	const nonce = 77
	c.client(wire.KindRequest, 0, nonce, 0)
	c.run("open", c.answered(nonce, 4))
	session := uint64(1)
	for i := range uint64(20) {
		c.client(wire.KindRequest, session, i, 0)
		c.run("primary", c.answered(i, 4))
	}
	c.client(wire.KindRequest, session, 20, 2)
	c.run("a backup tells the primary", c.answered(20, 4))
	for _, b := range c.boxes {
		if s := b.node.Status(); s.Protocol.View != 0 || s.Pending != 0 {
			t.Fatalf("%v: view %d, %d pending", b.id, s.Protocol.View, s.Pending)
		}
	}
	c.boxes[0].dead = true
	c.client(wire.KindRetry, session, 21, 1, 2, 3)
	c.run("view change", c.answered(21, 3))
	for i := uint64(22); i < 60; i++ {
		c.client(wire.KindRequest, session, i, 1)
		c.run("new primary", c.answered(i, 3))
	}
	c.boxes[0].dead = false
	for _, b := range c.boxes[1:] {
		b.node.Handle(c.at(), host.PeerUp{Peer: 0}, &b.out)
		c.boxes[0].node.Handle(c.at(), host.PeerUp{Peer: b.id}, &c.boxes[0].out)
	}
	c.client(wire.KindRequest, session, 60, 1)
	c.run("the old primary is back", func() bool {
		return c.boxes[0].node.Status().Protocol.Committed == c.boxes[1].node.Status().Protocol.Committed
	})
	for _, b := range c.boxes {
		for from, reasons := range b.node.Status().Rejections {
			for r, n := range reasons {
				if protocol.Reason(r).Faulty() && n > 0 {
					t.Errorf("%v rejected %d frames of replica %d: %v", b.id, n, from, protocol.Reason(r))
				}
			}
		}
		if b.replies[5] != 1 {
			t.Errorf("%v answered operation 5 %d times", b.id, b.replies[5])
		}
	}
}

// TestServingWhatHasNoRoomIsUnfair: one client fills its queue at the backups, and a faulty primary
// proposes nothing but ever new OPENs of that client, which find no room there. Everybody else must be
// served by the next primary.
func TestServingWhatHasNoRoomIsUnfair(t *testing.T) {
	c := opened(t)
	starved, liar, nonce := bft.ClientID{2}, bft.ClientID{7}, uint64(1<<31)
	c.lose = func(f frame) bool { return f.to == 0 && f.kind == wire.KindRelay }
	for i := range bft.RequestsPerSessionMax {
		c.clientOf(liar, wire.KindRequest, 0, uint64(1<<36)+uint64(i), 1, 2, 3)
	}
	c.clientOf(starved, wire.KindRetry, 0, nonce, 1, 2, 3)
	for n := range uint64(100) {
		if c.answered(nonce, 3)() {
			return
		}
		fresh := 1<<35 + n
		c.clientOf(liar, wire.KindRequest, 0, fresh, 0)
		c.run("the liar's OPEN", c.answered(fresh, 1))
		until := c.now + 40*bft.Millisecond
		c.run("time", func() bool { return c.now >= until })
	}
	t.Fatal("a client was not served in four seconds")
}
