package live

import (
	"context"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/themis-bft/themis/bench/history"
)

// nextCommitMax is the floor that the time to the next commit must not exceed at the median:
// the configured patience and 200 ms for the protocol, times what a shared machine may add.
const nextCommitMax = 5 * time.Second

// TestKillPrimary kills the primary under load again and again and brings it back each time.
func TestKillPrimary(t *testing.T) {
	r := campaign(t)
	n := up(t, 4, "kv")
	l := startLoad(t, n, r)
	var next, back spread
	var changes []int
	for range *kills {
		l.progress(100)
		view, primary := n.view()
		n.bank(primary)
		at := history.Now()
		n.kill(primary)
		next = append(next, l.next(at))
		l.progress(100)
		n.start(primary)
		back = append(back, n.caughtUp(primary, time.Minute))
		after, _ := n.view()
		changes = append(changes, int(after-view))
	}
	l.progress(100)
	causes := n.viewChanges()
	v := l.judge()
	n.agree(time.Minute)
	if len(next) != *kills || v.answered < 200**kills {
		t.Errorf("%d kills, %d answers: the campaign tested too little", len(next), v.answered)
	}
	if next.at(1) > nextCommitMax {
		t.Errorf("the next commit took %s, more than %s", next.at(1), nextCommitMax)
	}
	sum, most := 0, 0
	for _, c := range changes {
		sum, most = sum+c, max(most, c)
	}
	f := figures{
		"kills": *kills, "view_changes": changes, "view_changes_sum": sum, "causes": causes, "alone": n.alone(),
		"patience_ms": ms(n.Replicas[0].Config.Timeouts.Patience),
	}
	next.put(f, "next_commit")
	back.put(f, "caught_up")
	v.put(f)
	f.print(t, "%d kills of the primary: next commit %s (T = %s); %d view changes, at most %d per kill (causes seen by replicas: %v); back and caught up %s; %s",
		*kills, next, n.Replicas[0].Config.Timeouts.Patience, sum, most, causes, back, &v)
}

// TestKillAll kills the whole cluster under load and brings it back in random order.
func TestKillAll(t *testing.T) {
	r := campaign(t)
	n := up(t, 4, "kv")
	l := startLoad(t, n, r)
	var next spread
	for range *rounds {
		l.progress(300)
		pause(context.Background(), time.Duration(r.Int64N(int64(time.Second))))
		must(t, n.killAll())
		at := history.Now()
		for _, id := range r.Perm(n.n()) {
			n.start(id)
			pause(context.Background(), time.Duration(r.Int64N(int64(200*time.Millisecond))))
		}
		next = append(next, l.next(at))
		l.progress(300)
	}
	for id := range n.n() {
		n.caughtUp(id, time.Minute)
	}
	view, _ := n.view()
	v := l.judge()
	n.agree(time.Minute)
	if v.acknowledged < 100**rounds {
		t.Errorf("%d acknowledged writes in %d rounds: the campaign tested too little", v.acknowledged, *rounds)
	}
	f := figures{"rounds": *rounds, "view": view}
	next.put(f, "next_commit")
	v.put(f)
	f.print(t, "%d kills of all replicas, restarted in random order: next commit %s after the kill; view %d; %s", *rounds, next, view, &v)
}

// TestRestartStorm kills, stops, pauses and starts replicas at random; never more than f are
// down at once, but those that come back are not waited for.
func TestRestartStorm(t *testing.T) {
	r := campaign(t)
	n := up(t, 4, "kv")
	l := startLoad(t, n, r)
	counts := map[string]int{}
	for end := time.Now().Add(lasting(time.Minute)); time.Now().Before(end); {
		id, what := r.IntN(n.n()), []string{"kill", "kill", "pause", "stop"}[r.IntN(4)]
		counts[what]++
		n.disturb(r, id, what)
		pause(context.Background(), short(r, time.Second))
	}
	l.progress(100)
	for id := range n.n() {
		n.caughtUp(id, time.Minute)
	}
	view, _ := n.view()
	v := l.judge()
	n.agree(time.Minute)
	f := figures{"disturbances": counts, "view": view, "view_changes": n.viewChanges(), "alone": n.alone()}
	v.put(f)
	f.print(t, "disturbances %v, view %d, longest time without an answer %s; %s", counts, view, round(v.gap), &v)
}

// short is a random time, mostly much shorter than limit.
func short(r *rand.Rand, limit time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(limit)) >> r.IntN(6))
}

// disturb takes a replica out for a while.
func (n *nodes) disturb(r *rand.Rand, id int, how string) {
	n.t.Helper()
	switch how {
	case "pause":
		must(n.t, n.Pause(id))
	case "stop":
		must(n.t, n.signal(id, syscall.SIGTERM))
		eventually(n.t, 20*time.Second, "end of a replica that was told to stop", func() bool { return n.Layout().Replicas[id].PID == nil })
	default:
		n.kill(id)
	}
	pause(context.Background(), short(r, 3*time.Second))
	if how == "pause" {
		must(n.t, n.Resume(id))
		return
	}
	n.start(id)
}

// signal sends a signal to the process of replica id.
func (n *nodes) signal(id int, s syscall.Signal) error {
	pid := n.Layout().Replicas[id].PID
	if pid == nil {
		n.t.Fatalf("replica %d does not run", id)
	}
	return syscall.Kill(*pid, s)
}
