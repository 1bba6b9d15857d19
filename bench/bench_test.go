package bench

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/themis-bft/themis/app/kv"
	"github.com/themis-bft/themis/bench/history"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/client"
	"github.com/themis-bft/themis/config"
)

func options(app string) *Options {
	return &Options{
		Cluster: &config.Cluster{Membership: bft.Membership{App: app, Open: true}}, Clients: 3, Keys: 5,
		Duration: time.Second, Payload: 10,
	}
}

func TestParseMix(t *testing.T) {
	m, err := ParseMix("put=50, get=40,cas=10")
	if err != nil || m != (Mix{Put: 50, Get: 40, CAS: 10}) {
		t.Errorf("%+v, %v", m, err)
	}
	if again, err := ParseMix(m.String()); err != nil || again != m {
		t.Errorf("%q became %+v, %v", m, again, err)
	}
	for _, bad := range []string{"", "put", "put=x", "put=-1", "sing=1", "put=0", "put=1,,"} {
		if m, err := ParseMix(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, m)
		}
	}
}

func TestMixIsKept(t *testing.T) {
	m := Mix{Put: 50, Get: 30, CAS: 15, Del: 5}
	count := map[history.Kind]int{}
	r := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		count[m.draw(r)]++
	}
	for kind, share := range map[history.Kind]int{history.Put: 5000, history.Get: 3000, history.CAS: 1500, history.Del: 500} {
		if n := count[kind]; n < share-250 || n > share+250 {
			t.Errorf("%s came %d times of 10000, want about %d", kind, n, share)
		}
	}
}

// TestValuesAreUnique: a history is worth little if two writes cannot be told apart.
func TestValuesAreUnique(t *testing.T) {
	o := options("kv")
	if err := o.defaults(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for c := range 3 {
		s := newSource(o, c)
		for range 1000 {
			v := s.next().event.Value
			if v == nil || seen[*v] {
				t.Fatalf("client %d made the value %v again", c, v)
			}
			seen[*v] = true
		}
	}
}

// TestOwnKeysHaveOneWriter keeps what history.Audit assumes.
func TestOwnKeysHaveOneWriter(t *testing.T) {
	o := options("kv")
	o.Own, o.Mix = 2, Mix{Put: 1, CAS: 1, Del: 1, Get: 1}
	if err := o.defaults(); err != nil {
		t.Fatal(err)
	}
	writer := map[string]int{}
	for c := range 3 {
		s := newSource(o, c)
		for range 500 {
			e := s.next().event
			if e.Op == history.Get || len(e.Key) < 10 || e.Key[:10] != "bench/own/" {
				continue
			}
			if w, there := writer[e.Key]; e.Op != history.Put || there && w != c {
				t.Fatalf("client %d writes %q by %s", c, e.Key, e.Op)
			}
			writer[e.Key] = c
		}
	}
	if len(writer) != 6 {
		t.Errorf("%d own keys were written, want 6", len(writer))
	}
}

func TestOutcomes(t *testing.T) {
	o := options("kv")
	if err := o.defaults(); err != nil {
		t.Fatal(err)
	}
	mismatch := []byte{byte(kv.Mismatch), 1, 1, 0, 0, 0, 'x'}
	for _, c := range []struct {
		name   string
		op     history.Kind
		result []byte
		err    error
		want   history.Outcome
		good   bool
	}{
		{"done", history.Put, []byte{byte(kv.Done)}, nil, history.OK, true},
		{"found", history.Get, []byte{byte(kv.Found), 1, 0, 0, 0, 'x'}, nil, history.OK, true},
		{"missing", history.Get, []byte{byte(kv.Missing)}, nil, history.OK, true},
		{"mismatch", history.CAS, mismatch, nil, history.Fail, true},
		{"full", history.Put, []byte{byte(kv.Full)}, nil, history.Fail, false},
		{"never sent", history.Put, nil, client.ErrNoQuorum, history.Fail, false},
		{"busy", history.Put, nil, client.ErrBusy, history.Fail, false},
		{"sent and lost", history.Put, nil, client.ErrOutcomeUnknown, history.Unknown, false},
		{"executed, result gone", history.Put, nil, client.ErrResultDropped, history.Unknown, false},
		{"anything else", history.Put, nil, errors.New("x"), history.Unknown, false},
	} {
		v := "v"
		task := task{event: history.Event{Op: c.op, Key: "k", Value: &v}}
		good := newSource(o, 0).finish(&task, c.result, c.err)
		if good != c.good || task.event.Outcome != c.want {
			t.Errorf("%s: %t, %s, want %t, %s", c.name, good, task.event.Outcome, c.good, c.want)
		}
	}
}

// TestBook: the closed loop counts what ends in the measurement, the open loop takes the
// latency of what arrives in it, however late the answer.
func TestBook(t *testing.T) {
	type op struct {
		begin, end int // milliseconds; the measurement is from 100 to 200
		good       bool
	}
	ops := []op{
		{10, 50, true},    // before
		{90, 110, true},   // ends inside
		{110, 112, true},  // inside
		{120, 130, false}, // fails inside
		{150, 900, true},  // arrives inside
		{160, 999, false}, // arrives inside, fails later
		{210, 220, true},  // behind
	}
	for _, c := range []struct {
		arrivals       bool
		done, errors   uint64
		count, longest int64
	}{
		{false, 2, 1, 2, 20_000},
		{true, 2, 2, 2, 750_000},
	} {
		b, zero := newBook(c.arrivals), time.Now()
		at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
		for i, o := range ops {
			if i == 1 {
				b.begin(at(100))
			}
			if o.end >= 200 {
				b.end(at(200))
			}
			b.add(at(o.begin), at(o.end), o.good)
		}
		off := b.hist.Max() - c.longest
		if b.done != c.done || b.errors != c.errors || b.hist.TotalCount() != c.count || off < -c.longest/500 || off > c.longest/500 {
			t.Errorf("arrivals = %t: %d answered, %d errors, %d latencies up to %d µs; want %+v", c.arrivals, b.done, b.errors, b.hist.TotalCount(), b.hist.Max(), c)
		}
	}
}

func TestOptionsThatCannotRun(t *testing.T) {
	for name, spoil := range map[string]func(*Options){
		"no clients":       func(o *Options) { o.Clients = 0 },
		"no time":          func(o *Options) { o.Duration = 0 },
		"another app":      func(o *Options) { o.Cluster.Membership.App = "counter" },
		"a mix for bench":  func(o *Options) { o.Cluster.Membership.App, o.Mix = "bench", Mix{Get: 1} },
		"history of bench": func(o *Options) { o.Cluster.Membership.App, o.History = "bench", history.Keep() },
	} {
		o := options("kv")
		if spoil(o); o.defaults() == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// TestAttribution: a replica that came back counts by its present process alone.
func TestAttribution(t *testing.T) {
	r := Report{Requests: 10}
	ms := time.Millisecond
	r.attribute(
		map[int]usage{0: {pid: 5, cpu: 100 * ms}, 1: {pid: 6, cpu: 900 * ms}, 2: {pid: 7, cpu: ms}},
		map[int]usage{0: {pid: 5, cpu: 150 * ms, rss: 1, high: 2}, 1: {pid: 8, cpu: 20 * ms}}, 30*ms)
	want := []ReplicaFigures{{ID: 0, RSS: 1, HWM: 2, CPU: 5000}, {ID: 1, CPU: 2000}}
	if !slices.Equal(r.Replicas, want) || r.ClientCPU != 3000 || r.CPU != 10000 {
		t.Errorf("%+v", r)
	}
}
