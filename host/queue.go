package host

import "github.com/themis-bft/themis/bft"

// queue holds the pending requests of one session, oldest first. Those that were proposed are
// always at the front. A queue is in the ring of its pool if and only if it has one that was not.
type queue struct {
	key        sessionKey
	head, tail *pending
	first      *pending // the first that was not proposed
	len        int
	mark       // of the pool when its waiting for the next turn began

	// The same by what the execute stage knows, the last slot that counts for it, and what came of asking.
	sure    mark
	ran     bft.SeqNum
	trial   trial
	askedAt bft.SeqNum

	before, after *queue // the ring; nil outside it
}

// insert puts a new request at the end of its queue and of the order of arrival.
func (p *pool) insert(e *pending) {
	k := queueOf(e.key)
	q := p.queues[k]
	if q == nil {
		q = &queue{key: k}
		p.restart(q)
		p.queues[k] = q
		p.clients[k.client]++
	}
	p.byKey[e.key] = e
	e.queue = q
	if e.prev = q.tail; e.prev == nil {
		q.head = e
		p.own += len(e.raw)
	} else {
		q.tail.next = e
	}
	q.tail = e
	q.len++
	if e.older = p.newest; e.older == nil {
		p.oldest = e
	} else {
		p.newest.newer = e
	}
	p.newest = e
	p.bytes += len(e.raw)
	p.unproposed++
	if q.first == nil {
		q.first = e
		q.ring(p)
	}
}

// remove takes a request out of everything.
func (p *pool) remove(e *pending) {
	delete(p.byKey, e.key)
	p.bytes -= len(e.raw)
	if !e.proposed {
		p.unproposed--
	}
	if e.older == nil {
		p.oldest = e.newer
	} else {
		e.older.newer = e.newer
	}
	if e.newer == nil {
		p.newest = e.older
	} else {
		e.newer.older = e.older
	}
	p.removeFromQueue(e)
}

func (p *pool) removeFromQueue(e *pending) {
	q := e.queue
	q.len--
	if q.first == e {
		if q.first = e.next; q.first == nil {
			q.unring(p)
		}
	}
	if e.next == nil {
		q.tail = e.prev
	} else {
		e.next.prev = e.prev
	}
	if e.prev != nil {
		e.prev.next = e.next
		return
	}
	p.own -= len(e.raw)
	if q.head = e.next; q.head != nil {
		p.own += len(q.head.raw)
		return
	}
	delete(p.queues, q.key)
	if p.clients[q.key.client]--; p.clients[q.key.client] == 0 {
		delete(p.clients, q.key.client)
	}
}

// ring puts q where every other queue has its turn before it.
func (q *queue) ring(p *pool) {
	if p.turn == nil {
		q.before, q.after = q, q
		p.turn = q
		return
	}
	q.before, q.after = p.turn.before, p.turn
	q.before.after, q.after.before = q, q
}

// unring takes q out of the ring, if it is in it.
func (q *queue) unring(p *pool) {
	if q.after == nil {
		return
	}
	if p.turn == q {
		p.turn = q.after
	}
	if p.turn == q {
		p.turn = nil
	} else {
		q.before.after, q.after.before = q.after, q.before
	}
	q.before, q.after = nil, nil
}
