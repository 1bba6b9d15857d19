// Package mem is a network in memory, for tests of what stands on package transport: ordered,
// bounded in bytes, with links that can be cut. Nobody authenticates; identity is by object.
//
// A Network owns one goroutine per direction of a link, which calls the receiver's Handler. It
// is used from tests only. It never loses a frame but from a full queue or a cut link, and
// never delays one.
package mem

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/transport"
)

// ErrStarted is returned by Start of a transport that was started or closed before.
var ErrStarted = errors.New("mem: started or closed before")

// Network joins n replicas and any number of clients.
type Network struct {
	mu    sync.Mutex
	nodes []*Transport
	wires map[[2]bft.ReplicaID]*pipe // from, to
}

// New returns a network of n replicas whose queues hold queueBytes each.
func New(n, queueBytes int) *Network {
	net := &Network{wires: make(map[[2]bft.ReplicaID]*pipe)}
	for i := range n {
		net.nodes = append(net.nodes, &Transport{net: net, self: bft.ReplicaID(i), queueBytes: queueBytes, links: make(map[*ClientConn]struct{})})
	}
	return net
}

// Transport is the transport of one replica.
func (n *Network) Transport(id bft.ReplicaID) *Transport { return n.nodes[id] }

// Cut breaks both directions between two replicas. What waits is lost, both see PeerDown, and
// the link stays down until Mend.
func (n *Network) Cut(a, b bft.ReplicaID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unlink(a, b)
	n.unlink(b, a)
}

// Mend joins two replicas again if both are started.
func (n *Network) Mend(a, b bft.ReplicaID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(a, b)
	n.link(b, a)
}

func (n *Network) unlink(from, to bft.ReplicaID) {
	if p := n.wires[[2]bft.ReplicaID{from, to}]; p != nil {
		delete(n.wires, [2]bft.ReplicaID{from, to})
		p.close()
	}
}

// link opens one direction. An older one between the two still delivers its PeerDown first.
func (n *Network) link(from, to bft.ReplicaID) {
	dst := n.nodes[to]
	if from == to || n.nodes[from].h == nil || dst.h == nil || n.wires[[2]bft.ReplicaID{from, to}] != nil {
		return
	}
	p := newPipe(dst.queueBytes)
	n.wires[[2]bft.ReplicaID{from, to}] = p
	h, before := dst.h, dst.last[from]
	dst.last[from] = p
	dst.spawn(func() {
		defer close(p.done)
		if before != nil {
			<-before.done
		}
		h.PeerUp(from)
		defer h.PeerDown(from)
		p.deliver(bft.PeerFrameBytesMax, func(f transport.Frame) { h.PeerFrame(from, f) })
	})
}

// Transport is one replica's part of a Network.
type Transport struct {
	net        *Network
	self       bft.ReplicaID
	queueBytes int

	// Guarded by net.mu; h is nil while the transport is not running.
	h       transport.Handler
	ended   bool
	last    map[bft.ReplicaID]*pipe
	links   map[*ClientConn]struct{}
	running sync.WaitGroup
}

var _ transport.Transport = (*Transport)(nil)

func (t *Transport) spawn(f func()) {
	t.running.Add(1)
	go func() {
		defer t.running.Done()
		f()
	}()
}

// Start joins the replica to all that are started.
func (t *Transport) Start(h transport.Handler) error {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	if t.h != nil || t.ended {
		return ErrStarted
	}
	t.h, t.last = h, make(map[bft.ReplicaID]*pipe)
	for i := range t.net.nodes {
		t.net.link(t.self, bft.ReplicaID(i))
		t.net.link(bft.ReplicaID(i), t.self)
	}
	return nil
}

// SendPeer queues frames for a replica.
func (t *Transport) SendPeer(to bft.ReplicaID, frames []byte) bool {
	if !transport.Split(frames, bft.PeerFrameBytesMax, nil) {
		return false
	}
	t.net.mu.Lock()
	p := t.net.wires[[2]bft.ReplicaID{t.self, to}]
	t.net.mu.Unlock()
	return p != nil && p.push(frames)
}

// Close cuts all links of the replica.
func (t *Transport) Close(ctx context.Context) error {
	t.net.mu.Lock()
	t.h, t.ended = nil, true
	for i := range t.net.nodes {
		t.net.unlink(t.self, bft.ReplicaID(i))
		t.net.unlink(bft.ReplicaID(i), t.self)
	}
	for c := range t.links {
		c.close()
	}
	t.net.mu.Unlock()
	done := make(chan struct{})
	go func() {
		t.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ClientConn is a client's end of a link with one replica.
type ClientConn struct {
	up, down *pipe // to the replica, to the client
	mu       sync.Mutex
	ready    []transport.Frame
}

// clientLink is the replica's end.
type clientLink struct {
	c  *ClientConn
	id bft.ClientID
}

// Client connects a client to a replica that is started; else it returns io.ErrClosedPipe.
func (n *Network) Client(id bft.ClientID, to bft.ReplicaID) (*ClientConn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.nodes[to]
	if t.h == nil {
		return nil, io.ErrClosedPipe
	}
	c := &ClientConn{up: newPipe(t.queueBytes), down: newPipe(t.queueBytes)}
	t.links[c] = struct{}{}
	l, h := &clientLink{c: c, id: id}, t.h
	t.spawn(func() {
		h.ClientUp(l)
		c.up.deliver(bft.ClientFrameBytesMax, func(f transport.Frame) { h.ClientFrame(l, f) })
		c.close()
		n.mu.Lock()
		delete(t.links, c)
		n.mu.Unlock()
		h.ClientDown(l)
	})
	return c, nil
}

// WriteFrames queues frames for the replica; io.ErrClosedPipe if that cannot be.
func (c *ClientConn) WriteFrames(frames []byte) error {
	if !c.up.push(frames) {
		return io.ErrClosedPipe
	}
	return nil
}

// ReadFrame returns the next frame from the replica, and io.EOF when the link has ended.
func (c *ClientConn) ReadFrame() (transport.Frame, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.ready) == 0 {
		b, open := c.down.pop()
		if !open {
			return transport.Frame{}, io.EOF
		}
		transport.Split(b, bft.ClientFrameBytesMax, func(f transport.Frame) { c.ready = append(c.ready, own(f)) })
	}
	f := c.ready[0]
	c.ready = c.ready[1:]
	return f, nil
}

// Close ends the link.
func (c *ClientConn) Close() error {
	c.close()
	return nil
}

func (c *ClientConn) close() {
	c.up.close()
	c.down.close()
}

// Client is whose link it is.
func (l *clientLink) Client() bft.ClientID { return l.id }

// Send queues frames for the client.
func (l *clientLink) Send(frames []byte) bool {
	return transport.Split(frames, bft.ClientFrameBytesMax, nil) && l.c.down.push(frames)
}

// Close ends the link.
func (l *clientLink) Close() { l.c.close() }
