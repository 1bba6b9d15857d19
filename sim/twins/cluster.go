package twins

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/check"
	"github.com/themis-bft/themis/wire"
)

// The durations of the cores. Their only use here is to tell timers that repeat messages from
// those that give up a view.
const (
	resend   = bft.Second / 10
	patience = bft.Second
)

// stepsMax bounds the events of one run: more, and messages answer each other for ever.
const stepsMax = 50_000

// tags signs by hashing the signer with the message: nobody here forges, and a wrong signer or
// a changed message is noticed.
type tags struct{}

func tag(id bft.ReplicaID, msg []byte) uint64 {
	h := mix(uint64(id) + 1)
	for ; len(msg) >= 8; msg = msg[8:] {
		h = mix(h ^ binary.LittleEndian.Uint64(msg))
	}
	for _, b := range msg {
		h = mix(h ^ uint64(b) + 256)
	}
	return h
}

func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// VerifyReplica makes tags a protocol.SignatureVerifier.
func (tags) VerifyReplica(id bft.ReplicaID, msg, sig []byte) bool {
	return len(sig) == 8 && binary.LittleEndian.Uint64(sig) == tag(id, msg)
}

// endpoint is one running copy of the honest code.
type endpoint struct {
	at     int // its number among the endpoints
	id     bft.ReplicaID
	honest bool
	core   protocol.Protocol
	out    protocol.Effects
	todo   queue[protocol.Event] // what comes back from its own effects
	busy   bool

	wants  bool // a Propose is outstanding
	inView bft.View
	timers []protocol.TimerOp // set, ascending
	target *protocol.Target
	states []bft.Digest // by slot, from the initial state on
	status protocol.Status
	moved  bool // it executed something in this round
}

// packet is a message on its way to one endpoint.
type packet struct {
	from, to int
	verified protocol.Verified
	print    uint64
}

// queue is first in, first out, and keeps its memory when it runs empty.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) len() int { return len(q.items) - q.head }

func (q *queue[T]) push(v T) { q.items = append(q.items, v) }

func (q *queue[T]) pop() T {
	v := q.items[q.head]
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return v
}

// cluster is the endpoints of one run and the network between them.
type cluster struct {
	schedule  *Schedule
	members   *bft.Membership
	codec     protocol.Codec
	endpoints []*endpoint
	queue     [phases + 1]queue[packet] // by phase; the last: what is delivered in every phase
	sides     uint32
	oracle    *check.Oracle
	chart     io.Writer // nil: no chart
	// tamper, where set, decides about each message before the healing, and fires whose timers
	// fire at the end of a round: a fuzzer's hands.
	tamper func(p *packet) fate
	fires  func(x *endpoint) bool

	scratch   []byte
	batches   uint64
	proposals []proposal // of identities with a twin
	freshFrom uint64     // batches from here on were proposed after the healing; 0: not healed
	freshSlot bft.SeqNum // lowest slot in which an honest replica executed one of them
	fresh     map[bft.Digest]bool
	outcome   Outcome
}

// fate is what becomes of a message that the split lets through.
type fate uint8

const (
	arrives fate = iota
	lost
	delayed // behind everything of its phase that is on its way
	twice
)

// proposal is what an identity proposed first in a view and slot.
type proposal struct {
	view   bft.View
	seq    bft.SeqNum
	digest bft.Digest
}

// faults is how many faulty replicas n carry.
func faults(n int) int { return (n - 1) / 3 }

func newCluster(s *Schedule, chart io.Writer) *cluster {
	f := faults(s.Replicas)
	c := &cluster{
		schedule: s, chart: chart, fresh: map[bft.Digest]bool{},
		members: &bft.Membership{
			Protocol: pbft.Family.Name, App: "twins", F: f, Scheme: "tags", Replicas: make([]bft.Replica, s.Replicas),
			CheckpointEvery: 2, Window: 4, InFlight: 2, BatchCount: 1, BatchBytes: 1 << 10, Sessions: 1,
		},
	}
	c.oracle = check.New(check.Config{
		N: s.Replicas, F: f, Faulty: len(s.Twins), Liars: bft.SetOf(s.Twins...), Window: c.members.Window, SafetyOnly: len(s.Twins) > f,
	})
	c.codec = pbft.Family.Codec(c.members)
	for i := range s.endpoints() {
		id := s.identity(i)
		c.endpoints = append(c.endpoints, &endpoint{
			at: i, id: id, honest: !slices.Contains(s.Twins, id), states: []bft.Digest{{}},
		})
	}
	for _, x := range c.endpoints {
		x.core = pbft.Family.New(protocol.Config{
			Self: x.id, Membership: c.members, Patience: patience, NewViewPatience: patience,
			PatienceMax: 64 * patience, Resend: resend,
		}, protocol.Boot{}, &x.out)
		x.status = x.core.Status()
		c.meet(x)
		c.work(x)
	}
	return c
}

// step gives an event to an endpoint, and then what comes back of it, until nothing does.
func (c *cluster) step(x *endpoint, ev protocol.Event) {
	x.todo.push(ev)
	c.work(x)
}

func (c *cluster) work(x *endpoint) {
	if x.busy {
		return
	}
	x.busy = true
	for x.todo.len() > 0 {
		ev := x.todo.pop()
		c.outcome.Events++
		x.out.Reset()
		x.core.Step(ev, &x.out)
		c.watchStep(x, ev)
		c.meet(x)
	}
	x.busy = false
}

// meet meets the obligations of the last step in their order. The log needs no keeping: nobody
// restarts here.
func (c *cluster) meet(x *endpoint) {
	for i := range x.out.Send {
		c.send(x, &x.out.Send[i])
	}
	for i := range x.out.Commit {
		c.execute(x, &x.out.Commit[i])
	}
	for _, op := range x.out.Timers {
		x.timers = slices.DeleteFunc(x.timers, func(t protocol.TimerOp) bool { return t.Timer == op.Timer })
		if op.After > 0 {
			x.timers = append(x.timers, op)
		}
	}
	if p := x.out.Propose; p != nil {
		x.wants, x.inView = true, p.View
	}
	for _, f := range x.out.Fetch {
		c.fetch(x, f)
	}
	if s := x.out.Stable; s != nil && x.honest {
		c.oracle.Stable(x.id, s.Seq, s.Digest)
	}
	if t := x.out.CatchUp; t != nil {
		x.target = t
	}
	c.outcome.Equivocations += uint64(len(x.out.Evidence))
}

// send signs what must be signed and puts a copy on its way to every endpoint of its receivers.
func (c *cluster) send(x *endpoint, o *protocol.Outgoing) {
	m := o.Msg
	if o.Certify {
		s := m.(protocol.Signed)
		c.scratch = c.codec.AppendSigned(c.scratch[:0], s)
		m = s.WithSignature(binary.LittleEndian.AppendUint64(nil, tag(x.id, c.scratch)))
		x.todo.push(protocol.Certified{Msg: m})
	}
	c.watchSend(x, m)
	v, reason := protocol.Verify(c.codec, x.id, m, tags{})
	if reason != protocol.ReasonNone {
		c.oracle.Complain("refused", "%s of unmodified code at %s is refused: %v", pbft.Describe(m), c.name(x.at), reason)
		return
	}
	p := packet{from: x.at, verified: v, print: fingerprint(m)}
	at := phaseOf(m)
	for _, y := range c.endpoints {
		if o.To.Has(y.id) {
			p.to = y.at
			c.queue[at].push(p)
		}
	}
}

// phaseOf is the phase in which a message is delivered; phases stands for every one.
func phaseOf(m protocol.Message) Phase {
	switch m.Kind() {
	case pbft.KindPrePrepare:
		return PrePrepare
	case pbft.KindPrepare:
		return Prepare
	case pbft.KindCommit:
		return Commit
	case pbft.KindViewChange:
		return ViewChange
	case pbft.KindNewView:
		return NewView
	}
	return phases
}

// fingerprint is a number that stands for what a message says.
func fingerprint(m protocol.Message) uint64 {
	h := uint64(m.Kind())
	note := func(v bft.View, n bft.SeqNum, d []byte) uint64 {
		h = mix(h ^ uint64(v)<<32 ^ uint64(n))
		if len(d) >= 8 {
			h = mix(h ^ binary.LittleEndian.Uint64(d))
		}
		return h
	}
	switch m := m.(type) {
	case *pbft.PrePrepare:
		return note(m.View, m.Seq, m.Digest[:])
	case *pbft.Prepare:
		return note(m.View, m.Seq, m.Digest[:])
	case *pbft.Commit:
		return note(m.View, m.Seq, m.Digest[:])
	case *pbft.Checkpoint:
		return note(0, m.Seq, m.Sig)
	case *pbft.ViewChange:
		return note(m.View, 0, m.Sig)
	case *pbft.NewView:
		return note(m.View, 0, m.Sig)
	case *pbft.Status:
		return note(m.View, m.Committed, nil)
	case *pbft.Decided:
		return note(0, m.First, m.Digests[0][:])
	}
	return h
}

// execute runs a decided slot: the state is the hash of all that was executed.
func (c *cluster) execute(x *endpoint, k *protocol.Committed) {
	c.watchCommit(x, k)
	last := x.states[len(x.states)-1]
	x.states = append(x.states, wire.DigestOf("twins-state", append(last[:], k.Digest[:]...)))
	x.moved = true
	if k.Seq%c.members.CheckpointEvery == 0 {
		d := x.states[len(x.states)-1]
		if x.honest {
			c.oracle.Checkpointed(x.id, k.Seq, d)
		}
		x.todo.push(protocol.Executed{Seq: k.Seq, Digest: d})
	}
}

// reaches reports whether two endpoints hear each other now.
func (c *cluster) reaches(from, to int) bool { return c.sides>>from&1 == c.sides>>to&1 }

// fetch answers at once, from the first copy in reach that has the body, or never.
func (c *cluster) fetch(x *endpoint, f protocol.Fetch) {
	for _, y := range c.endpoints {
		if y.id != f.From || !c.reaches(x.at, y.at) {
			continue
		}
		if b := y.core.Body(f.Digest); b != nil {
			x.todo.push(protocol.BodyArrived{Digest: f.Digest, Body: b})
			return
		}
	}
}

// catchUp installs the state that an endpoint asked for, if somebody in reach has it.
func (c *cluster) catchUp(x *endpoint) {
	t := x.target
	if t == nil {
		return
	}
	for _, y := range c.endpoints {
		if !t.Sources.Has(y.id) || !c.reaches(x.at, y.at) || len(y.states) <= int(t.Seq) || y.states[t.Seq] != t.Digest {
			continue
		}
		x.target = nil
		x.states = slices.Clone(y.states[:t.Seq+1])
		c.outcome.Transfers++
		if x.honest {
			c.oracle.Jumped(x.id, t.Seq, t.Digest)
		}
		c.note("%s installs the state of slot %d", c.name(x.at), t.Seq)
		c.step(x, protocol.Installed{Seq: t.Seq, Digest: t.Digest})
		return
	}
}

// propose gives a batch of its own to every endpoint that asked for one in the view it leads.
func (c *cluster) propose() {
	for _, x := range c.endpoints {
		st := &x.status
		if !x.wants || !st.Active || st.View != x.inView || st.Primary != x.id {
			continue
		}
		x.wants = false
		c.batches++
		b := batch(c.batches)
		c.oracle.Signed(b.request)
		if c.freshFrom > 0 {
			c.fresh[b.digest] = true
		}
		c.step(x, protocol.Proposed{View: x.inView, Digest: b.digest, Body: b.body})
	}
}

// batchesKept is how many batches all runs share.
const batchesKept = 64

// kept are the first batches with their requests and digests: each run uses the same.
var kept = func() (all [batchesKept]made) {
	for i := range all {
		all[i] = newBatch(uint64(i))
	}
	return all
}()

// made is a batch: its one request, its bytes and their digest.
type made struct {
	request *wire.Request
	body    []byte
	digest  bft.Digest
}

// batch is the batch with a number; no other batch holds its request.
func batch(number uint64) made {
	if number < batchesKept {
		return kept[number]
	}
	return newBatch(number)
}

func newBatch(number uint64) made {
	q := &wire.Request{Session: 1, First: number, Done: number, Ops: [][]byte{{1}}, Sig: []byte{1}}
	body := wire.AppendBody(nil, 1, [][]byte{q.Append(nil)})
	return made{request: q, body: body, digest: wire.BodyDigest(body)}
}

// deliver empties the queue of a phase, and what is delivered in every phase, as far as the
// split allows; what it does not allow is lost.
func (c *cluster) deliver(at Phase) {
	for {
		q := &c.queue[phases]
		if q.len() == 0 {
			q = &c.queue[at]
		}
		if q.len() == 0 {
			break
		}
		p := q.pop()
		x := c.endpoints[p.to]
		end := arrives
		if !c.reaches(p.from, p.to) {
			end = lost
		} else if c.tamper != nil && c.freshFrom == 0 {
			end = c.tamper(&p)
		}
		switch end {
		case lost:
			c.outcome.Lost++
			c.showPacket(&p, true)
			continue
		case delayed:
			q.push(p)
			continue
		case twice:
			q.push(p)
		}
		if c.outcome.Events > stepsMax {
			panic(fmt.Sprintf("twins: %d events and no end: messages answer each other", c.outcome.Events))
		}
		c.showPacket(&p, false)
		c.outcome.Hash = mix(c.outcome.Hash ^ p.print ^ uint64(p.from)<<8 ^ uint64(p.to))
		c.step(x, protocol.Received{Verified: p.verified})
	}
}
