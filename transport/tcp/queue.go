package tcp

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// coalesceBytes is how much of the queue one write takes: one record of TLS.
	coalesceBytes = 16 << 10
	// clientShareBytes is what every client may queue however much the others have.
	clientShareBytes = 16 << 10
)

// coalesceBuffers lends a buffer to whoever is writing, so that an idle link holds none.
var coalesceBuffers = sync.Pool{New: func() any { return new([coalesceBytes]byte) }}

// budget bounds the queues of all client links together. A nil budget bounds nothing.
type budget struct {
	used atomic.Int64
	max  int64
}

// queue holds what waits to be written to one link, in order and bounded in bytes, with what
// the writer has taken and not yet written. Any goroutine pushes; one writer runs drain.
type queue struct {
	limit  int
	shared *budget
	wake   chan struct{} // holds one token when there is something to do

	mu      sync.Mutex
	waiting [][]byte
	bytes   int // waiting, and taken but not written
	closed  bool
	full    time.Time // when it first overflowed since it was last empty
}

func newQueue(limit int, shared *budget) *queue {
	return &queue{limit: limit, shared: shared, wake: make(chan struct{}, 1)}
}

// push queues b. When it does not, stuck is how long the queue has been overflowing without
// once being empty.
func (q *queue) push(b []byte) (ok bool, stuck time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false, 0
	}
	over := q.bytes+len(b) > q.limit
	if s := q.shared; s != nil && !over && q.bytes+len(b) > clientShareBytes {
		over = s.used.Load()+int64(len(b)) > s.max
	}
	if over {
		if q.full.IsZero() {
			q.full = time.Now()
		}
		return false, time.Since(q.full)
	}
	q.waiting = append(q.waiting, b)
	q.add(len(b))
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true, 0
}

func (q *queue) add(n int) {
	q.bytes += n
	if q.shared != nil {
		q.shared.used.Add(int64(n))
	}
}

// take returns all that waits, and whether the queue was closed. spare is reused for what comes.
func (q *queue) take(spare [][]byte) (all [][]byte, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	all, q.waiting = q.waiting, spare
	return all, q.closed
}

// written gives back the room of n bytes.
func (q *queue) written(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(-n)
	if q.bytes == 0 {
		q.full = time.Time{}
	}
}

// close refuses what comes and wakes the writer.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		close(q.wake)
	}
}

// release gives the room of what was never written back to the shared budget. The writer has
// ended before.
func (q *queue) release() {
	q.close()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(-q.bytes)
	q.waiting = nil
}

func (q *queue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

// drain writes what is queued until the queue is closed or a write fails. Everything that waits
// goes out in as few writes as its size allows; each must make progress within stall.
func (q *queue) drain(conn net.Conn, stall time.Duration) error {
	var taken [][]byte
	for range q.wake {
		var closed bool
		clear(taken)
		taken, closed = q.take(taken[:0])
		if closed {
			return net.ErrClosed
		}
		if err := q.write(conn, taken, stall); err != nil {
			return err
		}
		if cap(taken) > 1024 {
			taken = nil // a burst's list is not worth keeping
		}
	}
	return net.ErrClosed
}

func (q *queue) write(conn net.Conn, bufs [][]byte, stall time.Duration) error {
	w := deadlineWriter{conn: conn, stall: stall, q: q}
	if len(bufs) == 1 {
		return w.write(bufs[0])
	}
	lent := coalesceBuffers.Get().(*[coalesceBytes]byte)
	defer coalesceBuffers.Put(lent)
	joined := lent[:0]
	for _, b := range bufs {
		if len(joined)+len(b) > coalesceBytes {
			if err := w.write(joined); err != nil {
				return err
			}
			joined = lent[:0]
		}
		if len(b) > coalesceBytes {
			if err := w.write(b); err != nil {
				return err
			}
			continue
		}
		joined = append(joined, b...)
	}
	return w.write(joined)
}

// deadlineWriter writes in pieces that each have the stall time.
type deadlineWriter struct {
	conn  net.Conn
	stall time.Duration
	q     *queue
}

func (w deadlineWriter) write(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), stallBytes)
		if err := w.conn.SetWriteDeadline(time.Now().Add(w.stall)); err != nil {
			return err
		}
		if _, err := w.conn.Write(b[:n]); err != nil {
			return err
		}
		w.q.written(n)
		b = b[n:]
	}
	return nil
}
