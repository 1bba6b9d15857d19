package bench

import (
	"context"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/themis-bft/themis/internal/cluster"
)

// booksMax is the number of books that the clients share: enough that they seldom meet in one,
// few enough that a thousand clients do not need a thousand histograms.
const booksMax = 16

// latencyMax is the longest latency that the histogram tells apart, in microseconds.
const latencyMax = 120_000_000

// book is a histogram and the counts of one measurement. Throughput is what was answered between
// its begin and its end. Latency is that of the same operations in the closed loop; in the open
// loop it is that of the operations which arrived in this time, also of those answered later:
// who leaves out the ones that wait longest measures nothing under overload.
type book struct {
	mu           sync.Mutex
	arrivals     bool // latency goes by arrival
	hist         *hdrhistogram.Histogram
	done, errors uint64
	since, until time.Time
}

func newBook(arrivals bool) *book {
	return &book{arrivals: arrivals, hist: hdrhistogram.New(1, latencyMax, 3)}
}

func (b *book) begin(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.since = t
}

func (b *book) end(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until = t
}

// covers reports whether an instant lies in the measurement.
func (b *book) covers(t time.Time) bool {
	return !b.since.IsZero() && !t.Before(b.since) && (b.until.IsZero() || t.Before(b.until))
}

func (b *book) add(begin, end time.Time, good bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	counted := b.covers(end)
	if good && counted {
		b.done++
	}
	if b.arrivals {
		counted = b.covers(begin)
	}
	switch {
	case !counted:
	case !good:
		b.errors++
	default:
		_ = b.hist.RecordValue(min(max(end.Sub(begin).Microseconds(), 1), latencyMax)) // in range by construction
	}
}

// usage is what a process has used so far.
type usage struct {
	pid       int
	cpu       time.Duration
	rss, high uint64
}

// measure reads the usage of all replicas that run, by replica.
func (o *Options) measure() map[int]usage {
	all := map[int]usage{}
	if o.Replicas == nil {
		return all
	}
	for _, p := range o.Replicas() {
		s, err := cluster.StatOf(p.PID)
		if err != nil {
			continue // it died this very moment
		}
		rss, high, err := cluster.MemoryOf(p.PID)
		if err == nil {
			all[p.ID] = usage{pid: p.PID, cpu: s.CPU, rss: rss, high: high}
		}
	}
	return all
}

// own is the processor time of this process.
func own() time.Duration {
	s, err := cluster.StatOf(os.Getpid())
	if err != nil {
		return 0
	}
	return s.CPU
}

// run drives the load: warm-up, measurement, and the wait for what is outstanding.
func (f *fleet) run(ctx context.Context) (*Report, error) {
	running, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	for i := range f.clients {
		all.Go(func() {
			if f.o.Rate > 0 {
				f.openLoop(running, i)
			} else {
				f.closedLoop(running, i)
			}
		})
	}
	pause(running, f.o.Warmup)
	before, self, begin := f.o.measure(), own(), time.Now()
	for _, b := range f.books {
		b.begin(begin)
	}
	pause(running, f.o.Duration)
	end := time.Now()
	for _, b := range f.books {
		b.end(end)
	}
	after, self := f.o.measure(), own()-self
	stop()
	all.Wait()
	r := f.report(end.Sub(begin).Seconds())
	r.attribute(before, after, self)
	return r, nil
}

// report sums up the books.
func (f *fleet) report(seconds float64) *Report {
	sum := hdrhistogram.New(1, latencyMax, 3)
	r := &Report{
		Clients: f.o.Clients, Payload: f.o.Payload, Seconds: seconds, Config: f.config(),
		Deviations: make([]uint64, f.o.Cluster.Membership.N()),
	}
	for _, b := range f.books {
		sum.Merge(b.hist)
		r.Errors += b.errors
		r.Requests += b.done
	}
	for _, c := range f.clients {
		for id, s := range c.Stats().Replicas {
			r.Deviations[id] += s.Deviations
		}
	}
	r.Throughput = float64(r.Requests) / seconds
	r.Latency = Latency{
		Mean: sum.Mean(), P50: sum.ValueAtQuantile(50), P90: sum.ValueAtQuantile(90),
		P99: sum.ValueAtQuantile(99), P999: sum.ValueAtQuantile(99.9), Max: sum.Max(),
	}
	return r
}

// attribute divides the processor time by the requests. The total covers the replicas and the
// clients, which are this process. Of a replica that was started anew meanwhile only the time
// of its present process is known.
func (r *Report) attribute(before, after map[int]usage, self time.Duration) {
	per := func(d time.Duration) float64 {
		return float64(max(d, 0).Microseconds()) / float64(max(r.Requests, 1))
	}
	r.ClientCPU, r.Replicas = per(self), []ReplicaFigures{}
	total := self
	for _, id := range slices.Sorted(maps.Keys(after)) {
		u := after[id]
		if b, there := before[id]; there && b.pid == u.pid {
			u.cpu -= b.cpu
		}
		total += u.cpu
		r.Replicas = append(r.Replicas, ReplicaFigures{ID: id, RSS: u.rss, HWM: u.high, CPU: per(u.cpu)})
	}
	r.CPU = per(total)
}

// config is what the figures depend on.
func (f *fleet) config() map[string]any {
	m := &f.o.Cluster.Membership
	c := map[string]any{
		"protocol": m.Protocol, "app": m.App, "n": m.N(), "f": m.F, "scheme": m.Scheme,
		"checkpoint_every": m.CheckpointEvery, "window": m.Window, "in_flight": m.InFlight,
		"batch_count": m.BatchCount, "batch_bytes": m.BatchBytes,
		"reply": f.o.Reply, "duration_s": f.o.Duration.Seconds(), "warmup_s": f.o.Warmup.Seconds(), "rate": f.o.Rate,
	}
	if m.App == "kv" {
		c["mix"], c["keys"] = f.o.Mix.String(), f.o.Keys
	}
	return c
}
