package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/client"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func Example() {
	var membership *bft.Membership // from the cluster file
	key, err := keys.Generate("ed25519")
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := client.Open(ctx, client.Config{
		Membership: membership,
		Replicas:   []string{"127.0.0.1:7100", "127.0.0.1:7101", "127.0.0.1:7102", "127.0.0.1:7103"},
		Key:        key,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	result, err := c.Invoke(ctx, []byte("operation"))
	switch {
	case errors.Is(err, client.ErrOutcomeUnknown):
		// It was sent: read the state before repeating it.
	case err != nil:
		log.Fatal(err)
	default:
		fmt.Printf("%s\n", result)
	}
}

func open(t *testing.T, c *cluster, o client.Options) *client.Client {
	t.Helper()
	cl, err := client.Open(t.Context(), config(c, o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func config(c *cluster, o client.Options) client.Config {
	return client.Config{Membership: c.m, Replicas: c.addresses(), Key: c.key, Options: o}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	end := time.After(time.Minute)
	for !cond() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("never: %s", what)
		}
	}
}

// invokeMany returns how long the slowest operation took.
func invokeMany(t *testing.T, cl *client.Client, workers, each int) (slowest time.Duration) {
	t.Helper()
	var mu sync.Mutex // of slowest
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				op, begin := fmt.Sprintf("%d/%d", w, i), time.Now()
				got, err := cl.Invoke(t.Context(), []byte(op))
				mu.Lock()
				slowest = max(slowest, time.Since(begin))
				mu.Unlock()
				if err != nil || string(got) != "did "+op {
					t.Errorf("%s: %q, %v", op, got, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return slowest
}

func lie(r *wire.Reply) []byte {
	r.Result = []byte("12345678")
	r.View = bft.ViewMax
	return wire.AppendFrame(nil, wire.KindReply, r.Append(nil))
}

func TestInvokeFromManyGoroutines(t *testing.T) {
	for _, bundle := range []int{1, 8} {
		t.Run(fmt.Sprint("bundle ", bundle), func(t *testing.T) {
			cl := open(t, newCluster(t, 4, 1), client.Options{Bundle: bundle})
			invokeMany(t, cl, 300, 5) // more than the window
			if st := cl.Stats(); st.Accepted != 1500 || st.Outstanding != 0 || st.Deviations() != 0 {
				t.Fatalf("%+v", st)
			}
		})
	}
}

func TestOneReplicaFaultyFromTheStart(t *testing.T) {
	faults := map[string]func(*cluster){
		"backup lies":    func(c *cluster) { c.servers[3].lies = lie },
		"primary lies":   func(c *cluster) { c.servers[0].lies = lie },
		"primary down":   func(c *cluster) { c.servers[0].stop() },
		"backup garbage": func(c *cluster) { c.servers[2].lies = func(*wire.Reply) []byte { return []byte{1, 0, 0, 0, 77} } },
		"backup huge": func(c *cluster) {
			c.servers[1].lies = func(*wire.Reply) []byte { return []byte{255, 255, 255, 255, 4} }
		},
		"other key": func(c *cluster) { c.m.Replicas[1].Key = newKey(c.t).PublicDER() },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 4, 1)
			fault(c)
			cl := open(t, c, client.Options{})
			eventually(t, "three links", func() bool { return cl.Stats().Linked.Len() >= 3 })
			invokeMany(t, cl, 10, 10)
			if name == "backup garbage" {
				eventually(t, "the garbage of replica 2 is counted", func() bool { return cl.Links()[2].Lies > 0 })
			}
			if name == "backup lies" {
				eventually(t, "the lies of replica 3 are counted", func() bool { return cl.Stats().Replicas[3].Deviations > 0 })
			}
			if st := cl.Stats(); st.View != 0 || st.Deviations() != st.Replicas[0].Deviations+st.Replicas[3].Deviations {
				t.Fatalf("%+v", st)
			}
		})
	}
}

func TestPrimaryDiesUnderLoadAndReturns(t *testing.T) {
	c := newCluster(t, 4, 1)
	cl := open(t, c, client.Options{})
	var wg sync.WaitGroup
	wg.Go(func() { invokeMany(t, cl, 20, 50) })
	eventually(t, "some answers", func() bool { return cl.Stats().Accepted > 100 })
	c.servers[0].stop()
	wg.Wait()
	invokeMany(t, cl, 5, 5)
	c.servers[0].start()
	eventually(t, "the link is made again", func() bool { return cl.Stats().Linked.Has(0) })
	noRetries(t, cl)
	if l := cl.Links()[0]; !l.Up || l.Connects < 2 || l.Last == "" {
		t.Fatalf("%+v", l)
	}
}

// noRetries fails if operations are sent again although their answers come before the first RETRY
// is due, 150 ms after they were sent. Rounds in which the machine was slower do not count.
func noRetries(t *testing.T, cl *client.Client) {
	t.Helper()
	const rounds = 20
	for range rounds {
		before := cl.Stats().Retries
		if slowest := invokeMany(t, cl, 5, 5); slowest >= 100*time.Millisecond {
			continue
		}
		if after := cl.Stats().Retries; after != before {
			t.Fatalf("%d retries with a healthy primary", after-before)
		}
		return
	}
	t.Fatalf("an operation was slow in each of %d rounds with a healthy primary", rounds)
}

func TestOpenWithoutQuorum(t *testing.T) {
	c := newCluster(t, 4, 1)
	for _, s := range c.servers[1:] {
		s.stop()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := client.Open(ctx, config(c, client.Options{}))
	if !errors.Is(err, client.ErrNoQuorum) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

func TestOpenRefused(t *testing.T) {
	c := newCluster(t, 4, 1)
	for _, s := range c.servers {
		s.lies = func(r *wire.Reply) []byte {
			r.Status, r.Result = wire.StatusRefused, nil
			return wire.AppendFrame(nil, wire.KindReply, r.Append(nil))
		}
	}
	if _, err := client.Open(t.Context(), config(c, client.Options{})); !errors.Is(err, client.ErrRefused) {
		t.Fatal(err)
	}
}

func TestOpenChecksItsConfig(t *testing.T) {
	c := newCluster(t, 4, 1)
	cfg := config(c, client.Options{})
	cfg.Replicas = cfg.Replicas[:3]
	if _, err := client.Open(t.Context(), cfg); !errors.Is(err, client.ErrConfig) {
		t.Fatal(err)
	}
	if _, err := client.Open(t.Context(), client.Config{}); !errors.Is(err, client.ErrConfig) {
		t.Fatal(err)
	}
}

func (c *cluster) silence(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mute = on
}

func TestDeadlineAndCancel(t *testing.T) {
	c := newCluster(t, 4, 1)
	cl := open(t, c, client.Options{Window: 1})
	c.silence(true)

	err := client.ErrNoQuorum
	for wait := 100 * time.Millisecond; wait < 30*time.Second && errors.Is(err, client.ErrNoQuorum); wait *= 2 {
		// ErrNoQuorum: the deadline came before the operation was sent
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		_, err = cl.Invoke(ctx, []byte("lost"))
		cancel()
	}
	if !errors.Is(err, client.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waiting := cl.InvokeAsync(ctx, []byte("behind it"))
	eventually(t, "it waits for the window", func() bool { return cl.Stats().Queued == 1 })
	cancel()
	if r := <-waiting; !errors.Is(r.Err, client.ErrNoQuorum) || !errors.Is(r.Err, context.Canceled) {
		t.Fatal(r.Err)
	}
	if _, err = cl.Invoke(ctx, []byte("too late")); !errors.Is(err, client.ErrNoQuorum) || !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if st := cl.Stats(); st.Abandoned != 1 {
		t.Fatalf("%+v", st)
	}
	c.silence(false)
	invokeMany(t, cl, 1, 3)
	if st := cl.Stats(); st.Abandoned != 0 || st.Outstanding != 0 {
		t.Fatalf("%+v", st)
	}
}

func TestClosedSessionIsReopened(t *testing.T) {
	c := newCluster(t, 4, 1)
	cl := open(t, c, client.Options{})
	first := cl.Stats().Session
	c.mu.Lock()
	c.closed = first
	c.mu.Unlock()
	if _, err := cl.Invoke(t.Context(), []byte("in doubt")); !errors.Is(err, client.ErrOutcomeUnknown) {
		t.Fatal(err)
	}
	invokeMany(t, cl, 2, 2)
	if st := cl.Stats(); st.Session <= first || st.Closed != 1 {
		t.Fatalf("%+v", st)
	}
}

func TestCloseEndsCalls(t *testing.T) {
	c := newCluster(t, 4, 1)
	cl := open(t, c, client.Options{})
	c.silence(true)
	var results []<-chan client.Result
	for range 10 {
		results = append(results, cl.InvokeAsync(t.Context(), []byte("op")))
	}
	eventually(t, "all are sent", func() bool { return cl.Stats().Outstanding == 10 })
	cl.Close()
	for _, ch := range results {
		if r := <-ch; !errors.Is(r.Err, client.ErrOutcomeUnknown) || !errors.Is(r.Err, client.ErrClosed) {
			t.Fatal(r.Err)
		}
	}
	if _, err := cl.Invoke(t.Context(), nil); !errors.Is(err, client.ErrClosed) || !errors.Is(err, client.ErrNoQuorum) {
		t.Fatal(err)
	}
	cl.Close()
}

func BenchmarkInvoke(b *testing.B) {
	c := newCluster(b, 4, 1)
	cl, err := client.Open(b.Context(), config(c, client.Options{}))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	op := make([]byte, 100)
	b.ReportAllocs()
	b.SetParallelism(50)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := cl.Invoke(context.Background(), op); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// TestCancelledCallsAreNotUsedAgain: a call that the loop was told to cancel must not become another one
// while the loop looks at it. The race detector sees it; else the other one was cancelled.
func TestCancelledCallsAreNotUsedAgain(t *testing.T) {
	c := newCluster(t, 4, 1)
	clients := []*client.Client{open(t, c, client.Options{}), open(t, c, client.Options{})}
	c.silence(true)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Microsecond)
				_, _ = clients[i%2].Invoke(ctx, []byte("x")) // nobody answers
				cancel()
			}
		})
	}
	all.Wait()
}
