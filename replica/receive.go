package replica

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/host"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/wire"
)

// receive is the transport's handler: the receive stage. Its methods run on the readers of the
// links, one goroutine per link.
type receive struct{ *Replica }

func (r receive) PeerUp(from bft.ReplicaID) {
	r.links.peer(from, 1)
	r.intake.feed(host.PeerUp{Peer: from})
}

func (r receive) PeerDown(from bft.ReplicaID) {
	r.links.peer(from, -1)
	r.intake.feed(host.PeerDown{Peer: from})
}

// PeerFrame verifies small frames at once, on the reader: votes need no public-key operation,
// and another goroutine would cost more than the check. Bodies and proofs go to the workers.
func (r receive) PeerFrame(from bft.ReplicaID, f transport.Frame) {
	if int(from) >= len(r.intake.sources) {
		return
	}
	a := arrival{source: r.intake.sources[from], peer: from, frame: f, size: arrivalBytes + len(f.Payload)}
	if len(f.Payload) <= inlineBytesMax {
		a.in, a.done = r.verifier.Peer(from, wire.Kind(f.Kind), f.Payload, r.options.Wall()), true
		a.frame.Payload = nil
	}
	r.metrics.peerFrames.Inc()
	r.vitals.hears(from, r.clock.sinceStart())
	r.intake.put(a)
}

func (r receive) ClientUp(l transport.ClientLink) {
	r.intake.open(l)
	r.links.addClient(l)
	if r.barred.has(l.Client(), r.clock.sinceStart()) {
		r.metrics.clientBarred.Inc()
		l.Close()
	}
}

func (r receive) ClientDown(l transport.ClientLink) {
	r.intake.leave(l)
	r.links.dropClient(l)
}

// ClientFrame queues a frame of a client for the workers, which verify the signatures of many
// clients in one batch.
func (r receive) ClientFrame(l transport.ClientLink, f transport.Frame) {
	s := r.intake.sourceOf(l)
	switch {
	case s == nil:
		return
	case s.bad.Load(): // also a link that was made while the others were being ended
		l.Close()
		return
	}
	r.metrics.clientFrames.Inc()
	if len(f.Payload) > bft.ClientFrameBytesMax {
		r.rejectClient(s, l, protocol.ReasonLimit)
		return
	}
	r.intake.put(arrival{source: s, link: l, frame: f, size: arrivalBytes + len(f.Payload)})
}
