package tcp

import (
	"net"
	"sync"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/wire"
)

// clients counts the client connections, those in their handshake included, so that the caps
// hold at every moment.
type clients struct {
	t        *Transport
	mu       sync.Mutex
	all, up  int
	byAddr   map[string]int
	byClient map[bft.ClientID]int
}

func (c *clients) init(t *Transport) {
	c.t, c.byAddr, c.byClient = t, make(map[string]int), make(map[bft.ClientID]int)
}

func (c *clients) admit(address string) (Reason, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.all >= c.t.limits.ClientsMax:
		return ReasonTotal, false
	case c.byAddr[address] >= c.t.limits.ClientsPerAddressMax:
		return ReasonAddress, false
	}
	c.all++
	c.byAddr[address]++
	return 0, true
}

func (c *clients) leave(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	decrement(c.byAddr, address)
}

func (c *clients) enter(id bft.ClientID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byClient[id] >= c.t.limits.LinksPerClientMax {
		return false
	}
	c.byClient[id]++
	c.up++
	return true
}

func (c *clients) exit(id bft.ClientID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	decrement(c.byClient, id)
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
}

var _ transport.ClientLink = (*clientLink)(nil)

// serve reads and writes the link of a client until it ends.
func (c *clients) serve(raw, conn net.Conn, id bft.ClientID) {
	t := c.t
	if !c.enter(id) {
		t.count.add(ReasonClientLinks)
		return
	}
	defer c.exit(id)
	l := &clientLink{t: t, id: id, raw: raw, out: newQueue(t.limits.ClientQueueBytesMax, &t.clientBudget)}
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
		l.t.h.ClientFrame(l, frame)
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
