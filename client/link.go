package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/transport/tcp"
	"github.com/themis-bft/themis/wire"
)

const (
	// linkQueueBytesMax bounds what waits for one replica: a window of the largest operations
	// fits one half. What does not fit is lost, and retried.
	linkQueueBytesMax = 32 << 20
	// joinBytes is how much one write joins: one record of TLS, about.
	joinBytes = 16 << 10
	// steady is how long a link has to last before the pause between attempts starts over.
	steady = 5 * time.Second
)

var errFrame = errors.New("client: replica sent something else than a reply")

// LinkStats is the state of the connection to one replica.
type LinkStats struct {
	Address  string
	Up       bool
	Connects uint64 // links made
	Failures uint64 // attempts that made none
	Lies     uint64 // links ended because the replica sent something else than replies
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
		r.note(func(s *LinkStats) {
			s.Last = err.Error()
			if errors.Is(err, errFrame) {
				s.Lies++
			}
		})
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
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

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

// dial connects to exactly the replica whose key the membership lists.
func (r *route) dial(ctx context.Context) (*tcp.ClientConn, error) {
	cfg := &r.client.cfg
	ctx, cancel := context.WithTimeout(ctx, cfg.DialTimeout)
	defer cancel()
	hello := tcp.HelloOf(cfg.Membership)
	if cfg.InsecureNone {
		return tcp.DialPlainClient(ctx, cfg.Replicas[r.id], r.client.ID(), hello)
	}
	return tcp.DialClient(ctx, cfg.Replicas[r.id], keys.ClientConfig(cfg.Key, cfg.Membership.Replicas[r.id].Key), hello)
}

// read posts every reply until the link breaks or the replica sends anything else. When the loop is
// slower than the replicas it blocks, and with it only this link.
func (r *route) read(ctx context.Context, conn *tcp.ClientConn) error {
	for {
		f, err := conn.ReadFrame()
		if err != nil {
			return err
		}
		if wire.Kind(f.Kind) != wire.KindReply {
			return fmt.Errorf("%w: kind %d", errFrame, f.Kind)
		}
		reply, err := wire.DecodeReply(f.Payload)
		if err != nil {
			return fmt.Errorf("%w: %w", errFrame, err)
		}
		if err := r.post(ctx, event{from: r.id, reply: reply}); err != nil {
			return err
		}
	}
}

// link is the sending side of one connection: a bounded queue and the goroutine that writes it.
type link struct {
	conn *tcp.ClientConn
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
	l.conn.Close()
	l.signal()
}

func (l *link) take(spare [][]byte) (all [][]byte, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all = l.waiting
	l.waiting, l.bytes = spare[:0], 0
	return all, l.closed
}

// write sends what is queued, in as few writes as it can. An error breaks the connection, which
// the reader notices.
func (l *link) write() {
	var spare [][]byte
	var joined []byte
	for range l.wake {
		frames, closed := l.take(spare)
		if closed {
			return
		}
		for i, f := range frames {
			joined = append(joined, f...)
			if len(joined) < joinBytes && i < len(frames)-1 {
				continue
			}
			if err := l.conn.WriteFrames(joined); err != nil {
				l.conn.Close()
				return
			}
			joined = joined[:0]
		}
		clear(frames)
		spare = frames
	}
}
