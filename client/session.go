package client

import (
	"errors"
	"fmt"
	"slices"

	"github.com/themis-bft/themis/auth"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// What a caller has to tell apart. Everything else that goes wrong is repaired inside.
var (
	// ErrNoQuorum ends an operation that never left this client: no session could be opened, or
	// its window was full of operations for which f+1 replicas did not answer in time. It was not
	// executed and never will be; the caller may repeat it without care.
	ErrNoQuorum = errors.New("client: no quorum of replicas answered, the operation was not sent")

	// ErrOutcomeUnknown ends an operation that was sent and not answered by f+1 replicas in time.
	// It was executed once, or will be once, or never. Only this session could have asked
	// again under the same number; a new call is a new operation and may be the second
	// execution. A caller that repeats it needs an operation that tolerates that, such as a
	// compare-and-swap, or reads the state first.
	ErrOutcomeUnknown = errors.New("client: outcome unknown")

	// ErrResultDropped says that the operation was executed exactly once, and that the replicas no
	// longer hold its result: the results outstanding exceeded bft.Membership.SessionReplyBytes.
	ErrResultDropped = errors.New("client: executed, but the result is no longer held")

	// ErrRefused says that the cluster admits no session of this client: its key is not listed
	// and the cluster is not open. The operation was not executed.
	ErrRefused = errors.New("client: the cluster does not admit this client")

	// ErrBusy says that Options.QueueMax operations wait already. The operation was not sent.
	ErrBusy = errors.New("client: too many operations are waiting")

	// ErrTooLarge says that the operation exceeds bft.OpBytesMax.
	ErrTooLarge = errors.New("client: operation too large")
)

// The reasons under which ErrOutcomeUnknown is given; made once, since they are made often.
var (
	errDeadline = fmt.Errorf("%w: f+1 replicas did not agree on an answer in time", ErrOutcomeUnknown)
	errClosed   = fmt.Errorf("%w: the replicas closed the session before it was answered", ErrOutcomeUnknown)
	errWindow   = fmt.Errorf("%w: the replicas find its number outside the session's window", ErrOutcomeUnknown)
	errEnded    = fmt.Errorf("%w: this client was closed before it was answered", ErrOutcomeUnknown)
)

// Token names an operation from Submit to its Result.
type Token uint64

// Never is a deadline that does not come.
const Never bft.Duration = 1<<63 - 1

// Send is a whole frame for every replica of To; all of them have a link. The bytes are
// immutable and may be the same in several Sends.
type Send struct {
	To    bft.ReplicaSet
	Frame []byte
}

// Result is the end of one operation. Value is set if and only if Err is nil.
type Result struct {
	Token Token
	Value []byte
	Err   error
}

// Output collects what must happen because of one or several inputs, in order. The driver
// sends Sends and hands Results to whoever waits; Session keeps no reference to either.
type Output struct {
	Sends   []Send
	Results []Result
}

// Reset empties o and keeps its memory.
func (o *Output) Reset() {
	clear(o.Sends)
	clear(o.Results)
	o.Sends, o.Results = o.Sends[:0], o.Results[:0]
}

// Options are the tunable parts of a Session. The zero value of a field is its default.
type Options struct {
	Seed       uint64       // of nonces and jitter; no two sessions of one key may share it
	Clock      bft.Time     // wall clock at running time 0; if it is wrong the replicas say so, at the cost of an OPEN
	Timeout    bft.Duration // before the first RETRY: at least this (200 ms), more when answers take longer
	TimeoutMax bft.Duration // of the doubled timeouts (2 s)
	Window     int          // operations outstanding (bft.SessionOpsMax, also the most)
	QueueMax   int          // operations that wait for the window (4096)
	Bundle     int          // operations in one envelope, at most (1; bft.RequestOpsMax is the most)
}

func (o Options) withDefaults() Options {
	o.Timeout = orDefault(o.Timeout, 200*bft.Millisecond)
	o.TimeoutMax = max(orDefault(o.TimeoutMax, 2*bft.Second), o.Timeout)
	o.Window = min(orDefault(o.Window, bft.SessionOpsMax), bft.SessionOpsMax)
	o.QueueMax = orDefault(o.QueueMax, 4096)
	o.Bundle = min(orDefault(o.Bundle, 1), bft.RequestOpsMax, o.Window)
	return o
}

func orDefault[T ~int | ~int64](v, standard T) T {
	if v <= 0 {
		return standard
	}
	return v
}

// phase says how far the session is. Operations wait in the queue until phaseOpen.
type phase uint8

const (
	phaseIdle    phase = iota // no OPEN is under way
	phaseOpening              // the OPEN of Session.open is
	phaseOpen                 // Session.number is agreed
)

// Session is one client's conversation with a cluster: numbers, window, retries and the vote
// on replies (design, decision 5). It is pure: time is an argument, randomness comes from
// Options.Seed, and what it wants is appended to an Output. The simulator and Client drive
// the very same code. All methods are called from one goroutine.
//
// Time is running (monotonic) time from any origin and never goes back.
type Session struct {
	m      *bft.Membership
	q      bft.Quorums
	id     bft.ClientID
	signer auth.Signer
	o      Options
	rand   generator
	tag    []byte // what every signed byte string starts with

	phase     phase
	wanted    bool         // Open was called: open a session even with an empty queue
	openAt    bft.Duration // no OPEN starts before
	open      slot         // the OPEN under way, or the last one
	session   uint64       // 0 unless phaseOpen
	highest   uint64       // highest session ever held: a new one is above it
	done      uint64       // oldest unfinished number
	next      uint64       // number of the next operation
	slots     [bft.SessionOpsMax]slot
	queue     []waiting // not sent yet, oldest first, from queueHead on
	queueHead int
	pass      uint64 // number of the latest walk over the envelopes

	view   bft.View // f+1 replicas claim to be there or beyond
	astray bool     // its primary kept silent, and fewer than all but f are there
	up     bft.ReplicaSet
	peers  []peer
	turn   int // rotates the answer set
	rtt    estimate
	wake   bft.Duration // nothing is due before
	tokens Token

	spare    []*envelope
	scratch  []byte
	sig      []byte
	ops      [][]byte
	counters counters
}

// waiting is an operation that was not sent.
type waiting struct {
	token    Token
	deadline bft.Duration
	op       []byte
}

// slotState is the life of a number.
type slotState uint8

const (
	slotFree     slotState = iota
	slotPending            // sent, f+1 equal replies are missing
	slotFinished           // answered; kept for comparison with late replies
)

// slot is one number: an operation that was sent, or the OPEN.
type slot struct {
	state     slotState
	abandoned bool // its caller was told; the number still waits for its answer
	number    uint64
	token     Token
	deadline  bft.Duration
	votes     []vote
	env       *envelope
	status    wire.Status // accepted
	sum       uint64      // of the accepted status and result
}

// vote is one answer and who gave it last.
type vote struct {
	status wire.Status
	value  []byte
	voters bft.ReplicaSet
	count  int // replies, for the mutant that counts them instead of voters
}

// NewSession returns a session of client id that signs with signer. It opens itself when the
// first operation is submitted, or when Open is called. Nothing else may use the same
// client identifier with the same Options.Seed.
func NewSession(m *bft.Membership, id bft.ClientID, signer auth.Signer, o Options) *Session {
	s := &Session{m: m, q: m.Quorums(), id: id, signer: signer, o: o.withDefaults(), wake: Never}
	s.rand = generator(s.o.Seed)
	s.tag = wire.ClientDomain(m).AppendTag(nil, wire.KindRequest, id[:])
	s.peers = make([]peer, m.N())
	s.done, s.next = 1, 1
	return s
}

// Open asks for a session before the first operation. Ready says when it is there.
func (s *Session) Open(now bft.Duration, out *Output) {
	s.wanted = true
	s.Flush(now, out)
}

// Ready reports whether a session is open.
func (s *Session) Ready() bool { return s.phase == phaseOpen }

// Submit queues an operation; the driver calls Flush after one or several of them. It ends by
// exactly one Result with the returned token, at the deadline at the latest. Session keeps op
// until it is sent. An error says that nothing was queued: ErrTooLarge or ErrBusy.
func (s *Session) Submit(op []byte, deadline bft.Duration) (Token, error) {
	if len(op) > bft.OpBytesMax {
		return 0, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(op), bft.OpBytesMax)
	}
	if s.queued() >= s.o.QueueMax {
		return 0, ErrBusy
	}
	s.tokens++
	s.push(waiting{token: s.tokens, deadline: deadline, op: op})
	s.wakeAt(deadline)
	return s.tokens, nil
}

// Cancel ends an operation as its deadline would. An unknown token is ignored.
func (s *Session) Cancel(t Token, out *Output) {
	for i := s.queueHead; i < len(s.queue); i++ {
		if s.queue[i].token == t {
			s.queue = slices.Delete(s.queue, i, i+1)
			s.finish(out, Result{Token: t, Err: ErrNoQuorum})
			return
		}
	}
	for n := s.done; n < s.next; n++ {
		if c := s.slot(n); c.state == slotPending && !c.abandoned && c.token == t {
			s.abandon(c, errDeadline, out)
			return
		}
	}
}

// End ends every operation: what was sent with ErrOutcomeUnknown, what was not with
// ErrNoQuorum. The session is not used afterwards.
func (s *Session) End(out *Output) {
	s.abandonAll(errEnded, out)
	s.failQueue(ErrNoQuorum, out)
}

// Tick does what is due at now: it ends operations whose deadline came and retries what was
// not answered. The driver calls it at Deadline; calling it at other times is harmless.
func (s *Session) Tick(now bft.Duration, out *Output) {
	if now >= s.wake {
		s.wake = Never
		s.expireQueue(now, out)
		s.expireSent(now, out)
		s.retryDue(now, out)
	}
	s.Flush(now, out)
}

// Deadline returns the instant of the next Tick; ok is false if none is needed. It may be early.
func (s *Session) Deadline() (at bft.Duration, ok bool) { return s.wake, s.wake != Never }

func (s *Session) wakeAt(t bft.Duration) { s.wake = min(s.wake, t) }

// expireQueue ends what waits too long. The rest keeps its order.
func (s *Session) expireQueue(now bft.Duration, out *Output) {
	kept := s.queue[:0]
	for _, w := range s.queue[s.queueHead:] {
		if w.deadline <= now {
			s.counters.expired++
			s.finish(out, Result{Token: w.token, Err: ErrNoQuorum})
			continue
		}
		s.wakeAt(w.deadline)
		kept = append(kept, w)
	}
	clear(s.queue[len(kept):])
	s.queue, s.queueHead = kept, 0
}

// expireSent tells callers whose deadline came. Their numbers stay unfinished: passing them
// in Done would let the replicas forget answers, and leave a hole that a late execution fills.
// They are resent until they are answered or the session is closed; at most Window of them exist.
func (s *Session) expireSent(now bft.Duration, out *Output) {
	for n := s.done; n < s.next; n++ {
		c := s.slot(n)
		if c.state != slotPending || c.abandoned {
			continue
		}
		if c.deadline <= now {
			s.counters.expired++
			s.abandon(c, errDeadline, out)
			continue
		}
		s.wakeAt(c.deadline)
	}
}

func (s *Session) abandon(c *slot, why error, out *Output) {
	c.abandoned = true
	s.finish(out, Result{Token: c.token, Err: why})
}

func (s *Session) abandonAll(why error, out *Output) {
	for n := s.done; n < s.next; n++ {
		if c := s.slot(n); c.state == slotPending && !c.abandoned {
			s.abandon(c, why, out)
		}
	}
}

func (s *Session) failQueue(why error, out *Output) {
	for _, w := range s.queue[s.queueHead:] {
		s.finish(out, Result{Token: w.token, Err: why})
	}
	clear(s.queue)
	s.queue, s.queueHead = s.queue[:0], 0
}

func (s *Session) finish(out *Output, r Result) { out.Results = append(out.Results, r) }

// slot is where number n lives: at most Window ≤ SessionOpsMax numbers are unfinished.
func (s *Session) slot(n uint64) *slot { return &s.slots[n%bft.SessionOpsMax] }

func (s *Session) queued() int { return len(s.queue) - s.queueHead }

// push appends to the queue and moves it to the front of its memory before that grows.
func (s *Session) push(w waiting) {
	if s.queueHead > 0 && len(s.queue) == cap(s.queue) {
		n := copy(s.queue, s.queue[s.queueHead:])
		clear(s.queue[n:])
		s.queue, s.queueHead = s.queue[:n], 0
	}
	s.queue = append(s.queue, w)
}
