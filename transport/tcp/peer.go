package tcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// peer is both links with one other replica: the one it dialled and we read, and the one we
// dialled and write (dial.go).
type peer struct {
	t    *Transport
	id   bft.ReplicaID
	poke chan struct{} // holds a token when it is worth dialling now

	dropped, dials atomic.Uint64
	quiet          quiet // for what it makes us log

	mu            sync.Mutex
	out           *queue   // of the dialled link; nil when there is none
	current, next *inbound // the accepted link that is read, and the one that waits to replace it
	lastError     string   // of the last attempt to dial
	address       string   // where it was reached last, or is to be by its address in digits

	// events keeps PeerUp and PeerDown in order; directions is how many links are up.
	events     sync.Mutex
	directions int
}

// inbound is one accepted link.
type inbound struct {
	raw      net.Conn
	replaced chan struct{} // closed when a newer one came before this one was read
	done     chan struct{} // closed when nothing more comes from this one
}

func newPeer(t *Transport, id bft.ReplicaID) *peer {
	p := &peer{t: t, id: id, poke: make(chan struct{}, 1)}
	if a, err := netip.ParseAddrPort(t.o.Dial[id]); err == nil && id != t.o.Self {
		p.address = addressOf(net.TCPAddrFromAddrPort(a))
	}
	return p
}

// reached notes where the peer has proved to be.
func (p *peer) reached(a net.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.address = addressOf(a)
}

// ofPeers reports whether some peer is at an address.
func (t *Transport) ofPeers(address string) bool {
	for _, p := range t.peers {
		p.mu.Lock()
		same := p.address == address
		p.mu.Unlock()
		if same {
			return true
		}
	}
	return false
}

// up and down tell the handler; see transport.Handler.
func (p *peer) up() {
	p.events.Lock()
	defer p.events.Unlock()
	p.directions++
	p.t.h.PeerUp(p.id)
}

func (p *peer) down() {
	p.events.Lock()
	defer p.events.Unlock()
	if p.directions--; p.directions == 0 {
		p.t.h.PeerDown(p.id)
	}
}

// enter makes in the one accepted link of the peer. The newest wins: the older is ended and
// awaited, so that no two are read at once. A third that comes meanwhile takes the place of the
// second, and enter returns false for that one; so at most two exist.
func (p *peer) enter(in *inbound) bool {
	p.mu.Lock()
	old := p.current
	if p.next != nil {
		close(p.next.replaced)
	}
	p.next = in
	p.mu.Unlock()
	if old != nil {
		p.t.count.add(ReasonReplaced)
		p.t.end(old.raw)
		select {
		case <-old.done:
		case <-in.replaced:
			return false
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next != in {
		return false
	}
	p.current, p.next = in, nil
	return true
}

func (p *peer) leave(in *inbound) {
	p.mu.Lock()
	p.current = nil
	p.mu.Unlock()
	close(in.done)
}

// serve reads an accepted link until it ends.
func (p *peer) serve(raw, conn net.Conn) {
	in := &inbound{raw: raw, replaced: make(chan struct{}), done: make(chan struct{})}
	if !p.enter(in) {
		return
	}
	defer p.leave(in)
	select {
	case p.poke <- struct{}{}: // it is alive: dial it without waiting for the pause to end
	default:
	}
	p.up()
	defer p.down()
	p.t.log.Debug("link up", "peer", p.id, "direction", "in", "from", raw.RemoteAddr())
	err := p.read(newFrameReader(conn, bft.PeerFrameBytesMax, p.t.limits.StallTime))
	if reason, known := reasonOf(err); known {
		p.t.count.add(reason)
		p.quiet.logTo(p.t.log.Warn, "link ended", "peer", p.id, "direction", "in", "reason", reason)
		return
	}
	p.t.log.Debug("link down", "peer", p.id, "direction", "in", "error", err)
}

func (p *peer) read(f *frameReader) error {
	for {
		frame, err := f.next()
		if err != nil {
			return err
		}
		if wire.Kind(frame.Kind) == wire.KindHello {
			return errSecondHello
		}
		p.t.h.PeerFrame(p.id, frame)
	}
}

var errSecondHello = refusal{ReasonProtocol, errors.New("HELLO after the first frame")}

// send queues frames on the dialled link.
func (p *peer) send(frames []byte) bool {
	p.mu.Lock()
	q := p.out
	p.mu.Unlock()
	if q != nil {
		if ok, _ := q.push(frames); ok {
			return true
		}
	}
	p.drop()
	return false
}

func (p *peer) drop() { p.dropped.Add(1) }

func (p *peer) stats() PeerStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := PeerStats{In: p.current != nil, Dropped: p.dropped.Load(), Dials: p.dials.Load(), LastError: p.lastError}
	if p.out != nil {
		s.Out, s.QueueBytes = true, p.out.size()
	}
	return s
}

// dialLoop keeps the link that we write, until ctx ends.
func (p *peer) dialLoop(ctx context.Context) {
	b := backoff{min: p.t.limits.RedialMin, max: p.t.limits.RedialMax}
	failing := false
	for ctx.Err() == nil {
		p.dials.Add(1)
		lived, err := p.dial(ctx)
		if ctx.Err() != nil {
			return
		}
		level := p.t.log.Debug
		if !failing { // once, and then quietly until it is up again
			level = func(msg string, args ...any) { p.quiet.logTo(p.t.log.Info, msg, args...) }
		}
		failing = lived == 0
		level("link down", "peer", p.id, "direction", "out", "error", err)
		if !b.wait(ctx, lived, p.poke) {
			return
		}
	}
}
