package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/themis-bft/themis/bench/history"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/client"
	"github.com/themis-bft/themis/keys"
)

// opensMax is how many clients connect at once: each makes one handshake per replica.
const opensMax = 16

// fleet is the clients of a run and what they measure.
type fleet struct {
	o       *Options
	clients []*client.Client
	books   []*book
}

// connect opens all clients.
func connect(ctx context.Context, o *Options) (*fleet, error) {
	if !o.Cluster.Membership.Open {
		return nil, errors.New("bench: the cluster admits listed clients only; a load needs open = true in its cluster.toml")
	}
	var run [32]byte
	if _, err := rand.Read(run[:]); err != nil {
		return nil, fmt.Errorf("bench: random keys: %w", err)
	}
	f := &fleet{o: o, clients: make([]*client.Client, o.Clients)}
	for range booksMax {
		f.books = append(f.books, newBook(o.Rate > 0))
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout+time.Duration(o.Clients)*50*time.Millisecond)
	defer cancel()
	errs := make([]error, o.Clients)
	var all sync.WaitGroup
	places := make(chan struct{}, opensMax)
	for i := range f.clients {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			if key, err := keys.FromSeed(salt(run, i)); err != nil {
				errs[i] = err
			} else {
				f.clients[i], errs[i] = client.Open(ctx, client.Config{
					Membership: &o.Cluster.Membership, Replicas: o.Cluster.ClientAddrs, Key: key,
					Options: client.Options{Window: bft.SessionOpsMax, QueueMax: 1024},
				})
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		f.close()
		return nil, fmt.Errorf("bench: connecting %d clients: %w", o.Clients, err)
	}
	return f, nil
}

// close ends all clients.
func (f *fleet) close() {
	var all sync.WaitGroup
	for _, c := range f.clients {
		if c != nil {
			all.Go(c.Close)
		}
	}
	all.Wait()
}

// closedLoop keeps one operation of client i outstanding until ctx ends.
func (f *fleet) closedLoop(ctx context.Context, i int) {
	s, b := newSource(f.o, i), f.books[i%booksMax]
	for ctx.Err() == nil {
		t := s.next()
		begin := time.Now()
		f.invoke(i, s, &t, begin, b)
		if t.event.Outcome == history.Fail && t.event.Result == "" {
			pause(ctx, 10*time.Millisecond) // nothing was sent: do not spin
		}
	}
}

// invoke runs one operation to its end, which Timeout bounds, whatever happens to the run:
// an operation that was cut off would only have an unknown outcome.
func (f *fleet) invoke(i int, s *source, t *task, begin time.Time, b *book) {
	ctx, cancel := context.WithDeadline(context.Background(), begin.Add(f.o.Timeout))
	defer cancel()
	t.event.Call = history.Now()
	result, err := f.clients[i].Invoke(ctx, t.op)
	t.event.Return = history.Now()
	good := s.finish(t, result, err)
	b.add(begin, time.Now(), good)
	if f.o.History != nil {
		f.o.History.Add(t.event)
	}
}

// openLoop lets operations of client i arrive at its share of the rate until ctx ends, however
// many are outstanding, and returns when all have ended.
func (f *fleet) openLoop(ctx context.Context, i int) {
	s, b := newSource(f.o, i), f.books[i%booksMax]
	every := time.Duration(float64(time.Second) * float64(f.o.Clients) / f.o.Rate)
	due := time.Now().Add(every * time.Duration(i) / time.Duration(f.o.Clients))
	var mu sync.Mutex // of s
	var all sync.WaitGroup
	defer all.Wait()
	for pause(ctx, time.Until(due)) {
		at := due
		due = due.Add(every)
		mu.Lock()
		t := s.next()
		mu.Unlock()
		deadline, cancel := context.WithDeadline(context.Background(), at.Add(f.o.Timeout))
		t.event.Call = history.Now()
		answer := f.clients[i].InvokeAsync(deadline, t.op)
		all.Go(func() {
			defer cancel()
			r := <-answer
			t.event.Return = history.Now()
			mu.Lock()
			good := s.finish(&t, r.Value, r.Err)
			mu.Unlock()
			b.add(at, time.Now(), good)
			if f.o.History != nil {
				f.o.History.Add(t.event)
			}
		})
	}
}

// pause waits and reports whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
