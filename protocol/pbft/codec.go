package pbft

import (
	"fmt"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// decidedMax bounds the slots of one DECIDED: a STATUS is answered with one of them.
const decidedMax = 32

// Codec encodes, decodes and checks the messages of one cluster. It is immutable.
type Codec struct {
	domain wire.Domain
	q      bft.Quorums
	every  bft.SeqNum // K
	window bft.SeqNum // L
	claims int        // in P and Q of one VIEW-CHANGE
}

// One digest per slot of the largest window in both P and Q always fits a VIEW-CHANGE. How many more
// must is asked of the membership, bft.Quorums.WindowFits.
const _ = uint((bft.PeerFrameBytesMax-33*bft.WindowSlotsMax-bft.ViewHeadBytesMax)/bft.ReplicasMax -
	bft.ViewHeadBytesMax - bft.EndorsementBytesMax*(2*bft.ReplicasMax/3+1) - 2*bft.ClaimBytes*bft.WindowSlotsMax)

// NewCodec returns the codec of a cluster.
func NewCodec(m *bft.Membership) *Codec {
	q := m.Quorums()
	return &Codec{
		domain: wire.ProtocolDomain(m), q: q, every: m.CheckpointEvery, window: m.Window, claims: q.ClaimsMax(m.Window),
	}
}

// Append appends the payload of m.
func (c *Codec) Append(b []byte, m protocol.Message) []byte {
	switch m := m.(type) {
	case *PrePrepare:
		return wire.AppendBytes(appendVote(b, m.View, m.Seq, m.Digest), m.Batch)
	case *Prepare:
		return appendVote(b, m.View, m.Seq, m.Digest)
	case *Commit:
		return appendVote(b, m.View, m.Seq, m.Digest)
	case *Status:
		return m.append(b)
	case *Checkpoint:
		return appendSig(m.appendUnsigned(b), m.Sig)
	case *ViewChange:
		return m.append(b)
	case *NewView:
		return appendSig(m.appendUnsigned(b), m.Sig)
	case *Decided:
		return m.append(b)
	case *Stable:
		return m.append(b)
	}
	panic(fmt.Sprintf("pbft: no encoding for %T", m))
}

// AppendSigned appends the byte string that the signature of m covers.
func (c *Codec) AppendSigned(b []byte, m protocol.Signed) []byte {
	b = c.domain.AppendReplicaTag(b, m.Kind(), m.Signer())
	switch m := m.(type) {
	case *Checkpoint:
		return m.appendUnsigned(b)
	case *ViewChange:
		return m.appendUnsigned(b)
	case *NewView:
		return m.appendUnsigned(b)
	}
	panic(fmt.Sprintf("pbft: %T is not signed", m))
}

func appendVote(b []byte, v bft.View, n bft.SeqNum, d bft.Digest) []byte {
	b = wire.AppendU64(b, uint64(v))
	b = wire.AppendU64(b, uint64(n))
	return append(b, d[:]...)
}

func appendSig(b, sig []byte) []byte {
	return append(wire.AppendU16(b, uint16(len(sig))), sig...)
}

func (m *Status) append(b []byte) []byte {
	b = wire.AppendU64(b, uint64(m.View))
	b = wire.AppendBool(b, m.Active)
	for _, v := range []uint64{uint64(m.Stable), uint64(m.Committed), uint64(m.Open), m.Accepted, m.Prepared, uint64(m.ViewChanges)} {
		b = wire.AppendU64(b, v)
	}
	return b
}

func (m *Checkpoint) appendUnsigned(b []byte) []byte {
	b = wire.AppendU64(b, uint64(m.Seq))
	b = append(b, m.Digest[:]...)
	return wire.AppendU16(b, uint16(m.Replica))
}

func (m *Stable) append(b []byte) []byte {
	b = wire.AppendU64(b, uint64(m.Seq))
	b = append(b, m.Digest[:]...)
	b = wire.AppendU16(b, uint16(len(m.Endorse)))
	for _, e := range m.Endorse {
		b = appendSig(wire.AppendU16(b, uint16(e.Replica)), e.Sig)
	}
	return b
}

func appendClaims(b []byte, claims []Claim) []byte {
	b = wire.AppendU16(b, uint16(len(claims)))
	for _, c := range claims {
		b = appendVote(b, c.View, c.Seq, c.Digest)
	}
	return b
}

func (m *ViewChange) appendUnsigned(b []byte) []byte {
	b = wire.AppendU64(b, uint64(m.View))
	b = wire.AppendU16(b, uint16(m.Replica))
	b = m.Base.append(b)
	return appendClaims(appendClaims(b, m.P), m.Q)
}

func (m *ViewChange) append(b []byte) []byte { return appendSig(m.appendUnsigned(b), m.Sig) }

func (m *NewView) appendUnsigned(b []byte) []byte {
	b = wire.AppendU64(b, uint64(m.View))
	b = wire.AppendU16(b, uint16(m.Replica))
	b = wire.AppendU16(b, uint16(len(m.Set)))
	for _, vc := range m.Set {
		b = vc.append(b)
	}
	b = wire.AppendU64(b, uint64(m.Start))
	b = wire.AppendU16(b, uint16(len(m.Choices)))
	for _, c := range m.Choices {
		b = append(b, c.Digest[:]...)
	}
	return b
}

func (m *Decided) append(b []byte) []byte {
	b = wire.AppendU64(b, uint64(m.First))
	b = wire.AppendU16(b, uint16(len(m.Digests)))
	for _, d := range m.Digests {
		b = append(b, d[:]...)
	}
	return b
}

// WithSignature returns a copy that carries sig.
func (m *Checkpoint) WithSignature(sig []byte) protocol.Message {
	c := *m
	c.Sig = sig
	return &c
}

// WithSignature returns a copy that carries sig.
func (m *ViewChange) WithSignature(sig []byte) protocol.Message {
	c := *m
	c.Sig = sig
	return &c
}

// WithSignature returns a copy that carries sig.
func (m *NewView) WithSignature(sig []byte) protocol.Message {
	c := *m
	c.Sig = sig
	return &c
}
