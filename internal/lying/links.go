package lying

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/wire"
)

// lateness is below every sensible patience, so that the primary is slow and not silent.
const lateness = 150 * time.Millisecond

// liar is a transport that changes what leaves.
type liar struct {
	transport.Transport
	plan   *Plan
	mu     sync.Mutex
	late   map[*time.Timer]bool // buffers under way
	closed bool
}

// Start passes a handler on that gives the replica links which lie.
func (l *liar) Start(h transport.Handler) error {
	return l.Transport.Start(&handler{Handler: h, plan: l.plan, links: map[transport.ClientLink]*clientLink{}})
}

// SendPeer sends what the plan makes of the frames.
func (l *liar) SendPeer(to bft.ReplicaID, frames []byte) bool {
	switch l.plan.how {
	case "silent":
		return true
	case "slow-primary":
		l.postpone(to, frames)
		return true
	case "wrong-replies":
		return l.Transport.SendPeer(to, frames)
	}
	var out []byte
	transport.Split(frames, bft.PeerFrameBytesMax, func(f transport.Frame) {
		if !l.plan.omits(to, wire.Kind(f.Kind)) {
			out = l.plan.lie(out, to, f)
		}
	})
	return len(out) == 0 || l.Transport.SendPeer(to, out)
}

// postpone sends a buffer late, in its turn: all of them are equally late.
func (l *liar) postpone(to bft.ReplicaID, frames []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	if l.late == nil {
		l.late = map[*time.Timer]bool{}
	}
	var t *time.Timer
	t = time.AfterFunc(lateness, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.late, t)
		if !l.closed {
			l.Transport.SendPeer(to, frames)
		}
	})
	l.late[t] = true
}

// Close drops what is late and closes the links.
func (l *liar) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	for t := range l.late {
		t.Stop()
	}
	l.mu.Unlock()
	return l.Transport.Close(ctx)
}

// lie appends what leaves instead of f.
func (p *Plan) lie(b []byte, to bft.ReplicaID, f transport.Frame) []byte {
	kind := wire.Kind(f.Kind)
	honest := func() []byte { return wire.AppendFrame(b, kind, f.Payload) }
	if p.how == "drop-half" {
		if rand.IntN(2) == 0 {
			return b
		}
		return honest()
	}
	if kind < wire.KindProtocol {
		return honest()
	}
	m, err := p.codec.Decode(kind, append([]byte(nil), f.Payload...))
	if err != nil {
		return honest()
	}
	switch m := m.(type) {
	case *pbft.PrePrepare:
		if p.how == "equivocate" && to%2 == 1 && len(m.Batch) > 0 {
			other := *m
			other.Batch = otherBatch(m.Batch)
			other.Digest = wire.BodyDigest(other.Batch)
			return append(b, p.frame(&other)...)
		}
	case *pbft.Prepare:
		if p.how == "bad-votes" {
			m.Digest[0] ^= 0xff
			return append(b, p.frame(m)...)
		}
	case *pbft.Commit:
		if p.how == "bad-votes" {
			m.Digest[0] ^= 0xff
			return append(b, p.frame(m)...)
		}
	default:
		if p.how == "false-checkpoint" && p.belie(m) {
			return append(b, p.frame(m)...)
		}
	}
	return honest()
}

// otherBatch is a batch that every backup would accept by itself: the same requests at a time
// one nanosecond later.
func otherBatch(body []byte) []byte {
	other := append([]byte(nil), body...)
	for i := range 8 {
		if other[i]++; other[i] != 0 {
			break
		}
	}
	return other
}

// handler gives the replica client links that lie.
type handler struct {
	transport.Handler
	plan  *Plan
	mu    sync.Mutex
	links map[transport.ClientLink]*clientLink
}

func (h *handler) ClientUp(l transport.ClientLink) {
	lying := &clientLink{ClientLink: l, plan: h.plan}
	h.mu.Lock()
	h.links[l] = lying
	h.mu.Unlock()
	h.Handler.ClientUp(lying)
}

func (h *handler) ClientFrame(l transport.ClientLink, f transport.Frame) {
	h.mu.Lock()
	lying := h.links[l]
	h.mu.Unlock()
	h.Handler.ClientFrame(lying, f)
}

func (h *handler) ClientDown(l transport.ClientLink) {
	h.mu.Lock()
	lying := h.links[l]
	delete(h.links, l)
	h.mu.Unlock()
	h.Handler.ClientDown(lying)
}

// clientLink changes replies.
type clientLink struct {
	transport.ClientLink
	plan *Plan
}

// Send sends what the plan makes of replies.
func (c *clientLink) Send(frames []byte) bool {
	switch c.plan.how {
	case "silent":
		return true
	case "drop-half":
		return rand.IntN(2) == 0 || c.ClientLink.Send(frames)
	case "wrong-replies":
		return c.ClientLink.Send(wrongReplies(frames))
	}
	return c.ClientLink.Send(frames)
}

func wrongReplies(frames []byte) (out []byte) {
	transport.Split(frames, bft.PeerFrameBytesMax, func(f transport.Frame) {
		r, err := wire.DecodeReply(f.Payload)
		if err != nil {
			out = wire.AppendFrame(out, wire.Kind(f.Kind), f.Payload)
			return
		}
		r.Result = append([]byte(nil), r.Result...)
		if len(r.Result) == 0 {
			r.Result = []byte("a lie")
		} else {
			r.Result[len(r.Result)-1] ^= 0x5a
		}
		out = wire.AppendFrame(out, wire.KindReply, r.Append(nil))
	})
	return out
}
