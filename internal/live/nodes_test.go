package live

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/config"
	"github.com/themis-bft/themis/internal/cluster"
	"github.com/themis-bft/themis/replica"
)

// nodes is a cluster of processes.
type nodes struct {
	*cluster.Cluster
	t       *testing.T
	history func() // writes the history of the load, if there is one; for a failure

	dialled    *config.Cluster // what clients dial, if not the replicas themselves
	clientKeys keyring

	mu     sync.Mutex
	pids   map[int]bool      // every process ever started
	causes map[string]uint64 // view changes counted by replicas that have ended since
}

// lay makes a cluster without starting it. Its processes end with the test.
func lay(t *testing.T, replicas int, app string) *nodes {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "cluster")
	must(t, cluster.Create(cluster.Plan{
		Dir: dir, Replicas: replicas, F: -1, Binaries: built, Membership: bft.Membership{Protocol: "pbft", App: app, Open: true},
	}))
	c, err := cluster.Open(dir, io.Discard)
	must(t, err)
	c.Binaries = built
	n := &nodes{Cluster: c, t: t, dialled: c.Public, pids: map[int]bool{}, causes: map[string]uint64{}}
	running.Lock()
	if running.all == nil {
		running.all = map[*nodes]bool{}
	}
	running.all[n] = true
	running.Unlock()
	t.Cleanup(n.end)
	return n
}

// up makes a cluster and starts all of it.
func up(t *testing.T, replicas int, app string) *nodes {
	t.Helper()
	n := lay(t, replicas, app)
	n.up()
	return n
}

func (n *nodes) up() {
	n.t.Helper()
	err := n.Up()
	n.note()
	must(n.t, err)
}

func (n *nodes) n() int { return n.Public.Membership.N() }
func (n *nodes) f() int { return n.Public.Membership.F }

// note remembers the processes that run.
func (n *nodes) note() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.Layout().Replicas {
		if r.PID != nil {
			n.pids[*r.PID] = true
		}
	}
}

func (n *nodes) start(id int) {
	n.t.Helper()
	err := n.Start(id)
	n.note()
	must(n.t, err)
}

// kill ends replica id by SIGKILL.
func (n *nodes) kill(id int) {
	n.t.Helper()
	must(n.t, n.Kill(id))
}

// lie starts a liar in place of replica id.
func (n *nodes) lie(id int, how string) {
	n.t.Helper()
	err := n.Lie(id, how)
	n.note()
	must(n.t, err)
}

// killAll ends all processes at once.
func (n *nodes) killAll() error {
	errs := make([]error, n.n())
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { errs[i] = n.Kill(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// end kills what runs and checks that nothing is left behind.
func (n *nodes) end() {
	if n.t.Failed() {
		n.explain()
	}
	n.note()
	if err := n.killAll(); err != nil {
		n.t.Errorf("ending the cluster: %v", err)
	}
	running.Lock()
	delete(running.all, n)
	running.Unlock()
	for pid := range n.pids {
		if s, err := cluster.StatOf(pid); err == nil && s.State != 'Z' && n.owns(pid) {
			n.t.Errorf("process %d is left behind", pid)
		}
	}
	all, err := os.ReadDir("/proc")
	must(n.t, err)
	for _, entry := range all {
		if pid, err := strconv.Atoi(entry.Name()); err == nil && pid != os.Getpid() && n.owns(pid) {
			n.t.Errorf("process %d of %s is left behind", pid, n.Dir)
			_ = syscall.Kill(pid, syscall.SIGKILL) // its arguments name our directory
		}
	}
}

// owns reports whether the arguments of a process name this cluster's directory.
func (n *nodes) owns(pid int) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return err == nil && strings.Contains(string(b), n.Dir+string(filepath.Separator))
}

// explain shows what a failure leaves to be read.
func (n *nodes) explain() {
	if n.history != nil {
		n.history()
	}
	for i := range n.n() {
		b, err := os.ReadFile(n.LogPath(bft.ReplicaID(i)))
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		n.t.Logf("end of the log of replica %d:\n%s", i, strings.Join(lines[max(0, len(lines)-12):], "\n"))
		status, err := n.Ask(i, "/statusz")
		n.t.Logf("status of replica %d: %v\n%s", i, err, status)
		n.save(fmt.Sprintf("r%d.log", i), b)
		n.save(fmt.Sprintf("r%d.status.json", i), status)
	}
}

// save keeps a file of a failed campaign in -keep.
func (n *nodes) save(name string, b []byte) {
	if *keep == "" {
		return
	}
	dir := filepath.Join(*keep, strings.ReplaceAll(n.t.Name(), "/", "-"))
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), b, 0o644)
	}
	if err != nil {
		n.t.Logf("keeping %s: %v", name, err)
	}
}

// status is what a replica says of itself; ok is false if it does not answer.
func (n *nodes) status(id int) (s replica.Status, ok bool) {
	b, err := n.Ask(id, "/statusz")
	return s, err == nil && json.Unmarshal(b, &s) == nil
}

// statuses asks all replicas but those of except, at once.
func (n *nodes) statuses(except ...int) map[int]replica.Status {
	out := map[int]replica.Status{}
	var mu sync.Mutex
	var all sync.WaitGroup
	skip := map[int]bool{}
	for _, id := range except {
		skip[id] = true
	}
	for i := range n.n() {
		if skip[i] {
			continue
		}
		all.Go(func() {
			if s, ok := n.status(i); ok {
				mu.Lock()
				defer mu.Unlock()
				out[i] = s
			}
		})
	}
	all.Wait()
	return out
}

// view waits for the view in which a quorum of the replicas is active.
func (n *nodes) view(except ...int) (view bft.View, primary int) {
	n.t.Helper()
	eventually(n.t, time.Minute, "a quorum that is active in one view", func() bool {
		votes := map[bft.View]int{}
		for _, s := range n.statuses(except...) {
			if s.Active {
				if votes[s.View]++; votes[s.View] >= n.Public.Membership.Quorums().Quorum() {
					view, primary = s.View, int(s.Primary)
					return true
				}
			}
		}
		return false
	})
	return view, primary
}

// caughtUp waits until replica id is ready and has executed what the others had when it was
// asked for, and returns how long that took.
func (n *nodes) caughtUp(id int, limit time.Duration) time.Duration {
	n.t.Helper()
	begin := time.Now()
	var goal bft.SeqNum
	for i, s := range n.statuses() {
		if i != id && s.Active {
			goal = max(goal, s.Executed)
		}
	}
	eventually(n.t, limit, fmt.Sprintf("replica %d ready, active and at slot %d", id, goal), func() bool {
		s, ok := n.status(id)
		return ok && s.Ready && s.Active && s.Executed >= goal
	})
	return time.Since(begin)
}

// bank keeps the view changes that a replica counted before it is ended.
func (n *nodes) bank(id int) {
	if s, ok := n.status(id); ok {
		for cause, count := range s.ViewChanges {
			n.causes[cause] += count
		}
	}
}

// viewChanges sums the view changes by cause over all replicas, those that ended included.
func (n *nodes) viewChanges() map[string]uint64 {
	sum := map[string]uint64{}
	for cause, count := range n.causes {
		sum[cause] += count
	}
	for _, s := range n.statuses() {
		for cause, count := range s.ViewChanges {
			sum[cause] += count
		}
	}
	return sum
}

// agree waits until all replicas but those of except have one stable checkpoint with one digest.
func (n *nodes) agree(limit time.Duration, except ...int) {
	n.t.Helper()
	want := n.n() - len(except)
	eventually(n.t, limit, "equal digests at an equal stable checkpoint", func() bool {
		digests, slots := map[string]bool{}, map[bft.SeqNum]bool{}
		all := n.statuses(except...)
		for _, s := range all {
			digests[s.StateDigest], slots[s.Stable] = true, true
		}
		if len(all) == want && len(slots) == 1 && len(digests) > 1 {
			n.t.Fatalf("different digests at one stable checkpoint: %v", digests)
		}
		return len(all) == want && len(slots) == 1 && len(digests) == 1
	})
}

// alone are the replicas that are not active in the view of the quorum. One that suspected the
// primary when nobody else did stays so until the next view; it executes all the same.
func (n *nodes) alone() []int {
	n.t.Helper()
	view, _ := n.view()
	alone := []int{}
	all := n.statuses()
	for id := range n.n() {
		if s := all[id]; !s.Active || s.View != view {
			alone = append(alone, id)
		}
	}
	return alone
}
