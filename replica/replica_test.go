package replica_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/replica"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/storage/disk"
	"github.com/themis-bft/themis/transport/tcp"
	"github.com/themis-bft/themis/wire"
)

// TestOrdersRequests: a healthy cluster stays in its view. A machine that stalls may change it,
// and then another cluster is tried; a defect changes it in all of them.
func TestOrdersRequests(t *testing.T) {
	const rounds = 10
	for round := range rounds {
		stayed := false
		t.Run(fmt.Sprint("round ", round), func(t *testing.T) { stayed = ordersRequests(t) })
		if stayed || t.Failed() {
			return
		}
	}
	t.Errorf("the view changed in each of %d clusters", rounds)
}

// ordersRequests returns false if the view changed where an operation took so long that the
// machine may be to blame.
func ordersRequests(t *testing.T) (stayed bool) {
	c := newCluster(t, 4, 1)
	c.startAll()
	begin := time.Now()
	cl := c.client()
	slowest := time.Since(begin)
	for i := uint64(1); i <= 200; i++ {
		begin := time.Now()
		if got := add(t, cl, 1); got != i {
			t.Fatalf("sum %d after %d operations", got, i)
		}
		slowest = max(slowest, time.Since(begin))
	}
	s := c.status(0)
	stayed = s.View == 0 && s.Active && s.ViewChanges["silence"] == 0
	if !stayed && slowest < 200*time.Millisecond { // half of what the replicas wait
		t.Errorf("view %d, active %t, view changes %v in a healthy cluster", s.View, s.Active, s.ViewChanges)
	}
	eventually(t, "all replicas have executed and made a checkpoint stable and durable", func() bool {
		for i := range c.replicas {
			if s := c.status(i); s.Executed < 200 || s.Stable < 192 || s.Snapshot == 0 {
				return false
			}
		}
		return true
	})
	for i := range c.replicas {
		for _, r := range c.status(i).Rejections {
			if r.Faulty {
				t.Errorf("replica %d rejected %d messages of %d as %s", i, r.Count, r.Peer, r.Reason)
			}
		}
	}
	return stayed
}

func TestPrimaryDies(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.startAll()
	cl := c.client()
	for i := uint64(1); i <= 50; i++ {
		add(t, cl, 1)
	}
	c.kill(0)
	for i := uint64(51); i <= 120; i++ {
		if got := add(t, cl, 1); got != i {
			t.Fatalf("sum %d after %d operations", got, i)
		}
	}
	if s := c.status(1); s.View == 0 {
		t.Error("no view change although the primary is dead")
	}
	c.start(0)
	eventually(t, "the dead replica comes back and catches up", func() bool {
		s, o := c.status(0), c.status(1)
		return s.Active && s.View == o.View && s.Executed >= 120
	})
	for i := uint64(121); i <= 200; i++ {
		if got := add(t, cl, 1); got != i {
			t.Fatalf("sum %d after %d operations", got, i)
		}
	}
}

func TestAllCrashKeepsWhatWasAcknowledged(t *testing.T) {
	for _, unsynced := range []bool{false, true} {
		c := newCluster(t, 4, 1)
		c.unsynced = unsynced
		c.startAll()
		cl := c.client()
		want := uint64(0)
		for round := range 3 {
			for range 37 + 20*round {
				want++
				if got := add(t, cl, 1); got != want {
					t.Fatalf("sum %d after %d operations", got, want)
				}
			}
			for i := range c.replicas {
				c.kill(i)
			}
			for _, i := range []int{2, 0, 3, 1} {
				c.start(i)
			}
		}
		if got := add(t, c.client(), 0); got != want {
			t.Fatalf("sum %d after restart, %d was acknowledged", got, want)
		}
	}
}

func TestManyClients(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.startAll()
	const clients, each = 20, 50
	done := make(chan struct{})
	for range clients {
		cl := c.client()
		go func() {
			defer func() { done <- struct{}{} }()
			for range each {
				add(t, cl, 1)
			}
		}()
	}
	for range clients {
		<-done
	}
	if got := add(t, c.client(), 0); got != clients*each {
		t.Fatalf("sum %d of %d", got, clients*each)
	}
}

func TestAdminEndpoint(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.start(0)
	if code, _ := c.get(0, "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("a lonely replica says %d to /readyz", code)
	}
	c.start(1, 2, 3)
	add(t, c.client(), 1)
	eventually(t, "ready", func() bool { code, _ := c.get(0, "/readyz"); return code == http.StatusOK })
	if code, _ := c.get(0, "/livez"); code != http.StatusOK {
		t.Errorf("/livez says %d", code)
	}
	_, body := c.get(0, "/statusz")
	var fields map[string]any
	must(t, json.Unmarshal([]byte(body), &fields))
	for _, name := range []string{
		"replica", "pid", "version", "view", "primary", "active", "ready", "executed", "stable", "state_digest",
		"window", "queues", "view_changes", "rejections", "memory", "goroutines", "links", "missing", "waiting", "durability",
	} {
		if _, ok := fields[name]; !ok {
			t.Errorf("/statusz lacks %q", name)
		}
	}
	_, body = c.get(0, "/metrics")
	for _, name := range []string{"themis_view ", "themis_executed_slot ", `themis_received_frames_total{from="client"} `, "themis_log_sync_seconds_count ", "themis_memory_rss_bytes "} {
		if !strings.Contains(body, "\n"+name) && !strings.HasPrefix(body, name) {
			t.Errorf("/metrics lacks %q", name)
		}
	}
	if code, _ := c.get(0, "/debug/pprof/goroutine"); code != http.StatusOK {
		t.Errorf("pprof says %d", code)
	}
	q, err := http.NewRequest(http.MethodGet, "http://"+c.replicas[0].Addr()+"/statusz", nil)
	must(t, err)
	q.Host = "themis.example"
	a, err := http.DefaultClient.Do(q)
	must(t, err)
	must(t, a.Body.Close())
	http.DefaultClient.CloseIdleConnections()
	if a.StatusCode != http.StatusForbidden {
		t.Errorf("a request for another host is answered with %d", a.StatusCode)
	}
}

func TestAdminIsOnLoopback(t *testing.T) {
	c := newCluster(t, 4, 1)
	o := c.options(0)
	o.Admin = "0.0.0.0:0"
	if r, err := replica.Start(o); err == nil {
		r.Kill()
		t.Fatal("the admin endpoint listens on every interface")
	}
}

func TestEmptyDirectoryIsRefused(t *testing.T) {
	c := newCluster(t, 4, 1)
	o := c.options(0)
	var err error
	o.Files, err = disk.Open(t.TempDir())
	must(t, err)
	_, err = replica.Start(o)
	if !errors.Is(err, storage.ErrEmpty) || !strings.Contains(err.Error(), "--init") {
		t.Fatalf("an empty directory: %v", err)
	}
	files, err := disk.Open(c.path(1))
	must(t, err)
	o.Files = files
	if _, err = replica.Start(o); !errors.Is(err, storage.ErrOwner) {
		t.Fatalf("the directory of another: %v", err)
	}
	if err := replica.Init(files, c.m, bft.ReplicaID(1)); err == nil {
		t.Fatal("a directory was initialised twice")
	}
}

// TestFarBehind: a replica that missed more than a window fetches the state, and votes again.
func TestFarBehind(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.startAll()
	cl := c.client()
	add(t, cl, 1)
	c.kill(2)
	want := uint64(1)
	for range 200 {
		want++
		if got := add(t, cl, 1); got != want {
			t.Fatalf("sum %d after %d operations", got, want)
		}
	}
	c.start(2)
	eventually(t, "the replica fetches a state and follows", func() bool {
		add(t, cl, 0)
		s := c.status(2)
		return s.CatchUp.Completed > 0 && s.Executed > 200
	})
	c.kill(3) // now the votes of the replica that was behind are needed
	if got := add(t, cl, 0); got != want {
		t.Fatalf("sum %d after %d operations", got, want)
	}
	c.kill(2)
	c.start(2, 3)
	if got := add(t, cl, 0); got != want {
		t.Fatalf("sum %d after a restart on the fetched state, want %d", got, want)
	}
}

// TestSevenReplicas: the cluster lives with two dead of seven.
func TestSevenReplicas(t *testing.T) {
	c := newCluster(t, 7, 2)
	c.startAll()
	cl := c.client()
	for i := uint64(1); i <= 30; i++ {
		if i == 15 {
			c.kill(0)
			c.kill(5)
		}
		if got := add(t, cl, 1); got != i {
			t.Fatalf("sum %d after %d operations", got, i)
		}
	}
}

// TestMalformedFramesEndTheLink: who sends what no correct client sends is counted and cut off,
// and nobody else notices.
func TestMalformedFramesEndTheLink(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.startAll()
	cl := c.client()
	key, err := keys.Generate("ed25519")
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	forged := wire.Request{
		Client: key.ClientID(), Flags: wire.FlagOpen, First: 1, Answer: bft.AllReplicas(4), Ops: [][]byte{nil}, Sig: make([]byte, 64),
	}
	for reason, frame := range map[string][]byte{
		"malformed":     wire.AppendFrame(nil, wire.KindRequest, []byte("this is no request")),
		"unknown-kind":  wire.AppendFrame(nil, wire.KindReply, []byte("nor is this")),
		"bad-signature": wire.AppendFrame(nil, wire.KindRequest, forged.Append(nil)),
	} {
		conn, err := tcp.DialClient(ctx, c.clients[0], keys.ClientConfig(key, c.m.Replicas[0].Key), tcp.HelloOf(c.m))
		must(t, err)
		limit := time.AfterFunc(patient, func() { conn.Close() })
		must(t, conn.WriteFrames(frame))
		if _, err := conn.ReadFrame(); err == nil {
			t.Errorf("%s: answered", reason)
		}
		if !limit.Stop() {
			t.Fatalf("%s: the link is not cut off", reason)
		}
		must(t, conn.Close())
		if n := c.status(0).ClientRejections[reason]; n != 1 {
			t.Errorf("%s: counted %d times", reason, n)
		}
	}
	if got := add(t, cl, 1); got != 1 {
		t.Errorf("sum %d after one operation", got)
	}
}
