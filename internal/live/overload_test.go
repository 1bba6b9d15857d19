package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/themis-bft/themis/app/kv"
	"github.com/themis-bft/themis/bench"
	"github.com/themis-bft/themis/client"
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
	o := bench.Options{Cluster: n.Public, Clients: *floodClients, Payload: 100, Warmup: time.Second, Duration: 8 * time.Second}
	capacity, err := bench.Run(context.Background(), o)
	must(t, err)
	n.unchanged("the closed loop")
	// A closed loop waits for answers; how much is done when nobody waits, only a flood tells.
	trial := n.newFlood(4*capacity.Throughput, o.Duration)
	trial.run()
	most := max(capacity.Throughput, trial.rps())
	n.unchanged("the trial")
	fl := n.newFlood(2*most, lasting(2*time.Minute))
	fresh := n.connect()
	before := n.processors()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		fl.run()
	}()
	begin := time.Now()
	during := spread{}
	for ctx := context.Background(); time.Since(begin) < fl.lasts; pause(ctx, time.Second) {
		during = append(during, ask(t, n, fresh))
	}
	at, used := ask(t, n, fresh), n.processors()
	<-ended
	drained := time.Since(begin) - fl.lasts
	after := ask(t, n, n.connect())
	n.unchanged("the overload")
	for i := range used {
		used[i] = (used[i] - before[i]) / fl.lasts.Seconds()
	}
	served := fl.rps()
	if after > recoveryMax {
		t.Errorf("a fresh request took %s after the overload", after)
	}
	if served < most/2 {
		t.Errorf("%.0f requests/s were served of a capacity of %.0f: the service broke down", served, most)
	}
	f := figures{
		"closed_loop_rps": capacity.Throughput, "capacity_rps": most, "offered_rps": fl.rate, "served_rps": served, "shed": fl.shed.Load(), "unknown": fl.unknown.Load(),
		"clients": *floodClients, "window": *floodWindow, "seconds": fl.lasts.Seconds(), "view_changes": n.viewChanges(),
		"at_end_ms": ms(at), "drained_ms": ms(drained), "after_ms": ms(after), "hwm_mb": n.memory(), "cores_used": used, "retries": fl.retries,
	}
	during.put(f, "other_client")
	f.print(t, "closed loop %.0f/s, capacity %.0f/s, offered %.0f/s for %s by %d clients with at most %d outstanding each: served %.0f/s, %d refused by their clients, %d unknown, %d retries, view changes %v; another client meanwhile %s; a request at the end %s, after the backlog of %s: %s; peak memory %v MB, cores used by clients and replicas %.2f",
		capacity.Throughput, most, fl.rate, fl.lasts, *floodClients, *floodWindow, served, fl.shed.Load(), fl.unknown.Load(), fl.retries, n.viewChanges(), during, round(at), round(drained), round(after), n.memory(), used)
}

// flood is requests that arrive at a fixed rate, whatever becomes of them.
type flood struct {
	rate    float64
	lasts   time.Duration
	clients []*client.Client
	served  atomic.Int64 // answered before the flood was over
	shed    atomic.Int64 // not sent: the client had enough outstanding
	unknown atomic.Int64
	retries uint64
}

func (n *nodes) newFlood(rate float64, lasts time.Duration) *flood {
	n.t.Helper()
	f := &flood{rate: rate, lasts: lasts}
	for range *floodClients {
		f.clients = append(f.clients, n.connect(client.Options{Window: *floodWindow, QueueMax: *floodWindow}))
	}
	return f
}

// rps is the rate of answers while the flood lasted.
func (f *flood) rps() float64 { return float64(f.served.Load()) / f.lasts.Seconds() }

// run lets the requests arrive and returns when all have ended.
func (f *flood) run() {
	ctx, cancel := context.WithTimeout(context.Background(), f.lasts)
	defer cancel()
	every := time.Duration(float64(time.Second) * float64(len(f.clients)) / f.rate)
	begin := time.Now()
	var all sync.WaitGroup
	for i, c := range f.clients {
		all.Go(func() { f.arrivals(ctx, c, i, begin.Add(every*time.Duration(i)/time.Duration(len(f.clients))), every) })
	}
	all.Wait()
	for _, c := range f.clients {
		f.retries += c.Stats().Retries
	}
}

// arrivals are those at one client.
func (f *flood) arrivals(ctx context.Context, c *client.Client, id int, due time.Time, every time.Duration) {
	var all sync.WaitGroup
	defer all.Wait()
	value := bytes.Repeat([]byte{'x'}, 100)
	for i := 0; pause(ctx, time.Until(due)); i++ {
		due = due.Add(every)
		deadline, cancel := context.WithTimeout(context.Background(), opTime)
		answer := c.InvokeAsync(deadline, kv.Put(fmt.Appendf(nil, "flood/%d/%d", id, i%16), value))
		all.Go(func() {
			defer cancel()
			switch r := <-answer; {
			case r.Err == nil && ctx.Err() == nil:
				f.served.Add(1)
			case errors.Is(r.Err, client.ErrBusy):
				f.shed.Add(1)
			case r.Err != nil:
				f.unknown.Add(1)
			}
		})
	}
}

// processors is the processor time in seconds that this process and the replicas have used.
func (n *nodes) processors() []float64 {
	var all []float64
	pids := []int{os.Getpid()}
	for _, r := range n.Layout().Replicas {
		if r.PID != nil {
			pids = append(pids, *r.PID)
		}
	}
	for _, pid := range pids {
		s, err := cluster.StatOf(pid)
		must(n.t, err)
		all = append(all, s.CPU.Seconds())
	}
	return all
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
		part := func(d, of time.Duration) int { return int(int64(len(s)) * int64(d) / int64(of)) }
		per := max(part(time.Minute, total), 1)
		settled := s[min(len(s)-1, part(settleTime, max(total, 2*settleTime))):]
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
