package protocol

import "github.com/themis-bft/themis/bft"

// Event is one thing that happens to a protocol. The set is closed; one more needs a
// decision record (docs/adr).
type Event interface{ event() }

// Received is a verified message of a peer. A message that carries a body arrives only if
// the body matches its digest and every request in it is authentic.
type Received struct{ Verified Verified }

// Proposed answers a Propose: a batch of pending requests for the view that asked. The
// digest is wire.BodyDigest(Body).
type Proposed struct {
	View   bft.View
	Digest bft.Digest
	Body   []byte
}

// BodyArrived answers a Fetch: the body of Digest. Its requests were not verified again: only
// digests for which a correct replica vouches are fetched.
type BodyArrived struct {
	Digest bft.Digest
	Body   []byte
}

// BodyRefused says that From sent a body whose digest is right and in which a request is not
// authentic, or whose proposed time is too far from this replica's clock.
type BodyRefused struct {
	From   bft.ReplicaID
	Digest bft.Digest
	Reason Reason
}

// Overdue says that the primary of View deserves suspicion (design, decision 6).
type Overdue struct {
	View  bft.View
	Cause Cause
}

// TimerFired says that a timer which was set and not stopped is due.
type TimerFired struct{ Timer Timer }

// Executed says that every slot up to Seq, a multiple of the checkpoint interval, has been
// executed and answered, and that the checkpoint there has this digest.
type Executed struct {
	Seq    bft.SeqNum
	Digest bft.Digest
}

// Certified brings back a message of our own that was sent with Outgoing.Certify, now signed.
type Certified struct{ Msg Message }

// Installed says that the state of a CatchUp target has been verified and installed.
type Installed struct {
	Seq    bft.SeqNum
	Digest bft.Digest
}

// LinkUp says that a link to Peer was made (again): what it missed may be resent.
type LinkUp struct{ Peer bft.ReplicaID }

func (Received) event()    {}
func (Proposed) event()    {}
func (BodyArrived) event() {}
func (BodyRefused) event() {}
func (Overdue) event()     {}
func (TimerFired) event()  {}
func (Executed) event()    {}
func (Certified) event()   {}
func (Installed) event()   {}
func (LinkUp) event()      {}

// Cause says why a view change began.
type Cause uint8

// The causes of a view change.
const (
	CauseNone       Cause = iota
	CauseSilence          // a request was pending for T and nothing was executed for T
	CauseUnfairness       // later requests of others overtook the oldest of a session
	CauseBadBody          // the primary proposed a request that is not authentic, or a false time
	CauseJoined           // f+1 replicas left the view
	CauseNewView          // NEW-VIEW did not come, or was wrong
	CauseRestart          // the replica restarted inside a view change
	CauseCount            // number of causes, for tables
)

var causeNames = [CauseCount]string{"none", "silence", "unfairness", "bad-body", "joined", "new-view", "restart"}

// String is the name used in status and metrics.
func (c Cause) String() string {
	if c < CauseCount {
		return causeNames[c]
	}
	return "unknown"
}

// Timer names a timer of a protocol. Protocols number theirs from TimerProtocol up.
type Timer uint32

const (
	// TimerPatience is T of the request pool, kept by the host: setting it gives the new T and
	// restarts all waiting. It never comes back as TimerFired but as Overdue. Stopping it
	// (inactive view, or this replica is the primary) suspends suspicion.
	TimerPatience Timer = 0
	// TimerProtocol is the first timer of the protocol's own.
	TimerProtocol Timer = 1
)
