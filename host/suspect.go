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
//   - unfairness: the oldest request of a session is pending for T, and since its turn to wait
//     began others were served again and again, in more requests or slots than unfair allows.
//
// A request counts only when the execute stage said that it is not executed, and when the
// primary was told of it early enough: else a client and one replica together could turn
// everybody against a correct primary by showing a request to the others alone.
type waiting struct {
	patience   bft.Duration // T, 0 while suspicion is suspended
	view       bft.View     // in which T was last set
	progressAt bft.Duration // last decision on something new, as far as is known here, or when T was set
	worked     bft.SeqNum   // last slot of which the execute stage said that anything new was in it
	workedAt   bft.Duration // when it was a new one that it said, or when T was set
	heardAt    bft.Duration // when it said anything
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

// committed notes a decided batch. Repeats are not among its requests: the primary has any number of them.
func (w *waiting) committed(now bft.Duration, requests int, progress bool) {
	if progress || mutant.On("pool-repeats-are-progress") {
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
	w.patience, w.progressAt, w.workedAt, w.quietUntil = t, now, now, 0
	if t == 0 {
		return
	}
	w.nextLook, w.attention = now, true
	newView := w.view != view
	w.view = view
	for e := p.oldest; e != nil; e = e.newer {
		e.since = now
		p.restart(e.queue)
		e.spread = e.spread && mutant.On("pool-spread-once")
		if newView {
			e.told, e.spread, e.looked, e.tells = false, false, false, 0
		}
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

// overtakesMax is how often others may be served twice or more while a session waits for its
// turn, without any fault of the primary: what was in the slots in flight when its waiting
// began, and as many again for what happened on its way to the primary, or two rounds of all
// sessions that wait here if that is more. The size of a slot is the largest batch decided lately.
func (p *pool) overtakesMax() int {
	batch := max(p.waiting.batches[0], p.waiting.batches[1], 1)
	return max(2*p.waiting.inFlight*batch, 2*len(p.queues))
}

// unfair reports whether others were served too often since a session was served last, or since its
// oldest request came or was told to the primary. A primary that takes sessions in turn serves
// each of any number of others once before it, also those that wait at the primary alone; only
// what it had proposed before comes on top, which is bounded in requests and in slots. Each slot of
// its serves another session at least: small slots must not hide behind a large one. What was
// not pending here and came by claims (for which it may have been this replica's own fault) does not count.
func (p *pool) unfair(since mark) bool {
	turns := p.executed.sessionsSince(since)
	return int(p.served-since.served)-turns > p.overtakesMax() ||
		int(p.slots-since.slots)-turns > 2*p.waiting.inFlight && !mutant.On("pool-slots-not-bounded")
}

// toldAgainMax is how often telling the primary anew gives it time anew. A primary that could
// have more by breaking its links could be silent for ever.
const toldAgainMax = 1

// tell notes that the primary knows e from now on.
func (p *pool) tell(e *pending, now bft.Duration) {
	if e.told {
		return
	}
	e.told = true
	if e.tells > toldAgainMax {
		return
	}
	e.tells++
	e.toldAt = now
	if e.prev == nil {
		p.restart(e.queue)
	}
}

// mayTellAgain reports whether a repeat of e by its client goes to the primary once more: at most as
// often as the pool is looked over, so that whoever repeats costs one frame for many. It gives
// the primary no more time.
func (p *pool) mayTellAgain(now bft.Duration, e *pending) bool {
	return now-e.relayedAt >= p.waiting.patience/looksPerPatience && !mutant.On("pool-repeat-not-told")
}

// mayRemind reports whether the primary is told once more of what it was told before, with no more
// time to serve it, before it is suspected because of it.
func (p *pool) mayRemind(now bft.Duration, e *pending) bool {
	return e.confirmed && e.told && now-e.toldAt >= p.waiting.patience/looksPerPatience && p.mayTellAgain(now, e) &&
		!mutant.On("pool-primary-not-reminded")
}

// ripe reports whether e has waited long enough for suspicion: T in all, and half of that since
// the primary was told.
func (p *pool) ripe(now bft.Duration, e *pending) bool {
	t := p.waiting.patience
	if mutant.On("pool-suspects-untold") {
		return now-e.since >= t
	}
	return e.confirmed && e.told && now-e.since >= t && now-e.toldAt >= t/2
}

// suspicion returns the reason, if there is one, to suspect the primary because of requests
// that are ripe, if any waits, since when. Starved is, of the sessions whose oldest request is ripe, the
// one that was served longest ago: if any was overtaken too often, it was. Guilty says that the execute
// stage found one starved.
func (p *pool) suspicion(now, since bft.Duration, waits, guilty bool, starved *queue) protocol.Cause {
	w := &p.waiting
	cause := protocol.CauseNone
	switch {
	case !waits || now < w.quietUntil:
	case now-w.progressAt >= w.patience && !mutant.On("node-silence-never"):
		cause = protocol.CauseSilence
	case p.idle(now, since) && !mutant.On("node-silence-never"):
		cause = protocol.CauseSilence
	case (guilty || starved != nil && p.unfair(starved.mark)) && !mutant.On("pool-unfairness-never"):
		cause = protocol.CauseUnfairness
	}
	if cause != protocol.CauseNone {
		w.quietUntil = now + w.patience
	}
	return cause
}
