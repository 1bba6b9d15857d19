package live

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/themis-bft/themis/bench/history"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/faultproxy"
	"github.com/themis-bft/themis/keys"
)

// progressAfter is how long after the last fault the next answer may take: the doubling of timeouts
// may have reached its end, which is patience_max.
const progressAfter = time.Minute

// keyring knows the keys of a campaign's clients, so that proxies can stand in for them.
type keyring struct {
	mu  sync.Mutex
	all map[string]*keys.Key
}

func (k *keyring) add(key *keys.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.all == nil {
		k.all = map[string]*keys.Key{}
	}
	k.all[string(key.PublicDER())] = key
}

func (k *keyring) find(der []byte) (*keys.Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key := k.all[string(der)]; key != nil {
		return key, nil
	}
	return nil, errors.New("a client of no campaign")
}

// behind puts proxies on all links of a cluster that does not run yet. They end with the test.
func (n *nodes) behind(p faultproxy.Plan) *faultproxy.Mesh {
	n.t.Helper()
	p.Dir, p.Clients = n.Dir, true
	if p.Frames {
		p.ClientKeys = n.clientKeys.find
	}
	m, err := faultproxy.NewMesh(p)
	must(n.t, err)
	n.t.Cleanup(m.Close)
	n.dialled = m.Public()
	return m
}

// TestWeather runs the workload in bad weather, first with proxies that see frames and then with
// proxies that see bytes, and looks at what is left when it clears up.
func TestWeather(t *testing.T) {
	r := campaign(t)
	total := lasting(time.Minute) / 2
	for _, frames := range []bool{true, false} {
		t.Run(map[bool]string{true: "frames", false: "bytes"}[frames], func(t *testing.T) { weather(t, r, total, frames) })
	}
}

func weather(t *testing.T, r *rand.Rand, total time.Duration, frames bool) {
	n := lay(t, 4, "kv")
	m := n.behind(faultproxy.Plan{Seed: *seed, Frames: frames})
	liar := r.IntN(n.n())
	schedule := faultproxy.Draw(faultproxy.Climate{
		Links: m.Links(), Total: total, Seed: r.Uint64(), Opaque: !frames, Liar: bft.ReplicaID(liar).String(),
	})
	if *scheduled != "" {
		text, err := os.ReadFile(*scheduled)
		must(t, err)
		schedule, err = faultproxy.ParseSchedule(string(text))
		must(t, err)
	}
	if len(schedule) == 0 {
		t.Fatalf("no fault was drawn for %s: raise -for", total)
	}
	t.Cleanup(func() {
		if t.Failed() {
			n.save("schedule.txt", []byte(schedule.String()))
		}
	})
	n.up()
	l := startLoad(t, n, r)
	l.progress(100)
	before := l.answers.Load()
	if err := schedule.Run(context.Background(), m, nil); err != nil {
		t.Fatal(err)
	}
	during := l.answers.Load() - before
	at := history.Now()
	after := l.next(at)
	if after > progressAfter {
		t.Errorf("the next answer took %s after the weather cleared up", after)
	}
	l.progress(100)
	replayed := replayAll(t, m)
	l.progress(100)
	var back spread
	for id := range n.n() {
		back = append(back, n.caughtUp(id, time.Minute))
	}
	view, _ := n.view()
	v := l.judge()
	n.agree(time.Minute)
	blamed := map[string]uint64{}
	if frames {
		blamed = n.detected(liar, v.deviations)
	} else {
		blamed = n.detected(-1, v.deviations) // flipped bytes never arrive as anybody's words
	}
	stats := m.Stats()
	if stats.Connections < 12 || during == 0 && stats.Units == 0 {
		t.Errorf("the proxies saw %d connections and %d units: the campaign tested too little", stats.Connections, stats.Units)
	}
	if replayed == 0 {
		t.Error("no stream was replayed")
	}
	f := figures{
		"faults": len(schedule), "seconds": total.Seconds(), "during": during, "after_ms": ms(after), "view": view,
		"view_changes": n.viewChanges(), "counted": stats.Faults, "connections": stats.Connections, "units": stats.Units, "bytes": stats.Bytes, "detected": blamed, "replayed_bytes": replayed,
	}
	back.put(f, "caught_up")
	v.put(f)
	f.print(t, "%d faults on %d links in %s, then clear: %d answers meanwhile, the next %s after the end; %d connections, %d units, %s; %d bytes of old streams replayed; view %d, view changes %v, detected %v, caught up %s; %s",
		len(schedule), len(m.Links()), total, during, round(after), stats.Connections, stats.Units, fmt.Sprint(stats.Faults), replayed, view, n.viewChanges(), blamed, back, &v)
}

// replayTime is how long a replayed stream may keep its connection.
const replayTime = 500 * time.Millisecond

// replayAll sends what was recorded on each link to its target once more, all at the same time, and
// returns how many bytes were taken. Where the proxy holds no keys nothing of it may have an effect;
// where it does they are old messages of their sender, and its link has to come back.
func replayAll(t *testing.T, m *faultproxy.Mesh) (bytes int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), replayTime)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, link := range m.Links() {
		all.Go(func() {
			sent, _, err := m.Proxy(link).Replay(ctx)
			mu.Lock()
			defer mu.Unlock()
			if bytes += sent; err != nil && sent == 0 && ctx.Err() == nil {
				t.Logf("replaying %s: %v", link, err)
			}
		})
	}
	all.Wait()
	return bytes
}
