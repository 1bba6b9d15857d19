package kv

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/app/apptest"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/alloctest"
)

func TestConformance(t *testing.T) {
	apptest.Run(t, func() app.Machine { return New() }, randomOp)
}

func randomOp(r *rand.Rand) []byte {
	key := fmt.Appendf(nil, "key-%d", r.IntN(40))
	value := bytes.Repeat([]byte{byte(r.IntN(256))}, r.IntN(60))
	switch r.IntN(7) {
	case 0:
		return Get(key)
	case 1:
		return Delete(key)
	case 2:
		return CAS(key, nil, value)
	case 3:
		return CAS(key, value, []byte("new"))
	case 4:
		return ScanPrefix([]byte("key-"), key, r.IntN(20))
	default:
		return Put(key, value)
	}
}

func run(t testing.TB, s *Store, op []byte) Result {
	t.Helper()
	b, ready := s.Execute(app.Call{}, op).Bytes()
	r, err := ParseResult(b)
	if err != nil || !ready {
		t.Fatalf("operation %.40x is answered with %.40x: %v", op, b, err)
	}
	return r
}

// TestAgainstMap compares the store with a plain map under random operations.
func TestAgainstMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s, model := New(), map[string]string{}
		key := rapid.StringOfN(rapid.RuneFrom([]rune("abc")), 0, 3, -1)
		value := rapid.StringOfN(rapid.RuneFrom([]rune("xyz")), 0, 2, -1)
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			step(t, rt, s, model, key.Draw(rt, "key"), value.Draw(rt, "value"), value.Draw(rt, "old"))
		}
	})
}

func step(t *testing.T, rt *rapid.T, s *Store, model map[string]string, k, v, old string) {
	have, there := model[k]
	expect := func(r Result, c Code) {
		if r.Code != c {
			rt.Fatalf("key %q: %v, want %v", k, r.Code, c)
		}
	}
	switch rapid.IntRange(0, 5).Draw(rt, "kind") {
	case 0:
		r := run(t, s, Get([]byte(k)))
		if there != (r.Code == Found) || string(r.Value) != have {
			rt.Fatalf("get %q: %v %q, want %q", k, r.Code, r.Value, have)
		}
	case 1:
		expect(run(t, s, Put([]byte(k), []byte(v))), Done)
		model[k] = v
	case 2:
		want := Missing
		if there {
			want = Done
		}
		expect(run(t, s, Delete([]byte(k))), want)
		delete(model, k)
	case 3:
		r := run(t, s, CAS([]byte(k), []byte(old), []byte(v)))
		if there && have == old {
			expect(r, Done)
			model[k] = v
		} else if r.Code != Mismatch || r.Present != there || string(r.Value) != have {
			rt.Fatalf("cas %q: %+v, the value is %q (%v)", k, r, have, there)
		}
	case 4:
		r := run(t, s, CAS([]byte(k), nil, []byte(v)))
		if there {
			expect(r, Mismatch)
		} else {
			expect(r, Done)
			model[k] = v
		}
	case 5:
		checkScan(t, rt, s, model, k, v, rapid.IntRange(0, 6).Draw(rt, "limit"))
	}
}

func checkScan(t *testing.T, rt *rapid.T, s *Store, model map[string]string, from, prefix string, limit int) {
	prefix = strings.NewReplacer("x", "a", "y", "b", "z", "c").Replace(prefix)
	var want []string
	for _, k := range slices.Sorted(maps.Keys(model)) {
		if k >= from && strings.HasPrefix(k, prefix) {
			want = append(want, k+"="+model[k])
		}
	}
	more := len(want) > limit
	want = want[:min(limit, len(want))]
	r := run(t, s, ScanPrefix([]byte(prefix), []byte(from), limit))
	var got []string
	for _, e := range r.Entries {
		got = append(got, string(e.Key)+"="+string(e.Value))
	}
	if !slices.Equal(got, want) || r.More != more {
		rt.Fatalf("scan %q from %q limit %d: %q more %v; want %q more %v", prefix, from, limit, got, r.More, want, more)
	}
}

// TestStateForgetsHistory: the pages depend on the content, not on how it came about.
func TestStateForgetsHistory(t *testing.T) {
	a, b := New(), New()
	for i := range 500 {
		run(t, a, Put(fmt.Appendf(nil, "k%d", i), []byte("v")))
		run(t, b, Put(fmt.Appendf(nil, "k%d", 499-i), []byte("w")))
		run(t, b, Put(fmt.Appendf(nil, "gone%d", i), nil))
	}
	for i := range 500 {
		run(t, b, Put(fmt.Appendf(nil, "k%d", i), []byte("v")))
		run(t, b, Delete(fmt.Appendf(nil, "gone%d", i)))
	}
	x, y := a.Snapshot(), b.Snapshot()
	for i := range Pages {
		if x.Digest(i) != y.Digest(i) {
			t.Fatalf("page %d differs", i)
		}
	}
}

// TestDigestFollowsChange: cached digests of an unshared page are not used after a change.
func TestDigestFollowsChange(t *testing.T) {
	s := New()
	at := pageOf([]byte("k"))
	seen := map[bft.Digest]bool{}
	for i := range 3 {
		run(t, s, Put([]byte("k"), []byte{byte(i)}))
		seen[s.Snapshot().Digest(at)] = true
	}
	if len(seen) != 3 {
		t.Fatalf("three states have %d digests", len(seen))
	}
}

func TestLimits(t *testing.T) {
	s := New()
	long := bytes.Repeat([]byte("x"), ValueBytesMax+1)
	for name, c := range map[string]struct {
		op   []byte
		want Code
	}{
		"value":      {Put([]byte("k"), long), TooLarge},
		"most value": {Put([]byte("k"), long[1:]), Done},
		"key":        {Put(long[:KeyBytesMax+1], nil), TooLarge},
		"most key":   {Put(long[:KeyBytesMax], nil), Done},
		"cas old":    {CAS([]byte("k"), long, nil), TooLarge},
		"most cas":   {CAS(long[:KeyBytesMax], long[1:], long[1:]), Mismatch},
		"empty":      {nil, Malformed},
		"trailing":   {append(Get([]byte("k")), 0), Malformed},
		"unknown":    {[]byte{99}, Malformed},
	} {
		if len(c.op) > bft.OpBytesMax {
			t.Errorf("%s: the operation has %d bytes", name, len(c.op))
		}
		if got := run(t, New(), c.op).Code; got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if got := code(Malformed); !bytes.Equal(s.Query(Put([]byte("k"), nil)), got) {
		t.Error("a query changed the state")
	}
}

// TestFullPage fills one page: what does not fit changes nothing, and room comes back.
func TestFullPage(t *testing.T) {
	s := New()
	target := pageOf([]byte("k"))
	value := bytes.Repeat([]byte("v"), ValueBytesMax)
	var keys [][]byte
	for i := 0; ; i++ {
		key := fmt.Appendf(nil, "%d", i)
		if pageOf(key) != target {
			continue
		}
		r := run(t, s, Put(key, value))
		if r.Code == Full {
			if n := len(s.Snapshot().Page(target)); n > PageBytesMax+pageHeaderBytes || n < PageBytesMax-ValueBytesMax-100 {
				t.Fatalf("a full page has %d bytes", n)
			}
			if run(t, s, Get(key)).Code != Missing {
				t.Fatal("what did not fit is there")
			}
			run(t, s, Delete(keys[0]))
			if c := run(t, s, Put(key, value)).Code; c != Done {
				t.Fatalf("after a deletion: %v", c)
			}
			return
		}
		keys = append(keys, key)
	}
}

// TestScanFitsResult: a scan over large values ends before the result is too large, and says so.
func TestScanFitsResult(t *testing.T) {
	s := New()
	for i := range 10 {
		run(t, s, Put(fmt.Appendf(nil, "k%d", i), bytes.Repeat([]byte("v"), ValueBytesMax)))
	}
	b, _ := s.Execute(app.Call{}, Scan(nil, 10)).Bytes()
	r, err := ParseResult(b)
	if err != nil || len(b) > bft.ResultBytesMax || len(r.Entries) != 2 || !r.More {
		t.Fatalf("%d bytes, %d entries, more %v, %v", len(b), len(r.Entries), r.More, err)
	}
}

// TestRestoreRefuses holds Restore against pages that are well formed and wrong.
func TestRestoreRefuses(t *testing.T) {
	good := func() [][]byte {
		s := New()
		run(t, s, Put([]byte("a"), []byte("1")))
		shot := s.Snapshot()
		list := make([][]byte, Pages)
		for i := range list {
			list[i] = shot.Page(i)
		}
		return list
	}
	at := pageOf([]byte("a"))
	one := good()[at]
	for name, change := range map[string]func([][]byte){
		"wrong page":   func(p [][]byte) { p[at], p[(at+1)%Pages] = p[(at+1)%Pages], p[at] },
		"twice":        func(p [][]byte) { p[at] = slices.Concat([]byte{2, 0, 0, 0}, one[4:], one[4:]) },
		"count beyond": func(p [][]byte) { p[at] = []byte{255, 255, 255, 255} },
	} {
		pages := good()
		change(pages)
		s := New()
		if s.Restore(pages) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		f.Add(randomOp(r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := New()
		run(t, s, Put([]byte("key-1"), []byte("v")))
		run(t, s, b)
		alloctest.Reader(t, len(b), bft.OpBytesMax, func() {
			_, _ = ParseOp(b)
			_, _ = ParseResult(b)
		})
		if op, err := ParseOp(b); err == nil && op.Kind == KindPut && !bytes.Equal(Put(op.Key, op.Value), b) {
			t.Fatalf("%x is not canonical", b)
		}
	})
}
