package replica

import (
	"sync"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/host"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/transport"
)

// The share of one link: how much of it may be between the transport and the order stage. A
// link over its share blocks its own reader and nobody else's; one frame always fits.
const (
	// clientFramesMax lets a session's window of small requests through in one piece.
	clientFramesMax = bft.SessionOpsMax
	clientBytesMax  = 4 * (bft.ClientFrameBytesMax + arrivalBytes)
	// clientsBytesMax bounds all clients together, however many links they make; the reserve is
	// for those that have nothing in the pipeline yet.
	clientsBytesMax     = 4 << 20
	clientsReserveBytes = 2 << 20
	// peerTurnsMax is how many batches of peers in a row are taken while enough of clients waits.
	peerTurnsMax = 8
	// peerFramesMax holds the votes of a whole window in both phases.
	peerFramesMax = 2 * bft.WindowSlotsMax
	peerBytesMax  = 2 * bft.BatchBytesMax
)

// arrivalBytes is what a frame costs besides its payload: an empty one is not free.
const arrivalBytes = 192

// arrival is one frame on its way from the transport to the order stage.
type arrival struct {
	source *source
	link   transport.ClientLink // nil: from peer
	peer   bft.ReplicaID
	frame  transport.Frame
	size   int
	in     host.Input // what the verify stage made of it; nil if nothing is left to step
	done   bool       // the verify stage is through with it

	at bft.Duration // when it was queued behind the verify stage
}

// intake is the receive stage and both ends of the verify stage: links put frames in, workers
// take them in batches of what is at hand, and the order stage takes them verified and in the
// order of each link. Every peer has a lane of its own, and they take turns: a peer that floods
// holds up itself. Peers go before clients, whom they serve, but not without end. It also
// carries what comes back from later stages (feed). One lock guards all of it; nothing is
// computed under it.
type intake struct {
	clock  *clock
	signal func() // wakes the order stage

	mu           sync.Mutex
	work         sync.Cond // a worker should look, or closed
	clientsRoom  sync.Cond // clientsSize fell
	sources      []*source // by peer
	clients      map[bft.ClientID]*source
	links        map[transport.ClientLink]*source
	clientsSize  int
	peers        []lane // by peer
	peersPending int
	next         int // the peer whose turn it is
	peerTurns    int // batches of peers taken since the last one of clients
	client       lane
	ready        []arrival // verified by their reader, nothing of their link is queued before them
	own          []host.Input
	spare        []*batch
	workers      int
	closed       bool
}

func newIntake(n, workers int, c *clock, signal func()) *intake {
	in := &intake{clock: c, signal: signal, workers: workers, clients: map[bft.ClientID]*source{}, links: map[transport.ClientLink]*source{}, peers: make([]lane, n)}
	in.work.L, in.clientsRoom.L = &in.mu, &in.mu
	for range n {
		in.sources = append(in.sources, in.newSource())
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
		s.unverified++
		in.enqueue(a)
	}
	in.mu.Unlock()
	if direct {
		in.signal()
	}
	return true
}

func (in *intake) enqueue(a arrival) {
	l := &in.client
	if a.link == nil {
		l = &in.peers[a.peer]
		in.peersPending++
	}
	l.enqueue(a, in.clock.sinceStart())
	if in.worthIt() {
		in.work.Signal()
	}
}

// roomFor holds an arrival against the share of its link and, for clients, against what all of
// them may hold. A client that has nothing in the pipeline finds room in the reserve, so that
// greedy ones do not shut the modest ones out.
func (in *intake) roomFor(a *arrival) bool {
	s := a.source
	switch {
	case a.link == nil:
		return s.frames == 0 || s.frames < peerFramesMax && s.bytes+a.size <= peerBytesMax
	case s.frames == 0:
		return in.clientsSize < clientsBytesMax+clientsReserveBytes
	default:
		return s.frames < clientFramesMax && s.bytes+a.size <= clientBytesMax && in.clientsSize < clientsBytesMax
	}
}

// feed queues inputs that later stages bring back. It never blocks: every one of them answers
// an obligation of the order stage's own, which bounds their number.
func (in *intake) feed(inputs ...host.Input) {
	in.mu.Lock()
	in.own = append(in.own, inputs...)
	in.mu.Unlock()
	in.signal()
}

// worthIt reports whether a worker should take something. What peers sent waits for nothing.
func (in *intake) worthIt() bool { return in.peersPending > 0 || in.clientsWorthIt() }

// clientsWorthIt: what clients sent waits while a worker is busy with clients, until there is
// enough for a batch: signatures verify for much less together, and what is not taken now is
// taken by the busy one in a moment.
func (in *intake) clientsWorthIt() bool {
	l := &in.client
	return len(l.ring) > 0 && (l.pending >= verifyBatchMin || l.busy == 0)
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
	b := &batch{}
	if last := len(in.spare) - 1; last >= 0 {
		b, in.spare = in.spare[last], in.spare[:last]
		b.arrivals = b.arrivals[:0]
	}
	if in.peersPending > 0 && (in.peerTurns < peerTurnsMax || !in.clientsWorthIt()) {
		in.peerTurns++
		in.nextPeer().take(b, verifyPeersMax, verifyPeersBytes)
		in.peersPending -= len(b.arrivals)
	} else {
		in.peerTurns = 0
		n := in.client.pending
		if n > verifyBatchMin {
			n = min(max(verifyBatchMin, (n+in.workers-1)/in.workers), verifyBatchMax)
		}
		in.client.take(b, n, clientsBytesMax)
	}
	if in.worthIt() {
		in.work.Signal()
	}
	return b
}

// nextPeer is the lane of the next peer in turn of which something is pending.
func (in *intake) nextPeer() *lane {
	if mutant.On("replica-peers-not-in-turns") {
		in.next = 0
	}
	for in.peers[in.next].pending == 0 {
		in.next = (in.next + 1) % len(in.peers)
	}
	l := &in.peers[in.next]
	in.next = (in.next + 1) % len(in.peers)
	return l
}

// verified says that the worker is through with b.
func (in *intake) verified(b *batch) {
	in.mu.Lock()
	head := b.lane.landed(b)
	if in.worthIt() {
		in.work.Signal()
	}
	in.mu.Unlock()
	if head {
		in.signal()
	}
}

// taken is what the order stage takes at once.
type taken struct {
	own      []host.Input
	arrivals []arrival
	oldest   bft.Duration // receipt of the oldest frame of a peer left behind, negative if none is
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
	t.oldest = -1
	for i := range in.peers {
		l := &in.peers[i]
		in.collect(l, t)
		if at := l.oldest(); at >= 0 && (t.oldest < 0 || at < t.oldest) {
			t.oldest = at
		}
	}
	in.collect(&in.client, t)
}

// collect moves what is verified, up to the first batch that is not, from a lane to t.
func (in *intake) collect(l *lane, t *taken) {
	heads := 0
	for _, b := range l.ordered {
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
	rest := copy(l.ordered, l.ordered[heads:])
	clear(l.ordered[rest:])
	l.ordered = l.ordered[:rest]
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
	for _, s := range in.sources {
		s.room.Broadcast()
	}
	for _, s := range in.links {
		s.room.Broadcast()
	}
}

// intakeLengths are the queue lengths that status shows.
type intakeLengths struct{ pending, verifying, ready, clientBytes int }

func (in *intake) lengths() intakeLengths {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := intakeLengths{
		pending: in.peersPending + in.client.pending, ready: len(in.ready) + len(in.own), clientBytes: in.clientsSize,
	}
	for _, b := range in.client.ordered {
		n.verifying += len(b.arrivals)
	}
	for i := range in.peers {
		for _, b := range in.peers[i].ordered {
			n.verifying += len(b.arrivals)
		}
	}
	return n
}
