package faultproxy

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// unit is what a fault hits: a whole frame with its header, or the bytes of one read. The bytes
// are never changed, since a unit may be sent and kept at once.
type unit struct {
	bytes []byte
	due   time.Time
}

// kind is the kind of a frame.
func (u unit) kind() wire.Kind {
	if len(u.bytes) < wire.FrameHeaderBytes {
		return 0
	}
	return wire.Kind(u.bytes[wire.FrameHeaderBytes-1])
}

// flipped is u with one bit changed: anywhere in a chunk, in the payload of a frame.
func (u unit) flipped(r *rand.Rand, opaque bool) unit {
	first := wire.FrameHeaderBytes
	if opaque {
		first = 0
	}
	if len(u.bytes) <= first {
		return u
	}
	b := append([]byte(nil), u.bytes...)
	b[first+r.IntN(len(b)-first)] ^= 1 << r.IntN(8)
	return unit{b, u.due}
}

// errFrame ends a link whose end sends what is no frame.
var errFrame = errors.New("faultproxy: a frame is longer than any may be, or empty")

// frames cuts frames.
func (f *flow) frames() func() (unit, error) {
	return func() (unit, error) {
		var header [wire.FrameHeaderBytes]byte
		if _, err := io.ReadFull(f.from, header[:]); err != nil {
			return unit{}, err
		}
		n := binary.LittleEndian.Uint32(header[:])
		if n == 0 || n > bft.PeerFrameBytesMax {
			return unit{}, errFrame
		}
		b := make([]byte, 4+int(n))
		copy(b, header[:])
		_, err := io.ReadFull(f.from, b[wire.FrameHeaderBytes:])
		return unit{bytes: b}, err
	}
}

// chunkBytes is what an opaque proxy reads at once.
const chunkBytes = 16 << 10

// chunks takes bytes as they come.
func (f *flow) chunks() func() (unit, error) {
	buf := make([]byte, chunkBytes)
	return func() (unit, error) {
		n, err := f.from.Read(buf)
		if n > 0 {
			return unit{bytes: append([]byte(nil), buf[:n]...)}, nil // an error comes again
		}
		return unit{}, err
	}
}

// note counts a unit and keeps what may be replayed.
func (p *Proxy) note(d Direction, u unit) {
	if p.o.Tap != nil && p.o.Ends != nil {
		p.o.Tap(d, u.kind(), u.bytes[wire.FrameHeaderBytes:])
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Units++
	p.stats.Bytes += uint64(len(u.bytes))
	if d != Forward || p.o.Ends == nil || u.kind() == wire.KindHello || len(u.bytes) > recordedBytes {
		return
	}
	if len(p.recorded) < recordedMax {
		p.recorded = append(p.recorded, u)
	} else {
		p.recorded[p.stats.Units%recordedMax] = u
	}
}

// old is a frame that went forward before.
func (p *Proxy) old(r *rand.Rand) (unit, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.recorded) == 0 {
		return unit{}, false
	}
	return p.recorded[r.IntN(len(p.recorded))], true
}

// queue is units between a reader and a writer: queueBytesMax and one unit at most.
type queue struct {
	mu     sync.Mutex
	units  []unit
	bytes  int
	closed bool
	more   chan struct{} // holds a token when there may be something to take
	room   chan struct{} // holds a token when there may be room
}

func (q *queue) init() { q.more, q.room = make(chan struct{}, 1), make(chan struct{}, 1) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// push waits for room. False: the link has ended.
func (q *queue) push(u unit, done <-chan struct{}) bool {
	for {
		q.mu.Lock()
		if q.bytes < queueBytesMax {
			q.units, q.bytes = append(q.units, u), q.bytes+len(u.bytes)
			q.mu.Unlock()
			signal(q.more)
			return true
		}
		q.mu.Unlock()
		select {
		case <-q.room:
		case <-done:
			return false
		}
	}
}

// pop waits for a unit. False: the queue is closed and empty, or the link has ended.
func (q *queue) pop(done <-chan struct{}) (unit, bool) {
	for {
		q.mu.Lock()
		if len(q.units) > 0 {
			u := q.units[0]
			q.units, q.bytes = q.units[1:], q.bytes-len(u.bytes)
			q.mu.Unlock()
			signal(q.room)
			return u, true
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return unit{}, false
		}
		select {
		case <-q.more:
		case <-done:
			return unit{}, false
		}
	}
}

// swallow takes everything until the queue is closed or the link has ended.
func (q *queue) swallow(done <-chan struct{}) {
	for ok := true; ok; {
		_, ok = q.pop(done)
	}
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	signal(q.more)
}
