package exec

import (
	"fmt"
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
)

// sessionKey names a session: several clients may open one in the same slot.
type sessionKey struct {
	client bft.ClientID
	number uint64
}

// openKey names an OPEN.
type openKey struct {
	client bft.ClientID
	nonce  uint64
}

// table is the session table: at most limit sessions, each at a place of its own. It is a pure
// data structure; what it holds is a function of the ordered operations alone.
//
// Places are given lowest first and pages hold consecutive places, so that a page has a bounded
// number of sessions whatever clients do, and few sessions make few pages.
type table struct {
	limit  int
	keep   uint64     // bytes of replies that a session keeps
	places []*session // nil where free; never longer than limit
	free   int        // no place below is free
	byKey  map[sessionKey]*session
	byOpen map[openKey]*session
	owners map[bft.ClientID]*owner
	ranks  [2]ranking // of the unlisted (0) and the listed (1) owners
	pages  []page     // caches, as many as places need
}

func newTable(limit int, keep uint64) *table {
	return &table{
		limit: limit, keep: keep, byKey: make(map[sessionKey]*session), byOpen: make(map[openKey]*session),
		owners: make(map[bft.ClientID]*owner),
	}
}

func (t *table) len() int { return len(t.byKey) }

// find returns the open session of client with this number, or nil.
func (t *table) find(client bft.ClientID, number uint64) *session {
	return t.byKey[sessionKey{client, number}]
}

// opened returns the open session that this OPEN made, or nil.
func (t *table) opened(client bft.ClientID, nonce uint64) *session {
	return t.byOpen[openKey{client, nonce}]
}

// newest is the highest number of a client's sessions, open or closed; 0 if none is open.
func (t *table) newest(client bft.ClientID) uint64 {
	if o := t.owners[client]; o != nil {
		return o.newest
	}
	return 0
}

// open adds a session. If the table is full, the least recently executed session of the client
// that has the most makes room, except that an unlisted client never drives out a listed one.
func (t *table) open(s session) (evicted, ok bool) {
	if len(t.byKey) == t.limit {
		victim := t.victim(s.listed)
		if victim == nil {
			return false, false
		}
		t.remove(victim)
		evicted = true
	}
	s.place = t.freePlace()
	t.add(&s)
	return evicted, true
}

// makesRoom is the session that an OPEN would close, or nil if it would close none.
func (t *table) makesRoom(listed bool) *session {
	if len(t.byKey) < t.limit {
		return nil
	}
	return t.victim(listed)
}

// victim is the session that an OPEN closes, or nil if it may close none. Whoever opens many closes
// his own by that, not those of others (ADR 8).
func (t *table) victim(listed bool) *session {
	unlisted, other := t.ranks[0].first(), t.ranks[1].first()
	switch {
	case !listed || other == nil:
		return unlisted
	case unlisted == nil:
		return other
	case other.owner.sessions != unlisted.owner.sessions && !mutant.On("exec-greedy-closes-others"):
		if other.owner.sessions > unlisted.owner.sessions {
			return other
		}
		return unlisted
	case other.olderThan(unlisted):
		return other
	}
	return unlisted
}

func (t *table) freePlace() int {
	for ; t.free < len(t.places); t.free++ {
		if t.places[t.free] == nil {
			break
		}
	}
	return t.free
}

// add puts s at its place, as the youngest.
func (t *table) add(s *session) {
	for len(t.places) <= s.place {
		t.places = append(t.places, nil)
	}
	if t.places[s.place] != nil {
		panic(fmt.Sprintf("exec: place %d of the session table is taken twice", s.place))
	}
	t.places[s.place] = s
	s.keep = t.keep
	t.byKey[sessionKey{s.client, s.number}] = s
	t.byOpen[openKey{s.client, s.nonce}] = s
	t.own(s)
	t.dirty(s)
}

// remove closes s; pages that hold nothing any more go.
func (t *table) remove(s *session) {
	t.dirty(s)
	t.places[s.place] = nil
	t.free = min(t.free, s.place)
	delete(t.byKey, sessionKey{s.client, s.number})
	delete(t.byOpen, openKey{s.client, s.nonce})
	t.disown(s)
	s.gone = true
	last := len(t.places)
	for last > 0 && t.places[last-1] == nil {
		last--
	}
	t.places = t.places[:last]
	t.pages = t.pages[:min(len(t.pages), pagesFor(last))]
}

// touch makes s the most recently executed session.
func (t *table) touch(s *session, slot bft.SeqNum, request uint32) {
	s.lastSlot, s.lastRequest = slot, request
	if o := s.owner; o.youngest != s {
		o.unlink(s)
		o.push(s)
	}
	t.dirty(s)
}

// advance raises the session's done, by the word of its client.
func (t *table) advance(s *session, done uint64) {
	if done > s.done {
		s.advance(done)
		t.dirty(s)
	}
}

// store records that an operation executed, with its reply.
func (t *table) store(s *session, c cachedReply) {
	s.mark(c.number)
	s.store(c)
	t.dirty(s)
}

// skip records that an operation executed whose result cannot be had.
func (t *table) skip(s *session, number uint64) {
	s.mark(number)
	t.dirty(s)
}

// restore replaces the content by sessions that a checkpoint brought.
func (t *table) restore(sessions []*session) {
	fresh := newTable(t.limit, t.keep)
	slices.SortFunc(sessions, func(a, b *session) int {
		if a.olderThan(b) {
			return -1
		}
		return 1
	})
	for _, s := range sessions {
		fresh.add(s)
	}
	*t = *fresh
}
