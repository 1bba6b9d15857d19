package host

import (
	"bytes"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/wire"
)

// pool holds the requests that are known here and not executed: from their client, from a
// relay, or from a PRE-PREPARE of the current primary (design, decision 6). It is pure: time is
// an argument, and no decision depends on the order of a map.
//
// Every session has a queue in order of arrival, every request a place in the order of arrival
// of all. What it holds is bounded: the oldest request of a session has a place of its own, all
// others share bft.PoolRequestsMax and bft.PoolBytesMax, and who may have a queue is said at
// mayWait. One name (client, session, first) stands for the bytes first seen under it until
// they are executed; other bytes under the same name are ignored.
//
// The parts: pool.go what is held, queue.go the links, batch.go what is proposed, executed.go
// what is not taken again, suspect.go and upkeep.go what waiting leads to.
type pool struct {
	byKey   map[wire.RequestKey]*pending
	queues  map[sessionKey]*queue
	clients map[bft.ClientID]int // queues of each client that has any
	oldest  *pending
	newest  *pending
	bytes   int        // of all
	own     int        // bytes of the oldest of each session, which do not count towards the bound
	mark               // what was served, ever
	last    bft.SeqNum // highest slot whose batch was decided

	turn       *queue // whose turn it is to be proposed; nil when all is proposed
	unproposed int

	seats    seats
	executed executedFilter
	waiting  waiting
}

// pending is one request in the pool.
type pending struct {
	key   wire.RequestKey
	last  uint64 // number of its last operation
	raw   []byte // the envelope, a copy of the pool's own
	since bft.Duration
	entryFlags

	queue        *queue
	prev, next   *pending // in the queue
	older, newer *pending // in the order of arrival
}

// mark is a moment in the work of the primary.
type mark struct {
	served uint64 // requests that were served up to then
	slots  uint64 // decided batches in which any was
}

// entryFlags are what the pool knows of a request beyond its bytes.
type entryFlags struct {
	proposed  bool // in a batch of the current view, by this replica
	asked     bool // by its client, here
	confirmed bool // the execute stage said that it is not executed
	looked    bool // the execute stage was asked
	told      bool // the primary of the current view knows it,
	spread    bool // and all replicas were told

	executed bft.SeqNum // where the execute stage was when it confirmed

	toldAt      bft.Duration
	tells       uint8        // how often toldAt was set in this view
	relayedAt   bft.Duration // when it last went to another replica
	confirmedAt bft.Duration // when the execute stage was last asked
}

// sessionKey names a queue. All OPENs of a client share session 0.
type sessionKey struct {
	client  bft.ClientID
	session uint64
}

func queueOf(k wire.RequestKey) sessionKey { return sessionKey{k.Client, k.Session} }

// seats says how many sessions may wait at once. The shared seats are for everybody; besides, every
// listed client has some of its own, which nobody can take: strangers that fill all shared
// seats with sessions that do not exist delay only one another.
type seats struct {
	listed map[bft.ClientID]struct{}
	shared int
	each   int // of every listed client
}

func newPool(m *bft.Membership) *pool {
	s := seats{listed: make(map[bft.ClientID]struct{}, len(m.Clients)), shared: m.Sessions + bft.OpensPendingMax}
	for _, c := range m.Clients {
		s.listed[c.ID] = struct{}{}
	}
	s.each = max(1, m.Sessions/max(1, len(m.Clients)))
	return &pool{
		byKey: make(map[wire.RequestKey]*pending), queues: make(map[sessionKey]*queue),
		clients: make(map[bft.ClientID]int), seats: s,
		executed: newExecutedFilter(max(1, m.Sessions)),
		waiting:  waiting{inFlight: int(m.InFlight)},
	}
}

// seatsMax is the number of sessions that can wait at once, whatever clients do.
func (s *seats) seatsMax() int { return s.shared + s.each*len(s.listed) }

// mayWait reports whether one more session of a client may wait.
func (p *pool) mayWait(c bft.ClientID) bool {
	if len(p.queues) < p.seats.shared {
		return true
	}
	_, listed := p.seats.listed[c]
	return listed && p.clients[c] < p.seats.each
}

// added says what became of a request that was offered to the pool.
type added uint8

const (
	addedNew      added = iota
	addedKnown          // the same bytes are pending; what was learned now is added to the entry
	addedConflict       // other bytes are pending under the name
	addedExecuted       // all its operations are known to be executed
	addedFull           // no room
	addedKinds          // number of the above
)

// add offers a request. Of the flags, those that say something of the request are joined with
// what is known already.
func (p *pool) add(now bft.Duration, r *wire.Request, f entryFlags) added {
	key := r.Key()
	if e := p.byKey[key]; e != nil {
		if !bytes.Equal(e.raw, r.Raw) {
			return addedConflict
		}
		p.learn(now, e, f)
		return addedKnown
	}
	if p.executed.has(r) && !(f.confirmed && p.executed.reopen(r, f.executed)) {
		return addedExecuted
	}
	if !p.fits(key, len(r.Raw)) {
		return addedFull
	}
	e := &pending{
		key: key, last: lastNumber(r), raw: bytes.Clone(r.Raw), since: now, entryFlags: f,
	}
	e.told, e.confirmedAt = false, now
	p.insert(e)
	if f.told {
		p.tell(e, f.toldAt)
	}
	p.waiting.began(now)
	return addedNew
}

func (p *pool) learn(now bft.Duration, e *pending, f entryFlags) {
	e.asked = e.asked || f.asked
	if f.confirmed {
		e.confirmed, e.confirmedAt = true, now
	}
	if f.told {
		p.tell(e, f.toldAt)
	}
}

func lastNumber(r *wire.Request) uint64 { return r.First + uint64(len(r.Ops)) - 1 }

// fits reports whether there is room for a request of the given size.
func (p *pool) fits(key wire.RequestKey, size int) bool {
	q := p.queues[queueOf(key)]
	if q == nil && !mutant.On("pool-no-reserved-place") {
		return p.mayWait(key.Client)
	}
	return (q == nil || q.len < bft.RequestsPerSessionMax) &&
		len(p.byKey)-len(p.queues) < bft.PoolRequestsMax &&
		p.bytes-p.own+size <= bft.PoolBytesMax
}

// decided is a batch that was decided.
type decided struct {
	slot    bft.SeqNum
	offered bool // the primary proposed for its slot here, so that its requests were offered to the pool
	reqs    []wire.Request
}

// commit takes the requests of a decided batch out of the pool and marks them executed. It
// reports whether any of them was new: a batch of repeats is no progress.
//
// In a slot that the primary proposed here, whatever is progress is service as well, also what the
// pool had refused or dropped by then: a primary that orders only such would starve all others.
// A repeat is neither: it ends no wait, and no batch is larger by it.
func (p *pool) commit(now bft.Duration, b decided) (progress bool) {
	slots, size := p.slots+1, 0
	p.last = max(p.last, b.slot)
	for i := range b.reqs {
		r := &b.reqs[i]
		k, e, sure := queueOf(r.Key()), p.byKey[r.Key()], false
		fresh := p.executed.mark(r, b.slot)
		switch {
		case e != nil:
			sure = e.confirmed
			p.leave(e, slots)
		case fresh && b.offered && !mutant.On("pool-refused-is-not-served"):
			p.serve(slots)
		}
		moved := p.sweep(k, slots) || e != nil || fresh
		if moved || mutant.On("pool-padding-is-work") {
			size++
		}
		if moved || mutant.On("pool-repeat-is-a-turn") {
			p.executed.use(k, p.mark)
		}
		if q := p.queues[k]; q != nil && (moved || mutant.On("pool-repeat-is-service")) {
			q.mark = p.mark
			if sure {
				p.restart(q)
			}
		}
		progress = fresh || progress
	}
	p.waiting.committed(now, size, progress)
	return progress
}

// sweep removes from the front of a queue what is executed under other names: operations that
// the client also sent in another bundle. No correct primary proposes them again, so that they
// must not wait here.
func (p *pool) sweep(k sessionKey, slots uint64) (swept bool) {
	for q := p.queues[k]; q != nil && q.head != nil && p.executed.covers(q.head.key, q.head.last); swept = true {
		p.leave(q.head, slots)
	}
	return swept
}

// leave removes a request that was executed.
func (p *pool) leave(e *pending, slots uint64) {
	p.serve(slots)
	p.remove(e)
}

// serve counts a request that was executed, in the batch that is the given one with any.
func (p *pool) serve(slots uint64) { p.mark = mark{p.served + 1, slots} }

// drain empties the pool and returns what it held, in order of arrival: after a jump to a later
// state nobody here knows which of it was executed.
func (p *pool) drain() []*pending {
	all := make([]*pending, 0, len(p.byKey))
	for e := p.oldest; e != nil; e = e.newer {
		all = append(all, e)
	}
	for _, e := range all {
		p.remove(e)
	}
	p.executed = newExecutedFilter(p.executed.limit)
	return all
}

// resetProposed makes everything count as not proposed: a new view began, and what was proposed
// in an older one may have been lost with it. Sessions take turns in the order of their oldest.
func (p *pool) resetProposed() {
	if mutant.On("pool-forgets-on-view-change") {
		return
	}
	for e := p.oldest; e != nil; e = e.newer {
		e.proposed = false
		e.queue.unring(p)
	}
	p.unproposed = len(p.byKey)
	for e := p.oldest; e != nil; e = e.newer {
		if e.prev == nil {
			e.queue.first = e
			e.queue.ring(p)
		}
	}
}
