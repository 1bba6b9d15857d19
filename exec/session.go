package exec

import (
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/wire"
)

// session is what is remembered of a client between its OPEN and its eviction. What of it is
// part of a checkpoint is written in pages.go.
//
// Numbers in [done, done+W) have a bit that says whether they were executed; numbers below
// done were answered, by the client's own word, and never run again.
type session struct {
	client bft.ClientID
	number uint64 // slot of the OPEN; with client it names the session
	nonce  uint64 // of the OPEN, to recognise its repeat
	listed bool

	lastSlot    bft.SeqNum // slot and index in its batch of the last request that executed
	lastRequest uint32     // something (or of the OPEN): the age for eviction

	done     uint64
	executed [bft.SessionOpsMax / 64]uint64 // bit number % W

	// replies are cached in the order of execution. produced counts the bytes of all results
	// of the session so far; a reply is kept while no more than keep (of the membership) were
	// produced from its first byte on. That depends on the ordered operations alone, not on
	// the moment at which a late response came. awaited is how many are not counted yet.
	replies  []cachedReply
	produced uint64
	keep     uint64
	awaited  int

	place      int      // index in the table
	owner      *owner   // its client
	prev, next *session // neighbours by age, of its client
	gone       bool     // evicted: late responses no longer concern the table
}

// cachedReply is the result of one executed operation.
type cachedReply struct {
	number  uint64
	start   uint64 // bytes that the session had produced before this result
	result  []byte
	counted bool       // false while a response at or before it is awaited
	late    *lateReply // where the result comes from if it was not ready
}

// lateReply is a response that was not ready when its operation executed. It is filled on the
// execute goroutine.
type lateReply struct {
	done   bool
	answer bool // somebody waits for it here
	status wire.Status
	result []byte
}

// response is what a repeat is answered; a late one must be done.
func (c *cachedReply) response() (wire.Status, []byte) {
	if c.late != nil {
		return c.late.status, c.late.result
	}
	return wire.StatusOK, c.result
}

// numberState says what is known of an operation's number.
type numberState int

const (
	numberFresh    numberState = iota // never executed
	numberExecuted                    // executed, or below done
	numberOutside                     // beyond the window
)

func (s *session) state(number uint64) numberState {
	switch {
	case number < s.done:
		return numberExecuted
	case number-s.done >= bft.SessionOpsMax && !mutant.On("exec-window-not-checked"):
		return numberOutside
	case s.executed[number/64%uint64(len(s.executed))]&(1<<(number%64)) != 0:
		return numberExecuted
	}
	return numberFresh
}

func (s *session) mark(number uint64) {
	s.executed[number/64%uint64(len(s.executed))] |= 1 << (number % 64)
	if mutant.On("exec-number-skipped") {
		number++
		s.executed[number/64%uint64(len(s.executed))] |= 1 << (number % 64)
	}
}

func (s *session) unmark(number uint64) {
	s.executed[number/64%uint64(len(s.executed))] &^= 1 << (number % 64)
}

// advance raises done: the bits and the replies below it go.
func (s *session) advance(done uint64) {
	if done-s.done >= bft.SessionOpsMax {
		s.executed = [len(s.executed)]uint64{}
	} else {
		for n := s.done; n < done; n++ {
			s.unmark(n)
		}
	}
	s.done = done
	s.prune()
}

// find returns the cached reply of number, or nil.
func (s *session) find(number uint64) *cachedReply {
	for i := len(s.replies) - 1; i >= 0; i-- {
		if s.replies[i].number == number {
			return &s.replies[i]
		}
	}
	return nil
}

// store appends the reply of an operation that has just executed.
func (s *session) store(c cachedReply) {
	if mutant.On("exec-reply-not-cached") {
		return
	}
	s.replies = append(s.replies, c)
	s.awaited++
	s.settle()
}

// settle counts, in the order of execution, the results that are there, up to the first that
// is awaited.
func (s *session) settle() {
	stale := false
	for i := len(s.replies) - s.awaited; i < len(s.replies); i++ {
		c := &s.replies[i]
		if c.late != nil {
			if !c.late.done {
				break
			}
			c.result = c.late.result
			if c.late.status == wire.StatusOK {
				c.late = nil
			}
		}
		stale = stale || c.late != nil || c.number < s.done
		c.start, c.counted = s.produced, true
		s.produced += uint64(len(c.result))
		s.awaited--
	}
	if stale || s.produced-s.oldest() > s.keep {
		s.prune()
	}
}

// oldest is where the cached bytes begin.
func (s *session) oldest() uint64 {
	if len(s.replies) > 0 && s.replies[0].counted {
		return s.replies[0].start
	}
	return s.produced
}

// prune forgets replies whose number was answered, whose bytes are too old, or that came late
// and have no result. What is not
// counted yet stays: its bytes will push out older ones.
func (s *session) prune() {
	s.replies = slices.DeleteFunc(s.replies, func(c cachedReply) bool {
		return c.counted && (c.late != nil || c.number < s.done || s.produced-c.start > s.keep)
	})
}

// frozen returns a copy of s as it is now, apart from late responses that are still to come.
func (s *session) frozen() *session {
	c := *s
	c.replies = slices.Clone(s.replies)
	c.owner, c.prev, c.next = nil, nil, nil
	return &c
}
