package protocol

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/wire"
)

// Record is one fact for the log; see package storage for its kinds. Data of a body record
// may be shared with the core and is immutable; other Data is valid until Effects.Reset.
type Record = storage.Record

// Effects are the obligations that follow from one or several steps. The driver MUST meet
// them in this order:
//
//  1. Persist before anything in Send leaves and before anything in Commit is executed:
//     the records are appended in order and synced, except those marked Lazy, which wait
//     for the next sync that something else needs.
//  2. Send in slice order per destination; certified first where Certify says so.
//  3. Commit in slice order, each exactly once, gapless.
//  4. Timers in slice order.
//  5. Propose, Fetch, Stable, CatchUp in any order.
//
// Reject and Evidence carry no obligation but to be counted. The core appends; the driver
// resets between steps, so that the slices are reused.
type Effects struct {
	Persist  []Record
	Send     []Outgoing
	Commit   []Committed
	Timers   []TimerOp
	Propose  *Propose
	Fetch    []Fetch
	Stable   *Stable
	CatchUp  *Target
	Reject   []Rejection
	Evidence []Evidence
}

// Reset empties e and keeps its memory.
func (e *Effects) Reset() {
	*e = Effects{
		Persist: e.Persist[:0], Send: e.Send[:0], Commit: e.Commit[:0], Timers: e.Timers[:0],
		Fetch: e.Fetch[:0], Reject: e.Reject[:0], Evidence: e.Evidence[:0],
	}
}

// Outgoing is a message to send. To never contains the sender itself. With Certify the
// certify stage signs Msg (a Signed) first, sends the signed copy, and brings it back as a
// Certified event, also when To is empty.
type Outgoing struct {
	To      bft.ReplicaSet
	Msg     Message
	Certify bool
}

// Committed is a decided slot. Body is nil for the null batch.
type Committed struct {
	Seq    bft.SeqNum
	View   bft.View // view in which it was decided here, for the hint in replies
	Digest bft.Digest
	Body   []byte
}

// TimerOp sets (After > 0) or stops (After = 0) a timer. Setting a running timer restarts it.
type TimerOp struct {
	Timer Timer
	After bft.Duration
}

// Propose says that the core, as primary of View, wants a batch now, or as soon as a request
// is pending. At most one is outstanding; a Propose of a newer view replaces an older one, and
// everything not executed then counts as not proposed.
type Propose struct {
	View bft.View
}

// Fetch asks for the body of Digest from one replica. The core repeats it towards another if
// nothing comes. Only digests for which at least one correct replica vouches may be fetched
// (named by NEW-VIEW, by f+1 claims of commitment or by f+1 PREPAREs): the answer is checked
// against its digest alone.
type Fetch struct {
	Digest bft.Digest
	From   bft.ReplicaID
}

// Stable says that checkpoint Seq is stable with this digest: snapshots below it may go, and
// the log may be cut at Seq once a durable snapshot covers it.
type Stable struct {
	Seq    bft.SeqNum
	Digest bft.Digest
}

// Target is a certified checkpoint to fetch from peers, because the slots that lead to it are
// no longer to be had, or because our own state differs from it. A newer target replaces an
// older one. Sources certainly hold it or something newer unless they are faulty.
type Target struct {
	Seq     bft.SeqNum
	Digest  bft.Digest
	Sources bft.ReplicaSet
}

// Rejection says what a peer sent that no correct peer sends, or that came too late or early.
type Rejection struct {
	From   bft.ReplicaID
	Kind   wire.Kind
	Reason Reason
}

// Evidence says that a replica contradicted itself. Over links it convinces only us; it is
// transferable only when both messages are signed.
type Evidence struct {
	Against      bft.ReplicaID
	Kind         wire.Kind
	View         bft.View
	Seq          bft.SeqNum
	First, Other bft.Digest
}

// Reason says why a message was rejected. The set is fixed, so that counters are bounded.
type Reason uint8

// The reasons. Those up to reasonHarmlessMax happen among correct replicas too (reordering, restarts).
const (
	ReasonNone         Reason = iota
	ReasonOldView             // of a view already left
	ReasonFutureView          // of a view not yet entered, and not of a kind that is kept
	ReasonBelowWindow         // slot at or below the stable checkpoint
	ReasonAboveWindow         // slot above the window
	ReasonDuplicate           // seen before
	ReasonUnrequested         // an answer nobody asked for
	ReasonOverloaded          // no room
	ReasonMalformed           // not the canonical encoding of anything
	ReasonUnknownKind         // no such message
	ReasonWrongSender         // names another sender, or a role the sender does not have
	ReasonBadSignature        // a signature does not verify
	ReasonBadProof            // a certificate lacks distinct, matching members
	ReasonBadDigest           // the body does not have the digest
	ReasonBadRequest          // a request is not authentic
	ReasonBadTime             // a proposed time is too far off
	ReasonConflict            // contradicts what the sender said before
	ReasonBadNewView          // NEW-VIEW does not follow from its VIEW-CHANGEs
	ReasonBadState            // a part of a checkpoint does not have its digest
	ReasonLimit               // over a stated limit
	ReasonBadClient           // not the client of the link, or not admitted
	ReasonCount               // number of reasons, for tables
)

const reasonHarmlessMax = ReasonOverloaded

var reasonNames = [ReasonCount]string{
	"none", "old-view", "future-view", "below-window", "above-window", "duplicate", "unrequested",
	"overloaded", "malformed", "unknown-kind", "wrong-sender", "bad-signature", "bad-proof",
	"bad-digest", "bad-request", "bad-time", "conflict", "bad-new-view", "bad-state", "limit", "bad-client",
}

// String is the name used in status and metrics.
func (r Reason) String() string {
	if r < ReasonCount {
		return reasonNames[r]
	}
	return "unknown"
}

// Faulty reports whether no correct sender is ever rejected for this reason.
func (r Reason) Faulty() bool { return r > reasonHarmlessMax }

// Status is what a protocol shows of itself.
type Status struct {
	View        bft.View
	Active      bool // false while the view's NEW-VIEW is awaited
	Primary     bft.ReplicaID
	Committed   bft.SeqNum // highest slot handed to execution
	Stable      bft.SeqNum // last stable checkpoint
	StateDigest bft.Digest // its digest
	High        bft.SeqNum // highest slot of the window
	Assigned    bft.SeqNum // highest slot proposed, as primary
	Slots       int        // slots in use above Stable
	Diverged    bool       // our own checkpoint differed from a certified one
	ViewChanges [CauseCount]uint64
	// Missing names, while slot Committed+1 is open, which quorum is incomplete ("pre-prepare",
	// "prepare", "commit", "body", "view-change", "new-view", "") and Waiting who has not spoken.
	Missing string
	Waiting bft.ReplicaSet
	// ViewChangesHeld are the senders whose VIEW-CHANGE for View is held while inactive.
	ViewChangesHeld bft.ReplicaSet
	Equivocations   uint64
}
