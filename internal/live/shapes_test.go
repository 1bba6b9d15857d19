package live

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/themis-bft/themis/bench/history"
	"github.com/themis-bft/themis/internal/lying"
)

// TestSizes runs clusters of several sizes, kills f replicas with the primary among them, and
// brings them back.
func TestSizes(t *testing.T) {
	r := campaign(t)
	for size := range strings.SplitSeq(*sizes, ",") {
		replicas, err := strconv.Atoi(size)
		must(t, err)
		t.Run("n="+size, func(t *testing.T) {
			n := up(t, replicas, "kv")
			n.record()
			l := startLoad(t, n, r)
			l.progress(200)
			phase := lasting(5 * time.Second)
			whole := l.rate(phase)
			_, primary := n.view()
			var down []int
			at := history.Now()
			for i := range n.f() {
				down = append(down, (primary+i)%replicas)
				n.kill(down[i])
			}
			next := l.next(at)
			l.progress(50)
			without := l.rate(phase)
			var back spread
			for _, id := range down {
				n.start(id)
			}
			for _, id := range down {
				back = append(back, n.caughtUp(id, time.Minute))
			}
			again := l.rate(phase)
			view, _ := n.view()
			v := l.judge()
			n.agree(time.Minute)
			f := figures{"n": replicas, "f": n.f(), "rate_whole": whole, "rate_without_f": without, "rate_again": again, "next_commit_ms": ms(next), "view": view, "alone": n.alone()}
			back.put(f, "caught_up")
			v.put(f)
			f.print(t, "%d clients: %.0f/s whole, next commit %s after f = %d were killed, %.0f/s without them, %.0f/s with them again (%s to catch up), view %d; %s",
				*clients, whole, round(next), n.f(), without, again, round(back.at(1)), view, &v)
		})
	}
}

// rate measures the answers per second.
func (l *load) rate(d time.Duration) float64 {
	begin, before := time.Now(), l.answers.Load()
	pause(context.Background(), d)
	return float64(l.answers.Load()-before) / time.Since(begin).Seconds()
}

// TestLiar runs the workload with one replica that lies, in each way, as backup and as the first
// primary.
func TestLiar(t *testing.T) {
	r := campaign(t)
	ways := lying.Ways()
	if *only != "" {
		ways = strings.Split(*only, ",")
	}
	for _, how := range ways {
		for place, liar := range map[string]int{"primary": 0, "backup": 2} {
			t.Run(how+"/"+place, func(t *testing.T) {
				n := lay(t, 4, "kv")
				n.lie(liar, how)
				n.up()
				l := startLoad(t, n, r)
				begin := time.Now()
				l.progress(50)
				first := time.Since(begin)
				rate := l.rate(lasting(6 * time.Second))
				l.progress(50)
				honest := n.statuses(liar)
				v := l.judge()
				n.agree(time.Minute, liar)
				seen := n.detected(liar, v.deviations)
				f := figures{"how": how, "place": place, "rate": rate, "first_answers_ms": ms(first), "detected": seen}
				v.put(f)
				view := honest[1].View
				f["view"], f["view_changes"] = view, n.viewChanges()
				f.print(t, "%s as %s: 50 answers after %s, then %.0f/s, view %d, longest time without an answer %s, view changes %v, detected %v; %s",
					how, place, round(first), rate, view, round(v.gap), n.viewChanges(), seen, &v)
			})
		}
	}
}

// TestTwoLiars is the control of the others: two liars among four are more than any protocol
// carries, and the judge has to see it.
func TestTwoLiars(t *testing.T) {
	r := campaign(t)
	n := lay(t, 4, "kv")
	n.lie(1, "corrupt-state")
	n.lie(2, "corrupt-state")
	n.up()
	l := startLoad(t, n, r)
	l.progress(100)
	// Their states differ, so that no checkpoint gets its quorum and the window ends everything.
	pause(context.Background(), 3*time.Second)
	for _, c := range append(slices.Clone(l.clients), l.prober) {
		c.Close()
	}
	l.end()
	v := l.examine(nil)
	if v.linearizable {
		t.Fatalf("two liars went unnoticed: %s", &v)
	}
	f := figures{"operations": v.operations, "linearizable": v.linearizable}
	f.print(t, "two liars among four are noticed in %d operations: %s", v.operations, v.complaints[0])
}

// detected is what the honest replicas and the clients hold against the liar.
func (n *nodes) detected(liar int, deviations uint64) map[string]uint64 {
	seen := map[string]uint64{"deviating replies": deviations}
	for id, s := range n.statuses(liar) {
		for _, r := range s.Rejections {
			if !r.Faulty {
				continue // happens between correct replicas too: late, double, out of the window
			}
			if int(r.Peer) != liar {
				n.t.Errorf("honest replica %d blames honest replica %d: %s, %d times", id, r.Peer, r.Reason, r.Count)
			}
			seen[r.Reason] += r.Count
		}
		for _, e := range s.Evidence {
			if int(e.Peer) != liar {
				n.t.Errorf("honest replica %d holds evidence against honest replica %d", id, e.Peer)
			}
			seen["evidence"] += e.Count
		}
	}
	return seen
}

func median(s []uint64) uint64 {
	sorted := slices.Sorted(slices.Values(s))
	return sorted[len(sorted)/2]
}

func maximum(s []uint64) uint64 { return slices.Max(s) }

// TestReasons: a campaign that was not asked for says so. It guards against a campaign that
// tests nothing unseen.
func TestReasons(t *testing.T) {
	if *runLive {
		t.Skip("campaigns are running")
	}
	ran := t.Run("skipped", func(t *testing.T) {
		campaign(t)
		t.Error("a campaign ran without being asked for")
	})
	if !ran {
		t.Fatal(fmt.Sprint("the campaign did not skip: ", ran))
	}
}
