// Package protocoltest is the conformance suite of protocols: Run drives any protocol.Family
// through a small deterministic cluster and holds it against the contract in package protocol.
// It owns the cluster of each case; everything runs on the test's goroutine.
package protocoltest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/wire"
)

// tags signs by naming the signer in a digest: a wrong signer or a changed message fails.
type tags struct{}

func (tags) sign(id bft.ReplicaID, msg []byte) []byte {
	d := wire.DigestOf(fmt.Sprintf("tag %d", id), msg)
	return d[:16]
}

// VerifyReplica makes tags a protocol.SignatureVerifier.
func (t tags) VerifyReplica(id bft.ReplicaID, msg, sig []byte) bool {
	return bytes.Equal(t.sign(id, msg), sig)
}

type packet struct {
	from, to bft.ReplicaID
	kind     wire.Kind
	payload  []byte
}

// driver is a cluster of one protocol over an ordered network without delay.
type driver struct {
	t       *testing.T
	family  protocol.Family
	members *bft.Membership
	codec   protocol.Codec
	nodes   []*node
	net     []packet
	seen    map[wire.Kind][]byte // one payload of each kind that was sent
	trace   []byte               // everything that was sent, for determinism
	batches uint64
}

type node struct {
	id     bft.ReplicaID
	core   protocol.Protocol
	dead   bool
	log    []protocol.Record
	done   []bft.Digest // committed batches from slot 1 on
	state  bft.Digest
	timers []protocol.Timer // set, ascending
	view   bft.View
	wants  bool
}

func start(t *testing.T, family protocol.Family, m *bft.Membership) *driver {
	d := &driver{t: t, family: family, members: m, codec: family.Codec(m), seen: map[wire.Kind][]byte{}}
	for i := range m.N() {
		d.nodes = append(d.nodes, &node{id: bft.ReplicaID(i)})
		d.boot(d.nodes[i])
	}
	d.run()
	return d
}

// boot starts a node from its log, with the application at its initial state.
func (d *driver) boot(x *node) {
	x.dead, x.wants, x.timers, x.done, x.state = false, false, nil, nil, bft.Digest{}
	var out protocol.Effects
	x.core = d.family.New(protocol.Config{
		Self: x.id, Membership: d.members, Patience: bft.Second, NewViewPatience: bft.Second,
		PatienceMax: 8 * bft.Second, Resend: bft.Second / 10,
	}, protocol.Boot{Records: x.log}, &out)
	d.meet(x, &out)
}

func (d *driver) step(x *node, ev protocol.Event) {
	var out protocol.Effects
	x.core.Step(ev, &out)
	d.meet(x, &out)
}

// meet holds the effects of a step against the contract and meets them in their order.
func (d *driver) meet(x *node, out *protocol.Effects) {
	d.t.Helper()
	for _, r := range out.Persist {
		if r.Kind == 0 || r.Kind > storage.RecordKindMax {
			d.t.Fatalf("record of kind %d: the log knows 1 to %d", r.Kind, storage.RecordKindMax)
		}
		r.Data = bytes.Clone(r.Data)
		x.log = append(x.log, r)
	}
	var later []protocol.Event
	for _, o := range out.Send {
		later = append(later, d.send(x, o)...)
	}
	for _, c := range out.Commit {
		later = append(later, d.execute(x, c)...)
	}
	for _, op := range out.Timers {
		x.timers = slices.DeleteFunc(x.timers, func(t protocol.Timer) bool { return t == op.Timer })
		if op.After > 0 {
			x.timers = append(x.timers, op.Timer)
			slices.Sort(x.timers)
		}
	}
	if p := out.Propose; p != nil {
		x.wants, x.view = true, p.View
	}
	for _, f := range out.Fetch {
		if y := d.nodes[f.From]; f.From != x.id && !y.dead {
			if b := y.core.Body(f.Digest); b != nil {
				later = append(later, protocol.BodyArrived{Digest: f.Digest, Body: b})
			}
		}
	}
	for _, ev := range later {
		d.step(x, ev)
	}
}

func (d *driver) send(x *node, o protocol.Outgoing) []protocol.Event {
	if o.To.Has(x.id) || o.To&^bft.AllReplicas(d.members.N()) != 0 {
		d.t.Fatalf("%s sends %T to %b: a message never goes to its sender or to a stranger", x.id, o.Msg, o.To)
	}
	var back []protocol.Event
	m := o.Msg
	if o.Certify {
		s, ok := m.(protocol.Signed)
		if !ok || s.Signer() != x.id {
			d.t.Fatalf("%s certifies %T, which is not its own signed message", x.id, m)
		}
		m = s.WithSignature(tags{}.sign(x.id, d.codec.AppendSigned(nil, s)))
		back = append(back, protocol.Certified{Msg: m})
	}
	if m.Kind() < wire.KindProtocol {
		d.t.Fatalf("%T has kind %d: protocols number their messages from %d", m, m.Kind(), wire.KindProtocol)
	}
	payload := d.codec.Append(nil, m)
	d.seen[m.Kind()] = payload
	d.trace = append(append(d.trace, byte(x.id), byte(m.Kind())), payload...)
	for to := range o.To.All() {
		d.net = append(d.net, packet{from: x.id, to: to, kind: m.Kind(), payload: payload})
	}
	return back
}

func (d *driver) execute(x *node, c protocol.Committed) []protocol.Event {
	if want := bft.SeqNum(len(x.done) + 1); c.Seq != want {
		d.t.Fatalf("%s commits slot %d, the next is %d: commits are gapless and in order", x.id, c.Seq, want)
	}
	if wire.BodyDigest(c.Body) != c.Digest {
		d.t.Fatalf("%s commits slot %d with a body that does not have its digest", x.id, c.Seq)
	}
	for _, y := range d.nodes {
		if len(y.done) >= int(c.Seq) && y.done[c.Seq-1] != c.Digest {
			d.t.Fatalf("slot %d: %s commits %s, %s committed %s", c.Seq, x.id, c.Digest, y.id, y.done[c.Seq-1])
		}
	}
	x.done = append(x.done, c.Digest)
	x.state = wire.DigestOf("state", append(x.state[:], c.Digest[:]...))
	if c.Seq%d.members.CheckpointEvery == 0 {
		return []protocol.Event{protocol.Executed{Seq: c.Seq, Digest: x.state}}
	}
	return nil
}

// run delivers until nothing is on its way.
func (d *driver) run() {
	for steps := 0; len(d.net) > 0; steps++ {
		if steps > 100_000 {
			d.t.Fatal("100,000 messages and no end: messages answer each other")
		}
		p := d.net[0]
		d.net = d.net[1:]
		if d.nodes[p.to].dead {
			continue
		}
		m, err := d.codec.Decode(p.kind, p.payload)
		if err != nil {
			d.t.Fatalf("kind %d does not decode: %v", p.kind, err)
		}
		v, reason := protocol.Verify(d.codec, p.from, m, tags{})
		if reason != protocol.ReasonNone {
			d.t.Fatalf("%T of the correct %s is refused: %v", m, p.from, reason)
		}
		d.step(d.nodes[p.to], protocol.Received{Verified: v})
	}
}

// request gives a batch to whoever asked for one, and delivers.
func (d *driver) request() {
	for _, x := range d.nodes {
		if st := x.core.Status(); x.wants && !x.dead && st.Active && st.View == x.view && st.Primary == x.id {
			d.batches++
			b := binary.LittleEndian.AppendUint64(make([]byte, 12), d.batches)
			x.wants = false
			d.step(x, protocol.Proposed{View: x.view, Digest: wire.BodyDigest(b), Body: b})
			break
		}
	}
	d.run()
}

// pass lets every timer that is set fire once at every live node, patience as silence.
func (d *driver) pass(patience bool) {
	for _, x := range d.nodes {
		if x.dead {
			continue
		}
		for _, t := range slices.Clone(x.timers) {
			switch {
			case t == protocol.TimerPatience && patience:
				d.step(x, protocol.Overdue{View: x.core.Status().View, Cause: protocol.CauseSilence})
			case t != protocol.TimerPatience:
				x.timers = slices.DeleteFunc(x.timers, func(o protocol.Timer) bool { return o == t })
				d.step(x, protocol.TimerFired{Timer: t})
			}
		}
	}
	d.run()
}
