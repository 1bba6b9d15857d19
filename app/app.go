// Package app is the contract between Themis and the replicated application: a
// deterministic state machine. The implementations are in the folders below; apptest is the
// conformance suite; Simple turns three plain functions into a Machine.
package app

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// Machine is the application. Every method is called from one goroutine, the execute stage.
//
// Execute applies one operation. It is called in the agreed order and MUST change the state
// before it returns, as a function of the state and its arguments alone: no clock, no random
// source, no iteration over a map that matters. Only the response may come later (Future), and
// it too depends on the ordered operations alone. Execute never fails: an operation that makes
// no sense is answered, deterministically, with bytes that say so. op is valid during the call.
//
// Query answers without changing state; its result is never agreed upon. It serves status
// pages and tests.
//
// Snapshot returns the state as it is now, without stopping execution: operations that follow
// MUST NOT change what the snapshot shows. Equal state MUST give equal pages on every replica.
//
// Restore replaces the whole state by the pages of a snapshot. The pages have been verified
// against a certified digest; an error means that they come from another application or version.
type Machine interface {
	Execute(c Call, op []byte) Future
	Query(op []byte) []byte
	Snapshot() Snapshot
	Restore(pages [][]byte) error
}

// Call is what an operation may know of the world: values that all replicas agree on.
type Call struct {
	Client bft.ClientID
	Seq    bft.SeqNum // slot
	Time   bft.Time   // agreed time of the slot, never decreasing
	Seed   bft.Digest // H(cluster, slot, batch, index): agreed, neither secret nor unbiased
}

// Snapshot is an immutable picture of the state as a fixed list of pages. Digests are cached
// in the state, so that a checkpoint hashes only what changed. The methods are safe from any
// goroutine and may run while Execute does. Release gives its memory back; no method is called
// after it.
type Snapshot interface {
	Pages() int // ≤ bft.StatePagesMax/2
	Digest(i int) bft.Digest
	Page(i int) []byte // canonical bytes, ≤ bft.StateItemBytesMax; not to be changed
	Release()
}

// PageDigest is the digest of a page's bytes: what Snapshot.Digest returns.
func PageDigest(page []byte) bft.Digest { return wire.DigestOf("page", page) }
