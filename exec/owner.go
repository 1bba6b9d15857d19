package exec

import (
	"container/heap"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
)

// owner is a client with at least one open session, and its sessions from the least to the most
// recently executed.
type owner struct {
	listed           bool
	sessions         int
	newest           uint64 // highest number of a session, ever
	oldest, youngest *session

	at   int // its place in the ranking
	rank age // of its oldest session when it got that place: by now that may be younger
}

// age is when a session executed last: no two sessions have the same, since one request belongs
// to one session.
type age struct {
	slot    bft.SeqNum
	request uint32
}

func (s *session) age() age { return age{s.lastSlot, s.lastRequest} }

func (a age) before(b age) bool {
	if a.slot != b.slot {
		return a.slot < b.slot
	}
	return a.request < b.request
}

func (s *session) olderThan(o *session) bool { return s.age().before(o.age()) }

// own enters s with its client.
func (t *table) own(s *session) {
	o := t.owners[s.client]
	if o == nil {
		o = &owner{listed: s.listed, rank: s.age()}
		t.owners[s.client] = o
		heap.Push(t.ranksOf(o), o)
	}
	s.owner = o
	o.sessions++
	o.newest = max(o.newest, s.number)
	o.push(s)
	t.ranksOf(o).settle(o)
}

// disown takes s from its client.
func (t *table) disown(s *session) {
	o := s.owner
	o.unlink(s)
	if o.sessions--; o.sessions == 0 {
		heap.Remove(t.ranksOf(o), o.at)
		delete(t.owners, s.client)
		return
	}
	t.ranksOf(o).settle(o)
}

func (t *table) ranksOf(o *owner) *ranking {
	if o.listed {
		return &t.ranks[1]
	}
	return &t.ranks[0]
}

func (o *owner) push(s *session) {
	s.prev, s.next = o.youngest, nil
	if o.youngest != nil {
		o.youngest.next = s
	} else {
		o.oldest = s
	}
	o.youngest = s
}

func (o *owner) unlink(s *session) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		o.oldest = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		o.youngest = s.prev
	}
	s.prev, s.next = nil, nil
}

// ranking is a heap of owners: first who has the most sessions, and of equals whose oldest session
// is the oldest. An OPEN must not cost a walk through all sessions, since anybody can send many;
// and execution, which makes a session younger, must not cost a step in the heap. So ranks may be
// older than the sessions are, never younger, and first puts right what it meets.
type ranking []*owner

// settle gives o its place anew.
func (r *ranking) settle(o *owner) {
	o.rank = o.oldest.age()
	heap.Fix(r, o.at)
}

// first is the least recently executed session of those owners that have the most, or nil.
func (r *ranking) first() *session {
	for len(*r) > 0 {
		o := (*r)[0]
		if o.rank == o.oldest.age() || mutant.On("exec-rank-not-renewed") {
			return o.oldest
		}
		r.settle(o)
	}
	return nil
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (r ranking) Len() int { return len(r) }

func (r ranking) Less(i, j int) bool {
	if r[i].sessions != r[j].sessions && !mutant.On("exec-greedy-closes-others") {
		return r[i].sessions > r[j].sessions
	}
	return r[i].rank.before(r[j].rank)
}

func (r ranking) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].at, r[j].at = i, j
}

func (r *ranking) Push(x any) {
	o := x.(*owner)
	o.at = len(*r)
	*r = append(*r, o)
}

func (r *ranking) Pop() any {
	last := len(*r) - 1
	o := (*r)[last]
	(*r)[last] = nil
	*r = (*r)[:last]
	return o
}
