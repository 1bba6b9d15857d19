package tcp

import (
	"context"
	"math/rand/v2"
	"net"
	"time"

	"github.com/themis-bft/themis/keys"
)

// livedMin is how long a link must have lived for its end to be taken as an accident, after
// which the peer is dialled again at once. A link that ends sooner may be refused every time.
const livedMin = time.Second

// backoff is the pause between attempts: it doubles from min to max, with jitter so that the
// replicas of a restarted cluster do not dial in step.
type backoff struct{ min, max, pause time.Duration }

// wait pauses, or not at all after a link that lived; poke ends the pause. False: ctx ended.
func (b *backoff) wait(ctx context.Context, lived time.Duration, poke <-chan struct{}) bool {
	if lived >= livedMin {
		b.pause = 0
		return ctx.Err() == nil
	}
	b.pause = min(max(2*b.pause, b.min), b.max)
	timer := time.NewTimer(b.pause/2 + rand.N(b.pause/2+1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-poke:
		return true
	case <-ctx.Done():
		return false
	}
}

// dial makes the link that we write and returns when it has ended, with how long it lived; 0 if
// it never came up.
func (p *peer) dial(ctx context.Context) (lived time.Duration, err error) {
	raw, conn, err := p.connect(ctx)
	if err != nil {
		p.setOut(nil, err.Error())
		return 0, err
	}
	defer p.t.end(raw)
	q := newQueue(p.t.limits.PeerQueueBytesMax, nil)
	p.setOut(q, "")
	began := time.Now()
	p.up()
	defer p.down()
	p.quiet.logTo(p.t.log.Info, "link up", "peer", p.id, "direction", "out", "to", raw.RemoteAddr())

	watched := make(chan struct{})
	p.t.spawn(func() {
		defer close(watched)
		p.watch(conn)
		q.close()
	})
	err = q.drain(conn, p.t.limits.StallTime)
	if reason, known := reasonOf(err); known {
		p.t.count.add(reason)
	}
	p.setOut(nil, err.Error())
	p.t.end(raw)
	<-watched
	return max(time.Since(began), 1), err
}

// watch returns when the link that we write has ended. Nothing may arrive on it.
func (p *peer) watch(conn net.Conn) {
	var b [1]byte
	if n, _ := conn.Read(b[:]); n > 0 {
		p.t.count.add(ReasonProtocol)
		p.quiet.logTo(p.t.log.Warn, "link ended", "peer", p.id, "direction", "out", "reason", ReasonProtocol)
	}
}

func (p *peer) setOut(q *queue, lastError string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out, p.lastError = q, lastError
}

func (p *peer) connect(ctx context.Context) (raw, conn net.Conn, err error) {
	d := net.Dialer{Timeout: p.t.limits.HandshakeTime, KeepAliveConfig: keepAlive}
	raw, err = d.DialContext(ctx, "tcp", p.t.o.Dial[p.id])
	if err != nil {
		return nil, nil, err
	}
	if !p.t.track(raw) {
		return nil, nil, net.ErrClosed
	}
	prove := provePlainDial(identity{replica: p.t.o.Self}, identity{replica: p.id})
	if !p.t.o.InsecureNone {
		prove = proveTLSClient(keys.ClientConfig(p.t.o.Key, p.t.o.Membership.Replicas[p.id].Key), identity{replica: p.id})
	}
	conn, _, err = greet(ctx, raw, prove, p.t.hello, false, p.t.limits.HandshakeTime)
	if err != nil {
		p.t.end(raw)
		return nil, nil, err
	}
	p.reached(raw.RemoteAddr())
	return raw, conn, nil
}
