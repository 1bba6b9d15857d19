package tcp

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/wire"
)

// clients counts the client connections, those in their handshake included, so that the caps
// hold at every moment but for those that are just being ended for others.
type clients struct {
	t        *Transport
	mu       sync.Mutex
	all, up  int
	byAddr   map[string]int
	byClient map[bft.ClientID]int
	links    map[*clientLink]string // that are up, to their addresses
}

func (c *clients) init(t *Transport) {
	c.t, c.byAddr, c.byClient = t, make(map[string]int), make(map[bft.ClientID]int)
	c.links = make(map[*clientLink]string)
}

// admit takes a place. If there is none left, it takes that of a link that asks for nothing: whoever
// merely holds connections must not shut everybody else out for as long as he likes.
func (c *clients) admit(address string) (Reason, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.all >= c.t.limits.ClientsMax:
		if !c.evict(c.crowded()) {
			return ReasonTotal, false
		}
	case c.byAddr[address] >= c.t.limits.ClientsPerAddressMax:
		if !c.evict(address) {
			return ReasonAddress, false
		}
	}
	c.all++
	c.byAddr[address]++
	return 0, true
}

// crowded is the address with most links. The caller holds mu.
func (c *clients) crowded() (address string) {
	links := make(map[string]int, len(c.links))
	for _, from := range c.links {
		if links[from]++; links[from] > links[address] {
			address = from
		}
	}
	return address
}

// evict ends the link from an address that has been idle for longest, if that is long enough. The
// caller holds mu.
func (c *clients) evict(address string) bool {
	var idle *clientLink
	for l, from := range c.links {
		if from == address && (idle == nil || l.silence() > idle.silence()) {
			idle = l
		}
	}
	if idle == nil || idle.silence() < c.t.limits.ClientIdleMin {
		return false
	}
	delete(c.links, idle)
	c.t.count.add(ReasonIdle)
	idle.Close()
	return true
}

func (c *clients) leave(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	decrement(c.byAddr, address)
}

func (c *clients) enter(l *clientLink) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byClient[l.id] >= c.t.limits.LinksPerClientMax {
		return false
	}
	c.links[l] = addressOf(l.raw.RemoteAddr())
	c.byClient[l.id]++
	c.up++
	return true
}

func (c *clients) exit(l *clientLink) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.links, l)
	decrement(c.byClient, l.id)
	c.up--
}

func (c *clients) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.up
}

// clientLink is one link of a client. It implements transport.ClientLink.
type clientLink struct {
	t   *Transport
	id  bft.ClientID
	raw net.Conn
	out *queue

	made  time.Time
	heard atomic.Int64 // when the last frame was taken, after made
	busy  atomic.Bool  // the handler has not taken that frame yet
}

// silence is for how long nothing has come. A frame that waits for room counts: the link would be ended
// and its frame and goroutine stay, so that the caps would bound neither.
func (l *clientLink) silence() time.Duration {
	if l.busy.Load() && !mutant.On("tcp-busy-is-idle") {
		return 0
	}
	return time.Since(l.made) - time.Duration(l.heard.Load())
}

var _ transport.ClientLink = (*clientLink)(nil)

// serve reads and writes the link of a client until it ends.
func (c *clients) serve(raw, conn net.Conn, id bft.ClientID) {
	t := c.t
	l := &clientLink{t: t, id: id, raw: raw, out: newQueue(t.limits.ClientQueueBytesMax, &t.clientBudget), made: time.Now()}
	if !c.enter(l) {
		t.count.add(ReasonClientLinks)
		return
	}
	defer c.exit(l)
	wrote := make(chan error, 1)
	t.spawn(func() {
		err := l.out.drain(conn, t.limits.StallTime)
		t.end(raw) // wakes the reader
		wrote <- err
	})
	t.h.ClientUp(l)
	err := l.read(newFrameReader(conn, bft.ClientFrameBytesMax, t.limits.StallTime))
	l.out.close()
	t.end(raw) // wakes the writer
	werr := <-wrote
	l.out.release()
	t.h.ClientDown(l)
	for _, e := range []error{err, werr} {
		if reason, known := reasonOf(e); known {
			t.count.add(reason)
			t.log.Debug("client link ended", "client", id, "from", raw.RemoteAddr(), "reason", reason)
		}
	}
}

func (l *clientLink) read(f *frameReader) error {
	for {
		frame, err := f.next()
		if err != nil {
			return err
		}
		if wire.Kind(frame.Kind) == wire.KindHello {
			return errSecondHello
		}
		l.busy.Store(true)
		l.t.h.ClientFrame(l, frame)
		l.heard.Store(int64(time.Since(l.made)))
		l.busy.Store(false)
	}
}

// Client is whose link it is.
func (l *clientLink) Client() bft.ClientID { return l.id }

// Send queues frames. A client whose queue has been overflowing for the stall time without
// once being empty does not read, or not enough, and is disconnected.
func (l *clientLink) Send(frames []byte) bool {
	if !transport.Split(frames, bft.ClientFrameBytesMax, nil) {
		l.t.log.Error("frames not sent", "client", l.id, "bytes", len(frames), "reason", ReasonFrameSize)
		l.t.count.clientDropped.Add(1)
		return false
	}
	ok, stuck := l.out.push(frames)
	if !ok {
		l.t.count.clientDropped.Add(1)
		if stuck > l.t.limits.StallTime {
			l.t.count.add(ReasonNotReading)
			l.Close()
		}
	}
	return ok
}

// Close ends the link; ClientDown follows.
func (l *clientLink) Close() {
	l.out.close()
	l.t.end(l.raw)
}
