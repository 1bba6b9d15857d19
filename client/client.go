package client

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/keys"
)

// ErrConfig is returned by Open for a Config that cannot work. The caller has to correct it.
var ErrConfig = errors.New("client: configuration")

// ErrClosed is joined to the error of calls that Close ended or that came after it.
var ErrClosed = errors.New("client: closed")

// DefaultDeadline ends calls whose context has no deadline.
const DefaultDeadline = 10 * time.Second

// Config is what a Client is made from. Membership, Replicas and Key are required.
type Config struct {
	Membership *bft.Membership
	Replicas   []string  // by replica: host:port where it listens for clients
	Key        *keys.Key // identity of this client; processes may share it, sessions they do not

	Options     Options       // Seed is replaced by a random one, Clock by the system's
	DialTimeout time.Duration // for connecting and the handshake (5 s)
	RedialMin   time.Duration // pause after a connection failed (20 ms), doubled up to
	RedialMax   time.Duration // this (1 s)
	Log         *slog.Logger  // nil: silent

	// InsecureNone replaces TLS by a mere claim of identity, to measure what TLS costs. Only
	// loopback addresses are dialled so, and only replicas that run likewise answer.
	InsecureNone bool
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Membership == nil || c.Key == nil:
		return c, fmt.Errorf("%w: membership and key are required", ErrConfig)
	case c.Membership.N() == 0 || c.Membership.N() > bft.ReplicasMax:
		return c, fmt.Errorf("%w: %d replicas, want 1 to %d", ErrConfig, c.Membership.N(), bft.ReplicasMax)
	case c.Membership.F < 0 || c.Membership.F >= c.Membership.N():
		return c, fmt.Errorf("%w: f = %d with %d replicas", ErrConfig, c.Membership.F, c.Membership.N())
	case len(c.Replicas) != c.Membership.N():
		return c, fmt.Errorf("%w: %d addresses for %d replicas", ErrConfig, len(c.Replicas), c.Membership.N())
	}
	c.DialTimeout = orDefault(c.DialTimeout, 5*time.Second)
	c.RedialMin = orDefault(c.RedialMin, 20*time.Millisecond)
	c.RedialMax = max(orDefault(c.RedialMax, time.Second), c.RedialMin)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var seed [8]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return c, fmt.Errorf("client: random seed: %w", err)
	}
	c.Options.Seed = binary.LittleEndian.Uint64(seed[:])
	return c, nil
}

// Client is an open session over connections to all replicas.
type Client struct {
	cfg    Config
	start  time.Time
	stop   context.CancelFunc
	ended  chan struct{} // closed when the loop has delivered all results
	routes sync.WaitGroup
	links  []*route

	// What the loop receives. Calls are unbuffered: who got one through will get its result.
	calls   chan *call
	cancels chan *call
	events  chan event
	asks    chan chan Stats
}

// call is one operation on its way through the loop.
type call struct {
	ctx      context.Context
	op       []byte
	deadline bft.Duration
	token    Token       // set and read by the loop
	release  func() bool // ends the watch over the context; nil if there is none
	done     chan Result // holds the one result
}

// Open connects to the replicas and opens a session. It returns when f+1 replicas have agreed
// on the session, with ErrRefused when they do not admit the client, or with ErrNoQuorum when ctx
// (or DefaultDeadline, if ctx has none) ends before. The connections that are missing then are
// made later.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	running, stop := context.WithCancel(context.Background())
	c := &Client{
		cfg: cfg, start: time.Now(), stop: stop, ended: make(chan struct{}),
		calls: make(chan *call), cancels: make(chan *call),
		events: make(chan event, 256), asks: make(chan chan Stats),
	}
	opened := make(chan error, 1)
	for i := range cfg.Replicas {
		r := &route{client: c, id: bft.ReplicaID(i)}
		c.links = append(c.links, r)
		c.routes.Go(func() { r.run(running) })
	}
	cfg.Options.Clock = bft.Time(c.start.UnixNano())
	session := NewSession(cfg.Membership, cfg.Key.ClientID(), cfg.Key.Signer(), cfg.Options)
	l := loop{c: c, session: session, opened: opened, calls: make(map[Token]*call), to: make([]*link, len(cfg.Replicas))}
	go l.run(running)

	select {
	case err = <-opened:
	case <-ctx.Done():
		err = fmt.Errorf("%w: no session: %w", ErrNoQuorum, ctx.Err())
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, DefaultDeadline)
}

// ID is the identifier of this client.
func (c *Client) ID() bft.ClientID { return c.cfg.Key.ClientID() }

var callPool = sync.Pool{New: func() any { return &call{done: make(chan Result, 1)} }}

// Invoke executes op and returns its result, which the caller owns. It ends when ctx ends, or
// after DefaultDeadline if ctx has no deadline; the error then is ErrNoQuorum or
// ErrOutcomeUnknown, joined with that of ctx. op must not be changed before Invoke returns.
func (c *Client) Invoke(ctx context.Context, op []byte) ([]byte, error) {
	k := callPool.Get().(*call)
	k.ctx, k.op, k.deadline, k.release = ctx, op, c.deadline(ctx), nil
	r, free := c.invoke(ctx, k)
	if free {
		k.ctx, k.op = nil, nil
		callPool.Put(k)
	}
	return r.Value, r.Err
}

// invoke hands k to the loop and waits. It reports whether k is free for another call: the loop may still
// look at one that it was told to cancel after it answered it.
func (c *Client) invoke(ctx context.Context, k *call) (r Result, free bool) {
	if err := c.post(ctx, k); err != nil {
		return Result{Err: err}, true
	}
	select {
	case r := <-k.done:
		return r, true
	case <-ctx.Done():
	}
	select {
	case r := <-k.done:
		return r, true
	case c.cancels <- k:
	case <-c.ended:
	}
	// The loop answers a cancelled call at once, and all calls before it ends.
	return <-k.done, false
}

// InvokeAsync is Invoke without the wait: the channel receives the one result. It blocks only
// until the operation is queued; when Options.QueueMax operations wait the result is ErrBusy.
func (c *Client) InvokeAsync(ctx context.Context, op []byte) <-chan Result {
	k := &call{ctx: ctx, op: op, deadline: c.deadline(ctx), done: make(chan Result, 1)}
	if ctx.Done() != nil {
		k.release = context.AfterFunc(ctx, func() {
			select {
			case c.cancels <- k:
			case <-c.ended:
			}
		})
	}
	if err := c.post(ctx, k); err != nil {
		if k.release != nil {
			k.release()
		}
		k.done <- Result{Err: err}
	}
	return k.done
}

// post gives k to the loop. With an error it was not given.
func (c *Client) post(ctx context.Context, k *call) error {
	select {
	case c.calls <- k:
		return nil
	case <-c.ended:
		return fmt.Errorf("%w: %w", ErrNoQuorum, ErrClosed)
	case <-ctx.Done():
		return explain(ctx, ErrNoQuorum)
	}
}

// deadline is when the session ends a call by itself.
func (c *Client) deadline(ctx context.Context) bft.Duration {
	at, ok := ctx.Deadline()
	if !ok {
		return c.now() + bft.Duration(DefaultDeadline)
	}
	return bft.Duration(at.Sub(c.start))
}

func (c *Client) now() bft.Duration { return bft.Duration(time.Since(c.start)) }

// explain joins the error of ctx to one that its end caused. The session's clock may be the
// first to notice a deadline.
func explain(ctx context.Context, err error) error {
	if err != ErrNoQuorum && err != errDeadline {
		return err
	}
	cause := ctx.Err()
	if cause == nil {
		cause = context.DeadlineExceeded
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// Stats returns the figures of the session. After Close they are zero.
func (c *Client) Stats() Stats {
	answer := make(chan Stats, 1)
	select {
	case c.asks <- answer:
		return <-answer
	case <-c.ended:
		return Stats{}
	}
}

// Links returns the state of the connections, by replica.
func (c *Client) Links() []LinkStats {
	all := make([]LinkStats, len(c.links))
	for i, r := range c.links {
		all[i] = r.stats()
	}
	return all
}

// Close ends all calls and connections and returns when no goroutine is left. What was sent
// and not answered ends with ErrOutcomeUnknown.
func (c *Client) Close() {
	c.stop()
	<-c.ended
	c.routes.Wait()
}
