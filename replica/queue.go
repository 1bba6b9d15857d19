package replica

import (
	"sync"

	"github.com/themis-bft/themis/host"
)

// queue hands items from one stage to the next. It is bounded: push waits while it is full, so
// that a slow stage is felt by the one before it, and at last by the links.
type queue[T any] struct {
	limit  int
	mu     sync.Mutex
	room   sync.Cond
	some   sync.Cond
	items  []T
	closed bool
}

func newQueue[T any](limit int) *queue[T] {
	q := &queue[T]{limit: limit}
	q.room.L, q.some.L = &q.mu, &q.mu
	return q
}

// push queues an item and waits while there is no room. After close it is dropped.
func (q *queue[T]) push(item T) {
	q.mu.Lock()
	for len(q.items) >= q.limit && !q.closed {
		q.room.Wait()
	}
	if !q.closed {
		q.items = append(q.items, item)
		q.some.Signal()
	}
	q.mu.Unlock()
}

// pushNow queues an item without waiting, for what something else already bounds.
func (q *queue[T]) pushNow(item T) {
	q.mu.Lock()
	if !q.closed {
		q.items = append(q.items, item)
		q.some.Signal()
	}
	q.mu.Unlock()
}

// take waits for something and returns all there is; false once the queue is closed and empty.
func (q *queue[T]) take(into []T) ([]T, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.items) == 0 && !q.closed {
		q.some.Wait()
	}
	return q.all(into)
}

// takeNow is take without waiting.
func (q *queue[T]) takeNow(into []T) []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	into, _ = q.all(into)
	return into
}

func (q *queue[T]) all(into []T) ([]T, bool) {
	clear(into)
	into = append(into[:0], q.items...)
	clear(q.items)
	q.items = q.items[:0]
	q.room.Broadcast()
	return into, len(into) > 0
}

// close lets everybody go; what is queued can still be taken.
func (q *queue[T]) close() {
	q.mu.Lock()
	q.closed = true
	q.room.Broadcast()
	q.some.Broadcast()
	q.mu.Unlock()
}

func (q *queue[T]) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

// outputs recycles host.Output values between the end of the flow and its beginning.
type outputs struct {
	mu   sync.Mutex
	free []*host.Output
}

// outputsFreeMax bounds what is kept for reuse.
const outputsFreeMax = 16

func (p *outputs) get() *host.Output {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		o := p.free[n-1]
		p.free = p.free[:n-1]
		return o
	}
	return &host.Output{}
}

// put takes an output back whose obligations are all met.
func (p *outputs) put(o *host.Output) {
	clear(o.Persist)
	clear(o.Send)
	clear(o.Commit)
	clear(o.Frames)
	clear(o.Lookup)
	o.Reset()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < outputsFreeMax {
		p.free = append(p.free, o)
	}
}
