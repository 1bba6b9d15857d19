package client

import (
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
)

// askAllEvery is how often everybody is asked to answer, though f+1 would do: who was doubted
// can show that it answers again, and nobody lies unseen for long.
const askAllEvery = 64

// distrust is how long a replica that gave a wrong result is not asked to answer. It loses
// nothing by that but its say in the common case; a repaired one comes back.
const distrust = 60 * bft.Second

// peer is what is known of one replica.
type peer struct {
	view       bft.View // highest it claimed
	deviatedAt bft.Duration
	doubted    bool // was asked and kept silent, or refused what others answered
	replies    uint64
	deviations uint64
	unmatched  uint64
}

// LinkUp says that frames to a replica will arrive again. What was retried in the meantime is
// sent to it, since its link may be the one that was missing.
func (s *Session) LinkUp(id bft.ReplicaID, now bft.Duration, out *Output) {
	if int(id) >= len(s.peers) || s.up.Has(id) {
		return
	}
	s.up = s.up.With(id)
	s.peers[id].doubted = false
	for e := range s.envelopes() {
		if e.retried() {
			s.resendTo(e, bft.SetOf(id), out)
		}
	}
	s.Flush(now, out)
}

// LinkDown says that the link to a replica broke; frames on it may be lost. What the presumed
// primary or an answer of this replica was awaited for is sent to all at once.
func (s *Session) LinkDown(id bft.ReplicaID, now bft.Duration, out *Output) {
	if !s.up.Has(id) {
		return
	}
	s.up = s.up.Without(id)
	if id == s.primary() {
		s.resendAll(now, out)
		return
	}
	for e := range s.envelopes() {
		if (e.primary == id || e.answer.Has(id)) && !e.retried() {
			s.resend(e, now, out)
		}
	}
}

// hint notes the view a replica claims and reports whether that moved the presumed view: the
// highest that f+1 claim to have reached, so that f liars cannot move it.
func (s *Session) hint(from bft.ReplicaID, v bft.View) (moved bool) {
	p := &s.peers[from]
	if v <= p.view || v > bft.ViewMax {
		return false
	}
	p.view = v
	if v <= s.view {
		return false
	}
	rank := s.q.Weak()
	if mutant.On("client-view-hint-from-one") {
		rank = 1
	}
	agreed := s.claimed(rank)
	if agreed <= s.view {
		return false
	}
	s.view, s.astray = agreed, false
	return true
}

// primary is where a request goes first: to the primary of the presumed view, or, when that one kept silent,
// of the view that all but f replicas claim to have reached. One correct replica that left its view alone
// and f liars can name a view that nobody else is in.
func (s *Session) primary() bft.ReplicaID {
	if s.astray && !mutant.On("client-follows-one-astray") {
		return s.q.Primary(s.settled())
	}
	return s.q.Primary(s.view)
}

// settled is the highest view that all but f replicas claim to have reached.
func (s *Session) settled() bft.View { return s.claimed(len(s.peers) - s.q.F) }

// claimed is the highest view that so many replicas claim to have reached.
func (s *Session) claimed(by int) bft.View {
	var views [bft.ReplicasMax]bft.View
	claimed := views[:len(s.peers)]
	for i := range s.peers {
		claimed[i] = s.peers[i].view
	}
	slices.Sort(claimed)
	return claimed[len(claimed)-by]
}

// answerSet picks the f+1 replicas asked to answer, in turn among those that are linked and
// answer properly. If there are too few of those, everybody is asked.
func (s *Session) answerSet(now bft.Duration) bft.ReplicaSet {
	var set bft.ReplicaSet
	s.turn++
	if s.turn%askAllEvery == 0 {
		return s.q.All()
	}
	for i := range s.peers {
		id := bft.ReplicaID((s.turn + i) % len(s.peers))
		p := &s.peers[id]
		if !s.up.Has(id) || p.doubted || p.deviations > 0 && now-p.deviatedAt < distrust {
			continue
		}
		if set = set.With(id); set.Len() == s.q.Weak() {
			return set
		}
	}
	return s.q.All()
}

// doubtSilent notes which of those asked to answer e did not, until they answer something.
func (s *Session) doubtSilent(e *envelope) {
	for n := e.first; n < e.first+e.count; n++ {
		c := s.slot(n)
		if c.env != e || c.state != slotPending {
			continue
		}
		silent := e.answer
		for _, v := range c.votes {
			silent &^= v.voters
		}
		for id := range silent.All() {
			if int(id) < len(s.peers) {
				s.peers[id].doubted = true
			}
		}
	}
}

func (s *Session) deviates(id bft.ReplicaID, now bft.Duration) {
	s.peers[id].deviations++
	s.peers[id].deviatedAt = now
}

// estimate follows how long answers take, as TCP does (Jacobson), so that an overloaded
// cluster is not loaded further by retries of everything.
type estimate struct {
	known          bool
	mean, variance bft.Duration
}

func (e *estimate) add(sample bft.Duration) {
	if !e.known {
		*e = estimate{known: true, mean: sample, variance: sample / 2}
		return
	}
	diff := sample - e.mean
	e.mean += diff / 8
	e.variance += (max(diff, -diff) - e.variance) / 4
}

// timeout is when an answer is late. Twice the mean at least: steady answers have no variance, and
// the jitter takes up to a quarter away.
func (e *estimate) timeout() bft.Duration { return e.mean + max(e.mean, 4*e.variance) }

// generator is splitmix64 (Steele, Lea and Flood): a bijection of a counter, so that no two of
// its values within a session are equal.
type generator uint64

func (g *generator) next() uint64 {
	*g += 0x9e3779b97f4a7c15
	z := uint64(*g)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
