package replica

import (
	"sync"
	"sync/atomic"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/transport"
)

// source is the account of one peer, or of one client with all its links: its share of the
// pipeline, and its frames that no worker has taken yet. Who makes many links gets no more.
type source struct {
	room       sync.Cond
	links      int // of a client
	frames     int // in the pipeline
	bytes      int
	unverified int // of these, not stepped yet and queued behind the verify stage

	waiting []arrival // not taken yet, from first on
	first   int
	ringed  bool
	flying  int         // taken by workers and not verified
	proven  bool        // a frame of it verified
	bad     atomic.Bool // it sent what no correct client sends: nothing more of it is verified
}

// unprovenMax is how many frames a client may have with the workers before one of it verified. A
// stranger that floods bad signatures has to make a connection for every few of them.
const unprovenMax = 4

// mayFly reports whether a worker may take one more frame of s.
func (s *source) mayFly() bool {
	return s.links == 0 || s.proven || s.flying < unprovenMax || mutant.On("replica-strangers-not-tried")
}

func (s *source) idle() bool { return s.first == len(s.waiting) }

func (s *source) push(a arrival) {
	if s.first > 0 && len(s.waiting) == cap(s.waiting) {
		n := copy(s.waiting, s.waiting[s.first:])
		clear(s.waiting[n:])
		s.waiting, s.first = s.waiting[:n], 0
	}
	s.waiting = append(s.waiting, a)
}

func (s *source) pop() arrival {
	a := s.waiting[s.first]
	s.waiting[s.first] = arrival{}
	if s.first++; s.idle() {
		s.waiting, s.first = s.waiting[:0], 0
	}
	return a
}

// lane is a way through the verify stage: every peer has one, all clients share one. Frames of
// one source stay in one lane, and in order there. Sources that wait take turns, so that it
// matters to nobody how much another has sent.
type lane struct {
	ring    []*source // sources that wait for their turn
	pending int       // frames not taken by a worker yet
	ordered []*batch  // taken by workers, in order
	busy    int       // workers that have taken something and are not done
}

// batch is what a verify worker takes at once. It stands in the ordered queue of its lane from
// the moment it is taken, and leaves it in order when it is done (style.md, A5).
type batch struct {
	arrivals []arrival
	lane     *lane
	done     bool
}

func (l *lane) enqueue(a arrival, now bft.Duration) {
	a.at = now
	if s := a.source; !s.idle() && mutant.On("replica-flood-stops-time") {
		a.at = s.waiting[s.first].at
	}
	l.pending++
	a.source.push(a)
	l.turn(a.source)
}

// turn gives s a turn if it may have one and has none yet.
func (l *lane) turn(s *source) {
	if !s.ringed && !s.idle() && s.mayFly() {
		s.ringed = true
		l.ring = append(l.ring, s)
	}
}

// take moves up to most frames into b, one of each source at its turn. Beyond the first, frames
// that exceed the given bytes stay.
func (l *lane) take(b *batch, most, bytes int) {
	b.lane, b.done = l, false
	for len(b.arrivals) < most && len(l.ring) > 0 {
		s := l.ring[0]
		if size := s.waiting[s.first].size; len(b.arrivals) > 0 && size > bytes {
			break
		}
		copy(l.ring, l.ring[1:])
		l.ring = l.ring[:len(l.ring)-1]
		s.ringed = false
		a := s.pop()
		for mutant.On("replica-clients-not-in-turns") && a.link != nil && !s.idle() && len(b.arrivals)+1 < most {
			b.arrivals = append(b.arrivals, a)
			l.pending--
			s.flying++
			a = s.pop()
		}
		bytes -= a.size
		b.arrivals = append(b.arrivals, a)
		l.pending--
		s.flying++
		l.turn(s)
	}
	l.ordered = append(l.ordered, b)
	l.busy++
}

// landed says that the worker is through with b.
func (l *lane) landed(b *batch) (head bool) {
	b.done = true
	l.busy--
	for i := range b.arrivals {
		s := b.arrivals[i].source
		s.flying--
		s.proven = s.proven || b.arrivals[i].in != nil
		l.turn(s)
	}
	return l.ordered[0] == b
}

// oldest is the receipt of the oldest frame in the lane of a peer, negative if there is none. It is
// that of a frame which is still there: of a peer that floods something is always pending, and time
// must not stand still for that.
func (l *lane) oldest() bft.Duration {
	switch {
	case len(l.ordered) > 0:
		return l.ordered[0].arrivals[0].at
	case len(l.ring) > 0:
		s := l.ring[0]
		return s.waiting[s.first].at
	}
	return -1
}

// open makes the account of a client's link, or finds that of its other links. One whose client
// sent what no correct client sends is not used again: it ends with the links that it had.
func (in *intake) open(l transport.ClientLink) *source {
	in.mu.Lock()
	defer in.mu.Unlock()
	s := in.clients[l.Client()]
	if s == nil || s.bad.Load() {
		s = in.newSource()
		in.clients[l.Client()] = s
	}
	s.links++
	in.links[l] = s
	return s
}

// leave closes the account with its last link. What of it is in the pipeline keeps the source
// itself until it is through.
func (in *intake) leave(l transport.ClientLink) {
	in.mu.Lock()
	defer in.mu.Unlock()
	s := in.links[l]
	if s == nil {
		return
	}
	delete(in.links, l)
	if s.links--; s.links > 0 {
		return
	}
	s.links = -1 // it is still a client's
	if in.clients[l.Client()] == s {
		delete(in.clients, l.Client())
	}
}

func (in *intake) sourceOf(l transport.ClientLink) *source {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.links[l]
}
