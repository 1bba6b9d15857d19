package replica

import (
	"github.com/themis-bft/themis/host"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/wire"
)

const (
	// verifyBatchMin is what one worker takes without leaving a part to the others: below it a
	// batch of signatures is not worth splitting.
	verifyBatchMin = 16
	// verifyBatchMax bounds how long one worker holds up what is ordered behind its batch.
	verifyBatchMax = 64
	// verifyPeersMax and verifyPeersBytes are the same for frames of one peer, each of which may
	// carry a whole batch: another peer waits no longer than for one of those per worker.
	verifyPeersMax   = 4
	verifyPeersBytes = 64 << 10
	// inlineBytesMax is the size up to which a peer's frame is verified by its own reader.
	inlineBytesMax = 512
)

// verify is a worker of the decode and verify stages. It ends when the intake closes.
func (r *Replica) verify() {
	w := worker{Replica: r}
	for {
		b := r.intake.claim()
		if b == nil {
			return
		}
		w.batch(b.arrivals)
		r.intake.verified(b)
	}
}

// worker is the memory of one verify goroutine, reused from batch to batch.
type worker struct {
	*Replica
	frames []host.ClientFrame
	at     []int // index of each in the batch
}

// batch decodes and verifies every arrival that its reader has not verified already: bodies
// and proofs of peers one by one, the signatures of all clients together.
func (w *worker) batch(as []arrival) {
	now := w.options.Wall()
	w.frames, w.at = w.frames[:0], w.at[:0]
	for i := range as {
		a := &as[i]
		switch {
		case a.done, a.source.bad.Load():
		case a.link != nil:
			w.frames = append(w.frames, host.ClientFrame{
				Link: a.link.Client(), Kind: wire.Kind(a.frame.Kind), Payload: a.frame.Payload,
			})
			w.at = append(w.at, i)
		default:
			a.in = w.verifier.Peer(a.peer, wire.Kind(a.frame.Kind), a.frame.Payload, now)
		}
		a.done, a.frame.Payload = true, nil
	}
	if len(w.frames) == 0 {
		return
	}
	w.verifier.ClientBatch(w.frames)
	for j := range w.frames {
		f, a := &w.frames[j], &as[w.at[j]]
		if f.Reason != protocol.ReasonNone {
			w.rejectClient(a.source, a.link, f.Reason)
			continue
		}
		a.in = f.Input
	}
	clear(w.frames)
}

// rejectClient counts what a client sent that it should not have sent. If no correct client
// sends such a thing all its links end, what it has in the pipeline is dropped, and it is barred
// for a while: its frames cost more than they can be worth.
func (r *Replica) rejectClient(s *source, l transport.ClientLink, why protocol.Reason) {
	r.metrics.clientRejected[why].Inc()
	if !why.Faulty() {
		return
	}
	s.bad.Store(true)
	r.barred.add(l.Client(), r.clock.sinceStart())
	r.log.Debug("client rejected", "client", l.Client().String(), "reason", why.String())
	r.links.closeClient(l.Client())
}
