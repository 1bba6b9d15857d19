package assault

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/wire"
)

// assailant carries one attack out.
type assailant struct {
	plan           *Plan
	ctx            context.Context
	m              *bft.Membership
	peers, clients []string  // addresses by replica
	key            *keys.Key // of the rogue
	pacer          pacer
	running        sync.WaitGroup

	sent, bytes, received, opened, failed atomic.Uint64
	held, heldMax                         atomic.Int64
	dialled                               atomic.Uint64
}

// pacer lets so many through per second, all workers together. Who comes late is not let through
// faster afterwards: the rate is a ceiling.
type pacer struct {
	mu    sync.Mutex
	next  time.Time
	every time.Duration
}

// lag is how far behind its rate a pacer may be and still catch up.
const lag = 20 * time.Millisecond

// pace waits for the next turn. False: the attack is over.
func (a *assailant) pace() bool {
	p := &a.pacer
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now.Add(-lag)) {
		p.next = now.Add(-lag)
	}
	turn := p.next
	p.next = p.next.Add(p.every)
	p.mu.Unlock()
	if d := turn.Sub(now); d > time.Millisecond { // a timer is not finer than that
		return a.sleep(d)
	}
	return a.ctx.Err() == nil
}

// sleep reports whether the attack lasts longer than that.
func (a *assailant) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-a.ctx.Done():
		return false
	}
}

// each runs f in n goroutines and waits for them. A worker that fails gives up by itself; the first
// error is returned.
func (a *assailant) each(n int, f func(i int) error) error {
	errs := make(chan error, n)
	for i := range n {
		a.running.Go(func() { errs <- f(i) })
	}
	var all error
	for range n {
		if err := <-errs; err != nil && all == nil {
			all = err
		}
	}
	return all
}

// rand is a random source for worker i.
func (a *assailant) rand(i int) *rand.Rand { return rand.New(rand.NewPCG(a.plan.Seed, uint64(i))) }

// conn is a connection that counts, and ends with the attack.
type conn struct {
	net.Conn
	a      *assailant
	unhook func() bool
	once   sync.Once
}

// dialTime is for a connection and its handshakes.
const dialTime = 5 * time.Second

// dial connects from the next of the attacker's addresses.
func (a *assailant) dial(addr string) (*conn, error) {
	d := net.Dialer{Timeout: dialTime, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 66, 0, byte(1+a.dialled.Add(1)%uint64(a.plan.Addresses)))}}
	raw, err := d.DialContext(a.ctx, "tcp", addr)
	if err != nil {
		a.failed.Add(1)
		return nil, err
	}
	a.opened.Add(1)
	now := a.held.Add(1)
	for most := a.heldMax.Load(); now > most && !a.heldMax.CompareAndSwap(most, now); most = a.heldMax.Load() {
	}
	c := &conn{Conn: raw, a: a}
	c.unhook = context.AfterFunc(a.ctx, func() { _ = c.Close() }) // it may be closed already
	return c, nil
}

// Read counts what is received.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.a.received.Add(uint64(n))
	return n, err
}

// Write counts what is written.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.a.bytes.Add(uint64(n))
	return n, err
}

// Close ends the connection at once: thousands of them must not linger.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.a.held.Add(-1)
		if t, ok := c.Conn.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // it may have ended
		}
	})
	return c.Conn.Close()
}

// drop is Close for whoever has the connection no longer in mind.
func (c *conn) drop() {
	c.unhook()
	_ = c.Close()
}

// link is a connection after TLS and HELLO.
type link struct {
	net.Conn
	raw *conn
}

func (l *link) drop() { l.raw.drop() }

// join dials the owner of want, proves to be key and exchanges HELLO.
func (a *assailant) join(addr string, key *keys.Key, want []byte) (*link, error) {
	l, err := a.secure(addr, key, want)
	if err != nil {
		return nil, err
	}
	err = l.SetDeadline(time.Now().Add(dialTime))
	if err == nil {
		_, err = l.Write(wire.AppendFrame(nil, wire.KindHello, wire.AppendHello(nil, a.hello())))
	}
	if err == nil {
		_, _, err = readFrame(l)
	}
	if err == nil {
		err = l.SetDeadline(time.Time{})
	}
	if err != nil {
		a.failed.Add(1)
		l.drop()
		return nil, err
	}
	return l, nil
}

// secure dials and runs TLS, without HELLO.
func (a *assailant) secure(addr string, key *keys.Key, want []byte) (*link, error) {
	raw, err := a.dial(addr)
	if err != nil {
		return nil, err
	}
	t := tls.Client(raw, keys.ClientConfig(key, want))
	ctx, cancel := context.WithTimeout(a.ctx, dialTime)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		a.failed.Add(1)
		raw.drop()
		return nil, err
	}
	return &link{t, raw}, nil
}

func (a *assailant) hello() wire.Hello {
	return wire.Hello{Version: wire.Version, Cluster: a.m.Cluster, Epoch: a.m.Epoch, Protocol: a.m.Protocol}
}

// errFrame is returned for what is no frame.
var errFrame = errors.New("assault: not a frame")

func readFrame(r io.Reader) (wire.Kind, []byte, error) {
	var header [wire.FrameHeaderBytes]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	n := wire.NewReader(header[:4]).U32()
	if n == 0 || n > bft.PeerFrameBytesMax {
		return 0, nil, errFrame
	}
	payload := make([]byte, n-1)
	_, err := io.ReadFull(r, payload)
	return wire.Kind(header[4]), payload, err
}

// discard reads a link until it ends.
func (a *assailant) discard(r io.Reader) {
	a.running.Go(func() { _, _ = io.Copy(io.Discard, r) }) // its end is no error
}

// again calls try until the attack is over, with a pause after a failure.
func (a *assailant) again(try func() error) {
	for a.ctx.Err() == nil {
		if err := try(); err != nil && !a.sleep(50*time.Millisecond) {
			return
		}
	}
}
