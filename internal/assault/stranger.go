package assault

import (
	"crypto/tls"
	"io"
	"net"
	"time"

	"github.com/themis-bft/themis/keys"
)

// ports are all addresses of the cluster; those of the rogue's own replica are left out.
func (a *assailant) ports() (all []string) {
	for i := range a.peers {
		if a.key == nil || i != a.plan.Rogue {
			all = append(all, a.peers[i], a.clients[i])
		}
	}
	return all
}

// hold opens connections to all ports and keeps Count of them open: whoever is refused comes back,
// at the plan's rate. begin says the first words on each.
func (a *assailant) hold(begin func(i int, c *conn) error) error {
	ports := a.ports()
	return a.each(a.plan.Count, func(i int) error {
		for a.pace() {
			c, err := a.dial(ports[i%len(ports)])
			if err != nil {
				continue
			}
			a.sent.Add(1)
			if begin(i, c) == nil {
				_, _ = io.Copy(io.Discard, c) // until it is ended
			}
			c.drop()
		}
		return nil
	})
}

// idle connects and says nothing.
func idle(a *assailant) error { return a.hold(func(int, *conn) error { return nil }) }

// halfOpen begins TLS and stops in it: some before the end of the first message, some after it.
func halfOpen(a *assailant) error {
	first, err := clientHello()
	if err != nil {
		return err
	}
	ports := a.ports()
	return a.hold(func(i int, c *conn) error {
		part := first
		if i/len(ports)%2 == 0 {
			part = first[:len(first)/2]
		}
		_, err := c.Write(part)
		return err
	})
}

// slowHandshake sends the first message of TLS at a byte per second.
func slowHandshake(a *assailant) error {
	first, err := clientHello()
	if err != nil {
		return err
	}
	return a.hold(func(_ int, c *conn) error {
		a.discard(c)
		return a.trickle(c, first)
	})
}

// trickle writes a byte per second.
func (a *assailant) trickle(w io.Writer, b []byte) error {
	for i := range b {
		if _, err := w.Write(b[i : i+1]); err != nil {
			return err
		}
		if !a.sleep(time.Second) {
			return a.ctx.Err()
		}
	}
	return nil
}

// clientHello is the first message of a real handshake.
func clientHello() ([]byte, error) {
	key, err := keys.Generate("ed25519")
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Client(near, keys.ClientConfig(key, nil)).Handshake() // it fails: nobody answers
	}()
	b := make([]byte, 16<<10)
	n, err := far.Read(b)
	_, _ = near.Close(), far.Close() // a pipe closes without an error
	<-done
	return b[:n], err
}

// noise sends random bytes to all ports, Count in all, before the handshake; with a rogue's key or a
// client's, and then in the place of frames too.
func noise(a *assailant) error {
	const piece = 4 << 10
	type lane struct {
		open func() (io.WriteCloser, error)
	}
	var lanes []lane
	for i := range a.peers {
		if i == a.plan.Rogue {
			continue
		}
		want := a.m.Replicas[i].Key
		for _, addr := range []string{a.peers[i], a.clients[i]} {
			lanes = append(lanes, lane{func() (io.WriteCloser, error) { return a.dial(addr) }})
		}
		lanes = append(lanes, lane{func() (io.WriteCloser, error) { return a.join(a.peers[i], a.key, want) }})
		lanes = append(lanes, lane{func() (io.WriteCloser, error) {
			key, err := keys.Generate("ed25519")
			if err != nil {
				return nil, err
			}
			return a.join(a.clients[i], key, want)
		}})
	}
	return a.each(len(lanes), func(i int) error {
		r := a.rand(i)
		b := make([]byte, piece)
		for left := share(a.plan.Count, len(lanes)); left > 0 && a.pace(); {
			c, err := lanes[i].open()
			if err != nil {
				continue
			}
			for k := range b {
				b[k] = byte(r.Uint32())
			}
			n, _ := c.Write(b[:min(piece, max(left, 1))]) // it may be refused in the midst of it
			a.sent.Add(uint64(n))
			left -= max(n, 1)
			// What was written arrives before the end does, if the end is no reset.
			if h, ok := c.(interface{ CloseWrite() error }); ok {
				_ = h.CloseWrite()
			}
			a.linger(c)
		}
		return nil
	})
}

// linger waits until the other end has had enough, and closes.
func (a *assailant) linger(c io.WriteCloser) {
	if d, ok := c.(net.Conn); ok {
		_ = d.SetReadDeadline(time.Now().Add(time.Second)) // what follows is bounded by it
		_, _ = io.Copy(io.Discard, d)
	}
	switch c := c.(type) {
	case *conn:
		c.drop()
	case *link:
		c.drop()
	}
}
