// Package bft is the vocabulary of Themis: identifiers, quorum arithmetic, the
// membership of a cluster and every limit. It owns no state, imports nothing of the
// project and is safe from any goroutine.
package bft

import (
	"encoding/hex"
	"math/bits"
	"strconv"
)

// ReplicaID numbers the replicas of a cluster from 0 to n-1. The primary of view v is
// replica v mod n (Castro and Liskov, OSDI'99, section 4).
type ReplicaID uint16

// String is the short name used in logs and on the command line, such as "r2".
func (r ReplicaID) String() string { return "r" + strconv.Itoa(int(r)) }

// ClientID identifies a client. For Ed25519 it is the public key itself, so that a
// request can be verified from its own bytes; for other schemes it is the SHA-256 of the
// PKIX encoding of the key, which the membership then has to list.
type ClientID [32]byte

// String is the first eight hexadecimal digits, enough for logs.
func (c ClientID) String() string { return hex.EncodeToString(c[:4]) }

// ClusterID is random and unique to a cluster; it is part of every signed byte string.
type ClusterID [16]byte

// String is the whole identifier in hexadecimal.
func (c ClusterID) String() string { return hex.EncodeToString(c[:]) }

// Digest is a SHA-256 digest with a domain tag (package wire).
type Digest [32]byte

// NullDigest stands for the null batch: ordered, executed as nothing, answered by nobody.
// No hash has this value in practice, and none is ever compared with it by chance.
var NullDigest Digest

// IsNull reports whether d names the null batch.
func (d Digest) IsNull() bool { return d == NullDigest }

// String is the first twelve hexadecimal digits, enough for logs and golden files.
func (d Digest) String() string { return hex.EncodeToString(d[:6]) }

// Hex is the whole digest in hexadecimal.
func (d Digest) Hex() string { return hex.EncodeToString(d[:]) }

// View numbers the configurations of a primary and its backups, from 0. It only grows.
type View uint64

// SeqNum is the sequence number of a slot, from 1. Slot 0 is the initial state.
type SeqNum uint64

// Duration is a span of time in nanoseconds. Pure packages use it instead of the
// standard library's, so that no clock is in their reach.
type Duration int64

// The usual units of Duration.
const (
	Microsecond Duration = 1000
	Millisecond          = 1000 * Microsecond
	Second               = 1000 * Millisecond
)

// Time is agreed time: nanoseconds since 1970-01-01 UTC, proposed by a primary and
// bounded by the backups (design: time(n) = max(time(n-1), proposed)).
type Time int64

// ReplicaSet is a set of replicas. The zero value is empty.
type ReplicaSet uint64

// SetOf returns the set of the given replicas.
func SetOf(ids ...ReplicaID) ReplicaSet {
	var s ReplicaSet
	for _, id := range ids {
		s = s.With(id)
	}
	return s
}

// AllReplicas returns the set {0, …, n-1}.
func AllReplicas(n int) ReplicaSet {
	if n >= 64 {
		return ^ReplicaSet(0)
	}
	return ReplicaSet(1)<<n - 1
}

// With returns s with id added. An id of 64 or more is ignored.
func (s ReplicaSet) With(id ReplicaID) ReplicaSet { return s | ReplicaSet(1)<<id }

// Without returns s with id removed.
func (s ReplicaSet) Without(id ReplicaID) ReplicaSet { return s &^ (ReplicaSet(1) << id) }

// Has reports whether id is in s.
func (s ReplicaSet) Has(id ReplicaID) bool { return s&(ReplicaSet(1)<<id) != 0 }

// Len is the number of members.
func (s ReplicaSet) Len() int { return bits.OnesCount64(uint64(s)) }

// All iterates over the members in ascending order.
func (s ReplicaSet) All() func(yield func(ReplicaID) bool) {
	return func(yield func(ReplicaID) bool) {
		for rest := uint64(s); rest != 0; rest &= rest - 1 {
			if !yield(ReplicaID(bits.TrailingZeros64(rest))) {
				return
			}
		}
	}
}
