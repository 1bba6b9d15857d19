package host

import (
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/wire"
)

// executedFilter knows of recently used sessions which operations were decided, so that late
// copies of a request are not proposed again. It only saves work: exactly once is decided by
// the client table of package exec. It must not be wrong the other way, or a request would be
// refused for ever: it takes an operation for executed only if it was decided, or if the client
// itself signed that it has the answer, and the word of the execute stage outweighs it (reopen).
//
// Sessions that were not used for longest are forgotten first.
type executedFilter struct {
	limit    int
	sessions map[sessionKey]*executedSession
	ring     executedSession // head of the ring of use: next is the one used last
}

// opensKept is how many OPENs of a client are remembered.
const opensKept = 4

// executedSession is a window of bft.SessionOpsMax numbers from low up, beyond which no correct
// client sends. OPENs have random numbers: of those the newest few are kept.
type executedSession struct {
	key        sessionKey
	low        uint64
	bits       [bft.SessionOpsMax / 64]uint64
	opens      []openNonce // oldest first
	slot       bft.SeqNum  // the last in which any of it was news
	used       mark        // of the pool at its last use
	prev, next *executedSession
}

type openNonce struct {
	nonce uint64
	slot  bft.SeqNum // in which it was decided
}

func newExecutedFilter(limit int) executedFilter {
	return executedFilter{limit: limit, sessions: make(map[sessionKey]*executedSession)}
}

// knows reports whether a request of r's session was decided lately.
func (f *executedFilter) knows(r *wire.Request) bool {
	return f.sessions[queueOf(r.Key())] != nil || mutant.On("node-orders-unknown-sessions")
}

// has reports whether every operation of r was executed.
func (f *executedFilter) has(r *wire.Request) bool { return f.covers(r.Key(), lastNumber(r)) }

// covers reports whether all operations from k.First to last were executed.
func (f *executedFilter) covers(k wire.RequestKey, last uint64) bool {
	s := f.sessions[queueOf(k)]
	if s == nil {
		return false
	}
	if k.Session == 0 {
		return s.open(k.First) >= 0
	}
	for i := k.First; i <= last; i++ {
		if !s.has(i) {
			return false
		}
	}
	return true
}

// mark notes that r was decided in a slot, and reports whether any of it was not known to be. That is so if
// its session was not known; else it is not a use of it.
func (f *executedFilter) mark(r *wire.Request, slot bft.SeqNum) (fresh bool) {
	s := f.sessions[queueOf(r.Key())]
	if s == nil {
		s = f.touch(queueOf(r.Key()))
	}
	if r.IsOpen() {
		if s.open(r.First) >= 0 {
			return false
		}
		if len(s.opens) == opensKept {
			s.opens = slices.Delete(s.opens, 0, 1)
		}
		s.opens = append(s.opens, openNonce{r.First, slot})
		return true
	}
	s.rise(r.Done)
	for i := r.First; i <= lastNumber(r); i++ {
		fresh = s.set(i) || fresh
	}
	if fresh {
		s.slot = slot
	}
	return fresh
}

// use notes that a session had its turn. The ring of use is in the order of these marks.
func (f *executedFilter) use(k sessionKey, at mark) { f.touch(k).used = at }

// touch returns the entry of a session, as the one used last.
func (f *executedFilter) touch(k sessionKey) *executedSession {
	if f.ring.next == nil {
		f.ring.next, f.ring.prev = &f.ring, &f.ring
	}
	s := f.sessions[k]
	switch {
	case s != nil:
		s.unlink()
	case len(f.sessions) >= f.limit:
		s = f.ring.prev
		s.unlink()
		delete(f.sessions, s.key)
		*s = executedSession{key: k}
		f.sessions[k] = s
	default:
		s = &executedSession{key: k}
		f.sessions[k] = s
	}
	s.prev, s.next = &f.ring, f.ring.next
	s.prev.next, s.next.prev = s, s
	return s
}

// sessionsSince counts the sessions that were used after a mark, as far as they are remembered.
func (f *executedFilter) sessionsSince(m mark) (n int) {
	for s := f.ring.next; s != nil && s != &f.ring && s.used.served > m.served; s = s.next {
		n++
	}
	return n
}

func (s *executedSession) unlink() {
	s.prev.next, s.next.prev = s.next, s.prev
	s.prev, s.next = nil, nil
}

// open is the place of an OPEN, or -1.
func (s *executedSession) open(nonce uint64) int {
	return slices.IndexFunc(s.opens, func(o openNonce) bool { return o.nonce == nonce })
}

// reopen forgets a request that was decided and that the execute stage does not know all the same, if it
// had executed everything by then in which the request may have been. An OPEN had its session closed since,
// and opens another. Any other request was answered as one of a closed session: its session is
// numbered after a slot that came later. Whoever has a younger filter takes the request, and a
// replica that refused it would leave him alone. What is reopened is at worst ordered once more, and
// answered as a repeat.
func (f *executedFilter) reopen(r *wire.Request, executed bft.SeqNum) bool {
	early := mutant.On("pool-reopened-unexecuted")
	s := f.sessions[queueOf(r.Key())]
	if r.IsOpen() {
		i := s.open(r.First)
		if executed < s.opens[i].slot && !early || mutant.On("pool-closed-session-stays-open") {
			return false
		}
		s.opens = slices.Delete(s.opens, i, i+1)
		return true
	}
	if executed < s.slot && !early || mutant.On("pool-early-request-stays-executed") {
		return false
	}
	if r.First < s.low { // what was said to be done was not: all of it is forgotten
		s.low, s.bits = r.Done, [len(s.bits)]uint64{}
	}
	for i := r.First; i <= lastNumber(r); i++ {
		s.clear(i)
	}
	return true
}

// rise moves the window up to a number below which the client has every answer.
func (s *executedSession) rise(low uint64) {
	if low <= s.low {
		return
	}
	if low-s.low >= bft.SessionOpsMax {
		s.bits = [len(s.bits)]uint64{}
	} else {
		for i := s.low; i < low; i++ {
			s.clear(i)
		}
	}
	s.low = low
}

func (s *executedSession) clear(i uint64) { s.bits[i/64%uint64(len(s.bits))] &^= 1 << (i % 64) }

func (s *executedSession) has(i uint64) bool {
	if i < s.low {
		return true
	}
	return i-s.low < bft.SessionOpsMax && s.bits[i/64%uint64(len(s.bits))]&(1<<(i%64)) != 0
}

// set marks a number and reports whether that is news. A number beyond the window is not
// remembered, but is news: who sends it is no correct client.
func (s *executedSession) set(i uint64) bool {
	if s.has(i) {
		return false
	}
	if i-s.low < bft.SessionOpsMax {
		s.bits[i/64%uint64(len(s.bits))] |= 1 << (i % 64)
	}
	return true
}
