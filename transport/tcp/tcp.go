// Package tcp carries frames between processes: TCP with TLS 1.3, mutual, keys pinned by the
// membership. It implements transport.Transport for a replica and gives clients their end.
//
// A replica dials every other one and only sends on that connection; it only receives on those
// it accepted. Peers and clients have listeners of their own, so that anything can be put
// between and no number of clients keeps a replica out. Identity of the link is the sender of
// every frame on it.
//
// The package owns the sockets and these goroutines: one per listener; one per accepted
// connection, which does the handshake and then reads; one writer per client link; one per peer
// to dial and then write, with one more that notices when that link ends. The replica calls it
// from its step and reply stages; it calls the replica's Handler from the readers. It never
// blocks a sender, never retries a frame, and never holds more than Limits say.
package tcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/wire"
)

// keepAlive notices a machine that vanished: after about 15 s of silence and 3 lost probes.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 3 * time.Second, Count: 3}

// Transport is the links of one replica.
type Transport struct {
	o            Options
	limits       Limits
	hello        wire.Hello
	log          *slog.Logger
	h            transport.Handler
	peers        []*peer // by replica; the own one is never used
	clients      clients
	clientBudget budget
	count        counters

	stop   context.CancelFunc // set by Start
	live   sync.WaitGroup
	mu     sync.Mutex
	open   map[net.Conn]struct{} // all sockets, to end them in Close
	closed bool
	ln     [2]net.Listener
}

var _ transport.Transport = (*Transport)(nil)

// New checks the options and returns a transport that has not opened anything yet.
func New(o Options) (*Transport, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	t := &Transport{o: o, limits: o.Limits.withDefaults(), hello: HelloOf(o.Membership), log: o.Log}
	t.open = make(map[net.Conn]struct{})
	t.clientBudget.max = int64(t.limits.ClientQueuesBytesMax)
	for i := range o.Membership.Replicas {
		t.peers = append(t.peers, newPeer(t, bft.ReplicaID(i)))
	}
	return t, nil
}

// Start listens, begins to dial, and calls h from then on. It is called once.
func (t *Transport) Start(h transport.Handler) error {
	ctx, stop := context.WithCancel(context.Background())
	t.h, t.stop = h, stop
	listeners, err := t.listen(ctx)
	if err != nil {
		stop()
		return err
	}
	for _, l := range listeners {
		t.spawn(func() { l.run(ctx) })
	}
	for i, p := range t.peers {
		if bft.ReplicaID(i) != t.o.Self {
			t.spawn(func() { p.dialLoop(ctx) })
		}
	}
	if t.o.InsecureNone {
		t.log.Warn("links are neither encrypted nor authenticated", "reason", "insecure none")
	}
	return nil
}

func (t *Transport) listen(ctx context.Context) ([]*listener, error) {
	given := [2]net.Listener{t.o.PeerListener, t.o.ClientListener}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	for i, address := range [2]string{t.o.ListenPeer, t.o.ListenClient} {
		if given[i] != nil {
			continue
		}
		ln, err := lc.Listen(ctx, "tcp", address)
		if err != nil {
			for _, l := range given[:i] {
				l.Close()
			}
			return nil, fmt.Errorf("tcp: %w", err)
		}
		given[i] = ln
	}
	t.ln = given
	return []*listener{t.peerListener(given[0]), t.clientListener(given[1])}, nil
}

// PeerAddr is the address on which other replicas are accepted, after Start.
func (t *Transport) PeerAddr() net.Addr { return t.ln[0].Addr() }

// ClientAddr is the address on which clients are accepted, after Start.
func (t *Transport) ClientAddr() net.Addr { return t.ln[1].Addr() }

func (t *Transport) spawn(f func()) {
	t.live.Add(1)
	go func() {
		defer t.live.Done()
		f()
	}()
}

// track remembers a socket so that Close can end it; false after Close.
func (t *Transport) track(c net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		c.Close()
		return false
	}
	t.open[c] = struct{}{}
	return true
}

// end closes a socket. Closing the socket and not the TLS connection above it never blocks on
// an end that does not read.
func (t *Transport) end(c net.Conn) {
	t.mu.Lock()
	delete(t.open, c)
	t.mu.Unlock()
	c.Close()
}

// SendPeer queues frames for a replica.
func (t *Transport) SendPeer(to bft.ReplicaID, frames []byte) bool {
	if int(to) >= len(t.peers) || to == t.o.Self {
		return false
	}
	p := t.peers[to]
	if !transport.Split(frames, bft.PeerFrameBytesMax, nil) {
		t.log.Error("frames not sent", "peer", to, "bytes", len(frames), "reason", ReasonFrameSize)
		p.drop()
		return false
	}
	return p.send(frames)
}

// Close ends all links and waits for the goroutines. What is queued is lost.
func (t *Transport) Close(ctx context.Context) error {
	t.mu.Lock()
	t.closed = true
	for c := range t.open {
		c.Close()
	}
	t.mu.Unlock()
	if t.stop == nil {
		return nil
	}
	t.stop()
	var err error
	for _, l := range t.ln {
		if e := l.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	done := make(chan struct{})
	go func() {
		t.live.Wait()
		close(done)
	}()
	select {
	case <-done:
		return err
	case <-ctx.Done():
		return errors.Join(err, fmt.Errorf("tcp: goroutines left: %w", ctx.Err()))
	}
}
