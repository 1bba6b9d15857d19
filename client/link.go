package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/wire"
)

const (
	// replyFrameBytesMax is the longest frame a replica may send to a client.
	replyFrameBytesMax = bft.ResultBytesMax + 64
	// linkQueueBytesMax bounds what waits for one replica: a window of the largest operations
	// fits one half. What does not fit is lost, and retried.
	linkQueueBytesMax = 32 << 20
	// writeStall is how long a replica may take none of what is written to it.
	writeStall = 10 * time.Second
	// steady is how long a link has to last before the pause between attempts starts over.
	steady = 5 * time.Second
)

var (
	errHello = errors.New("client: replica of another cluster, epoch, protocol or version")
	errFrame = errors.New("client: replica sent a malformed frame")
)

// LinkStats is the state of the connection to one replica.
type LinkStats struct {
	Address  string
	Up       bool
	Connects uint64 // links made
	Failures uint64 // attempts that made none
	Last     string // why the last link ended or was not made
}

// route keeps a link to one replica. Its goroutine dials, reads, and dials again.
type route struct {
	client *Client
	id     bft.ReplicaID

	mu   sync.Mutex
	kept LinkStats
}

func (r *route) stats() LinkStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.kept
	s.Address = r.client.cfg.Replicas[r.id]
	return s
}

func (r *route) note(f func(s *LinkStats)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.kept)
}

func (r *route) run(ctx context.Context) {
	cfg := &r.client.cfg
	pause := cfg.RedialMin
	for ctx.Err() == nil {
		began := time.Now()
		err := r.once(ctx)
		if ctx.Err() != nil {
			return
		}
		r.note(func(s *LinkStats) { s.Last = err.Error() })
		cfg.Log.Debug("link ended", "replica", int(r.id), "error", err)
		if time.Since(began) > steady {
			pause = cfg.RedialMin
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2+1)):
		case <-ctx.Done():
			return
		}
		pause = min(2*pause, cfg.RedialMax)
	}
}

// once makes one link and serves it until it breaks.
func (r *route) once(ctx context.Context) error {
	conn, err := r.dial(ctx)
	if err != nil {
		r.note(func(s *LinkStats) { s.Failures++ })
		return err
	}
	defer conn.NetConn().Close()
	defer context.AfterFunc(ctx, func() { conn.NetConn().Close() })()

	l := &link{conn: conn, wake: make(chan struct{}, 1)}
	written := make(chan struct{})
	go func() {
		defer close(written)
		l.write()
	}()
	defer func() {
		l.close()
		<-written
	}()
	r.note(func(s *LinkStats) { s.Connects++; s.Up = true })
	defer r.note(func(s *LinkStats) { s.Up = false })
	if err := r.post(ctx, event{from: r.id, up: l}); err != nil {
		return err
	}
	err = r.read(ctx, conn)
	return errors.Join(err, r.post(ctx, event{from: r.id, down: true}))
}

func (r *route) post(ctx context.Context, e event) error {
	select {
	case r.client.events <- e:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// dial connects, shakes hands with exactly the listed key, and exchanges HELLO.
func (r *route) dial(ctx context.Context) (*tls.Conn, error) {
	cfg := &r.client.cfg
	ctx, cancel := context.WithTimeout(ctx, cfg.DialTimeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", cfg.Replicas[r.id])
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, keys.ClientConfig(cfg.Key, cfg.Membership.Replicas[r.id].Key))
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	err = conn.HandshakeContext(ctx)
	if err == nil {
		err = r.hello(conn)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return conn, nil
}

func (r *route) hello(conn net.Conn) error {
	m := r.client.cfg.Membership
	mine := wire.Hello{Version: wire.Version, Cluster: m.Cluster, Epoch: m.Epoch, Protocol: m.Protocol}
	if _, err := conn.Write(wire.AppendFrame(nil, wire.KindHello, wire.AppendHello(nil, mine))); err != nil {
		return err
	}
	kind, payload, err := readFrame(conn, make([]byte, wire.FrameHeaderBytes))
	if err != nil {
		return err
	}
	theirs, err := wire.DecodeHello(payload)
	if err != nil || kind != wire.KindHello || theirs != mine {
		r.client.cfg.Log.Warn("hello differs", "replica", int(r.id), "theirs", theirs, "mine", mine)
		return fmt.Errorf("%w: %+v", errHello, theirs)
	}
	return nil
}

// read posts every reply until the link breaks or the replica sends anything else. When the loop is
// slower than the replicas it blocks, and with it only this link.
func (r *route) read(ctx context.Context, conn net.Conn) error {
	in := bufio.NewReaderSize(conn, 16<<10)
	header := make([]byte, wire.FrameHeaderBytes)
	for {
		kind, payload, err := readFrame(in, header)
		if err != nil {
			return err
		}
		if kind != wire.KindReply {
			return fmt.Errorf("%w: kind %d", errFrame, kind)
		}
		reply, err := wire.DecodeReply(payload)
		if err != nil {
			return fmt.Errorf("%w: %w", errFrame, err)
		}
		if err := r.post(ctx, event{from: r.id, reply: reply}); err != nil {
			return err
		}
	}
}

// readFrame reads one frame. The payload is freshly allocated, since results alias it.
func readFrame(in io.Reader, header []byte) (wire.Kind, []byte, error) {
	if _, err := io.ReadFull(in, header); err != nil {
		return 0, nil, err
	}
	n := binary.LittleEndian.Uint32(header)
	if n == 0 || n > replyFrameBytesMax {
		return 0, nil, fmt.Errorf("%w: %d bytes", errFrame, n)
	}
	payload := make([]byte, n-1)
	_, err := io.ReadFull(in, payload)
	return wire.Kind(header[4]), payload, err
}

// link is the sending side of one connection: a bounded queue and the goroutine that writes it.
type link struct {
	conn *tls.Conn
	wake chan struct{} // holds one token when there is something to do

	mu      sync.Mutex
	waiting [][]byte
	bytes   int
	closed  bool
}

// push queues a frame. It never blocks; what does not fit is dropped.
func (l *link) push(frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.bytes+len(frame) > linkQueueBytesMax {
		return
	}
	l.waiting = append(l.waiting, frame)
	l.bytes += len(frame)
	l.signal()
}

func (l *link) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed, l.waiting, l.bytes = true, nil, 0
	l.conn.NetConn().Close() // without the farewell of TLS, which may block
	l.signal()
}

func (l *link) take(spare [][]byte) (all [][]byte, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all = l.waiting
	l.waiting, l.bytes = spare[:0], 0
	return all, l.closed
}

// write sends what is queued, as few records as it can. An error breaks the connection, which
// the reader notices.
func (l *link) write() {
	out := bufio.NewWriterSize(stallWriter{l.conn}, 16<<10)
	var spare [][]byte
	for range l.wake {
		frames, closed := l.take(spare)
		if closed {
			return
		}
		for _, f := range frames {
			if _, err := out.Write(f); err != nil {
				l.conn.NetConn().Close()
				return
			}
		}
		clear(frames)
		spare = frames
		if err := out.Flush(); err != nil {
			l.conn.NetConn().Close()
			return
		}
	}
}

// stallWriter gives every write its own deadline.
type stallWriter struct{ conn net.Conn }

func (w stallWriter) Write(b []byte) (int, error) {
	if err := w.conn.SetWriteDeadline(time.Now().Add(writeStall)); err != nil {
		return 0, err
	}
	return w.conn.Write(b)
}
