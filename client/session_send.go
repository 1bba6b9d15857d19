package client

import (
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/wire"
)

// envelope is one signed request on its way: the OPEN or k ≥ 1 operations.
type envelope struct {
	first, count uint64
	left         int // operations that are not answered
	answer       bft.ReplicaSet
	primary      bft.ReplicaID // where it went first
	request      []byte        // whole frame REQUEST
	retry        []byte        // whole frame RETRY, with the same payload; nil until the first one
	sentAt       bft.Duration
	due          bft.Duration // next RETRY
	timeout      bft.Duration // that led to due
	pass         uint64       // latest walk that visited it
}

func (e *envelope) retried() bool { return e.retry != nil }

// Flush sends what may be sent: the OPEN first, then queued operations as far as the window
// goes. Nothing is numbered or signed while no replica is linked, so that what ends then is
// known not to be sent. Every other input flushes by itself; only Submit does not.
func (s *Session) Flush(now bft.Duration, out *Output) {
	if s.up == 0 {
		return
	}
	if s.phase == phaseIdle && (s.wanted || s.queued() > 0) {
		if now < s.openAt {
			s.wakeAt(s.openAt)
			return
		}
		s.sendOpen(now, out)
	}
	for s.phase == phaseOpen && s.queued() > 0 {
		k := s.bundle(now, out)
		if k == 0 {
			return
		}
		s.sendOperations(k, now, out)
	}
}

// bundle collects in s.ops what the next envelope holds and returns how many. It also ends
// operations at the head of the queue whose deadline came.
func (s *Session) bundle(now bft.Duration, out *Output) int {
	for s.queued() > 0 && s.queue[s.queueHead].deadline <= now {
		s.counters.expired++
		s.finish(out, Result{Token: s.pop().token, Err: ErrNoQuorum})
	}
	window := uint64(s.o.Window)
	if mutant.On("client-window-ignored") {
		window *= 2
	}
	limit := min(s.o.Bundle, s.queued(), int(s.done+window-s.next))
	s.ops = s.ops[:0]
	size := 0
	for i := 0; i < limit; i++ {
		op := s.queue[s.queueHead+i].op
		if i > 0 && size+len(op)+4 > bft.OpBytesMax {
			break
		}
		size += len(op) + 4
		s.ops = append(s.ops, op)
	}
	return len(s.ops)
}

func (s *Session) pop() waiting {
	w := s.queue[s.queueHead]
	s.queue[s.queueHead] = waiting{}
	if s.queueHead++; s.queueHead == len(s.queue) {
		s.queue, s.queueHead = s.queue[:0], 0
	}
	return w
}

// sendOpen starts a session. The OPEN goes to all as a RETRY at once: it is rare, nothing is
// known of the view yet, and its answers tell.
func (s *Session) sendOpen(now bft.Duration, out *Output) {
	s.phase = phaseOpening
	s.openAt = now + s.o.Timeout
	nonce := wire.OpenNonce(s.o.Clock+bft.Time(now), s.rand.next())
	r := wire.Request{
		Client: s.id, First: nonce, Answer: s.q.All(), Flags: wire.FlagOpen, Ops: [][]byte{nil},
	}
	e := s.seal(&r, now)
	votes := s.open.votes
	clear(votes)
	s.open = slot{state: slotPending, number: nonce, deadline: Never, votes: votes[:0], env: e}
	s.counters.opens++
	s.resend(e, now, out)
}

// sendOperations sends s.ops, the first k operations of the queue, in one envelope: to the
// presumed primary, or to all when there is no link to it.
func (s *Session) sendOperations(k int, now bft.Duration, out *Output) {
	r := wire.Request{
		Client: s.id, Session: s.session, First: s.next, Done: s.done, Answer: s.answerSet(now), Ops: s.ops,
	}
	e := s.seal(&r, now)
	for range k {
		w := s.pop()
		c := s.slot(s.next)
		clear(c.votes)
		*c = slot{state: slotPending, number: s.next, token: w.token, deadline: w.deadline, votes: c.votes[:0], env: e}
		s.wakeAt(w.deadline)
		s.next++
	}
	clear(s.ops)
	s.counters.sent += uint64(k)
	primary := s.primary()
	if !s.up.Has(primary) {
		s.resend(e, now, out)
		return
	}
	e.primary = primary
	out.Sends = append(out.Sends, Send{To: bft.SetOf(primary), Frame: e.request})
	s.arm(e, max(s.o.Timeout, min(s.rtt.timeout(), s.o.TimeoutMax)), now)
}

// seal signs r and makes its frame, once: a resend repeats the same bytes.
func (s *Session) seal(r *wire.Request, now bft.Duration) *envelope {
	s.scratch = append(s.scratch[:0], s.tag...)
	s.scratch = r.AppendUnsigned(s.scratch)
	s.sig = s.signer.Sign(s.sig[:0], s.scratch)
	unsigned := s.scratch[len(s.tag):]

	frame := make([]byte, 0, wire.FrameHeaderBytes+len(unsigned)+2+len(s.sig))
	frame, start := wire.BeginFrame(frame, wire.KindRequest)
	frame = append(frame, unsigned...)
	frame = wire.AppendU16(frame, uint16(len(s.sig)))
	frame = wire.EndFrame(append(frame, s.sig...), start)

	e := &envelope{}
	if n := len(s.spare); n > 0 {
		e, s.spare = s.spare[n-1], s.spare[:n-1]
	}
	*e = envelope{
		first: r.First, count: uint64(len(r.Ops)), left: len(r.Ops), answer: r.Answer, request: frame, sentAt: now,
	}
	return e
}

// release gives e back once all its operations are answered.
func (s *Session) release(e *envelope) {
	*e = envelope{}
	s.spare = append(s.spare, e)
}

// arm sets the instant of the next RETRY of e. The jitter keeps clients that lost the same
// primary from returning at the same instant.
func (s *Session) arm(e *envelope, timeout, now bft.Duration) {
	e.timeout = timeout
	e.due = now + timeout - bft.Duration(s.rand.next()%uint64(timeout/4+1))
	s.wakeAt(e.due)
}

// resend sends e as a RETRY to every linked replica and doubles its timeout.
func (s *Session) resend(e *envelope, now bft.Duration, out *Output) {
	s.resendTo(e, s.up, out)
	s.arm(e, min(max(2*e.timeout, s.o.Timeout), s.o.TimeoutMax), now)
}

func (s *Session) resendTo(e *envelope, to bft.ReplicaSet, out *Output) {
	if e.retry == nil {
		e.retry = append([]byte(nil), e.request...)
		e.retry[wire.FrameHeaderBytes-1] = byte(wire.KindRetry)
	}
	if to != 0 {
		s.counters.retries++
		out.Sends = append(out.Sends, Send{To: to, Frame: e.retry})
	}
}

// resendAll resends whatever is not answered, whether or not it was resent before.
func (s *Session) resendAll(now bft.Duration, out *Output) {
	for e := range s.envelopes() {
		s.resend(e, now, out)
	}
}

// resendFresh resends what only the presumed primary has got so far.
func (s *Session) resendFresh(now bft.Duration, out *Output) {
	for e := range s.envelopes() {
		if !e.retried() {
			s.resend(e, now, out)
		}
	}
}

// retryDue resends what was not answered in time, and doubts who was asked and kept silent.
func (s *Session) retryDue(now bft.Duration, out *Output) {
	for e := range s.envelopes() {
		if e.due <= now {
			if !e.retried() {
				s.doubtSilent(e)
				if e.primary == s.primary() && !s.heardOf(e) {
					s.astray = !s.astray && s.settled() < s.view
				}
			}
			s.resend(e, now, out)
		}
		s.wakeAt(e.due)
	}
}

// heardOf reports whether anybody has answered any of e: its primary did not drop it.
func (s *Session) heardOf(e *envelope) bool {
	for n := e.first; n < e.first+e.count; n++ {
		if c := s.slot(n); c.state == slotFinished || slices.ContainsFunc(c.votes, func(v vote) bool { return v.voters != 0 }) {
			return true
		}
	}
	return false
}

// envelopes iterates over what is not wholly answered, oldest first. The body of the loop must
// not finish operations.
func (s *Session) envelopes() func(yield func(*envelope) bool) {
	return func(yield func(*envelope) bool) {
		s.pass++
		if s.phase == phaseOpening && !yield(s.open.env) {
			return
		}
		for n := s.done; n < s.next; n++ {
			c := s.slot(n)
			if c.state != slotPending || c.env.pass == s.pass {
				continue
			}
			c.env.pass = s.pass
			if !yield(c.env) {
				return
			}
		}
	}
}
