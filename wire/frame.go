package wire

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
)

// Kind says what a frame holds. Kinds below KindProtocol belong to the host and are the
// same for all protocols; a protocol numbers its own messages from KindProtocol up.
type Kind uint8

// The kinds of the host.
const (
	KindHello     Kind = 1 // first frame of both ends of a link
	KindRequest   Kind = 2 // client → replica: a request envelope
	KindRetry     Kind = 3 // client → replica: the same envelope again, everybody answers
	KindReply     Kind = 4 // replica → client
	KindRelay     Kind = 5 // replica → replica: an envelope that a client retried
	KindFetch     Kind = 6 // replica → replica: wants the body of a digest
	KindBody      Kind = 7 // replica → replica: a body
	KindStateWant Kind = 8 // replica → replica: wants a part of a checkpoint
	KindStateItem Kind = 9 // replica → replica: a fragment of it

	KindProtocol Kind = 32
)

// FrameHeaderBytes is the size of the header: length of kind and payload (4), kind (1).
const FrameHeaderBytes = 5

// AppendFrame appends a frame with the given payload.
func AppendFrame(b []byte, k Kind, payload []byte) []byte {
	b = AppendU32(b, uint32(1+len(payload)))
	b = append(b, byte(k))
	return append(b, payload...)
}

// BeginFrame appends the header of a frame whose payload the caller appends next; EndFrame
// with the same start completes the length.
func BeginFrame(b []byte, k Kind) (out []byte, start int) {
	return append(AppendU32(b, 0), byte(k)), len(b)
}

// EndFrame writes the length of the frame that began at start.
func EndFrame(b []byte, start int) []byte {
	n := uint32(len(b) - start - 4)
	b[start], b[start+1], b[start+2], b[start+3] = byte(n), byte(n>>8), byte(n>>16), byte(n>>24)
	return b
}

// Domain separates what is signed in one cluster, configuration and protocol from every
// other. Clients sign under protocol "client".
type Domain struct {
	Protocol string
	Cluster  bft.ClusterID
	Epoch    uint64
}

// AppendTag appends the tag with which every signed or MACed byte string starts: protocol
// family and version, protocol, cluster, epoch, kind and sender. The sender is a replica's
// number in two bytes or a client in 32.
func (d Domain) AppendTag(b []byte, k Kind, sender []byte) []byte {
	b = append(b, "themis"...)
	b = AppendU8(b, Version)
	b = AppendU8(b, uint8(len(d.Protocol)))
	b = append(b, d.Protocol...)
	if !mutant.On("wire-cluster-not-signed") {
		b = append(b, d.Cluster[:]...)
	}
	if !mutant.On("wire-epoch-not-signed") {
		b = AppendU64(b, d.Epoch)
	}
	if !mutant.On("wire-kind-not-signed") {
		b = append(b, byte(k))
	}
	if mutant.On("wire-sender-not-signed") {
		return b
	}
	b = AppendU8(b, uint8(len(sender)))
	return append(b, sender...)
}

// AppendReplicaTag is AppendTag for a replica.
func (d Domain) AppendReplicaTag(b []byte, k Kind, id bft.ReplicaID) []byte {
	return d.AppendTag(b, k, []byte{byte(id), byte(id >> 8)})
}

// ClientDomain is the domain under which the clients of a cluster sign.
func ClientDomain(m *bft.Membership) Domain {
	return Domain{Protocol: "client", Cluster: m.Cluster, Epoch: m.Epoch}
}

// ProtocolDomain is the domain under which the replicas of a cluster sign.
func ProtocolDomain(m *bft.Membership) Domain {
	return Domain{Protocol: m.Protocol, Cluster: m.Cluster, Epoch: m.Epoch}
}

// Hello is the first frame in both directions of every link, after the transport has
// authenticated the ends. A difference ends the link with a logged reason.
type Hello struct {
	Version  uint16
	Cluster  bft.ClusterID
	Epoch    uint64
	Protocol string
}

// protocolNameBytesMax bounds the name of a protocol in HELLO.
const protocolNameBytesMax = 32

// AppendHello appends the payload of a HELLO.
func AppendHello(b []byte, h Hello) []byte {
	b = AppendU16(b, h.Version)
	b = append(b, h.Cluster[:]...)
	b = AppendU64(b, h.Epoch)
	return AppendBytes(b, []byte(h.Protocol))
}

// DecodeHello parses the payload of a HELLO.
func DecodeHello(p []byte) (Hello, error) {
	r := NewReader(p)
	h := Hello{Version: r.U16(), Cluster: r.Array16(), Epoch: r.U64(), Protocol: string(r.Bytes(protocolNameBytesMax))}
	return h, r.Close()
}
