// Package protocol is the contract between an agreement protocol and what drives it: the
// replica or the simulator. A protocol is a deterministic state machine; what happens to it
// is an Event, what must happen because of it is a field of Effects. To add a protocol, see
// docs/protocols and the conformance suite in protocoltest.
package protocol

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// Protocol is one replica's share of an agreement protocol.
//
// Step applies one event and appends to out what must happen because of it. It is
// deterministic, does not block and cannot fail: what a peer did wrong becomes a Rejection,
// what we did wrong panics. Step uses no goroutine, channel, lock, clock, socket, file,
// logger or random source, and no iteration over a map decides anything. All methods are
// called from one goroutine, the step thread.
//
// Body returns the body of a digest that this replica can still serve, or nil. Bodies are
// kept for every digest that was pre-prepared in a slot above the stable checkpoint and for
// decided slots one checkpoint interval below it. The bytes are immutable.
//
// Status is a value: safe to print, compare and graph.
type Protocol interface {
	Step(ev Event, out *Effects)
	Body(d bft.Digest) []byte
	Status() Status
}

// Config is what a protocol is built from.
type Config struct {
	Self       bft.ReplicaID
	Membership *bft.Membership
	Patience   bft.Duration // T: how long a pending request may see no execution before the primary is suspected
	// NewViewPatience bounds the wait for NEW-VIEW once a quorum left the old view; it
	// doubles with every view that fails, up to PatienceMax, as Patience does.
	NewViewPatience bft.Duration
	PatienceMax     bft.Duration
	Resend          bft.Duration // period of STATUS, and with it of every retransmission
}

// Boot is what a restarted replica knows: its records in the order of their writing, and
// the checkpoint from which its application was restored.
type Boot struct {
	Records  []Record
	Executed bft.SeqNum // slot of the restored snapshot, 0 for the initial state
	State    bft.Digest // its checkpoint digest; of slot 0 the digest of the initial state
}

// New builds a protocol from its configuration and what a restart left. It appends to out
// what a start requires: timers, commits that were decided above the snapshot, STATUS.
type New func(cfg Config, boot Boot, out *Effects) Protocol

// Family is what assembly knows of a protocol.
type Family struct {
	Name  string
	New   New
	Codec func(*bft.Membership) Codec
	// Replicas returns an error that names the smallest n for f if n replicas do not carry it.
	Replicas func(n, f int) error
}

// Message is one message of a protocol. It is immutable once it was sent or received.
type Message interface {
	Kind() wire.Kind // from wire.KindProtocol up
}

// BodyCarrier is a message that brings a batch along. The verify stage recomputes the digest
// and verifies every request; if a request fails the core gets BodyRefused instead.
type BodyCarrier interface {
	Message
	Body() (bft.Digest, []byte)
	// Slot is the slot that the batch is proposed for.
	Slot() bft.SeqNum
}

// Signed is a message that travels with its sender's signature and can be shown to others.
type Signed interface {
	Message
	Signer() bft.ReplicaID
	// WithSignature returns a copy that carries sig.
	WithSignature(sig []byte) Message
}

// Codec turns messages of a protocol into bytes and back and checks what can be checked
// without state. It is immutable and safe for concurrent use.
type Codec interface {
	// Decode parses the payload of a frame. The error wraps wire.ErrMalformed. The message
	// may alias payload.
	Decode(k wire.Kind, payload []byte) (Message, error)
	// Append appends the payload of m.
	Append(b []byte, m Message) []byte
	// AppendSigned appends the byte string that m's signature covers, tag included.
	AppendSigned(b []byte, m Signed) []byte
	// Check holds m, received from a peer, against every rule that needs no state: sender,
	// bounds, distinctness, signatures, also nested ones. It runs on any goroutine.
	Check(from bft.ReplicaID, m Message, v SignatureVerifier) Reason
}

// SignatureVerifier verifies replicas' signatures. It is safe for concurrent use.
type SignatureVerifier interface {
	VerifyReplica(id bft.ReplicaID, msg, sig []byte) bool
}

// Verified is a message that passed Verify: its sender is the authenticated peer of the
// link it came by, and Codec.Check holds. The zero value is never given to a core.
type Verified struct {
	from bft.ReplicaID
	msg  Message
}

// Verify is the only maker of Verified. The reason is ReasonNone if and only if m is good.
func Verify(c Codec, from bft.ReplicaID, m Message, v SignatureVerifier) (Verified, Reason) {
	if r := c.Check(from, m, v); r != ReasonNone {
		return Verified{}, r
	}
	return Verified{from: from, msg: m}, ReasonNone
}

// From is the peer that sent the message.
func (v Verified) From() bft.ReplicaID { return v.from }

// Message is the message.
func (v Verified) Message() Message { return v.msg }
