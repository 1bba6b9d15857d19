// Package replica drives one replica: it is the only place with goroutines, sockets, files and
// a clock. A request passes nine stages, one file each:
//
//	receive → decode, verify → order → persist → certify → send      (to replicas)
//	                             └──→ execute → reply                (to clients)
//
// Goroutines: the readers of the links (receive; they verify small frames of peers
// themselves), a pool of workers (verify), one each for order, persist (with certify and send
// behind it) and execute (with reply behind it), and one that writes snapshots. Every hand-over
// between them is bounded, so that a slow stage is felt by the links and not by the memory.
// What a later stage has to tell the protocol goes back through the order stage's own queue
// (intake.feed) as an ordinary input; there is no other way back.
//
// The package decides nothing that the simulator does not decide too: protocol, pool, timers,
// client table and state transfer are pure packages that it calls, each from one goroutine
// only. Programs build Options, call Start once, and Close.
package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/exec"
	"github.com/themis-bft/themis/host"
)

// Replica is a running replica.
type Replica struct {
	options  Options
	self     bft.ReplicaID
	log      *slog.Logger
	clock    *clock
	verifier *host.Verifier
	intake   *intake
	links    *links
	barred   *barred
	outputs  outputs
	metrics  *metrics
	vitals   vitals
	admin    *admin

	persisting *queue[*host.Output]
	executing  *queue[executable]
	snapshots  *snapshots

	woken    chan struct{}         // the order stage has something to do
	asked    chan chan host.Status // somebody wants its status
	stopping chan struct{}         // closed: step what is at hand and end
	ordered  chan struct{}         // closed: the order stage has ended
	running  sync.WaitGroup        // the other goroutines

	executed  atomic.Uint64
	noSpace   atomic.Bool
	killed    atomic.Bool // drop everything: what a crash would leave undone stays undone
	closeOnce sync.Once
	closed    error
}

// startStopTime bounds the stop of a replica whose transport does not start.
const startStopTime = 2 * time.Second

// Start opens the data directory, brings the replica to where it stopped, listens and takes
// part. It returns when the transport listens.
func Start(o Options) (*Replica, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	r := newReplica(o)
	b, err := restore(&r.options, r.late)
	if err != nil {
		return nil, err
	}
	r.logMemory()
	if r.admin, err = newAdmin(r, o.Admin); err != nil {
		b.held.Release()
		return nil, closing(err, b.wal.Close)
	}
	r.run(b)
	if err := o.Transport.Start(receive{r}); err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), startStopTime)
		defer cancel()
		return nil, closing(fmt.Errorf("replica: listen: %w", err), func() error { return r.drain(ctx) })
	}
	r.log.Info("started", "protocol", o.Membership.Protocol, "app", o.Membership.App,
		"replicas", o.Membership.N(), "seq", uint64(b.boot.Executed), "records", len(b.boot.Records))
	if o.Unsynced {
		r.log.Warn("durability is memory: a crash of the machine forgets votes, which makes this replica a faulty one")
	}
	return r, nil
}

func newReplica(o Options) *Replica {
	r := &Replica{
		options: o, self: o.Self, clock: newClock(),
		log:        o.Log.With("replica", int(o.Self)),
		verifier:   host.NewVerifier(o.Membership, o.Family.Codec(o.Membership), o.Auth, bft.VerifiedRequestsMax),
		links:      newLinks(o.Membership.N()),
		barred:     newBarred(),
		metrics:    newMetrics(o.Membership.N()),
		vitals:     vitals{heard: make([]atomic.Int64, o.Membership.N())},
		persisting: newQueue[*host.Output](outputsMax),
		executing:  newQueue[executable](outputsMax),
		woken:      make(chan struct{}, 1),
		asked:      make(chan chan host.Status),
		stopping:   make(chan struct{}),
		ordered:    make(chan struct{}),
	}
	r.intake = newIntake(o.Membership.N(), runtime.GOMAXPROCS(0), r.clock, r.wake)
	r.snapshots = &snapshots{fs: o.Files, fatal: r.fatal, wake: make(chan struct{}, 1), failed: r.snapshotFailed}
	return r
}

// run builds the node and starts every goroutine but those of the transport.
func (r *Replica) run(b *booted) {
	codec := r.options.Family.Codec(r.options.Membership)
	r.executed.Store(uint64(b.boot.Executed))
	r.snapshots.durable.Store(uint64(b.boot.Executed))
	first := r.outputs.get()
	node := host.New(host.Options{
		Protocol: r.options.protocol(), New: r.options.Family.New, Boot: b.boot, Held: b.held,
		Now: r.clock.now(), Wall: r.options.Wall(),
	}, first)

	p := &persist{Replica: r, wal: b.wal, cutAt: b.boot.Executed}
	p.certify = certify{codec: codec, signer: r.options.Signer, intake: r.intake}
	p.send = send{Replica: r, codec: codec, transport: r.options.Transport}
	e := &execute{Replica: r, exec: b.executor, digests: map[bft.SeqNum]bft.Digest{}}
	e.reply = reply{Replica: r, index: map[bft.ClientID]int{}}
	r.metrics.logBytes.Store(b.wal.Bytes())

	for range r.intake.workers {
		r.running.Go(r.verify)
	}
	r.running.Go(p.run)
	r.running.Go(e.run)
	r.running.Go(func() { r.snapshots.run(r.stopping) })
	go (&order{Replica: r, node: node}).run(first)
	r.admin.serve()
}

// wake tells the order stage that there is something to do. It never blocks.
func (r *Replica) wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

// late posts a late response of the application onto the execute goroutine.
func (r *Replica) late(complete func(*exec.Output)) {
	r.executing.pushNow(executable{late: complete})
}

// fatal ends the process: what happened leaves the state of this replica unknown, and a
// replica that is not sure of its promises must not go on making them.
func (r *Replica) fatal(what string, err error) {
	r.killed.Store(true)
	r.log.Error("this replica cannot go on", "doing", what, "error", err)
	r.options.Exit(1)
}

func (r *Replica) snapshotFailed(err error) {
	r.log.Warn("no snapshot was written; it is tried again, or the next checkpoint is", "error", err)
}

// Close stops the replica: it takes nothing in any more, steps, writes, sends and executes what
// it has, and closes links and log. It returns when no goroutine is left, or when ctx ends.
func (r *Replica) Close(ctx context.Context) error {
	r.closeOnce.Do(func() { r.closed = errors.Join(r.drain(ctx), r.options.Transport.Close(ctx)) })
	return r.closed
}

// drain stops everything but the transport, which sends the last messages and replies.
func (r *Replica) drain(ctx context.Context) error {
	r.intake.close()
	close(r.stopping)
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-r.ordered
		r.persisting.close()
		r.running.Wait()
		r.snapshots.close()
	}()
	err := r.admin.close(ctx)
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("replica: stop: %w", ctx.Err())
	}
	return err
}

func closing(err error, close func() error) error {
	if e := close(); e != nil {
		return fmt.Errorf("%w (and then: %w)", err, e)
	}
	return err
}
