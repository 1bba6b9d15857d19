// Package exec executes decided batches: exactly once, in order, outside the agreement
// protocol. It owns the application (app.Machine), the session table with its cached replies,
// the agreed clock, and the checkpoints that cover all three.
//
// An Executor is called from one goroutine, the execute stage (the simulator's loop). Requests
// reach it decided; their authenticators were verified before they were ordered. It never
// blocks, reads no clock and knows no network: replies and checkpoints are values in Output,
// and responses that come later are posted back by the driver's Late. The session table
// (table.go, session.go, pages.go) is pure.
package exec

import (
	"fmt"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// Admits says whether a client may open a session at all and whether its key is listed in the
// membership. It MUST be a function of the membership alone: all replicas get the same answer.
type Admits func(bft.ClientID) (admitted, listed bool)

// Late posts complete onto the execute goroutine, where it MUST be called with an Output that
// the driver then handles like that of Execute. Executor calls Late from whatever goroutine
// completes a response of the application.
type Late func(complete func(out *Output))

// Output collects what follows from one or several calls. Replies and Checkpoints may leave in
// slice order. Each checkpoint carries one reference that now belongs to the driver.
type Output struct {
	Replies     []wire.Reply // addressed by Client; Result is immutable
	Checkpoints []*Checkpoint
}

// Reset empties o and keeps its memory.
func (o *Output) Reset() {
	clear(o.Replies)
	clear(o.Checkpoints)
	o.Replies, o.Checkpoints = o.Replies[:0], o.Checkpoints[:0]
}

// Counts is what an Executor has done since it was made; it is not part of the state.
type Counts struct {
	Requests    uint64 // ordered requests
	Executed    uint64 // operations given to the application
	Repeated    uint64 // operations skipped because they had been executed before
	Closed      uint64 // operations of sessions that are not open
	OutOfWindow uint64 // operations refused because of their number
	Oversized   uint64 // results larger than bft.ResultBytesMax
	Opened      uint64 // sessions opened
	Evicted     uint64 // sessions closed for others
	Refused     uint64 // OPENs refused
	Expired     uint64 // OPENs whose time is too far from the agreed one
	Malformed   uint64 // decided bodies that do not decode, executed as nothing
	FromCache   uint64 // operations answered by Lookup
}

// Executor is the execute stage's state. Make it with New.
type Executor struct {
	membership *bft.Membership
	config     bft.Digest // of membership
	self       bft.ReplicaID
	machine    app.Machine
	admits     Admits
	late       Late

	executed  bft.SeqNum
	installed bft.SeqNum // slot of the last state that was installed
	time      bft.Time
	view      bft.View   // of the last slot, for replies from the cache
	worked    bft.SeqNum // last slot in which an operation ran or a session opened, as far as is known here
	table     *table
	interest  interests
	counts    Counts

	epoch   uint64 // raised by Install: responses of an older one no longer touch the table
	open    int    // responses that have not come
	waiting []*unfinished
}

// New returns an Executor at slot 0 with the machine's initial state. late may be nil if every
// response of the machine is ready when Execute returns; a later one then panics.
func New(m *bft.Membership, self bft.ReplicaID, machine app.Machine, admits Admits, late Late) *Executor {
	if m.Sessions < 1 || m.Sessions > bft.SessionsMax || m.CheckpointEvery < 1 {
		panic(fmt.Sprintf("exec: membership with %d sessions and a checkpoint every %d slots", m.Sessions, m.CheckpointEvery))
	}
	keep := m.SessionReplyBytes()
	if mutant.On("exec-caches-not-bounded") {
		keep = bft.SessionReplyBytesMax
	}
	return &Executor{
		membership: m, config: wire.MembershipDigest(m), self: self,
		machine: machine, admits: admits, late: late,
		table: newTable(m.Sessions, uint64(keep)),
	}
}

// Executed is the last slot that was executed or installed.
func (e *Executor) Executed() bft.SeqNum { return e.executed }

// Time is the agreed time of that slot.
func (e *Executor) Time() bft.Time { return e.time }

// Work says in which slot anything new was executed last, and in which anything of r's session was, or, if
// r is an OPEN, the client's last session opened. Repeats, and requests of sessions that are not open, are
// nothing new. Slots before the last installed state count as that one or are not known (0).
func (e *Executor) Work(r *wire.Request) (last, ofSession bft.SeqNum) {
	if r.IsOpen() {
		return e.worked, bft.SeqNum(e.table.newest(r.Client))
	}
	if s := e.table.find(r.Client, r.Session); s != nil {
		ofSession = s.lastSlot
	}
	return e.worked, ofSession
}

// Sessions is the number of open sessions.
func (e *Executor) Sessions() int { return e.table.len() }

// Counts returns what was counted so far.
func (e *Executor) Counts() Counts { return e.counts }

// Execute executes the slot that follows Executed and appends what follows from it. Slots that an
// installed state covers may still come, for they were decided before the core heard of it; they
// change nothing. Any other slot out of order is the driver's fault and panics.
func (e *Executor) Execute(c protocol.Committed, out *Output) {
	if c.Seq <= e.installed {
		return
	}
	if c.Seq != e.executed+1 {
		panic(fmt.Sprintf("exec: slot %d handed over after slot %d", c.Seq, e.executed))
	}
	e.executed, e.view = c.Seq, c.View
	proposed, reqs, err := wire.DecodeBody(c.Body)
	if err != nil { // a correct replica voted for it only if it decodes; all skip it alike
		e.counts.Malformed++
		proposed, reqs = 0, nil
	}
	e.time = max(e.time, proposed)
	at := position{slot: c.Seq, digest: c.Digest}
	for i := range reqs {
		at.request = uint32(i)
		e.request(&at, &reqs[i], out)
	}
	if c.Seq%e.membership.CheckpointEvery == 0 {
		e.takeCheckpoint(out)
	}
}
