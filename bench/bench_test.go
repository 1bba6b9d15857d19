package bench

import (
	"errors"
	"math/rand/v2"
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

// TestBookCountsTheWindowOnly: warm-up and what began in it stay out of the figures.
func TestBookCountsTheWindowOnly(t *testing.T) {
	b, now := newBook(), time.Now()
	b.add(now, now.Add(time.Second), true)
	b.begin(now)
	b.add(now.Add(-time.Millisecond), now.Add(time.Second), true)
	b.add(now.Add(time.Millisecond), now.Add(3*time.Millisecond), true)
	b.add(now.Add(time.Millisecond), now.Add(time.Hour), false)
	b.end()
	b.add(now.Add(time.Millisecond), now.Add(3*time.Millisecond), true)
	if n := b.hist.TotalCount(); n != 1 || b.errors != 1 || b.hist.Max() < 1990 || b.hist.Max() > 2010 {
		t.Errorf("%d counted, %d errors, longest %d µs; want 1, 1 and 2000", n, b.errors, b.hist.Max())
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
