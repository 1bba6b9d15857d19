// Package host is what runs between the verify stage and the persist stage: the protocol core
// together with the request pool, the timers, the fetching of bodies and the catch-up machine.
// It is pure like the core (time is an argument), so that the replica and the simulator drive
// the very same code; they differ in clock, network, disk and threads only.
//
// Node owns all of it. Every method is called from one goroutine, the step thread. Inputs are
// verified (Verifier in verify.go makes them from frames, on any goroutine); outputs are
// obligations that the driver meets in the order written at Output.
package host

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/catchup"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// Input is one thing that happens to a Node. The set is closed.
type Input interface{ input() }

// PeerMessage is a verified message of the protocol.
type PeerMessage struct{ Verified protocol.Verified }

// PeerBodyRefused says that a peer's message carried a body that must not be agreed to.
type PeerBodyRefused struct {
	From   bft.ReplicaID
	Digest bft.Digest
	Reason protocol.Reason
}

// PeerRelay is an authentic request that a client retried at another replica.
type PeerRelay struct {
	From    bft.ReplicaID
	Request wire.Request
}

// PeerFetch asks for a body.
type PeerFetch struct {
	From   bft.ReplicaID
	Digest bft.Digest
}

// PeerBody is a body whose digest was computed here.
type PeerBody struct {
	From   bft.ReplicaID
	Digest bft.Digest
	Body   []byte
}

// PeerStateWant asks for a part of a checkpoint.
type PeerStateWant struct {
	From bft.ReplicaID
	Want wire.StateWant
}

// PeerStateFragment is a part of a checkpoint, not yet held against any digest.
type PeerStateFragment struct {
	From     bft.ReplicaID
	Fragment wire.StateFragment
}

// PeerUp says that a link to a peer was made.
type PeerUp struct{ Peer bft.ReplicaID }

// PeerDown says that the last link to a peer is gone.
type PeerDown struct{ Peer bft.ReplicaID }

// Rejected is a frame of a peer that the verify stage refused; it is only counted.
type Rejected struct{ Rejection protocol.Rejection }

// ClientRequest is an authentic request, received from its client.
type ClientRequest struct {
	Request wire.Request
	Retry   bool
}

// Unexecuted brings back a request of Output.Lookup that the execute stage has not executed.
type Unexecuted struct {
	Request wire.Request
	Relay   bool // came from a peer: it is pooled but not relayed again
	Word    Word
}

// Word is where the execute stage stood when it looked for a request: the slot that it had executed last, the
// last one in which it executed anything new, and the last one with anything new of the request's session
// (of an OPEN: in which its client opened any).
type Word struct{ Executed, Worked, Served bft.SeqNum }

// Known says that the execute stage knows a request of a Lookup with Doubt: it was executed or
// refused, or its session is closed. It is no longer pending.
type Known struct{ Key wire.RequestKey }

// Checkpoint says that the execute stage reached a checkpoint; Held serves it to peers.
type Checkpoint struct{ Held catchup.Held }

// Installed says that the execute stage installed the state of Output.Install.
type Installed struct{ Held catchup.Held }

// Certified brings back an own message with its signature.
type Certified struct{ Msg protocol.Message }

func (PeerMessage) input()       {}
func (PeerBodyRefused) input()   {}
func (PeerRelay) input()         {}
func (PeerFetch) input()         {}
func (PeerBody) input()          {}
func (PeerStateWant) input()     {}
func (PeerStateFragment) input() {}
func (PeerUp) input()            {}
func (PeerDown) input()          {}
func (Rejected) input()          {}
func (ClientRequest) input()     {}
func (Unexecuted) input()        {}
func (Known) input()             {}
func (Checkpoint) input()        {}
func (Installed) input()         {}
func (Certified) input()         {}

// Output collects the obligations of one or several inputs. The driver MUST
//
//  1. append Persist to the log and sync it, unless all of it is Lazy, BEFORE
//  2. it certifies and sends Send (in order per destination), hands Commit and Install to the
//     execute stage (in order), and
//  3. cuts the log as Stable says once a durable snapshot at or above it exists.
//
// Frames (whole, encoded) and Lookup rest on no vote and may go at once, also when step 1 fails.
type Output struct {
	Persist []protocol.Record
	Send    []protocol.Outgoing
	Commit  []protocol.Committed
	Install *catchup.State
	Stable  *protocol.Stable
	Frames  []Frame
	Lookup  []Lookup
}

// Frame is a whole frame of the host for one peer.
type Frame struct {
	To    bft.ReplicaID
	Bytes []byte
}

// Lookup is a request that may have been executed: the execute stage answers its client from
// the cache, or remembers that the client waits here for the answer and returns Unexecuted.
type Lookup struct {
	Request wire.Request
	Relay   bool // from a peer: nobody waits here for the answer
	Doubt   bool // pending for long: the driver returns Known if the execute stage knows it
}

// Reset empties o and keeps its memory. Slices handed on must not be reset while in use.
func (o *Output) Reset() {
	*o = Output{
		Persist: o.Persist[:0], Send: o.Send[:0], Commit: o.Commit[:0],
		Frames: o.Frames[:0], Lookup: o.Lookup[:0],
	}
}

// Empty reports whether there is nothing to do.
func (o *Output) Empty() bool {
	return len(o.Persist)+len(o.Send)+len(o.Commit)+len(o.Frames)+len(o.Lookup) == 0 &&
		o.Install == nil && o.Stable == nil
}

// Options is what a Node is built from.
type Options struct {
	Protocol protocol.Config
	New      protocol.New
	Boot     protocol.Boot
	Held     catchup.Held // the checkpoint at Boot.Executed, served to peers
	Now      bft.Duration // running time at the start
	Wall     bft.Time     // wall clock at the start, for the time that batches propose
}
