package sim

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/host"
	"github.com/themis-bft/themis/wire"
)

// what says what an event is.
type what uint8

const (
	frameArrives  what = iota // from replica → to replica
	requestComes              // from client → to replica
	replyComes                // from replica → to client
	timerDue                  // of a replica
	syncEnds                  // of a replica's disk
	inputComes                // of a replica's own stages
	snapshotSaved             // of a replica's disk
	linkUp                    // to replica learns that its link towards from is up
	linkDown
	clientDue      // a client's timer or next operation
	clientLink     // a client's link to a replica changes
	faultStarts    // the next fault is drawn
	faultEnds      // an undo of the world
	strategyWakes  // of a faulty replica
	parcelLeaves   // a delayed parcel of a faulty replica
	phaseEnds      // limit of a phase
	processReturns // a crashed replica starts again
)

var whatNames = [...]string{
	"frame", "request", "reply", "timer", "sync", "input", "snapshot", "link-up", "link-down", "client", "client-link",
	"fault", "fault-ends", "wake", "parcel", "phase", "start",
}

// event is one thing that will happen. Events of one instant happen in the order of their making.
type event struct {
	at   bft.Duration
	turn uint64
	what what
	kind wire.Kind
	from int32
	to   int32
	life uint32 // of the receiver, or epoch of the link: an older one is void
	data []byte
	in   host.Input
	do   func()
}

// queue is a binary heap of events.
type queue struct {
	heap []event
	turn uint64
}

func (q *queue) before(i, j int) bool {
	a, b := &q.heap[i], &q.heap[j]
	return a.at < b.at || a.at == b.at && a.turn < b.turn
}

func (q *queue) push(e event) {
	q.turn++
	e.turn = q.turn
	q.heap = append(q.heap, e)
	for i := len(q.heap) - 1; i > 0; {
		p := (i - 1) / 2
		if !q.before(i, p) {
			break
		}
		q.heap[i], q.heap[p] = q.heap[p], q.heap[i]
		i = p
	}
}

func (q *queue) pop() (event, bool) {
	if len(q.heap) == 0 {
		return event{}, false
	}
	first := q.heap[0]
	last := len(q.heap) - 1
	q.heap[0] = q.heap[last]
	q.heap[last] = event{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		c := 2*i + 1
		if c >= last {
			break
		}
		if c+1 < last && q.before(c+1, c) {
			c++
		}
		if !q.before(c, i) {
			break
		}
		q.heap[i], q.heap[c] = q.heap[c], q.heap[i]
		i = c
	}
	return first, true
}

// trace folds what happens into one number: two runs are equal if their numbers are.
type trace uint64

func (t *trace) add(v uint64) {
	h := uint64(*t) ^ v
	h *= 0x9fb21c651e98df25
	h ^= h >> 32
	*t = trace(h * 0xd6e8feb86659fd93)
}

func (t *trace) bytes(b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		t.add(uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56)
	}
	v := uint64(len(b))
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	t.add(v)
}

func (t *trace) event(e *event) {
	t.add(uint64(e.at))
	t.add(uint64(e.what)<<56 | uint64(e.kind)<<48 | uint64(uint16(e.from))<<32 | uint64(uint16(e.to)))
	t.bytes(e.data)
}
