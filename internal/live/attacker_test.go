package live

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/themis-bft/themis/app/kv"
	"github.com/themis-bft/themis/client"
	"github.com/themis-bft/themis/internal/assault"
	"github.com/themis-bft/themis/internal/cluster"
	"github.com/themis-bft/themis/replica"
)

// attacker is an assault in a process of its own.
type attacker struct {
	n     *nodes
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   bytes.Buffer
	ended chan error
}

// assault starts an attack on the cluster.
func (n *nodes) assault(p assault.Plan) *attacker {
	n.t.Helper()
	p.Dir = n.Dir
	self, err := os.Executable()
	must(n.t, err)
	plan, err := json.Marshal(p)
	must(n.t, err)
	a := &attacker{n: n, cmd: exec.Command(self), ended: make(chan error, 1)}
	a.cmd.Env = append(os.Environ(), attackerEnv+"=1")
	a.cmd.Stdout, a.cmd.Stderr = &a.out, os.Stderr
	a.stdin, err = a.cmd.StdinPipe()
	must(n.t, err)
	must(n.t, a.cmd.Start())
	go func() { a.ended <- a.cmd.Wait() }()
	n.t.Cleanup(func() {
		_ = a.cmd.Process.Kill() // it has ended, most likely
		_ = a.stdin.Close()
	})
	_, err = a.stdin.Write(append(plan, '\n'))
	must(n.t, err)
	return a
}

// stop ends the attack if it is not over, and returns what came of it.
func (a *attacker) stop() (r assault.Report) {
	a.n.t.Helper()
	_ = a.stdin.Close()             // it may have gone
	return a.wait(90 * time.Second) // smoke's plans last a minute at most
}

// still stops the attacker's process, or lets it go on: what it holds stays.
func (a *attacker) still(yes bool) {
	a.n.t.Helper()
	s := syscall.SIGCONT
	if yes {
		s = syscall.SIGSTOP
	}
	must(a.n.t, a.cmd.Process.Signal(s))
}

// wait waits until the attack is over.
func (a *attacker) wait(limit time.Duration) (r assault.Report) {
	a.n.t.Helper()
	select {
	case err := <-a.ended:
		must(a.n.t, err)
		must(a.n.t, json.Unmarshal(a.out.Bytes(), &r))
	case <-time.After(limit):
		a.n.t.Fatalf("the attacker did not end in %s", limit)
	}
	return r
}

// share is which part of the machine the attacker took.
func share(r assault.Report, cores int) float64 {
	return r.CPU / (max(r.Seconds, 0.001) * float64(cores))
}

// meter is honest clients in a closed loop, each operation with its time.
type meter struct {
	stop    context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex
	answers []answer
}

type answer struct {
	at   time.Time
	took time.Duration
	err  error
}

// honestTime is how long an honest operation may take before it counts as failed.
const honestTime = 10 * time.Second

// meter starts honest clients.
func (n *nodes) meter(count int) *meter {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	m := &meter{stop: cancel}
	n.t.Cleanup(func() { cancel(); m.running.Wait() })
	for i := range count {
		c := n.connect()
		m.running.Go(func() { m.run(ctx, i, c) })
	}
	return m
}

func (m *meter) run(ctx context.Context, id int, c *client.Client) {
	value := bytes.Repeat([]byte{'h'}, 100)
	for i := 0; ctx.Err() == nil; i++ {
		begin := time.Now()
		deadline, cancel := context.WithTimeout(ctx, honestTime)
		_, err := c.Invoke(deadline, kv.Put(fmt.Appendf(nil, "honest/%d/%d", id, i%16), value))
		cancel()
		m.mu.Lock()
		m.answers = append(m.answers, answer{time.Now(), time.Since(begin), err})
		m.mu.Unlock()
		if err != nil && !pause(ctx, 10*time.Millisecond) {
			return
		}
	}
}

// between is what the honest clients got in a window.
func (m *meter) between(from, to time.Time) (rps float64, took spread, failed int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.answers {
		switch {
		case a.at.Before(from) || a.at.After(to):
		case a.err != nil:
			failed++
		default:
			took = append(took, a.took)
		}
	}
	return float64(len(took)) / to.Sub(from).Seconds(), took, failed
}

// newcomer is how long a client that comes now waits for its first answer; negative: too long.
func (n *nodes) newcomer(limit time.Duration) time.Duration {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cfg, err := n.clientConfig()
	must(n.t, err)
	c, err := client.Open(ctx, cfg)
	if err != nil {
		return -1
	}
	defer c.Close()
	if _, err = c.Invoke(ctx, kv.Put([]byte("newcomer"), []byte("x"))); err != nil {
		return -1
	}
	return time.Since(begin)
}

// counters sums up all rejections of some replicas by who counts them and why.
func (n *nodes) counters(ids []int) map[string]uint64 {
	sum := map[string]uint64{}
	for id, s := range n.statuses() {
		if !slices.Contains(ids, id) {
			continue
		}
		for _, r := range s.Rejections {
			sum[r.Reason] += r.Count
		}
		for reason, count := range s.ClientRejections {
			sum[reason] += count
		}
		for reason, count := range s.Links.Refused {
			sum[reason] += count
		}
	}
	return sum
}

// since is what was counted after before.
func since(before, after map[string]uint64) map[string]uint64 {
	d := map[string]uint64{}
	for reason, count := range after {
		if count > before[reason] {
			d[reason] = count - before[reason]
		}
	}
	return d
}

// watch looks at replicas while something happens to them.
type watch struct {
	n       *nodes
	ids     []int
	stop    context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	rss     map[int][]uint64
	bound   map[int]uint64
	lost    map[string]int // looks at which a replica was without a link with another
	looks   map[int]int
	silent  map[int]int // looks that a replica did not answer
	ended   map[int]bool
	pids    map[int]int
	logs    map[int]int64
	cpu     map[int]time.Duration // at the start
	cores   []float64             // that the replicas used, by ids
	started time.Time
}

// watchEvery is the time between two looks.
const watchEvery = 250 * time.Millisecond

func (n *nodes) watch(ids []int) *watch {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{
		n: n, ids: ids, stop: cancel, rss: map[int][]uint64{}, bound: map[int]uint64{}, lost: map[string]int{}, looks: map[int]int{},
		silent: map[int]int{}, ended: map[int]bool{}, pids: map[int]int{}, logs: map[int]int64{}, cpu: map[int]time.Duration{}, started: time.Now(),
	}
	layout := n.Layout()
	for _, id := range ids {
		if pid := layout.Replicas[id].PID; pid != nil {
			w.pids[id] = *pid
		} else {
			n.t.Fatalf("replica %d does not run", id)
		}
		w.logs[id] = n.logBytes(id)
		s, err := cluster.StatOf(w.pids[id])
		must(n.t, err)
		w.cpu[id] = s.CPU
	}
	for _, id := range ids { // the maps above are read from here on
		w.running.Go(func() {
			for {
				w.look(id)
				if !pause(ctx, watchEvery) {
					return
				}
			}
		})
	}
	return w
}

func (n *nodes) logBytes(id int) int64 {
	s, err := os.Stat(n.LogPath(n.Replicas[id].ID))
	if err != nil {
		return 0
	}
	return s.Size()
}

// look is one look at a replica.
func (w *watch) look(id int) {
	rss, _, err := cluster.MemoryOf(w.pids[id])
	text, asked := w.n.Ask(id, "/statusz")
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil || rss == 0 {
		w.ended[id] = true
		return
	}
	w.looks[id]++
	w.rss[id] = append(w.rss[id], rss)
	var s replica.Status
	if asked != nil || json.Unmarshal(text, &s) != nil {
		w.silent[id]++
		return
	}
	if s.PID != w.pids[id] {
		w.ended[id] = true
	}
	if w.bound[id] = uint64(s.Memory.Bound); *memoryBound > 0 {
		w.bound[id] = *memoryBound
	}
	for _, p := range s.Links.Peers {
		if slices.Contains(w.ids, int(p.ID)) && (!p.In || !p.Out) {
			w.lost[fmt.Sprintf("r%d-%s", id, p.ID)]++
		}
	}
}

// end stops looking.
func (w *watch) end() {
	w.stop()
	w.running.Wait()
	for _, id := range w.ids {
		if s, err := cluster.StatOf(w.pids[id]); err == nil { // else it has ended, which look has seen
			w.cores = append(w.cores, float64(int(100*(s.CPU-w.cpu[id]).Seconds()/time.Since(w.started).Seconds()))/100)
		}
	}
}
