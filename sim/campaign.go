package sim

import (
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/sim/check"
)

// Run makes the run of one seed. A replica that panics is a violation like any other.
func Run(o Options, seed uint64) (Result, error) { return run(o, seed, nil) }

func run(o Options, seed uint64, c *chart) (res Result, err error) {
	var w *world
	defer func() {
		if p := recover(); p != nil {
			c.note("panic: %v\n%s", p, debug.Stack())
			res = Result{Seed: seed, Violations: []Failure{{Seed: seed, Checker: "panic", Detail: fmt.Sprint(p)}}}
			if w != nil {
				res.Hash, res.Events = uint64(w.hash), w.events
			}
		}
	}()
	if w, err = newWorld(o, seed, c); err != nil {
		return Result{}, err
	}
	w.run()
	return w.result(), nil
}

// result closes the books of a run.
func (w *world) result() Result {
	if !w.oracle.Failed() {
		var ends []check.Ends
		for _, r := range w.replicas {
			if !r.faulty() && !w.safetyOnly() {
				w.oracle.Works(r.id, r.checks.clients)
				ends = append(ends, check.Ends{Replica: r.id, Executed: r.exec.Executed(), State: r.machine.state()})
			}
		}
		w.oracle.Final(ends)
		w.oracle.Linearizable(w.workload.history())
	}
	res := Result{
		Seed: w.seed, Events: w.events, Virtual: w.now, Counts: w.watch.counts, Sometimes: w.watch.sometimes, Hash: uint64(w.hash),
	}
	w.reached(&res)
	for _, v := range w.oracle.Violations() {
		w.chart.note("VIOLATION %s: %s", v.Checker, v.Detail)
		res.Violations = append(res.Violations, Failure{Seed: w.seed, Checker: v.Checker, Detail: v.Detail})
	}
	return res
}

func (w *world) safetyOnly() bool { return w.swarm.faulty.Len() > w.swarm.f }

// Campaign runs all seeds of o and folds their results in the order of the seeds.
func Campaign(o Options) (Report, error) {
	rep := newReport()
	if o.To < o.From {
		return rep, fmt.Errorf("sim: no seed from %d to %d", o.From, o.To)
	}
	if _, _, err := familyOf(o.Protocol); err != nil {
		return rep, err
	}
	// A run allocates much and keeps nothing, so that a lazy collector saves a sixth of the time.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	results := make(chan Result, max(o.Jobs, 1))
	var failed error
	var over atomic.Bool
	go produce(o, &over, results, &failed)
	pending := make(map[uint64]Result)
	var hash trace
	var virtual bft.Duration
	next := o.From
	for res := range results {
		pending[res.Seed] = res
		for r, ok := pending[next]; ok; r, ok = pending[next] {
			delete(pending, next)
			next++
			if over.Load() {
				continue // later than what ended the campaign
			}
			hash.add(r.Hash)
			virtual += r.Virtual
			rep.add(&r)
			over.Store(o.First && len(rep.Violations) > 0 || o.Enough != nil && o.Enough())
		}
	}
	rep.VirtualSeconds = float64(virtual) / float64(bft.Second)
	rep.TraceHash = fmt.Sprintf("%016x", uint64(hash))
	rep.close(&o)
	return rep, failed
}

// produce runs the seeds on o.Jobs goroutines and closes results behind the last one.
func produce(o Options, over *atomic.Bool, results chan<- Result, failed *error) {
	seeds := make(chan uint64)
	var done sync.WaitGroup
	var once sync.Once
	for range max(o.Jobs, 1) {
		done.Add(1)
		go func() {
			defer done.Done()
			for seed := range seeds {
				res, err := Run(o, seed)
				if err != nil {
					once.Do(func() { *failed = err })
					res.Seed = seed
				}
				results <- res
			}
		}()
	}
	for seed := o.From; ; seed++ {
		seeds <- seed
		if seed == o.To || over.Load() {
			break
		}
	}
	close(seeds)
	done.Wait()
	close(results)
}

func (rep *Report) add(r *Result) {
	rep.Seeds++
	rep.Violations = append(rep.Violations, r.Violations...)
	rep.Events += r.Events
	rep.Commits += r.Counts.Commits
	rep.ViewChanges += r.Counts.ViewChanges
	rep.StateTransfers += r.Counts.StateTransfers
	rep.Operations += r.Counts.Operations
	for s := range sometimesCount {
		rep.Sometimes[s.String()] += r.Sometimes[s]
	}
	rep.reached(r)
}

// Replay makes the run of one seed and prints it as a message chart.
func Replay(out io.Writer, o Options, seed uint64) (Result, error) {
	return run(o, seed, &chart{out: out})
}
