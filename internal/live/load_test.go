package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/themis-bft/themis/app/kv"
	"github.com/themis-bft/themis/bench/history"
	"github.com/themis-bft/themis/client"
	"github.com/themis-bft/themis/keys"
)

// What the workload is made of.
const (
	opTime       = 30 * time.Second      // deadline of an operation: longer than any outage that is no failure
	sharedKeys   = 4                     // that everybody writes
	generation   = 400                   // operations of a client before it goes on to new keys
	listLength   = 60                    // entries of a list before the next is begun
	probeEvery   = 10 * time.Millisecond // between writes of the prober
	probeKeys    = 64
	checkTime    = 2 * time.Minute // for the search of one key's order
	progressTime = 30 * time.Second
)

// load is clients with a history: a closed loop each, and one prober that writes at fixed
// intervals whatever happens, so that the end of an outage is seen when it comes.
type load struct {
	t       *testing.T
	nodes   *nodes
	rand    *rand.Rand // of the test's goroutine, only to seed clients
	clients []*client.Client
	prober  *client.Client
	stop    context.CancelFunc
	running sync.WaitGroup
	answers atomic.Int64
	begun   time.Time
	ended   time.Time

	mu     sync.Mutex
	events []history.Event
	watch  []watcher
	lists  map[string]string // tokens appended: "list token" to outcome
}

// watcher waits for the first answer to an operation called after an instant.
type watcher struct {
	after int64
	at    chan int64
}

// startLoad connects the clients and starts them.
func startLoad(t *testing.T, n *nodes, r *rand.Rand) *load {
	t.Helper()
	l := &load{t: t, nodes: n, rand: r, lists: map[string]string{}}
	for range *clients {
		l.clients = append(l.clients, n.connect())
	}
	l.prober = n.connect()
	ctx, cancel := context.WithCancel(context.Background())
	l.stop, l.begun = cancel, time.Now()
	n.history = l.dump
	t.Cleanup(l.end)
	for i, c := range l.clients {
		w := &worker{load: l, id: i, client: c, rand: rand.New(rand.NewPCG(r.Uint64(), uint64(i))), seen: map[string]string{}}
		l.running.Go(func() { w.run(ctx) })
	}
	l.running.Go(func() { l.probe(ctx) })
	return l
}

// connect opens a client with an identity of its own.
func (n *nodes) connect(o ...client.Options) *client.Client {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cfg, err := n.clientConfig()
	must(n.t, err)
	if len(o) > 0 {
		cfg.Options = o[0]
	}
	c, err := client.Open(ctx, cfg)
	must(n.t, err)
	n.t.Cleanup(c.Close)
	return c
}

// clientConfig is that of a client with a key of its own.
func (n *nodes) clientConfig() (client.Config, error) {
	key, err := keys.Generate("ed25519")
	if err != nil {
		return client.Config{}, err
	}
	n.clientKeys.add(key)
	return client.Config{Membership: &n.Public.Membership, Replicas: n.dialled.ClientAddrs, Key: key}, nil
}

// end stops the load and waits for what is outstanding.
func (l *load) end() {
	l.stop()
	l.running.Wait()
	if l.ended.IsZero() {
		l.ended = time.Now()
	}
}

// add notes an event.
func (l *load) add(e history.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
	if e.Outcome == history.Unknown || e.Outcome == history.Fail && e.Result == "" {
		return
	}
	l.answers.Add(1)
	l.watch = slices.DeleteFunc(l.watch, func(w watcher) bool {
		if e.Call < w.after {
			return false
		}
		w.at <- e.Return
		return true
	})
}

// next waits for the first answer to an operation called after the instant, which is the next
// commit that clients see, and returns how long after it came.
func (l *load) next(after int64) time.Duration {
	l.t.Helper()
	w := watcher{after, make(chan int64, 1)}
	l.mu.Lock()
	for _, e := range l.events { // it may have come already
		if e.Call >= after && e.Outcome == history.OK {
			l.mu.Unlock()
			return time.Duration(e.Return - after)
		}
	}
	l.watch = append(l.watch, w)
	l.mu.Unlock()
	select {
	case at := <-w.at:
		return time.Duration(at - after)
	case <-time.After(time.Minute):
		l.t.Fatal("no operation was answered for a minute")
		return 0
	}
}

// progress waits for so many more answers.
func (l *load) progress(count int64) {
	l.t.Helper()
	goal := l.answers.Load() + count
	eventually(l.t, progressTime, fmt.Sprintf("%d more answers", count), func() bool { return l.answers.Load() >= goal })
}

// probe writes at fixed intervals.
func (l *load) probe(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	for i := 0; pause(ctx, probeEvery); i++ {
		value := fmt.Sprintf("probe.%d", i)
		e := history.Event{
			Client: len(l.clients), Op: history.Put, Key: fmt.Sprintf("probe/%d/%d", i/(10*probeKeys), i%probeKeys), Value: &value,
		}
		deadline, cancel := context.WithTimeout(context.Background(), opTime)
		e.Call = history.Now()
		answer := l.prober.InvokeAsync(deadline, kv.Put([]byte(e.Key), []byte(value)))
		all.Go(func() {
			defer cancel()
			r := <-answer
			e.Return = history.Now()
			l.add(settle(e, r.Value, r.Err))
		})
	}
}

// settle completes an event by its outcome.
func settle(e history.Event, result []byte, err error) history.Event {
	if err != nil {
		e.Outcome = history.Unknown
		if errors.Is(err, client.ErrNoQuorum) || errors.Is(err, client.ErrBusy) || errors.Is(err, client.ErrRefused) {
			e.Outcome = history.Fail // it was never sent
		}
		return e
	}
	r, err := kv.ParseResult(result)
	if err != nil || r.Code > kv.Mismatch {
		// f+1 replicas vouched for something that is no answer: no order explains it.
		e.Outcome, e.Result, e.Value = history.OK, fmt.Sprintf("%v %v", r.Code, err), new(string)
		return e
	}
	e.Outcome, e.Result = history.OK, r.Code.String()
	switch {
	case r.Code == kv.Mismatch:
		e.Outcome = history.Fail
	case e.Op == history.Get && r.Code == kv.Found:
		v := string(r.Value)
		e.Value = &v
	}
	return e
}

// worker is one client in a closed loop.
type worker struct {
	*load
	id     int
	client *client.Client
	rand   *rand.Rand
	seen   map[string]string
	made   int
}

func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		if w.made++; w.made%generation == 0 {
			clear(w.seen)
		}
		switch draw := w.rand.IntN(100); {
		case draw < 20:
			w.put(w.shared())
		case draw < 40:
			w.get(w.shared())
		case draw < 60:
			w.cas(w.shared())
		case draw < 75:
			w.put(fmt.Sprintf("own/%d/%d", w.id, w.made/generation))
		case draw < 90:
			w.get(fmt.Sprintf("own/%d/%d", w.rand.IntN(len(w.clients)), w.made/generation))
		default:
			w.push()
		}
	}
}

// shared is a key that everybody writes. It changes with time, so that no key's history becomes
// too long to be judged.
func (w *worker) shared() string {
	return fmt.Sprintf("shared/%d/%d", w.made/generation, w.rand.IntN(sharedKeys))
}

func (w *worker) value() string { return fmt.Sprintf("%d.%d", w.id, w.made) }

// invoke runs an operation to its end and returns its event.
func (w *worker) invoke(e history.Event, op []byte) history.Event {
	ctx, cancel := context.WithTimeout(context.Background(), opTime)
	defer cancel()
	e.Client, e.Call = w.id, history.Now()
	result, err := w.client.Invoke(ctx, op)
	e.Return = history.Now()
	e = settle(e, result, err)
	w.add(e)
	switch {
	case e.Outcome == history.OK && e.Value != nil:
		w.seen[e.Key] = *e.Value
	default:
		delete(w.seen, e.Key)
	}
	if e.Outcome == history.Fail && e.Result == "" {
		pause(context.Background(), 10*time.Millisecond) // nothing was sent: do not spin
	}
	return e
}

func (w *worker) put(key string) {
	value := w.value()
	w.invoke(history.Event{Op: history.Put, Key: key, Value: &value}, kv.Put([]byte(key), []byte(value)))
}

func (w *worker) get(key string) history.Event {
	return w.invoke(history.Event{Op: history.Get, Key: key}, kv.Get([]byte(key)))
}

func (w *worker) cas(key string) { w.swap(key, w.value()) }

// swap replaces what is known of a key by value.
func (w *worker) swap(key, value string) history.Event {
	e := history.Event{Op: history.CAS, Key: key, Value: &value}
	var old []byte
	if known, ok := w.seen[key]; ok {
		e.Old, old = &known, []byte(known)
	}
	return w.invoke(e, kv.CAS([]byte(key), old, []byte(value)))
}

// push appends a token to a list that everybody appends to: what was acknowledged stands in the
// list once in the end, whatever order explains the rest.
func (w *worker) push() {
	list := fmt.Sprintf("list/%d", w.made/generation)
	if w.get(list).Outcome != history.OK {
		return
	}
	if known := w.seen[list]; strings.Count(known, " ") >= listLength {
		return
	}
	token := w.value() + " "
	e := w.swap(list, w.seen[list]+token)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lists[list+" "+strings.TrimSpace(token)] = string(e.Outcome)
}

// dump writes the history for a failure.
func (l *load) dump() {
	var b bytes.Buffer
	w := history.NewWriter(&b)
	l.mu.Lock()
	for _, e := range l.events {
		w.Add(e)
	}
	l.mu.Unlock()
	if err := w.Flush(); err != nil {
		l.t.Logf("writing the history: %v", err)
	}
	l.nodes.save("history.jsonl", b.Bytes())
}
