package client

import (
	"bytes"
	"encoding/binary"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/wire"
)

// Reply is a reply from a replica, authenticated by its link. Session keeps r.Result, which
// must not be changed afterwards. Whatever it holds, it neither panics nor makes the session
// grow: there is one vote per replica and number.
func (s *Session) Reply(from bft.ReplicaID, r wire.Reply, now bft.Duration, out *Output) {
	if int(from) >= len(s.peers) {
		s.counters.unmatched++
		return
	}
	p := &s.peers[from]
	p.replies++
	c := s.match(&r)
	if c == nil {
		s.counters.unmatched++
		p.unmatched++
		return
	}
	moved := s.hint(from, r.View)
	if c.state == slotFinished {
		s.compareLate(from, c, &r, now)
	} else if won := s.vote(from, c, &r, now); won != nil {
		s.accept(c, *won, now, out)
	} else if e := c.env; !e.retried() && s.hopeless(c) {
		// Who was asked has answered and does not agree: the others must be heard.
		s.resend(e, now, out)
	}
	if moved {
		s.resendFresh(now, out) // it went to a primary of the past
	}
	s.Flush(now, out)
}

// match finds the number that r answers: of the OPEN, or of this session and still remembered.
func (s *Session) match(r *wire.Reply) *slot {
	c := s.slot(r.Number)
	if r.Session == 0 {
		c = &s.open
	} else if r.Session != s.session && !mutant.On("client-session-not-compared") {
		return nil
	}
	if c.state == slotFree || c.number != r.Number {
		return nil
	}
	return c
}

// vote records the answer of a replica, which replaces an earlier one of the same replica, and
// returns the answer that f+1 distinct replicas have given, or nil. Only status and result
// are compared; the view is the replica's own.
func (s *Session) vote(from bft.ReplicaID, c *slot, r *wire.Reply, now bft.Duration) *vote {
	var mine *vote
	for i := range c.votes {
		v := &c.votes[i]
		if v.status == r.Status && (bytes.Equal(v.value, r.Result) || mutant.On("client-results-not-compared")) {
			mine = v
			continue
		}
		if v.voters.Has(from) {
			v.voters = v.voters.Without(from)
			v.count--
			if v.status == wire.StatusOK && r.Status == wire.StatusOK {
				s.deviates(from, now) // it contradicts itself
			}
		}
	}
	if mine == nil {
		mine = s.emptyVote(c)
		mine.status, mine.value = r.Status, r.Result
	}
	mine.voters = mine.voters.With(from)
	mine.count++
	votes, need := mine.voters.Len(), s.q.Weak()
	if mutant.On("client-same-replica-twice") {
		votes = mine.count
	}
	if mutant.On("client-f-replies") {
		need = s.q.F
	}
	if votes < need {
		return nil
	}
	return mine
}

// emptyVote returns an answer nobody stands behind any more, or a new one. There is one
// replica behind each of the others, so their number is bounded by n.
func (s *Session) emptyVote(c *slot) *vote {
	for i := range c.votes {
		if c.votes[i].voters == 0 {
			c.votes[i] = vote{}
			return &c.votes[i]
		}
	}
	c.votes = append(c.votes, vote{})
	return &c.votes[len(c.votes)-1]
}

// hopeless reports whether the replicas asked to answer cannot make f+1 equal answers any more.
func (s *Session) hopeless(c *slot) bool {
	var heard bft.ReplicaSet
	best := 0
	for _, v := range c.votes {
		heard |= v.voters
		best = max(best, v.voters.Len())
	}
	return best+(c.env.answer&^heard).Len() < s.q.Weak()
}

// accept finishes a number with the answer of f+1 replicas, one of which is correct.
func (s *Session) accept(c *slot, won vote, now bft.Duration, out *Output) {
	s.judge(c, &won, now)
	s.rtt.add(min(now-c.env.sentAt, s.o.TimeoutMax)) // an outage says little about the next answer
	c.state, c.status, c.sum = slotFinished, won.status, s.sum(won.status, won.value)
	e := c.env
	c.env = nil
	clear(c.votes)
	c.votes = c.votes[:0]
	if e.left--; e.left == 0 {
		s.release(e)
	}
	if c == &s.open {
		s.opened(&won, now, out)
		return
	}
	for s.done < s.next && s.slot(s.done).state == slotFinished {
		s.done++
	}
	s.answer(c, &won, out)
	if won.status == wire.StatusClosed {
		s.reopen(now, out)
	}
}

// answer tells the caller, unless the deadline did.
func (s *Session) answer(c *slot, won *vote, out *Output) {
	s.counters.accepted++
	if c.abandoned {
		return
	}
	res := Result{Token: c.token}
	switch won.status {
	case wire.StatusOK:
		res.Value = won.value
		if res.Value == nil {
			res.Value = []byte{}
		}
	case wire.StatusClosed:
		res.Err = errClosed
	case wire.StatusDropped:
		res.Err = ErrResultDropped
	case wire.StatusWindow:
		res.Err = errWindow
	case wire.StatusRefused:
		res.Err = ErrRefused
	default:
		res.Err = ErrOutcomeUnknown // a status of a later version: decoding refuses those
	}
	s.finish(out, res)
}

// opened ends the OPEN. A session's number is the slot of its OPEN, hence above all earlier ones.
func (s *Session) opened(won *vote, now bft.Duration, out *Output) {
	s.phase = phaseIdle
	if won.status == wire.StatusRefused {
		s.wanted = false
		s.counters.refused++
		s.failQueue(ErrRefused, out)
		return
	}
	if won.status == wire.StatusClosed && len(won.value) == 8 && !mutant.On("client-keeps-wrong-clock") {
		s.o.Clock = bft.Time(binary.LittleEndian.Uint64(won.value)) - bft.Time(now) // ours is wrong
	}
	if won.status != wire.StatusOK || len(won.value) != 8 {
		return // such as Closed, when it was evicted before it was answered: again, with a fresh nonce
	}
	n := binary.LittleEndian.Uint64(won.value)
	if n <= s.highest {
		return
	}
	s.phase, s.session, s.highest = phaseOpen, n, n
	s.openAt = max(s.openAt, now+s.o.Timeout) // closed at once: the next OPEN waits
}

// reopen leaves a session that f+1 replicas call closed. What was sent in it may have been
// executed before it was closed, and its answers are gone with it: outcome unknown. What
// waits in the queue was never sent and goes to the next session.
func (s *Session) reopen(now bft.Duration, out *Output) {
	s.abandonAll(errClosed, out)
	for i := range s.slots {
		c := &s.slots[i]
		if c.state == slotPending {
			if e := c.env; e.left > 1 {
				e.left--
			} else {
				s.release(e)
			}
		}
		clear(c.votes)
		*c = slot{votes: c.votes[:0]}
	}
	s.counters.closed++
	s.phase, s.session, s.wanted = phaseIdle, 0, true
	s.done, s.next = 1, 1
	if now < s.openAt {
		s.wakeAt(s.openAt)
	}
}

// compareLate holds a reply that was not needed any more against the accepted answer.
func (s *Session) compareLate(from bft.ReplicaID, c *slot, r *wire.Reply, now bft.Duration) {
	if c.status == wire.StatusOK && r.Status == wire.StatusOK {
		if c.sum != s.sum(r.Status, r.Result) {
			s.deviates(from, now)
			return
		}
		s.peers[from].doubted = false
	}
}

// judge counts who gave another result than the accepted one. A different status alone is no
// lie: a replica that forgot the result, or the session, since the others answered says so.
func (s *Session) judge(c *slot, won *vote, now bft.Duration) {
	for i := range c.votes {
		v := &c.votes[i]
		same := v.status == won.status && bytes.Equal(v.value, won.value)
		for id := range v.voters.All() {
			switch {
			case same:
				s.peers[id].doubted = false
			case v.status == wire.StatusOK && won.status == wire.StatusOK:
				s.deviates(id, now)
			default:
				s.peers[id].doubted = true
			}
		}
	}
}

// sum is a keyed FNV-1a of an answer. It only serves to count lies that come late, without
// keeping results; nothing is accepted by it.
func (s *Session) sum(status wire.Status, value []byte) uint64 {
	h := (0xcbf29ce484222325 ^ s.o.Seed ^ uint64(status)) * 0x100000001b3
	for _, b := range value {
		h = (h ^ uint64(b)) * 0x100000001b3
	}
	return h
}
