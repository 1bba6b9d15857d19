package live

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/themis-bft/themis/internal/assault"
	"github.com/themis-bft/themis/internal/faultproxy"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/wire"
)

// What is recorded of each kind, at most.
const (
	recordedOfKind = 64
	recordedBytes  = 32 << 10 // of one frame: longer ones are left out
)

// recorder keeps real frames of every kind.
type recorder struct {
	mu   sync.Mutex
	seen map[wire.Kind]int
	text bytes.Buffer
}

// tap is a faultproxy.Plan's.
func (r *recorder) tap(_ string, _ faultproxy.Direction, k wire.Kind, payload []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[wire.Kind]int{}
	}
	if len(payload) <= recordedBytes && r.seen[k] < recordedOfKind {
		r.seen[k]++
		r.text.Write(wire.AppendFrame(nil, k, payload))
	}
}

// file writes what was recorded and returns the path.
func (r *recorder) file(n *nodes) string {
	n.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	path := filepath.Join(n.Dir, "frames")
	must(n.t, os.WriteFile(path, r.text.Bytes(), 0o600))
	return path
}

// missing are the kinds of frames that were not seen yet.
func (r *recorder) missing() (kinds []wire.Kind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := []wire.Kind{}
	for k := wire.KindHello; k <= wire.KindStateItem; k++ {
		all = append(all, k)
	}
	for k := wire.Kind(pbft.KindPrePrepare); k <= pbft.KindStable; k++ {
		all = append(all, k)
	}
	for _, k := range all {
		if r.seen[k] == 0 {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// provoke makes a cluster send frames of every kind: with bodies lost on the way to one replica,
// requests that do not reach the primary, a replica that comes back when the others have gone far
// ahead, and a primary that is killed.
func (n *nodes) provoke(m *faultproxy.Mesh, r *recorder, l *load) {
	n.t.Helper()
	for _, link := range []string{"r0>r3", "r0>r2"} {
		m.Proxy(link).Set(faultproxy.Forward, faultproxy.Condition{Drop: 0.3, Kinds: []wire.Kind{pbft.KindPrePrepare}})
	}
	m.Client(0).Set(faultproxy.Forward, faultproxy.Condition{Drop: 0.3, Kinds: []wire.Kind{wire.KindRequest}})
	l.progress(200)
	n.kill(rogueID)
	for begin := n.statuses()[0].Committed; ; { // further ahead than any window
		if n.statuses()[0].Committed > begin+2*n.Public.Membership.Window {
			break
		}
		l.progress(50)
	}
	n.start(rogueID)
	n.caughtUp(rogueID, time.Minute)
	m.Heal()
	_, primary := n.view()
	n.kill(primary)
	l.progress(100)
	n.start(primary)
	n.caughtUp(primary, time.Minute)
	for end := time.Now().Add(20 * time.Second); len(r.missing()) > 0 && time.Now().Before(end); {
		m.Peer(0, 3).Set(faultproxy.Forward, faultproxy.Condition{Drop: 0.5})
		l.progress(50)
		m.Heal()
		l.progress(50)
	}
	if kinds := r.missing(); len(kinds) > 0 {
		n.t.Errorf("no frames of the kinds %v were recorded", kinds)
	}
}

// TestFrames sends 100,000 mutants of real frames and a MiB of random bytes to the ports of peers and
// clients, before and after the handshake. No replica may stop or grow, and no honest client may suffer.
func TestFrames(t *testing.T) {
	r := campaign(t)
	n := lay(t, 4, "kv")
	rec := &recorder{}
	m := n.behind(faultproxy.Plan{Seed: *seed, Frames: true, Tap: rec.tap})
	n.up()
	l := startLoad(t, n, r)
	n.provoke(m, rec, l)
	n.kill(rogueID)
	ids := []int{0, 1, 2}
	n.linkedUp(ids, time.Minute)
	frames := rec.file(n)
	for _, name := range []string{"mutants", "noise"} {
		attack, err := assault.Named(name)
		must(t, err)
		calm := l.rate(3 * time.Second)
		before, changes := n.counters(ids), n.viewChanges()
		answers := l.answers.Load()
		w := n.watch(ids)
		a := n.assault(assault.Plan{Attack: name, Rogue: rogueID, Rate: *attackRate, Lasts: lasting(5 * time.Minute), Seed: *seed, Frames: frames})
		report := a.wait(lasting(5*time.Minute) + time.Minute)
		w.end()
		o := &floodOutcome{attack: attack, report: report, lasts: time.Duration(report.Seconds * float64(time.Second)), rejected: since(before, n.counters(ids)), viewChanges: since(changes, n.viewChanges()), lost: w.lost, cores: w.cores}
		o.attackerPart, o.newcomer = share(report, runtime.NumCPU()), n.newcomer(honestTime)
		for _, id := range ids {
			o.replicas = append(o.replicas, w.outcome(id))
		}
		if report.Sent < uint64(attack.Count)*9/10 && *duration == 0 {
			t.Errorf("%d of %d were sent", report.Sent, attack.Count)
		}
		if got := l.answers.Load() - answers; got == 0 {
			t.Errorf("no honest client got an answer during %s", name)
		} else {
			o.rps = float64(got) / report.Seconds
		}
		for _, c := range o.complaints() { // how fast honest clients are is for TestFloods to say
			t.Errorf("%s: %s", name, c)
		}
		o.before = calm
		fmt.Printf("%s: %d sent over %d connections in %.1f s; counted by reason:\n%s", name, report.Sent, report.Opened, report.Seconds, table(o.rejected))
		f := figures{}
		o.put(f)
		f.print(t, "%s", o)
	}
	n.start(rogueID)
	n.caughtUp(rogueID, time.Minute)
	l.progress(50)
	v := l.judge()
	n.agree(time.Minute)
	f := figures{"kinds": len(rec.seen)}
	v.put(f)
	f.print(t, "frames of %d kinds were recorded and changed; the replica whose key was stolen is back and agrees; %s", len(rec.seen), &v)
}

// table is counts by reason, the most frequent first.
func table(counts map[string]uint64) string {
	reasons := sortedKeys(counts)
	slices.SortStableFunc(reasons, func(a, b string) int { return int(min(counts[b], 1<<30)) - int(min(counts[a], 1<<30)) })
	var b strings.Builder
	for _, r := range reasons {
		fmt.Fprintf(&b, "    %10d  %s\n", counts[r], r)
	}
	return b.String()
}

// smokeShare is the part of its rate and count with which an attack runs in TestSmoke, and
// smokeTime how long.
const (
	smokeShare = 10
	smokeTime  = 400 * time.Millisecond
)

// TestSmoke lets every attack loose for a moment on one cluster: each must arrive, no replica may
// stop, and honest clients go on. It is the short form of TestFloods and TestFrames that always runs.
func TestSmoke(t *testing.T) {
	if *runLive {
		t.Skip("campaigns are running")
	}
	n := lay(t, 4, "kv")
	rec := &recorder{}
	n.behind(faultproxy.Plan{Frames: true, Tap: rec.tap})
	n.up()
	m := n.meter(2)
	all := []int{0, 1, 2, 3}
	n.linkedUp(all, time.Minute)
	eventually(t, time.Minute, "recorded frames of six kinds", func() bool { return len(rec.missing()) <= 12 })
	frames := rec.file(n)
	for _, as := range []assault.Role{assault.Stranger, assault.Client, assault.Rogue} {
		if as == assault.Rogue {
			n.kill(rogueID)
			all = all[:rogueID]
		}
		for _, a := range assault.Attacks() {
			if a.As == as {
				n.smoke(m, all, a, frames)
			}
		}
	}
	n.start(rogueID)
	n.caughtUp(rogueID, time.Minute)
	n.linkedUp([]int{0, 1, 2, 3}, time.Minute)
}

// smoke is one attack of TestSmoke.
func (n *nodes) smoke(m *meter, ids []int, a assault.Attack, frames string) {
	n.t.Helper()
	w := n.watch(ids)
	before, from := n.counters(ids), time.Now()
	rate := max(a.Rate/smokeShare, 20)
	if a.Name == "mutants" {
		rate = 2000
	}
	attack := n.assault(assault.Plan{Attack: a.Name, Rogue: rogueID, Rate: rate, Count: a.Count / smokeShare, Lasts: time.Minute, AtLeast: 1, Frames: frames})
	// Until it has arrived; what takes longer than this test has is for the campaign to see.
	arrived := func() bool {
		rejected := since(before, n.counters(ids))
		return len(a.Marks) == 0 || a.MarksAfter > 0 || slices.ContainsFunc(a.Marks, func(mark string) bool { return rejected[mark] > 0 })
	}
	eventually(n.t, time.Minute, a.Name+" to arrive", arrived)
	if left := smokeTime - time.Since(from); left > 0 {
		pause(context.Background(), left)
	}
	report := attack.stop()
	eventually(n.t, time.Minute, "an honest answer after "+a.Name, func() bool {
		rps, _, _ := m.between(from, time.Now())
		return rps > 0
	})
	w.end()
	for _, id := range ids {
		if w.ended[id] {
			n.t.Fatalf("replica %d stopped in %s", id, a.Name)
		}
	}
	if report.Sent == 0 {
		n.t.Errorf("%s sent nothing: %+v", a.Name, report)
	}
	n.linkedUp(ids, time.Minute)
	n.t.Logf("%s: %d sent, %d bytes out, %d back, %d connections, %d failed; rejected %v", a.Name, report.Sent, report.Bytes, report.Received, report.Opened, report.Failed, since(before, n.counters(ids)))
}
