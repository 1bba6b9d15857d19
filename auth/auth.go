// Package auth is the contract of message authentication: who signs, who verifies, and with
// which acceptance rule. The implementations are in the folders below (sig for Ed25519, ECDSA
// and RSA, and ideal for the simulator); authtest is the conformance suite.
package auth

import "github.com/themis-bft/themis/bft"

// Signer signs for one identity. It is safe for concurrent use.
type Signer interface {
	// Sign appends a signature of msg to dst.
	Sign(dst, msg []byte) []byte
}

// Verifier verifies the members of one cluster. It is immutable and safe for concurrent use.
// There is one acceptance rule per scheme, the same for single and batch verification; for
// Ed25519 it is ZIP-215.
type Verifier interface {
	// VerifyReplica reports whether sig is replica id's signature of msg. An id that is no
	// member verifies nothing.
	VerifyReplica(id bft.ReplicaID, msg, sig []byte) bool
	// VerifyClient reports whether sig is the client's signature of msg.
	VerifyClient(id bft.ClientID, msg, sig []byte) bool
	// VerifyClients verifies many at once and reports whether all are good. When it returns
	// false ok says which are; else ok is all true. len(ok) == len(items).
	VerifyClients(items []Item, ok []bool) bool
	// Admits reports whether a client may open a session: it is listed, or the cluster is open
	// and the client's key can be had from its identifier. Listed is true in the first case.
	Admits(id bft.ClientID) (admitted, listed bool)
}

// Item is one signature to verify.
type Item struct {
	Client   bft.ClientID
	Msg, Sig []byte
}
