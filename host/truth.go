package host

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
)

// What the pool takes for new in a batch goes by a filter that is bounded: a primary that has kept the
// requests of more sessions than it holds can push all of them out, and pass repeats for service: of others, so
// that nobody finds it silent, and of the session that it starves. The execute stage cannot be
// deceived. It is asked about requests that wait anyway (upkeep.doubt), and what it says then bounds
// for how long the filter may be wrong; it costs nothing while nobody waits.

// trial is how far the question has come whether a session is starved.
type trial uint8

const (
	trialNone  trial = iota
	trialAsked       // others were served too often; the execute stage was asked whether the session was too
	trialLost        // it was not
)

// restart lets the waiting of a session for its turn begin.
func (p *pool) restart(q *queue) {
	q.mark, q.sure, q.ran, q.trial = p.mark, p.mark, p.last, trialNone
}

// heard takes the word of the execute stage about a request of a session.
func (p *pool) heard(now bft.Duration, k sessionKey, word Word) {
	w := &p.waiting
	lags := word.Executed+2*bft.SeqNum(w.inFlight) < p.last // it, or the application, is what is slow
	if word.Worked > w.worked || lags {
		w.workedAt = now
	}
	w.worked, w.heardAt = max(w.worked, word.Worked), now
	q := p.queues[k]
	switch {
	case q == nil:
	case word.Served > q.ran:
		q.sure, q.ran, q.trial = p.mark, word.Served, trialNone
	case q.trial == trialAsked && word.Executed >= q.askedAt:
		q.trial = trialLost
	}
}

// verdict reports whether a session is starved by the word of the execute stage, or whether that is to be
// asked first: of what was served in a proposal alone nobody else knows whether it was a repeat.
func (p *pool) verdict(q *queue) (guilty, ask bool) {
	if q == nil || !p.unfair(q.sure) || mutant.On("pool-starved-by-the-filter-alone") {
		return false, false
	}
	if q.trial == trialNone {
		q.trial, q.askedAt = trialAsked, p.last
		return false, true
	}
	return q.trial == trialLost, false
}

// idle reports whether the execute stage has found nothing new for 2 T in what is decided, while a request waits
// since then. If it says nothing at all, an application may be slow, which is no fault of the primary.
func (p *pool) idle(now, since bft.Duration) bool {
	w := &p.waiting
	return now-max(w.workedAt, since) >= 2*w.patience && now-w.heardAt <= w.patience && !mutant.On("pool-silent-by-the-filter-alone")
}
