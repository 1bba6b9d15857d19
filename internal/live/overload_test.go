package live

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/themis-bft/themis/app/kv"
	"github.com/themis-bft/themis/bench"
	"github.com/themis-bft/themis/internal/cluster"
)

// recoveryMax is how long a fresh request may take once an overload is over, and how long one of
// another client may take in the midst of it.
const recoveryMax = time.Second

// TestOverload offers twice what the cluster can do. Overload is no fault of the primary.
func TestOverload(t *testing.T) {
	campaign(t)
	n := up(t, 4, "kv")
	n.record()
	o := bench.Options{Cluster: n.Public, Clients: 200, Payload: 100, Warmup: time.Second, Duration: 8 * time.Second}
	capacity, err := bench.Run(context.Background(), o)
	must(t, err)
	n.unchanged("the closed loop")
	o.Duration, o.Rate = lasting(2*time.Minute), 2*capacity.Throughput
	fresh := n.connect()
	began, ended := make(chan struct{}), make(chan error, 1)
	o.Started = func() { close(began) }
	var flood *bench.Report
	go func() {
		var err error
		flood, err = bench.Run(context.Background(), o)
		ended <- err
	}()
	select {
	case <-began:
	case err := <-ended:
		t.Fatalf("the flood did not start: %v", err)
	}
	begin := time.Now()
	during := spread{}
	for ctx := context.Background(); time.Since(begin) < o.Warmup+o.Duration; pause(ctx, time.Second) {
		during = append(during, ask(t, n, fresh))
	}
	at := ask(t, n, fresh)
	must(t, <-ended)
	drained := time.Since(begin) - o.Warmup - o.Duration
	after := ask(t, n, n.connect())
	n.unchanged("the overload")
	memory := n.memory()
	if after > recoveryMax {
		t.Errorf("a fresh request took %s after the overload", after)
	}
	if flood.Requests < uint64(0.5*capacity.Throughput*o.Duration.Seconds()) {
		t.Errorf("%d of %.0f offered requests were answered in time: the service broke down", flood.Requests, o.Rate*o.Duration.Seconds())
	}
	f := figures{
		"capacity_rps": capacity.Throughput, "offered_rps": o.Rate, "served_rps": flood.Throughput, "errors": flood.Errors,
		"seconds": o.Duration.Seconds(), "view_changes": n.viewChanges(), "at_end_ms": ms(at), "drained_ms": ms(drained), "after_ms": ms(after),
		"latency_us": flood.Latency, "hwm_mb": memory,
	}
	during.put(f, "other_client")
	f.print(t, "capacity %.0f/s, offered %.0f/s for %s, served %.0f/s (p50 %d ms, %d errors), view changes %v; another client meanwhile %s; a request at the end %s, after the backlog of %s: %s; peak memory %v MB",
		capacity.Throughput, o.Rate, o.Duration, flood.Throughput, flood.Latency.P50/1000, flood.Errors, n.viewChanges(), during, round(at), round(drained), round(after), memory)
}

// unchanged fails the test if any replica changed its view.
func (n *nodes) unchanged(when string) {
	n.t.Helper()
	for id := range n.n() {
		s, ok := n.status(id)
		if !ok {
			n.t.Errorf("replica %d does not answer after %s", id, when)
			continue
		}
		for _, cause := range sortedKeys(s.ViewChanges) {
			if s.ViewChanges[cause] > 0 {
				n.t.Errorf("replica %d counts %d view changes by %s in %s", id, s.ViewChanges[cause], cause, when)
			}
		}
		if s.View != 0 {
			n.t.Errorf("replica %d is in view %d after %s", id, s.View, when)
		}
	}
}

// memory is the most that each replica ever had resident, in MB.
func (n *nodes) memory() []float64 {
	var all []float64
	for _, r := range n.Layout().Replicas {
		if r.PID != nil {
			if _, high, err := cluster.MemoryOf(*r.PID); err == nil {
				all = append(all, float64(int(mega(high)*10))/10)
			}
		}
	}
	return all
}

// invoker is what ask needs of a client.
type invoker interface {
	Invoke(context.Context, []byte) ([]byte, error)
}

// ask writes one key and returns how long that took.
func ask(t *testing.T, n *nodes, c invoker) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	begin := time.Now()
	op := []byte{0}
	if n.Public.Membership.App == "kv" {
		op = kv.Put([]byte("fresh"), fmt.Append(nil, begin.UnixNano()))
	}
	if _, err := c.Invoke(ctx, op); err != nil {
		t.Errorf("a single request: %v", err)
	}
	return time.Since(begin)
}

// What TestMemory allows.
const (
	residentMax = 30_000_000
	growthShare = 0.05
	growthBytes = 1_000_000
	sampleEvery = 5 * time.Second
	settleTime  = 2 * time.Minute
)

// TestMemory runs 100 clients with 100 bytes each and watches the resident memory.
func TestMemory(t *testing.T) {
	campaign(t)
	n := up(t, 4, "bench")
	total := lasting(10 * time.Minute)
	began := make(chan struct{})
	o := bench.Options{Cluster: n.Public, Clients: 100, Payload: 100, Reply: 100, Duration: total, Started: func() { close(began) }}
	ended := make(chan error, 1)
	var report *bench.Report
	go func() {
		var err error
		report, err = bench.Run(context.Background(), o)
		ended <- err
	}()
	select {
	case <-began:
	case err := <-ended:
		t.Fatalf("the load did not start: %v", err)
	}
	samples := n.sample(total)
	must(t, <-ended)
	n.unchanged("the load")
	f := figures{"seconds": total.Seconds(), "clients": o.Clients, "payload": o.Payload, "throughput_rps": report.Throughput, "errors": report.Errors}
	var lines []string
	for id, s := range samples {
		per := max(len(s)*int(time.Minute)/int(total), 1)
		settled := s[min(len(s)-1, len(s)*int(settleTime)/int(max(total, 2*settleTime))):]
		first, last, top := median(s[:per]), median(s[len(s)-per:]), maximum(s)
		start, growth := median(settled[:max(len(settled)/8, 1)]), int64(last)-int64(median(settled[:max(len(settled)/8, 1)]))
		f[fmt.Sprintf("r%d_mb", id)] = map[string]float64{"first_minute": mega(first), "settled": mega(start), "last_minute": mega(last), "max": mega(top)}
		lines = append(lines, fmt.Sprintf("r%d %.1f, settled %.1f, last %.1f, max %.1f", id, mega(first), mega(start), mega(last), mega(top)))
		if top > residentMax {
			t.Errorf("replica %d had %.1f MB resident, more than %.1f", id, mega(top), mega(residentMax))
		}
		if float64(growth) > growthShare*float64(start)+growthBytes {
			t.Errorf("replica %d grew from %.1f to %.1f MB", id, mega(start), mega(last))
		}
	}
	f.print(t, "%d clients, %d bytes, %s: %.0f requests/s, %d errors; MB in the first minute: %v", o.Clients, o.Payload, total, report.Throughput, report.Errors, lines)
}

// sample reads the resident memory of all replicas until total has passed.
func (n *nodes) sample(total time.Duration) [][]uint64 {
	n.t.Helper()
	samples := make([][]uint64, n.n())
	for end := time.Now().Add(total); time.Now().Before(end); {
		pause(context.Background(), min(sampleEvery, total/20))
		for i, r := range n.Layout().Replicas {
			if r.PID == nil {
				n.t.Fatalf("replica %d ended", i)
			}
			rss, _, err := cluster.MemoryOf(*r.PID)
			must(n.t, err)
			samples[i] = append(samples[i], rss)
		}
	}
	return samples
}
