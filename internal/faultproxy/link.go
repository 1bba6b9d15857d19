package faultproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/themis-bft/themis/keys"
)

// link is one connection through a proxy: the dialler's and the one to the target.
type link struct {
	p      *Proxy
	number uint64

	mu              sync.Mutex
	dialler, target net.Conn // raw; target is nil until it was dialled and after it was halved
	ended, halved   bool
	done            chan struct{} // closed when the link has ended
}

// run carries the link to its end.
func (l *link) run() {
	if _, half := l.p.refuses(); half {
		l.halve()
	}
	up, down, err := l.join()
	if err != nil {
		if l.isHalved() {
			_, _ = io.Copy(io.Discard, l.dialler) // until the dialler gives up, or it is over
		}
		return
	}
	l.p.mu.Lock()
	l.p.stats.Connections++
	l.p.mu.Unlock()
	var both sync.WaitGroup
	for _, f := range []*flow{l.flow(Forward, up, down), l.flow(Back, down, up)} {
		both.Go(f.write)
		both.Go(f.read)
	}
	both.Wait()
}

// join dials the target and, with keys, ends TLS on both sides.
func (l *link) join() (up, down net.Conn, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), greetTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.end(false) })
	defer stop()
	for _, way := range []Direction{Forward, Back} { // no connection passes a black hole
		if !l.passes(way) {
			return nil, nil, net.ErrClosed
		}
	}
	if l.isHalved() {
		return nil, nil, net.ErrClosed
	}
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", l.p.o.Target)
	if err != nil {
		return nil, nil, err
	}
	if !l.hold(raw) {
		return nil, nil, errors.Join(net.ErrClosed, raw.Close())
	}
	ends := l.p.o.Ends
	if ends == nil {
		return l.dialler, raw, nil
	}
	near := tls.Server(l.dialler, ends.Server)
	if err := near.HandshakeContext(ctx); err != nil {
		return nil, nil, err
	}
	der, err := keys.PeerDER(near.ConnectionState())
	if err != nil {
		return nil, nil, err
	}
	config, err := ends.Client(der)
	if err != nil {
		return nil, nil, err
	}
	l.p.mu.Lock()
	l.p.diallerDER = der
	l.p.mu.Unlock()
	far := tls.Client(raw, config)
	return near, far, far.HandshakeContext(ctx)
}

// hold takes the connection to the target, unless the link has ended meanwhile.
func (l *link) hold(raw net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || l.halved {
		return false
	}
	l.target = raw
	return true
}

// end ends both connections, by RST if so asked. It may be called more than once.
func (l *link) end(reset bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.ended = true
	close(l.done)
	for _, c := range []net.Conn{l.dialler, l.target} {
		switch {
		case c == nil:
		case reset:
			abort(c)
		default:
			_ = c.Close() // it may be broken already
		}
	}
}

// halve ends the target's side alone.
func (l *link) halve() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.halved = true
	if l.target != nil {
		abort(l.target)
		l.target = nil
	}
}

func (l *link) isHalved() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.halved
}

// sleep reports whether the link lived as long as that.
func (l *link) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.done:
		return false
	}
}

// passes waits while a direction is held. False: the link has ended.
func (l *link) passes(d Direction) bool {
	for {
		c, changed := l.p.condition(d)
		if !c.Hold {
			return true
		}
		select {
		case <-changed:
		case <-l.done:
			return false
		}
	}
}

// flow is one direction of a link.
type flow struct {
	l        *link
	d        Direction
	from, to net.Conn
	rand     *rand.Rand // of read
	queue    queue
	lastDue  time.Time
	kept     *unit // waits for the next one to overtake it
}

func (l *link) flow(d Direction, from, to net.Conn) *flow {
	f := &flow{l: l, d: d, from: from, to: to}
	f.rand = rand.New(rand.NewPCG(l.p.o.Seed, l.number<<1|uint64(d)))
	f.queue.init()
	return f
}

// read takes units in, does to them what the condition says, and queues what becomes of them.
func (f *flow) read() {
	defer f.queue.close()
	next := f.chunks()
	if f.l.p.o.Ends != nil {
		next = f.frames()
	}
	for {
		u, err := next()
		if err != nil {
			if f.kept != nil {
				f.push(*f.kept)
			}
			if !errors.Is(err, io.EOF) && !f.l.isHalved() {
				f.l.end(false)
			}
			return
		}
		if !f.l.passes(f.d) {
			return
		}
		f.l.p.note(f.d, u)
		if f.d == Forward {
			f.l.p.record(f.l, u)
		}
		if !f.suffer(u) {
			return
		}
	}
}

// suffer lets the condition have its way with a unit. False: the link has ended.
func (f *flow) suffer(u unit) bool {
	p := f.l.p
	c, _ := p.condition(f.d)
	opaque := p.o.Ends == nil
	hit := func(chance float64, name string) bool {
		if chance <= 0 || f.rand.Float64() >= chance || !c.hits(u.kind(), opaque) {
			return false
		}
		p.count(name)
		return true
	}
	if hit(c.Drop, "drop") {
		return true
	}
	if hit(c.Flip, "flip") {
		u = u.flipped(f.rand, opaque)
	}
	out := []unit{u}
	if hit(c.Duplicate, "duplicate") {
		out = append(out, u)
	}
	if old, ok := p.old(f.rand); ok && hit(c.Replay, "replay") {
		out = append(out, old)
	}
	if f.kept == nil && hit(c.Reorder, "reorder") {
		f.kept, out = &out[0], out[1:]
	} else if f.kept != nil {
		out = append(out, *f.kept)
		f.kept = nil
	}
	for _, each := range out {
		each.due = f.due(&c)
		if !f.push(each) {
			return false
		}
	}
	return true
}

// due is when a unit may go on: in order, whatever the jitter.
func (f *flow) due(c *Condition) time.Time {
	d := c.Delay
	if c.Jitter > 0 {
		d += time.Duration(f.rand.Int64N(int64(c.Jitter)))
	}
	if at := time.Now().Add(d); at.After(f.lastDue) {
		f.lastDue = at
	}
	return f.lastDue
}

func (f *flow) push(u unit) bool { return f.queue.push(u, f.l.done) }

// pieceBytes is what a throttled write hands over at once.
const pieceBytes = 4 << 10

// write sends on what is queued, when it is due and no faster than allowed.
func (f *flow) write() {
	for {
		u, ok := f.queue.pop(f.l.done)
		if !ok {
			break
		}
		if !f.l.sleep(time.Until(u.due)) {
			return
		}
		if err := f.send(u.bytes); err != nil {
			if !f.l.isHalved() {
				f.l.end(false)
				return
			}
			f.queue.swallow(f.l.done)
			return
		}
	}
	// The other end sees that nothing more comes, and may still answer.
	if c, ok := f.to.(interface{ CloseWrite() error }); ok && !f.l.isHalved() {
		_ = c.CloseWrite() // if it is broken the other direction notices
	}
}

func (f *flow) send(b []byte) error {
	for len(b) > 0 {
		if !f.l.passes(f.d) {
			return net.ErrClosed
		}
		c, _ := f.l.p.condition(f.d)
		n := len(b)
		if c.Rate > 0 {
			n = min(n, pieceBytes)
			if !f.l.sleep(time.Duration(n) * time.Second / time.Duration(c.Rate)) {
				return net.ErrClosed
			}
		}
		if _, err := f.to.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
