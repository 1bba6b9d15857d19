package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/themis-bft/themis/app/kv"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/client"
	"github.com/themis-bft/themis/internal/assault"
	"github.com/themis-bft/themis/internal/cluster"
)

const (
	filesMax = 64  // descriptors that a replica may have
	siege    = 400 // connections that strangers hold, or try to
	siegeCPU = 0.10
	// levyEvery is how many looks of levy there are for each that costs the replicas something.
	levyEvery = 40
	// filesSpare is how many descriptors are left when they are made scarce in a running process.
	filesSpare = 4
	// writers write at once, so that a log soon needs more files than it began with.
	writers = 16
)

// patience is what a siege may cost: a short run beside others is given more than a campaign.
type patience struct {
	window time.Duration // without load, in which processor time is counted
	cpu    float64       // of a core, for each replica
	link   time.Duration // until a replica that was restarted is linked
	serve  time.Duration // until an honest client has its answer
	still  bool          // strangers hold what they have, but come no more, while processor time is counted
}

// TestDescriptors besieges replicas that may have 64 open files, and then takes their last ones.
func TestDescriptors(t *testing.T) {
	campaign(t)
	for _, name := range []string{"idle-connections", "half-open-tls", "idle-clients"} {
		t.Run(name, func(t *testing.T) {
			n := upWith(t, filesMax)
			n.besieged(name, patience{lasting(time.Minute), siegeCPU, linkTime, honestTime, false}, true)
		})
	}
	t.Run("exhausted", func(t *testing.T) {
		upWith(t, filesMax).exhausted(patience{window: lasting(time.Minute) / 2, cpu: siegeCPU, serve: honestTime})
	})
}

// TestFewDescriptors is the short form of TestDescriptors that always runs.
func TestFewDescriptors(t *testing.T) {
	if *runLive {
		t.Skip("campaigns are running")
	}
	n := upWith(t, filesMax)
	// What handshakes cost depends on the machine and on what else it does; a loop that spins because of
	// what is held takes a core.
	p := patience{500 * time.Millisecond, 0.3, 30 * time.Second, time.Minute, true}
	n.besieged("idle-connections", p, true)
	n.besieged("half-open-tls", p, false)
	n.exhausted(p)
}

// upWith starts a cluster of four whose processes may have so many open files and can raise that no
// more: a shell lowers the limit and becomes the replica.
func upWith(t *testing.T, files int) *nodes {
	t.Helper()
	n := lay(t, 4, "kv")
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nulimit -n %d && exec '%s' \"$@\"\n", files, filepath.Join(built, "themisd"))
	must(t, os.WriteFile(filepath.Join(dir, "themisd"), []byte(script), 0o755))
	n.Binaries = dir
	n.up()
	for id := range n.n() {
		var l unix.Rlimit
		must(t, unix.Prlimit(n.pid(id), unix.RLIMIT_NOFILE, nil, &l))
		if l.Cur != uint64(files) || l.Max != uint64(files) {
			t.Fatalf("replica %d may have %d files, and raise that to %d", id, l.Cur, l.Max)
		}
	}
	return n
}

// pid is the process of replica id.
func (n *nodes) pid(id int) int {
	n.t.Helper()
	pid := n.Layout().Replicas[id].PID
	if pid == nil {
		n.t.Fatalf("replica %d does not run", id)
	}
	return *pid
}

// descriptors counts the open files of a process, and the sockets among them.
func descriptors(t *testing.T, pid int) (all, sockets int) {
	t.Helper()
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			sockets++
		}
	}
	return len(entries), sockets
}

// linkedTo waits until a client has all its links and the replicas have theirs.
func (n *nodes) linkedTo(c *client.Client) {
	n.t.Helper()
	eventually(n.t, time.Minute, "all links", func() bool { return c.Stats().Linked.Len() == n.n() && n.linksMissing() == 0 })
}

// settled is sockets once nothing of a start is on its way.
func (n *nodes) settled() (now []int) {
	n.t.Helper()
	var then []int
	eventually(n.t, time.Minute, "as many sockets as before", func() bool {
		then, now = now, n.sockets()
		same := slices.Equal(then, now)
		pause(context.Background(), 100*time.Millisecond)
		return same
	})
	return now
}

// sockets of all replicas, by replica.
func (n *nodes) sockets() []int {
	n.t.Helper()
	all := make([]int, n.n())
	for id := range all {
		_, all[id] = descriptors(n.t, n.pid(id))
	}
	return all
}

// toll is what was seen of all replicas in a window.
type toll struct {
	cores []float64 // that each replica used
	files []int     // that each had at most
	links int       // that were lost
}

// levy looks at the replicas for a while, and lets an honest client write. Both only now and then: an
// answer costs them too. They are asked for their links only if they can answer.
func (n *nodes) levy(c *client.Client, p patience, asked bool) (o toll) {
	n.t.Helper()
	o.files, o.cores = make([]int, n.n()), make([]float64, n.n())
	used, pids := make([]time.Duration, n.n()), make([]int, n.n())
	for id := range pids {
		pids[id] = n.pid(id)
		s, err := cluster.StatOf(pids[id])
		must(n.t, err)
		used[id] = s.CPU
	}
	begin := time.Now()
	for round := 0; time.Since(begin) < p.window; round++ {
		for id, pid := range pids {
			all, _ := descriptors(n.t, pid)
			o.files[id] = max(o.files[id], all)
		}
		if round%levyEvery == 0 {
			n.puts(c, 1, 1, p.serve)
		}
		if asked && round%levyEvery == 0 {
			o.links += n.linksLost()
		}
		pause(context.Background(), pollTime)
	}
	for id, pid := range pids {
		s, err := cluster.StatOf(pid)
		must(n.t, err) // it has stopped, else
		o.cores[id] = (s.CPU - used[id]).Seconds() / time.Since(begin).Seconds()
	}
	return o
}

// linksMissing counts the links between replicas that are not there now; a replica that does not
// answer has none.
func (n *nodes) linksMissing() (missing int) {
	all := n.statuses()
	missing = (n.n() - len(all)) * (n.n() - 1)
	for id, s := range all {
		for _, p := range s.Links.Peers {
			if int(p.ID) != id && (!p.In || !p.Out) {
				missing++
			}
		}
	}
	return missing
}

// linksLost counts the links that are missing for seconds: one look may find a replica that is slow to
// answer.
func (n *nodes) linksLost() (lost int) {
	for range 3 {
		if lost = n.linksMissing(); lost == 0 {
			return 0
		}
		pause(context.Background(), time.Second)
	}
	return lost
}

// besieged lets an attack hold connections and looks at everything that needs a descriptor.
func (n *nodes) besieged(name string, p patience, stored bool) {
	n.t.Helper()
	ids := []int{0, 1, 2, 3}
	n.linkedUp(ids, time.Minute)
	c := n.connect()
	n.puts(c, 1, 1, p.serve)
	n.linkedTo(c)
	free, before := n.settled(), n.counters(ids)
	attack := n.siege(name, p.window)
	eventually(n.t, time.Minute, name+" to be told to make room", func() bool { return siegeArrived(since(before, n.counters(ids))) })
	attack.still(p.still)
	o := n.levy(c, p, true)
	attack.still(false)
	for id := range ids {
		if o.cores[id] > p.cpu {
			n.t.Errorf("%s: replica %d used %.2f of a core", name, id, o.cores[id])
		}
	}
	if stored {
		files := n.puttingMuch(c, p.serve)
		for id := range ids {
			o.files[id] = max(o.files[id], files[id])
		}
	}
	n.puts(c, 1, 1, p.serve)
	served := n.newcomer(p.serve)
	if served < 0 && name != "idle-clients" { // those are clients like any other, and places are few
		n.t.Errorf("%s: a client that came meanwhile was not served in %s", name, p.serve)
	}
	linked := n.rejoin(rogueID)
	if linked > p.link {
		n.t.Errorf("%s: a restarted replica was linked after %s", name, linked)
	}
	if o.links += n.linksLost(); o.links > 0 {
		n.t.Errorf("%s: %d links were lost", name, o.links)
	}
	for id := range ids {
		if o.files[id] >= filesMax {
			n.t.Errorf("%s: replica %d had %d open files", name, id, o.files[id])
		}
	}
	report := attack.stop()
	eventually(n.t, time.Minute, fmt.Sprintf("no more sockets than %v", free), func() bool {
		return slices.CompareFunc(n.sockets(), free, func(now, then int) int { return max(now-then, 0) }) == 0
	})
	c.Close()
	rejected := since(before, n.counters(ids))
	n.unharmed(name)
	figures{"attack": name, "report": report, "replica_cores": o.cores, "files": o.files, "sockets": free, "newcomer_ms": ms(served), "linked_ms": ms(linked), "rejected": rejected}.print(
		n.t, "%s: %d connections, at most %d at once; replicas used %.3f cores, had %d files, sockets without it %d; a new client waited %s, a restarted replica %s; rejected %v",
		name, report.Opened, report.Held, o.cores, o.files, free, orNever(served), round(linked), rejected)
}

// siege begins an attack that holds connections.
func (n *nodes) siege(name string, lasts time.Duration) *attacker {
	n.t.Helper()
	return n.assault(assault.Plan{Attack: name, Rate: siege, Count: siege, Lasts: lasts + 5*time.Minute, Seed: *seed})
}

// siegeArrived reports whether connections had to make room.
func siegeArrived(rejected map[string]uint64) bool {
	return slices.ContainsFunc([]string{"pending", "address", "total"}, func(reason string) bool { return rejected[reason] > 0 })
}

// puts executes some operations, as many as there are writers at once.
func (n *nodes) puts(c *client.Client, count, size int, limit time.Duration) {
	n.t.Helper()
	errs := make([]error, min(count, writers))
	var all sync.WaitGroup
	for w := range errs {
		all.Go(func() {
			for i := w; i < count && errs[w] == nil; i += writers {
				ctx, cancel := context.WithTimeout(context.Background(), limit)
				_, errs[w] = c.Invoke(ctx, kv.Put(fmt.Appendf(nil, "siege/%d", w), bytes.Repeat([]byte{'s'}, size)))
				cancel()
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		n.t.Fatalf("an honest client's put of %d bytes: %v", size, err)
	}
}

// puttingMuch writes until every replica has begun a new segment of its log and written a snapshot, and
// returns how many files each had open at most.
func (n *nodes) puttingMuch(c *client.Client, limit time.Duration) []int {
	n.t.Helper()
	before := n.statuses()
	done := func() bool {
		all := n.statuses()
		for id, s := range all {
			if s.LogBytes <= before[id].LogBytes || s.Snapshot <= before[id].Snapshot {
				return false
			}
		}
		return len(all) == n.n()
	}
	most := make([]int, n.n())
	for end := time.Now().Add(3 * time.Minute); !done(); {
		if time.Now().After(end) {
			n.t.Fatalf("no new segment and snapshot at every replica: %+v", n.statuses())
		}
		n.puts(c, 64, kv.ValueBytesMax, limit)
		for id := range most {
			all, _ := descriptors(n.t, n.pid(id))
			most[id] = max(most[id], all)
		}
	}
	return most
}

// logFrom is the log of a replica's process from some byte on.
func (n *nodes) logFrom(id int, from int64) string {
	n.t.Helper()
	b, err := os.ReadFile(n.LogPath(bft.ReplicaID(id)))
	must(n.t, err)
	return string(b[min(from, int64(len(b))):])
}

// unharmed checks that no replica complained about its files.
func (n *nodes) unharmed(what string) {
	n.t.Helper()
	for id := range n.n() {
		for line := range strings.Lines(n.logFrom(id, 0)) {
			if strings.Contains(line, syscall.EMFILE.Error()) {
				n.t.Errorf("%s: replica %d says: %s", what, id, line)
				break
			}
		}
	}
}

// exhausted takes descriptors away from running replicas while strangers want them, so that the
// system refuses to accept, and gives them back.
func (n *nodes) exhausted(p patience) {
	n.t.Helper()
	ids := []int{0, 1, 2, 3}
	n.linkedUp(ids, time.Minute)
	c := n.connect()
	n.puts(c, 1, 1, p.serve)
	n.linkedTo(c)
	pids := []int{n.pid(0), n.pid(1), n.pid(2), n.pid(3)}
	before, logged, free := n.counters(ids), make([]int64, len(ids)), n.settled()
	for id, pid := range pids {
		logged[id] = n.logBytes(id)
		all, _ := descriptors(n.t, pid)
		n.mayOpen(pid, all+filesSpare)
	}
	attack := n.siege("idle-connections", p.window)
	eventually(n.t, time.Minute, "strangers to have taken all that was left", func() bool {
		return !slices.ContainsFunc(ids, func(id int) bool { return !strings.Contains(n.logFrom(id, logged[id]), syscall.EMFILE.Error()) })
	})
	attack.still(p.still)
	o := n.levy(c, p, false)
	attack.still(false)
	for range n.Public.Membership.CheckpointEvery { // whoever is linked is served, past a checkpoint too
		n.puts(c, 1, 1, p.serve)
	}
	for id, pid := range pids {
		n.mayOpen(pid, filesMax)
		if o.cores[id] > p.cpu {
			n.t.Errorf("replica %d used %.2f of a core while it could accept nobody", id, o.cores[id])
		}
		if n.pid(id) != pid {
			n.t.Errorf("replica %d was started anew", id)
		}
		if now := n.logBytes(id) - logged[id]; now > logPerMinute {
			n.t.Errorf("replica %d logged %d bytes while it could accept nobody", id, now)
		}
		logged[id] = n.logBytes(id) - logged[id]
	}
	served := n.newcomer(p.serve)
	if served < 0 {
		n.t.Errorf("a client that came afterwards was not served in %s", p.serve)
	}
	report := attack.stop()
	n.linkedUp(ids, time.Minute)
	if *runLive { // a snapshot that could not be written is made up for by the next
		n.puttingMuch(c, p.serve)
	}
	eventually(n.t, time.Minute, fmt.Sprintf("no more sockets than %v", free), func() bool {
		return slices.CompareFunc(n.sockets(), free, func(now, then int) int { return max(now-then, 0) }) == 0
	})
	rejected := map[int]uint64{}
	for id, s := range n.statuses() {
		if rejected[id] = s.Links.Refused["accept"]; rejected[id] == 0 {
			n.t.Errorf("replica %d could always accept: %v", id, since(before, n.counters(ids)))
		}
	}
	c.Close()
	figures{"report": report, "replica_cores": o.cores, "accept_failed": rejected, "logged": logged, "newcomer_ms": ms(served)}.print(
		n.t, "%d connections, at most %d at once; accept failed %v times, replicas used %.3f cores and logged %d bytes; a new client afterwards waited %s",
		report.Opened, report.Held, rejected, o.cores, logged, orNever(served))
}

// mayOpen sets how many files a running process may have open; what it has stays.
func (n *nodes) mayOpen(pid, files int) {
	n.t.Helper()
	must(n.t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(files), Max: filesMax}, nil))
}
