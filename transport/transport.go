// Package transport is the contract of links: authenticated, ordered, lossy in bulk. The
// implementations are transport/tcp (TLS 1.3) and transport/mem (tests); transporttest is the
// conformance suite.
//
// A link delivers frames in order or not at all: what a full queue or a broken connection
// drops, the protocol's own retransmission brings back. Nobody assumes a reliable link.
package transport

import (
	"context"

	"github.com/themis-bft/themis/bft"
)

// Transport carries the frames of one replica. Safe for concurrent use after Start.
type Transport interface {
	// Start listens and dials and begins to call h. It returns when listening.
	Start(h Handler) error
	// SendPeer queues a buffer of one or more whole frames for a replica. It never blocks; false
	// means that the buffer was dropped because there is no link, its queue is full, or a frame
	// in it exceeds bft.PeerFrameBytesMax. The buffer must not be changed afterwards.
	SendPeer(to bft.ReplicaID, frames []byte) bool
	// Close ends all links and returns when no goroutine is left, or when ctx ends.
	Close(ctx context.Context) error
}

// Handler receives what arrives. The calls for one link come from one goroutine at a time and
// in order: up, frames, down. A call that blocks slows that link alone. The handler owns the
// frame's bytes.
//
// Two replicas may be joined by two one-way connections. PeerUp then is called for each that
// comes up, so possibly again while the peer is up, since what was sent into the gap is lost and
// resending may help; PeerDown is called when both are gone. PeerUp and PeerDown of one peer
// never overlap each other, and no frame comes before the first PeerUp or after PeerDown; the
// PeerUp of the sending direction may overlap a PeerFrame.
type Handler interface {
	PeerUp(from bft.ReplicaID)
	PeerFrame(from bft.ReplicaID, frame Frame)
	PeerDown(from bft.ReplicaID)
	ClientUp(l ClientLink)
	ClientFrame(l ClientLink, frame Frame)
	ClientDown(l ClientLink)
}

// Frame is a frame as it arrived: its kind and payload, within the limits of its link.
type Frame struct {
	Kind    uint8
	Payload []byte
}

// ClientLink is the link to one authenticated client process. It is comparable and safe for
// concurrent use.
type ClientLink interface {
	Client() bft.ClientID
	// Send queues a buffer of whole frames. It never blocks; false means that it was dropped. A
	// client that does not read is disconnected.
	Send(frames []byte) bool
	Close()
}
