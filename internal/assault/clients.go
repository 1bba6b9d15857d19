package assault

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/themis-bft/themis/app/kv"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/wire"
)

// puppet is a client that does what it is told.
type puppet struct {
	a       *assailant
	key     *keys.Key
	session uint64
	next    uint64 // number of the next operation
}

func (a *assailant) puppet() (*puppet, error) {
	key, err := keys.Generate("ed25519")
	return &puppet{a: a, key: key, next: 1}, err
}

// join connects the puppet with replica i.
func (p *puppet) join(i int) (*link, error) {
	return p.a.join(p.a.clients[i], p.key, p.a.m.Replicas[i].Key)
}

// request makes the next request of the puppet's session, validly signed. It claims that all before
// were answered, so that no window ever holds it back.
func (p *puppet) request(ops ...[]byte) []byte {
	q := &wire.Request{Client: p.key.ClientID(), Session: p.session, First: p.next, Done: p.next, Answer: ^bft.ReplicaSet(0) >> (64 - p.a.m.N()), Ops: ops}
	p.next += uint64(len(ops))
	return p.sign(q)
}

func (p *puppet) sign(q *wire.Request) []byte {
	q.Sig = p.key.Signer().Sign(nil, q.AppendSigned(nil, wire.ClientDomain(p.a.m)))
	return q.Append(nil)
}

// open is an OPEN that is made now.
func (p *puppet) open(r uint64) []byte {
	nonce := wire.OpenNonce(bft.Time(time.Now().UnixNano()), r)
	return p.sign(&wire.Request{Client: p.key.ClientID(), First: nonce, Answer: ^bft.ReplicaSet(0) >> (64 - p.a.m.N()), Flags: wire.FlagOpen, Ops: [][]byte{nil}})
}

// begin opens a session over a link with every replica that can be reached.
func (p *puppet) begin() ([]*link, error) {
	var links []*link
	for i := range p.a.clients {
		if l, err := p.join(i); err == nil {
			links = append(links, l)
		}
	}
	sessions := make(chan uint64, len(links))
	for _, l := range links {
		p.a.running.Go(func() { p.listen(l, sessions) })
	}
	frame := wire.AppendFrame(nil, wire.KindRetry, p.open(rand.Uint64()))
	for range 50 {
		for _, l := range links {
			_, _ = l.Write(frame) // one of them may be gone
		}
		select {
		case p.session = <-sessions:
			return links, nil
		case <-time.After(200 * time.Millisecond):
		case <-p.a.ctx.Done():
			return nil, p.a.ctx.Err()
		}
	}
	return nil, fmt.Errorf("assault: no session after %d tries over %d links", 50, len(links))
}

// listen reads a link to its end and tells the session that was opened.
func (p *puppet) listen(l *link, sessions chan<- uint64) {
	for {
		k, payload, err := readFrame(l)
		if err != nil {
			return
		}
		r, err := wire.DecodeReply(payload)
		if k != wire.KindReply || err != nil || r.Status != wire.StatusOK || r.Session != 0 || len(r.Result) != 8 {
			continue
		}
		select {
		case sessions <- wire.NewReader(r.Result).U64():
		default:
		}
	}
}

// visit comes to a replica as one new client after the other, for worker i.
func (a *assailant) visit(i int, stay func(p *puppet, l *link) error) error {
	a.again(func() error {
		if !a.pace() {
			return nil
		}
		p, err := a.puppet()
		if err != nil {
			return err
		}
		l, err := p.join(i % len(a.clients))
		if err != nil {
			return err
		}
		defer l.drop()
		return stay(p, l)
	})
	return nil
}

// put is an operation of some hundred bytes.
func put(n uint64) []byte {
	return kv.Put(fmt.Appendf(nil, "assault/%d", n%64), bytes.Repeat([]byte{'x'}, 100))
}

// badSignatures sends requests that are right but for their signatures.
func badSignatures(a *assailant) error {
	return a.each(4*len(a.clients), func(i int) error {
		r := a.rand(i)
		return a.visit(i, func(p *puppet, l *link) error {
			a.discard(l)
			for a.pace() {
				q := &wire.Request{Client: p.key.ClientID(), Session: 1 + r.Uint64N(1000), First: p.next, Done: p.next, Ops: [][]byte{put(p.next)}, Sig: make([]byte, 64)}
				p.next++
				for k := range 32 {
					q.Sig[k] = byte(r.Uint32())
				}
				if _, err := l.Write(wire.AppendFrame(nil, wire.KindRequest, q.Append(nil))); err != nil {
					return err
				}
				a.sent.Add(1)
			}
			return nil
		})
	})
}

// requestFlood sends valid requests of one client to all replicas, and heeds no answer.
func requestFlood(a *assailant) error {
	p, err := a.puppet()
	if err != nil {
		return err
	}
	a.again(func() error {
		links, err := p.begin()
		defer drop(links)
		if err != nil {
			return err
		}
		for a.pace() {
			frame := wire.AppendFrame(nil, wire.KindRequest, p.request(put(p.next)))
			if err := spread(links, frame); err != nil {
				return err
			}
			a.sent.Add(1)
		}
		return nil
	})
	return nil
}

// spread writes to all links; it is an error if one of them has ended.
func spread(links []*link, b []byte) error {
	for _, l := range links {
		if _, err := l.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func drop(links []*link) {
	for _, l := range links {
		l.drop()
	}
}

// bigAnswers is how many of the largest answers a session's cache of replies holds for sure.
const bigAnswers = bft.SessionReplyBytesMax / (kv.ValueBytesMax + 1<<10)

// bigAnswer opens a session and executes a request of some bytes whose answers together are as large
// as a replica keeps. It returns the links and the request, to be repeated.
func (p *puppet) bigAnswer() ([]*link, []byte, error) {
	links, err := p.begin()
	if err != nil {
		return links, nil, err
	}
	key := append([]byte("big/"), p.key.PublicDER()[len(p.key.PublicDER())-8:]...)
	err = spread(links, wire.AppendFrame(nil, wire.KindRetry, p.request(kv.Put(key, bytes.Repeat([]byte{'b'}, kv.ValueBytesMax)))))
	var ops [][]byte
	for range bigAnswers {
		ops = append(ops, kv.Get(key))
	}
	frame := wire.AppendFrame(nil, wire.KindRetry, p.request(ops...))
	return links, frame, err
}

// retryFlood repeats one executed request whose answers are big, and reads the answers.
func retryFlood(a *assailant) error {
	p, err := a.puppet()
	if err != nil {
		return err
	}
	a.again(func() error {
		links, frame, err := p.bigAnswer()
		defer drop(links)
		if err != nil {
			return err
		}
		for a.pace() {
			if err := spread(links, frame); err != nil {
				return err
			}
			a.sent.Add(1)
		}
		return nil
	})
	return nil
}

// clientsPerKey is how many links one key has at most.
const clientsPerKey = 16

// nonReaders holds Count links of clients that ask for big answers again and again and read none. Each
// has a session of its own, to which it comes back when it is thrown out: with a thousand of them the
// replicas soon hold all the answers that they ever will.
func nonReaders(a *assailant) error {
	groups := (a.plan.Count + clientsPerKey - 1) / clientsPerKey
	return a.each(groups, func(g int) error {
		key, err := keys.Generate("ed25519")
		if err != nil {
			return err
		}
		turn := make(chan struct{}, 1) // of opening: a key has only so many links
		return a.each(clientsPerKey, func(i int) error {
			p := &puppet{a: a, key: key, next: 1}
			var frame []byte
			a.again(func() error {
				if frame == nil {
					turn <- struct{}{}
					links, again, err := p.bigAnswer()
					drop(links)
					<-turn
					if err != nil {
						return err
					}
					frame = again
				}
				return p.deaf(g+i, frame)
			})
			return nil
		})
	})
}

// deaf asks over one link for as long as that lives, and reads nothing.
func (p *puppet) deaf(i int, frame []byte) error {
	l, err := p.join(i % len(p.a.clients))
	if err != nil {
		return err
	}
	defer l.drop()
	if t, ok := l.raw.Conn.(*net.TCPConn); ok {
		_ = t.SetReadBuffer(4 << 10) // so that the system takes little of it
	}
	for p.a.pace() {
		if err := l.SetWriteDeadline(time.Now().Add(dialTime)); err != nil {
			return err
		}
		if _, err := l.Write(frame); err != nil {
			return err
		}
		p.a.sent.Add(1)
	}
	return nil
}

// slowFrames sends frames a byte per second, some stuck in their header, some in their body.
func slowFrames(a *assailant) error {
	return a.each(a.plan.Count, func(i int) error {
		return a.visit(i, func(p *puppet, l *link) error {
			a.discard(l)
			a.sent.Add(1)
			frame := wire.AppendFrame(nil, wire.KindRequest, make([]byte, 4000))
			if i%2 == 0 { // the header arrives whole
				if _, err := l.Write(frame[:wire.FrameHeaderBytes]); err != nil {
					return err
				}
				frame = frame[wire.FrameHeaderBytes:]
			}
			return a.trickle(l, frame)
		})
	})
}

// idleClients holds Count links of clients, each with a key of its own, that never ask for anything.
func idleClients(a *assailant) error {
	return a.each(a.plan.Count, func(i int) error {
		for a.pace() {
			p, err := a.puppet()
			if err != nil {
				return err
			}
			l, err := p.join(i % len(a.clients))
			if err != nil {
				continue
			}
			a.sent.Add(1)
			_, _ = io.Copy(io.Discard, l) // until it is ended
			l.drop()
		}
		return nil
	})
}

// openFlood opens sessions under ever new keys.
func openFlood(a *assailant) error {
	return a.each(4*len(a.clients), func(i int) error {
		r := a.rand(i)
		return a.visit(i, func(p *puppet, l *link) error {
			if _, err := l.Write(wire.AppendFrame(nil, wire.KindRetry, p.open(r.Uint64()))); err != nil {
				return err
			}
			a.sent.Add(1)
			_, _, err := readFrame(l)
			return err
		})
	})
}
