package bench

import (
	"context"
	"os"
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

// usage is what processes have used so far.
type usage struct {
	self     time.Duration
	replicas []time.Duration
}

func measure(replicas []Process) usage {
	cpu := func(pid int) time.Duration {
		s, err := cluster.StatOf(pid)
		if err != nil {
			return 0 // it died meanwhile: its share cannot be told
		}
		return s.CPU
	}
	u := usage{self: cpu(os.Getpid())}
	for _, p := range replicas {
		u.replicas = append(u.replicas, cpu(p.PID))
	}
	return u
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
	before, begin := measure(f.o.Replicas), time.Now()
	for _, b := range f.books {
		b.begin(begin)
	}
	pause(running, f.o.Duration)
	end := time.Now()
	for _, b := range f.books {
		b.end(end)
	}
	seconds, after := end.Sub(begin).Seconds(), measure(f.o.Replicas)
	memory := f.memory()
	stop()
	all.Wait()
	r := f.report(seconds)
	r.attribute(before, after, memory)
	return r, nil
}

// memory reads the memory of the replicas.
func (f *fleet) memory() []ReplicaFigures {
	all := make([]ReplicaFigures, 0, len(f.o.Replicas))
	for _, p := range f.o.Replicas {
		rss, high, err := cluster.MemoryOf(p.PID)
		if err != nil {
			rss, high = 0, 0 // it died meanwhile
		}
		all = append(all, ReplicaFigures{ID: p.ID, RSS: rss, HWM: high})
	}
	return all
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

// attribute divides the processor time by the requests. The total covers all replicas and the
// clients, which are this process.
func (r *Report) attribute(before, after usage, memory []ReplicaFigures) {
	per := func(d time.Duration) float64 {
		return float64(max(d, 0).Microseconds()) / float64(max(r.Requests, 1))
	}
	r.Replicas = memory
	total := after.self - before.self
	r.ClientCPU = per(total)
	for i := range r.Replicas {
		d := max(after.replicas[i]-before.replicas[i], 0)
		total += d
		r.Replicas[i].CPU = per(d)
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
