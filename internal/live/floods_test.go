package live

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/themis-bft/themis/internal/assault"
)

// What a flood must not do.
const (
	honestMin    = 0.50            // of what honest clients get without it
	linkTime     = 5 * time.Second // for a replica that comes while connections are flooded
	growShare    = 0.10            // of resident memory between the third and the last quarter,
	growBytes    = 8 << 20         // and what a collector may be off beside it
	logPerMinute = 1 << 20
	rogueID      = 3 // a backup of the first view
)

// floodOutcome is what was seen of one flood.
type floodOutcome struct {
	attack       assault.Attack
	report       assault.Report
	lasts        time.Duration
	before, rps  float64
	p99Before    time.Duration
	p99          time.Duration
	failed       int
	replicas     []replicaOutcome
	lost         map[string]int
	newcomer     time.Duration
	linked       time.Duration // of a replica that was restarted meanwhile; 0: none was
	rejected     map[string]uint64
	viewChanges  map[string]uint64
	attackerPart float64
	cores        []float64 // that the replicas used
}

// replicaOutcome is what was seen of one replica.
type replicaOutcome struct {
	id                  int
	ended               bool
	looks, silent       int
	before, peak, after uint64
	third, fourth       uint64 // medians of the last two quarters
	bound               uint64
	logged              int64
}

// complaints is the judgement. It knows nothing but what was seen.
func (o *floodOutcome) complaints() (all []string) {
	complain := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for _, r := range o.replicas {
		if r.ended {
			complain("replica %d stopped", r.id)
		}
		if r.looks == 0 || r.silent > r.looks/2 {
			complain("replica %d answered %d of %d questions for its status", r.id, r.looks-r.silent, r.looks)
		}
		if r.peak > r.bound { // none named is a bound of nothing
			complain("replica %d had %.1f MB resident, more than its bound of %.1f MB", r.id, mega(r.peak), mega(r.bound))
		}
		if r.fourth > r.third && float64(r.fourth-r.third) > growShare*float64(r.third)+growBytes {
			complain("replica %d still grew in the second half, from %.1f to %.1f MB", r.id, mega(r.third), mega(r.fourth))
		}
		if limit := int64(logPerMinute * max(o.lasts.Minutes(), 1)); r.logged > limit {
			complain("replica %d logged %d bytes in %s", r.id, r.logged, o.lasts)
		}
	}
	for _, pair := range sortedKeys(o.lost) {
		complain("%s: without a link at %d looks", pair, o.lost[pair])
	}
	if o.rps < honestMin*o.before {
		complain("honest clients got %.0f/s of %.0f/s: %.0f %%", o.rps, o.before, 100*o.rps/max(o.before, 1))
	}
	if o.newcomer < 0 {
		complain("a client that came meanwhile was not served in %s", honestTime)
	}
	if o.linked > linkTime {
		complain("a restarted replica was linked after %s", o.linked)
	}
	if o.report.Sent == 0 {
		complain("the attacker sent nothing: %+v", o.report)
	}
	arrived := len(o.attack.Marks) == 0 || o.lasts < o.attack.MarksAfter
	for _, mark := range o.attack.Marks {
		arrived = arrived || o.rejected[mark] > 0
	}
	if !arrived {
		complain("none of %v was counted: the attack did not arrive (%v)", o.attack.Marks, o.rejected)
	}
	return all
}

// String is the flood as lines of a table.
func (o *floodOutcome) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s, %d %s/s: %d sent, %.1f MB out, %.1f MB back, %d connections, at most %d at once)\n", o.attack.Name, o.attack.As,
		o.report.Rate, o.report.Unit, o.report.Sent, mega(o.report.Bytes), mega(o.report.Received), o.report.Opened, o.report.Held)
	fmt.Fprintf(&b, "    honest %.0f/s of %.0f/s (%.0f %%), p99 %s (was %s), %d failed; a new client %s; attacker %.0f %% of %d cores, replicas used %.2f\n",
		o.rps, o.before, 100*o.rps/max(o.before, 1), round(o.p99), round(o.p99Before), o.failed, orNever(o.newcomer), 100*o.attackerPart, runtime.NumCPU(), o.cores)
	if o.linked > 0 {
		fmt.Fprintf(&b, "    a restarted replica was linked after %s\n", round(o.linked))
	}
	for _, r := range o.replicas {
		fmt.Fprintf(&b, "    r%d: %.1f MB, peak %.1f, then %.1f (bound %.1f); %d bytes logged\n", r.id, mega(r.before), mega(r.peak), mega(r.after), mega(r.bound), r.logged)
	}
	fmt.Fprintf(&b, "    links lost %v; view changes %v; rejected %v", o.lost, o.viewChanges, o.rejected)
	return b.String()
}

func orNever(d time.Duration) string {
	if d < 0 {
		return "was not served"
	}
	return round(d).String()
}

// put adds the flood to figures.
func (o *floodOutcome) put(f figures) {
	f["attack"], f["as"], f["report"], f["seconds"] = o.attack.Name, o.attack.As, o.report, o.lasts.Seconds()
	f["honest_rps"], f["honest_before_rps"], f["honest_p99_ms"], f["honest_p99_before_ms"], f["honest_failed"] = o.rps, o.before, ms(o.p99), ms(o.p99Before), o.failed
	f["newcomer_ms"], f["linked_ms"], f["rejected"], f["view_changes"], f["links_lost"] = ms(o.newcomer), ms(o.linked), o.rejected, o.viewChanges, o.lost
	f["attacker_share"], f["replica_cores"] = o.attackerPart, o.cores
	for _, r := range o.replicas {
		f[fmt.Sprintf("r%d_mb", r.id)] = map[string]float64{"before": mega(r.before), "peak": mega(r.peak), "after": mega(r.after), "bound": mega(r.bound)}
	}
}

// TestFloods lets each attack loose on a cluster of its own and measures what honest clients have
// left, what the replicas hold, and who is still linked.
func TestFloods(t *testing.T) {
	campaign(t)
	for _, a := range chosen(t) {
		t.Run(a.Name, func(t *testing.T) { endure(t, a, lasting(2*time.Minute)) })
	}
}

// chosen are the attacks of -only, or all that last.
func chosen(t *testing.T) (all []assault.Attack) {
	t.Helper()
	names := strings.Split(*onlyFlood, ",")
	for _, a := range assault.Attacks() {
		if slices.Contains(names, a.Name) || *onlyFlood == "" && a.Name != "mutants" && a.Name != "noise" { // those end by their count: TestFrames
			all = append(all, a)
		}
	}
	if len(all) == 0 {
		t.Fatalf("-only %s names no attack", *onlyFlood)
	}
	return all
}

// floods of connections are those that a new replica must get through.
func floodsConnections(a *assault.Attack) bool {
	return a.As == assault.Stranger
}

func endure(t *testing.T, a assault.Attack, lasts time.Duration) {
	n := up(t, 4, "kv")
	m := n.meter(*clients)
	ids := []int{0, 1, 2, 3}
	if a.As == assault.Rogue {
		n.kill(rogueID)
		ids = ids[:rogueID]
	}
	n.linkedUp(ids, time.Minute)
	pause(context.Background(), time.Second)
	calm := max(lasts/4, 3*time.Second)
	from := time.Now()
	pause(context.Background(), calm)
	o := floodOutcome{attack: a, lasts: lasts}
	rps, took, _ := m.between(from, time.Now())
	o.before, o.p99Before = rps, took.at(0.99)
	before, changes := n.counters(ids), n.viewChanges()
	w := n.watch(ids)
	attack := n.assault(assault.Plan{Attack: a.Name, Rogue: rogueID, Rate: *attackRate, Lasts: lasts + time.Minute, Seed: *seed})
	pause(context.Background(), time.Second) // it has begun
	from = time.Now()
	pause(context.Background(), lasts/2)
	o.newcomer = n.newcomer(honestTime)
	if left := time.Until(from.Add(lasts)); left > 0 {
		pause(context.Background(), left)
	}
	rps, took, o.failed = m.between(from, time.Now())
	o.rps, o.p99 = rps, took.at(0.99)
	w.end()
	o.rejected, o.viewChanges = since(before, n.counters(ids)), since(changes, n.viewChanges())
	if floodsConnections(&a) {
		o.linked = n.rejoin(rogueID)
	}
	o.report = attack.stop()
	o.attackerPart = share(o.report, runtime.NumCPU())
	o.lost, o.cores = w.lost, w.cores
	for _, id := range ids {
		o.replicas = append(o.replicas, w.outcome(id))
	}
	for _, c := range o.complaints() {
		t.Errorf("%s: %s", a.Name, c)
	}
	f := figures{}
	o.put(f)
	f.print(t, "%s", &o)
}

// rejoin kills replica id and starts it, and returns how long the new process took to be linked with
// all others, both ways.
func (n *nodes) rejoin(id int) time.Duration {
	n.t.Helper()
	n.kill(id)
	n.start(id)
	began := time.Now()
	n.linkedUp([]int{0, 1, 2, 3}, time.Minute)
	return time.Since(began)
}

// linkedUp waits until some replicas are linked with each other, both ways.
func (n *nodes) linkedUp(ids []int, limit time.Duration) {
	n.t.Helper()
	eventually(n.t, limit, fmt.Sprintf("links among %v", ids), func() bool {
		all := n.statuses()
		for _, id := range ids {
			s, ok := all[id]
			if !ok {
				return false
			}
			for _, p := range s.Links.Peers {
				if slices.Contains(ids, int(p.ID)) && (!p.In || !p.Out) {
					return false
				}
			}
		}
		return true
	})
}

// outcome is what was seen of a replica.
func (w *watch) outcome(id int) replicaOutcome {
	s := w.rss[id]
	o := replicaOutcome{id: id, ended: w.ended[id], looks: w.looks[id], silent: w.silent[id], bound: w.bound[id], logged: w.n.logBytes(id) - w.logs[id]}
	if len(s) == 0 {
		return o
	}
	o.before, o.peak, o.after = s[0], maximum(s), s[len(s)-1]
	if q := len(s) / 4; q > 0 {
		o.third, o.fourth = median(s[2*q:3*q]), median(s[3*q:])
	}
	return o
}

// TestFloodJudge: each thing that a flood must not do is noticed.
func TestFloodJudge(t *testing.T) {
	good := func() *floodOutcome {
		return &floodOutcome{
			attack: assault.Attack{Name: "x", Marks: []string{"tls"}}, report: assault.Report{Sent: 1}, lasts: 10 * time.Second,
			before: 100, rps: 51, lost: map[string]int{}, rejected: map[string]uint64{"tls": 1},
			replicas: []replicaOutcome{{looks: 40, before: 40e6, peak: 90e6, third: 80e6, fourth: 85e6, bound: 100e6}},
		}
	}
	if c := good().complaints(); len(c) > 0 {
		t.Fatalf("a harmless flood: %v", c)
	}
	for want, break1 := range map[string]func(*floodOutcome){
		"stopped":             func(o *floodOutcome) { o.replicas[0].ended = true },
		"questions":           func(o *floodOutcome) { o.replicas[0].silent = 30 },
		"more than its bound": func(o *floodOutcome) { o.replicas[0].peak = 101e6 },
		"still grew":          func(o *floodOutcome) { o.replicas[0].fourth = 99e6 },
		"logged":              func(o *floodOutcome) { o.replicas[0].logged = 2 << 20 },
		"without a link":      func(o *floodOutcome) { o.lost["r0-r1"] = 1 },
		"honest clients":      func(o *floodOutcome) { o.rps = 49 },
		"was not served":      func(o *floodOutcome) { o.newcomer = -1 },
		"was linked after":    func(o *floodOutcome) { o.linked = linkTime + 1 },
		"sent nothing":        func(o *floodOutcome) { o.report.Sent = 0 },
		"did not arrive":      func(o *floodOutcome) { o.rejected = nil },
	} {
		o := good()
		break1(o)
		if c := o.complaints(); len(c) != 1 || !strings.Contains(c[0], want) {
			t.Errorf("want one complaint about %q, got %v", want, c)
		}
	}
}
