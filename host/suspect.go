package host

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
)

// waiting is how long requests may wait at this replica before it suspects the primary, and
// what it has seen of the primary's work meanwhile (design, decision 6). There are two reasons
// to suspect and no third:
//
//   - silence: a request is pending for T and nothing new was executed for T;
//   - unfairness: the oldest request of a session is pending for T, and since it came more
//     requests of others that came later were executed than overtakesMax allows.
//
// A request counts only when the execute stage said that it is not executed, and when the
// primary was told of it early enough: else a client and one replica together could turn
// everybody against a correct primary by showing a request to the others alone.
type waiting struct {
	patience   bft.Duration // T, 0 while suspicion is suspended
	view       bft.View     // in which T was last set
	progressAt bft.Duration // last execution of something new, or when T was set
	quietUntil bft.Duration // no new suspicion before
	nextLook   bft.Duration // when upkeep is due
	attention  bool         // there may be work in upkeep for requests younger than T/2

	inFlight int
	batches  [2]int // largest of the last two groups of decided batches
	grouped  int    // batches in the first group
}

// looksPerPatience is how often within T the pool is looked over; suspicion is late by at most
// one part in that many.
const looksPerPatience = 8

// batchGroup is the number of batches after which the largest but one group is forgotten.
const batchGroup = 64

// baseline is what had been executed when the waiting of a request began, from which follows
// how many later ones were executed since.
type baseline struct {
	removed    uint64 // from the pool
	older      int    // requests pending that came before it
	ownRemoved uint64 // the same in its own queue
	ownOlder   int
}

// began notes that a request came. In an empty pool there was nothing to look over.
func (w *waiting) began(now bft.Duration) {
	if w.patience > 0 && w.nextLook < now {
		w.nextLook = now + w.patience/looksPerPatience
	}
}

// postpone puts off what cannot be done now: there is no primary to suspect or to tell.
func (w *waiting) postpone(now bft.Duration) {
	w.nextLook = max(w.nextLook, now+w.patience/looksPerPatience)
}

// committed notes a decided batch.
func (w *waiting) committed(now bft.Duration, requests int, progress bool) {
	if progress {
		w.progressAt = now
	}
	if w.grouped++; w.grouped > batchGroup {
		w.batches[1], w.batches[0], w.grouped = w.batches[0], 0, 1
	}
	w.batches[0] = max(w.batches[0], requests)
}

// setPatience sets T and restarts all waiting, or suspends it with T = 0. It costs a step for
// every pending request.
func (p *pool) setPatience(now bft.Duration, t bft.Duration, view bft.View) {
	w := &p.waiting
	w.patience, w.progressAt, w.quietUntil = t, now, 0
	if t == 0 {
		return
	}
	w.nextLook, w.attention = now, true
	newView := w.view != view
	w.view = view
	rank := 0
	for e := p.oldest; e != nil; e = e.newer {
		e.since = now
		e.base = baseline{removed: p.removed, older: rank, ownRemoved: e.queue.removed}
		if e.prev != nil {
			e.base.ownOlder = e.prev.base.ownOlder + 1
		}
		if newView {
			e.told, e.spread, e.looked = false, false, false
		}
		rank++
	}
}

// untell forgets that the primary was told: its link was made anew, and with the old one went
// what was under way.
func (p *pool) untell() {
	for e := p.oldest; e != nil; e = e.newer {
		e.told = false
	}
	p.waiting.attention = true
}

// deadline is when the pool must be looked over next.
func (p *pool) deadline() (bft.Duration, bool) {
	return p.waiting.nextLook, p.waiting.patience > 0 && p.oldest != nil
}

// overtakesMax is how many later requests of others may be executed before the oldest of a
// session, without any fault of the primary: those in the slots that were in flight when it
// came, as many again for what was under way to the primary, or, when more sessions wait than
// that, two rounds of all sessions. The size of a slot is the largest batch decided lately.
func (p *pool) overtakesMax() int64 {
	batch := max(p.waiting.batches[0], p.waiting.batches[1], 1)
	return int64(max(2*p.waiting.inFlight*batch, 2*len(p.queues)))
}

// overtakes is how many requests of other sessions that came later than e, the oldest of its
// session, were executed since e's waiting began. Rank is the number of requests pending that
// are older than e: what was older and is gone was executed before its turn at e's cost to
// nobody.
func (p *pool) overtakes(e *pending, rank int) int64 {
	later := int64(p.removed-e.base.removed) - int64(e.base.older-rank)
	ownLater := int64(e.queue.removed-e.base.ownRemoved) - int64(e.base.ownOlder)
	return later - ownLater
}

// suspicious returns the reason, if there is one, to suspect the primary because of e.
func (p *pool) suspicious(now bft.Duration, e *pending, rank int) protocol.Cause {
	w := &p.waiting
	ripe := e.confirmed && e.told && now-e.since >= w.patience && now-e.toldAt >= w.patience/2
	if !ripe || now < w.quietUntil {
		return protocol.CauseNone
	}
	if now-w.progressAt >= w.patience && !mutant.On("node-silence-never") {
		return protocol.CauseSilence
	}
	if e.prev == nil && p.overtakes(e, rank) > p.overtakesMax() && !mutant.On("pool-unfairness-never") {
		return protocol.CauseUnfairness
	}
	return protocol.CauseNone
}
