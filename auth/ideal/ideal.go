// Package ideal authenticates for the simulator: tags that nobody can forge because nobody is
// given the secret. A tag is a short keyed hash, some hundred times cheaper than a signature,
// and the same seed gives the same tags in every run.
//
// It owns one secret and is immutable, so any goroutine may use it; the simulator's only one
// does. It never protects anything outside a simulation: who reads the authority's memory can
// sign as everybody. An adversary there holds only the Signers it was given.
package ideal

import (
	"encoding/binary"
	"math/bits"

	"github.com/themis-bft/themis/auth"
	"github.com/themis-bft/themis/bft"
)

// TagBytes is the size of a tag.
const TagBytes = 8

// The two kinds of identity. A replica and a client never share a secret.
const (
	classReplica uint64 = 0x9ae16a3b2f90404f
	classClient  uint64 = 0xc949d7c7509e6557
)

// mixer and finisher are odd constants with no pattern; any others would do.
const (
	mixer    uint64 = 0xa0761d6478bd642f
	finisher uint64 = 0xe7037ed1a0b428db
)

// Authority makes and checks the tags of one cluster. It implements auth.Verifier.
type Authority struct {
	secret   uint64
	replicas int
	listed   map[bft.ClientID]bool
	open     bool
}

var _ auth.Verifier = (*Authority)(nil)

// New returns the authority of m. Keys in m are not looked at; clients are known by identifier.
func New(seed uint64, m *bft.Membership) *Authority {
	a := &Authority{secret: fold(seed^mixer, finisher), replicas: m.N(), open: m.Open}
	a.listed = make(map[bft.ClientID]bool, len(m.Clients))
	for _, c := range m.Clients {
		a.listed[c.ID] = true
	}
	return a
}

// Replica returns the signer of one replica.
func (a *Authority) Replica(id bft.ReplicaID) auth.Signer { return signer(a.replicaSecret(id)) }

// Client returns the signer of one client, listed or not.
func (a *Authority) Client(id bft.ClientID) auth.Signer { return signer(a.clientSecret(id)) }

// VerifyReplica reports whether sig is replica id's tag of msg.
func (a *Authority) VerifyReplica(id bft.ReplicaID, msg, sig []byte) bool {
	return int(id) < a.replicas && matches(a.replicaSecret(id), msg, sig)
}

// VerifyClient reports whether sig is the client's tag of msg.
func (a *Authority) VerifyClient(id bft.ClientID, msg, sig []byte) bool {
	return (a.open || a.listed[id]) && matches(a.clientSecret(id), msg, sig)
}

// VerifyClients verifies one after the other.
func (a *Authority) VerifyClients(items []auth.Item, ok []bool) bool {
	all := true
	for i := range items {
		ok[i] = a.VerifyClient(items[i].Client, items[i].Msg, items[i].Sig)
		all = all && ok[i]
	}
	return all
}

// Admits reports whether a client may open a session.
func (a *Authority) Admits(id bft.ClientID) (admitted, listed bool) {
	listed = a.listed[id]
	return listed || a.open, listed
}

func (a *Authority) replicaSecret(id bft.ReplicaID) uint64 {
	return fold(a.secret^classReplica, uint64(id)^mixer)
}

func (a *Authority) clientSecret(id bft.ClientID) uint64 { return tag(a.secret^classClient, id[:]) }

// signer is the secret of one identity.
type signer uint64

// Sign appends the tag of msg.
func (s signer) Sign(dst, msg []byte) []byte {
	return binary.LittleEndian.AppendUint64(dst, tag(uint64(s), msg))
}

func matches(secret uint64, msg, sig []byte) bool {
	return len(sig) == TagBytes && binary.LittleEndian.Uint64(sig) == tag(secret, msg)
}

// tag hashes msg under a secret, eight bytes a step. The length goes in last, so that a message
// and the same message with zeros behind it differ.
func tag(secret uint64, msg []byte) uint64 {
	h, n := secret, len(msg)
	for ; len(msg) >= 8; msg = msg[8:] {
		h = fold(h^binary.LittleEndian.Uint64(msg), secret^mixer)
	}
	var last uint64
	for i, b := range msg {
		last |= uint64(b) << (8 * i)
	}
	h = fold(h^last, secret^mixer)
	return fold(h^uint64(n), secret^finisher)
}

// fold multiplies to 128 bits and adds the halves without carry: every bit of the product
// depends on many of the factors. Adding a keeps a zero factor from erasing the state.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo ^ bits.RotateLeft64(a, 23)
}
