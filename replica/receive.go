package replica

import (
	"sync"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/host"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/wire"
)

// The share of one link: how much of it may be between the transport and the order stage. A
// link over its share blocks its own reader and nobody else's; one frame always fits.
const (
	// clientFramesMax lets a session's window of small requests through in one piece.
	clientFramesMax = bft.SessionOpsMax
	clientBytesMax  = 4 * bft.ClientFrameBytesMax
	// clientsBytesMax bounds all clients together, however many links they make.
	clientsBytesMax = 4 << 20
	// peerFramesMax holds the votes of a whole window in both phases.
	peerFramesMax = 2 * bft.WindowSlotsMax
	peerBytesMax  = 2 * bft.BatchBytesMax
)

// arrival is one frame on its way from the transport to the order stage.
type arrival struct {
	source *source
	link   transport.ClientLink // nil: from peer
	peer   bft.ReplicaID
	frame  transport.Frame
	size   int
	in     host.Input // what the verify stage made of it; nil if nothing is left to step
	done   bool       // the verify stage is through with it
}

// source is the account of one link.
type source struct {
	room       sync.Cond
	frames     int // in the pipeline
	bytes      int
	unverified int // of these, not stepped yet and queued behind the verify stage
}

// batch is what a verify worker takes at once. It stands in the ordered queue from the moment
// it is taken, and leaves it in order when it is done (style.md, A5).
type batch struct {
	arrivals []arrival
	since    bft.Duration // receipt of its oldest frame
	done     bool
}

// intake is the receive stage and both ends of the verify stage: links put frames in, workers
// take them in batches of what is at hand, and the order stage takes them verified and in the
// order of each link. It also carries what comes back from later stages (feed). One lock
// guards all of it; nothing is computed under it.
type intake struct {
	clock  *clock
	signal func() // wakes the order stage

	mu          sync.Mutex
	work        sync.Cond // pending is not empty, or closed
	clientsRoom sync.Cond // clientsBytes fell
	peers       []*source
	clients     map[transport.ClientLink]*source
	clientsSize int

	pending []arrival // not taken by a worker yet
	since   bft.Duration
	heavy   int       // of these, frames of peers: bodies and proofs, which wait for nothing
	busy    int       // workers that have taken something
	ordered []*batch  // taken by workers, in order
	ready   []arrival // verified by their reader, nothing of their link is queued before them
	own     []host.Input
	spare   []*batch
	workers int
	closed  bool
}

func newIntake(n, workers int, c *clock, signal func()) *intake {
	in := &intake{clock: c, signal: signal, workers: workers, clients: map[transport.ClientLink]*source{}}
	in.work.L, in.clientsRoom.L = &in.mu, &in.mu
	for range n {
		in.peers = append(in.peers, in.newSource())
	}
	return in
}

func (in *intake) newSource() *source {
	s := &source{}
	s.room.L = &in.mu
	return s
}

// put queues an arrival and waits while its link is over its share. It reports whether the
// arrival was taken; after close nothing is.
func (in *intake) put(a arrival) bool {
	in.mu.Lock()
	s := a.source
	for !in.closed && !in.roomFor(&a) {
		if a.link != nil && s.frames == 0 {
			in.clientsRoom.Wait()
			continue
		}
		s.room.Wait()
	}
	if in.closed {
		in.mu.Unlock()
		return false
	}
	s.frames++
	s.bytes += a.size
	if a.link != nil {
		in.clientsSize += a.size
	}
	direct := a.done && (s.unverified == 0 || mutant.On("replica-link-order"))
	if direct {
		in.ready = append(in.ready, a)
	} else {
		if len(in.pending) == 0 {
			in.since = in.clock.sinceStart()
		}
		s.unverified++
		in.pending = append(in.pending, a)
		if a.link == nil {
			in.heavy++
		}
		if in.worthIt() {
			in.work.Signal()
		}
	}
	in.mu.Unlock()
	if direct {
		in.signal()
	}
	return true
}

func (in *intake) roomFor(a *arrival) bool {
	s := a.source
	if s.frames == 0 {
		return a.link == nil || in.clientsSize < clientsBytesMax
	}
	if a.link == nil {
		return s.frames < peerFramesMax && s.bytes+a.size <= peerBytesMax
	}
	return s.frames < clientFramesMax && s.bytes+a.size <= clientBytesMax
}

// feed queues inputs that later stages bring back. It never blocks: every one of them answers
// an obligation of the order stage's own, which bounds their number.
func (in *intake) feed(inputs ...host.Input) {
	in.mu.Lock()
	in.own = append(in.own, inputs...)
	in.mu.Unlock()
	in.signal()
}

// worthIt reports whether a worker should take what is pending. While one is busy, another
// waits until enough requests of clients have come for a batch: their signatures verify for
// much less together, and what is not taken now is taken by the busy one in a moment.
func (in *intake) worthIt() bool {
	return len(in.pending) > 0 && (in.busy == 0 || in.heavy > 0 || len(in.pending) >= verifyBatchMin)
}

// claim gives a worker what is at hand, leaving a part to the others when there is much, and
// waits while there is nothing. It returns nil after close.
func (in *intake) claim() *batch {
	in.mu.Lock()
	defer in.mu.Unlock()
	for !in.worthIt() {
		if in.closed {
			return nil
		}
		in.work.Wait()
	}
	n := len(in.pending)
	if n > verifyBatchMin {
		n = min(max(verifyBatchMin, (n+in.workers-1)/in.workers), verifyBatchMax)
	}
	var b *batch
	if last := len(in.spare) - 1; last >= 0 {
		b, in.spare = in.spare[last], in.spare[:last]
	} else {
		b = &batch{}
	}
	b.arrivals = append(b.arrivals[:0], in.pending[:n]...)
	b.since, b.done = in.since, false
	rest := copy(in.pending, in.pending[n:])
	clear(in.pending[rest:])
	in.pending = in.pending[:rest]
	in.ordered = append(in.ordered, b)
	in.busy++
	for i := range b.arrivals {
		if b.arrivals[i].link == nil {
			in.heavy--
		}
	}
	if in.worthIt() {
		in.work.Signal()
	}
	return b
}

// verified says that the worker is through with b.
func (in *intake) verified(b *batch) {
	in.mu.Lock()
	b.done = true
	in.busy--
	head := in.ordered[0] == b
	in.mu.Unlock()
	if head {
		in.signal()
	}
}

// taken is what the order stage takes at once.
type taken struct {
	own      []host.Input
	arrivals []arrival
	oldest   bft.Duration // receipt of the oldest frame left behind, negative if none is
}

// take gives back the shares of what was stepped, and fills t with what is to be stepped now.
func (in *intake) take(t *taken) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.release(t.arrivals)
	clear(t.arrivals)
	clear(t.own)
	t.own = append(t.own[:0], in.own...)
	clear(in.own)
	in.own = in.own[:0]

	t.arrivals = append(t.arrivals[:0], in.ready...)
	clear(in.ready)
	in.ready = in.ready[:0]
	heads := 0
	for _, b := range in.ordered {
		if !b.done {
			break
		}
		heads++
		for i := range b.arrivals {
			b.arrivals[i].source.unverified--
		}
		t.arrivals = append(t.arrivals, b.arrivals...)
		clear(b.arrivals)
		in.spare = append(in.spare, b)
	}
	in.ordered = append(in.ordered[:0], in.ordered[heads:]...)
	switch {
	case len(in.ordered) > 0:
		t.oldest = in.ordered[0].since
	case len(in.pending) > 0:
		t.oldest = in.since
	default:
		t.oldest = -1
	}
}

// release gives the shares of stepped arrivals back and wakes the readers that wait for them.
func (in *intake) release(as []arrival) {
	freed := false
	for i := range as {
		s := as[i].source
		s.frames--
		s.bytes -= as[i].size
		s.room.Broadcast()
		if as[i].link != nil {
			in.clientsSize -= as[i].size
			freed = true
		}
	}
	if freed {
		in.clientsRoom.Broadcast()
	}
}

// close refuses everything from now on and lets readers and workers go.
func (in *intake) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	in.work.Broadcast()
	in.clientsRoom.Broadcast()
	for _, s := range in.peers {
		s.room.Broadcast()
	}
	for _, s := range in.clients {
		s.room.Broadcast()
	}
}

// intakeLengths are the queue lengths that status shows.
type intakeLengths struct{ pending, verifying, ready, clientBytes, clientLinks int }

func (in *intake) lengths() intakeLengths {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := intakeLengths{
		pending: len(in.pending), ready: len(in.ready) + len(in.own),
		clientBytes: in.clientsSize, clientLinks: len(in.clients),
	}
	for _, b := range in.ordered {
		n.verifying += len(b.arrivals)
	}
	return n
}

// receive is the transport's handler: the receive stage. Its methods run on the readers of the
// links, one goroutine per link.
type receive struct{ *Replica }

func (r receive) PeerUp(from bft.ReplicaID) {
	r.links.peer(from, 1)
	r.intake.feed(host.PeerUp{Peer: from})
}

func (r receive) PeerDown(from bft.ReplicaID) {
	r.links.peer(from, -1)
	r.intake.feed(host.PeerDown{Peer: from})
}

// PeerFrame verifies small frames at once, on the reader: votes need no public-key operation,
// and another goroutine would cost more than the check. Bodies and proofs go to the workers.
func (r receive) PeerFrame(from bft.ReplicaID, f transport.Frame) {
	if int(from) >= len(r.intake.peers) {
		return
	}
	a := arrival{source: r.intake.peers[from], peer: from, frame: f, size: len(f.Payload)}
	if len(f.Payload) <= inlineBytesMax {
		a.in, a.done = r.verifier.Peer(from, wire.Kind(f.Kind), f.Payload, wall()), true
		a.frame.Payload = nil
	}
	r.metrics.peerFrames.Inc()
	r.intake.put(a)
}

func (r receive) ClientUp(l transport.ClientLink) {
	r.intake.mu.Lock()
	r.intake.clients[l] = r.intake.newSource()
	r.intake.mu.Unlock()
	r.links.addClient(l)
}

func (r receive) ClientDown(l transport.ClientLink) {
	r.intake.mu.Lock()
	delete(r.intake.clients, l)
	r.intake.mu.Unlock()
	r.links.dropClient(l)
}

// ClientFrame queues a frame of a client for the workers, which verify the signatures of many
// clients in one batch.
func (r receive) ClientFrame(l transport.ClientLink, f transport.Frame) {
	r.intake.mu.Lock()
	s := r.intake.clients[l]
	r.intake.mu.Unlock()
	if s == nil {
		return
	}
	r.metrics.clientFrames.Inc()
	if len(f.Payload) > bft.ClientFrameBytesMax {
		r.rejectClient(l, protocol.ReasonLimit)
		return
	}
	r.intake.put(arrival{source: s, link: l, frame: f, size: len(f.Payload)})
}
