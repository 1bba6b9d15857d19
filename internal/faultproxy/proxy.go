package faultproxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/themis-bft/themis/wire"
)

// What a proxy holds at most.
const (
	connectionsMax = 1024    // open through one proxy; more are refused
	queueBytesMax  = 1 << 20 // that wait in one direction of one connection, beside one unit
	recordedMax    = 64      // frames that are kept to be replayed, of recordedBytes at most each
	recordedBytes  = 16 << 10
	streamBytesMax = 64 << 10 // of the last connection, kept to be replayed
)

// greetTime is how long TLS with either end, and the dial, may take.
const greetTime = 5 * time.Second

// Options say where a proxy stands.
type Options struct {
	Name   string // of the link, in schedules: "r0>r3"
	Listen string // a loopback address; empty: a free port
	Target string // where the link really goes
	Seed   uint64 // of the chances

	// Ends makes the proxy see frames. Nil: it is opaque.
	Ends *Ends

	// Tap, if not nil, is shown each frame as it came in, before anything happens to it. It is
	// called from many goroutines and must not keep or change the payload. Opaque proxies never
	// call it.
	Tap func(d Direction, k wire.Kind, payload []byte)
}

// Ends is how a proxy ends TLS on both sides.
type Ends struct {
	Server *tls.Config // shown to the dialler: the identity of the target
	// Client is shown to the target: the identity of the dialler, whose key is der.
	Client func(der []byte) (*tls.Config, error)
}

// Stats counts what a proxy did.
type Stats struct {
	Connections, Refused uint64 // accepted and joined with the target; turned away
	Units, Bytes         uint64 // that came in
	Faults               map[string]uint64
}

// Proxy stands on one directed link. All methods are safe from any goroutine.
type Proxy struct {
	o  Options
	ln net.Listener

	mu         sync.Mutex
	conditions [2]Condition
	changed    chan struct{} // closed and replaced whenever a condition changes
	links      map[*link]bool
	stats      Stats
	accepted   uint64
	recorded   []unit // the last frames that went forward
	stream     []byte // the first bytes that went forward on connection streamOf, HELLO included
	streamOf   uint64
	diallerDER []byte // the key that dialled last, where there is TLS
	closed     bool

	running sync.WaitGroup
}

// New starts a proxy.
func New(o Options) (*Proxy, error) {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("faultproxy: %w", err)
	}
	if a, ok := ln.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("faultproxy: %s is not a loopback address", o.Listen), ln.Close())
	}
	p := &Proxy{o: o, ln: ln, changed: make(chan struct{}), links: map[*link]bool{}, stats: Stats{Faults: map[string]uint64{}}}
	p.running.Go(p.accept)
	return p, nil
}

// Addr is where to dial instead of the target.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Name is the name of the link.
func (p *Proxy) Name() string { return p.o.Name }

// Set changes the condition of one direction, for open connections too.
func (p *Proxy) Set(d Direction, c Condition) {
	p.mu.Lock()
	was := p.conditions[d].HalfOpen
	p.conditions[d] = c
	close(p.changed)
	p.changed = make(chan struct{})
	links := p.open()
	p.mu.Unlock()
	for _, l := range links {
		switch {
		case c.Cut, was && !c.HalfOpen: // whoever talked to nobody finds out when it is over
			l.end(true)
		case c.HalfOpen:
			l.halve()
		}
	}
}

// Heal makes the weather of both directions fair.
func (p *Proxy) Heal() {
	p.Set(Forward, Condition{})
	p.Set(Back, Condition{})
}

// Reset ends all open connections by RST, once; they may come back at once.
func (p *Proxy) Reset() {
	p.mu.Lock()
	links := p.open()
	p.stats.Faults["reset"] += uint64(len(links))
	p.mu.Unlock()
	for _, l := range links {
		l.end(true)
	}
}

// open lists the open connections. The caller holds mu.
func (p *Proxy) open() []*link {
	all := make([]*link, 0, len(p.links))
	for l := range p.links {
		all = append(all, l)
	}
	return all
}

// Condition is the present condition of a direction.
func (p *Proxy) Condition(d Direction) Condition {
	c, _ := p.condition(d)
	return c
}

// condition is Condition and a channel that is closed when it changes.
func (p *Proxy) condition(d Direction) (Condition, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conditions[d], p.changed
}

// refuses reports whether no connection is joined with the target now, and whether the dialler
// may find out.
func (p *Proxy) refuses() (cut, half bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, b := &p.conditions[Forward], &p.conditions[Back]
	return f.Cut || b.Cut, f.HalfOpen || b.HalfOpen
}

// Stats returns a snapshot.
func (p *Proxy) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Faults = maps.Clone(s.Faults)
	return s
}

func (p *Proxy) count(fault string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Faults[fault]++
}

// Close ends all connections and returns when nothing runs any more.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	links := p.open()
	p.mu.Unlock()
	_ = p.ln.Close() // it can only be closed already
	for _, l := range links {
		l.end(false)
	}
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		conn, err := p.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors: the others have to end first
			time.Sleep(10 * time.Millisecond)
			continue
		}
		l := p.enter(conn)
		if l == nil {
			abort(conn)
			continue
		}
		p.running.Go(func() {
			l.run()
			p.leave(l)
		})
	}
}

// enter gives a connection its place, if it may have one.
func (p *Proxy) enter(conn net.Conn) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.links) >= connectionsMax || p.conditions[Forward].Cut || p.conditions[Back].Cut {
		p.stats.Refused++
		return nil
	}
	p.accepted++
	l := &link{p: p, number: p.accepted, dialler: conn, done: make(chan struct{})}
	p.links[l] = true
	return l
}

func (p *Proxy) leave(l *link) {
	l.end(false)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// abort ends a connection by RST.
func abort(conn net.Conn) {
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0) // it may be closed already
	}
	_ = conn.Close()
}
