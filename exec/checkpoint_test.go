package exec

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/catchup"
	"github.com/themis-bft/themis/internal/alloctest"
)

// checkpoint takes the only checkpoint announced since the last call.
func (f *fixture) checkpoint() *Checkpoint {
	f.t.Helper()
	if len(f.out.Checkpoints) != 1 {
		f.t.Fatalf("%d checkpoints are announced, want 1", len(f.out.Checkpoints))
	}
	c := f.out.Checkpoints[0]
	f.out.Checkpoints = nil
	return c
}

// toCheckpoint executes empty slots up to the next checkpoint.
func (f *fixture) toCheckpoint() *Checkpoint {
	f.t.Helper()
	f.out.Checkpoints = nil
	for f.slot(); f.e.Executed()%4 != 0; f.slot() {
	}
	return f.checkpoint()
}

func copyState(h catchup.Held) *catchup.State {
	s := catchup.StateOf(h)
	s.Manifest = bytes.Clone(s.Manifest)
	for i := range s.Pages {
		s.Pages[i] = bytes.Clone(s.Pages[i])
	}
	return s
}

func TestCheckpointIsConsistent(t *testing.T) {
	f := newFixture(t, 64)
	var genesis catchup.Held = f.e.Genesis()
	for i := range 40 {
		f.open(i)
	}
	for _, h := range []catchup.Held{genesis, f.out.Checkpoints[len(f.out.Checkpoints)-1]} {
		m, err := catchup.ParseManifest(h.Manifest())
		if err != nil || m.Pages() != h.Pages() || m.Seq != h.Seq() || catchup.ManifestDigest(h.Manifest()) != h.Digest() {
			t.Fatalf("slot %d: %v, %+v", h.Seq(), err, m)
		}
		for i := range h.Pages() {
			if h.PageDigest(i) != m.Page(i) || catchup.PageDigest(h.Page(i)) != m.Page(i) {
				t.Fatalf("slot %d: digest of page %d", h.Seq(), i)
			}
		}
	}
	if n := len(f.out.Checkpoints); n != 10 {
		t.Fatalf("%d checkpoints in 40 slots, one every 4", n)
	}
}

// TestCheckpointCovers: whatever may make replicas answer differently later is in the digest.
func TestCheckpointCovers(t *testing.T) {
	run := func(change func(f *fixture, s uint64)) bft.Digest {
		f := newFixture(t, 8)
		s := f.open(1)
		change(f, s)
		return f.toCheckpoint().Digest()
	}
	seen := map[bft.Digest]string{}
	for name, change := range map[string]func(f *fixture, s uint64){
		"nothing":       func(*fixture, uint64) {},
		"operation":     func(f *fixture, s uint64) { f.slot(opReq(1, s, 0, 0, "x")) },
		"other number":  func(f *fixture, s uint64) { f.slot(opReq(1, s, 1, 0, "x")) },
		"done":          func(f *fixture, s uint64) { f.slot(opReq(1, s, 1, 1, "x")) },
		"other session": func(f *fixture, _ uint64) { f.slot(openReq(2, 1)) },
		"other nonce":   func(f *fixture, _ uint64) { f.slot(openReq(2, 2)) },
		"clock":         func(f *fixture, s uint64) { f.slotAt(9, opReq(1, s, 0, 0, "x")) },
		"closed only":   func(f *fixture, s uint64) { f.slotAt(3, opReq(1, s+1, 0, 0, "x")) },
		"cached reply": func(f *fixture, s uint64) {
			f.app.reply = func([]byte) []byte { return []byte("other") }
			f.slot(opReq(1, s, 0, 0, "x"))
		},
	} {
		d := run(change)
		if other, twice := seen[d]; twice {
			t.Errorf("%q and %q have the same checkpoint", name, other)
		}
		seen[d] = name
	}
	if d := run(func(*fixture, uint64) {}); seen[d] != "nothing" {
		t.Error("the same operations have two checkpoints")
	}
}

func TestInstallContinuesAlike(t *testing.T) {
	a, b := newFixture(t, 4), newFixture(t, 4)
	s := a.open(1)
	u := a.open(101)
	r := opReq(1, s, 0, 0, "x", "y")
	a.slotAt(77, r)
	c := a.toCheckpoint()
	b.slot()
	got, err := b.e.Install(copyState(c), false)
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest() != c.Digest() || got.Seq() != c.Seq() || b.e.Executed() != 4 || b.e.Time() != 77 || b.e.Sessions() != 2 {
		t.Fatalf("installed %s at %d, time %d", got.Digest(), b.e.Executed(), b.e.Time())
	}
	for _, f := range []*fixture{a, b} {
		f.want(f.slot(r), "0=1:x", "1=2:y")
		f.want(f.slot(opReq(101, u, 0, 0, "z")), "0=3:z")
	}
	for i := range 3 { // the order of eviction is restored, too
		nonce := uint64(500 + i)
		ra, rb := a.slot(openReq(102+i, nonce)), b.slot(openReq(102+i, nonce))
		if fmt.Sprint(ra) != fmt.Sprint(rb) {
			t.Fatalf("OPEN is answered %v and %v", ra, rb)
		}
	}
	if da, db := a.toCheckpoint().Digest(), b.toCheckpoint().Digest(); da != db {
		t.Fatalf("checkpoints %s and %s", da, db)
	}
}

func TestInstallRefuses(t *testing.T) {
	a := newFixture(t, 8)
	a.open(1)
	good := a.toCheckpoint()
	for name, c := range map[string]struct {
		change func(s *catchup.State)
		want   error
	}{
		"manifest":      {func(s *catchup.State) { s.Manifest[9]++ }, ErrState},
		"app page":      {func(s *catchup.State) { s.Pages[0] = []byte{1, 0, 0, 0, 'x'} }, ErrState},
		"session page":  {func(s *catchup.State) { s.Pages[1][0] ^= 1 }, ErrState},
		"page missing":  {func(s *catchup.State) { s.Pages = s.Pages[:1] }, ErrState},
		"other slot":    {func(s *catchup.State) { s.Seq++ }, ErrState},
		"other digest":  {func(s *catchup.State) { s.Digest[0]++ }, ErrState},
		"configuration": {func(s *catchup.State) { reseal(t, s, func(m *catchup.Manifest) { m.Membership[0]++ }) }, ErrConfiguration},
	} {
		b := newFixture(t, 8)
		s := copyState(good)
		c.change(s)
		if _, err := b.e.Install(s, false); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if b.e.Executed() != 0 || b.e.Sessions() != 0 {
			t.Errorf("%s: changed something", name)
		}
	}
}

func reseal(t *testing.T, s *catchup.State, change func(*catchup.Manifest)) {
	m, err := catchup.ParseManifest(s.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	change(&m)
	s.Manifest = catchup.AppendManifest(nil, &m)
	s.Digest = catchup.ManifestDigest(s.Manifest)
}

func TestInstallOnlyForward(t *testing.T) {
	a := newFixture(t, 8)
	a.open(1)
	c := a.toCheckpoint()
	genesisOf := newFixture(t, 8).e.Genesis()
	for _, old := range []*Checkpoint{c, genesisOf} {
		if _, err := a.e.Install(copyState(old), false); !errors.Is(err, ErrNotNewer) {
			t.Fatalf("slot %d over %d: %v", old.Seq(), a.e.Executed(), err)
		}
	}
	if _, err := a.e.Install(copyState(genesisOf), true); err != nil || a.e.Executed() != 0 || a.e.Sessions() != 0 {
		t.Fatalf("forced: %v, slot %d", err, a.e.Executed())
	}
}

func TestInterestSurvivesInstall(t *testing.T) {
	a, b := newFixture(t, 8), newFixture(t, 8)
	s := a.open(1)
	r := opReq(1, s, 0, 0, "x")
	r.Answer = bft.SetOf(3)
	if known, _ := b.lookup(r, true); known {
		t.Fatal("a session that was opened elsewhere is known to be closed")
	}
	if _, err := b.e.Install(copyState(a.toCheckpoint()), false); err != nil {
		t.Fatal(err)
	}
	b.want(b.slot(r), "0=1:x")
}

func TestCheckpointIsImmutable(t *testing.T) {
	f := newFixture(t, 8)
	s := f.open(1)
	c := f.toCheckpoint()
	before := copyState(c)
	for i := range uint64(20) {
		f.slot(opReq(1, s, i, i, "x"))
	}
	after := copyState(c)
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Fatal("execution changed a checkpoint")
	}
}

func TestReferences(t *testing.T) {
	f := newFixture(t, 8)
	c := f.toCheckpoint()
	c.Retain().Release()
	c.Release()
	defer func() {
		if recover() == nil {
			t.Fatal("a checkpoint was released too often")
		}
	}()
	c.Release()
}

// TestPagesStayBounded: a page of sessions whose caches are full fits an item.
func TestPagesStayBounded(t *testing.T) {
	f := newFixture(t, 2*sessionsPerPage)
	f.app.reply = func([]byte) []byte { return make([]byte, bft.ResultBytesMax) }
	for i := range 2 * sessionsPerPage {
		s := f.open(i)
		f.slot(opReq(i, s, 0, 0, "1", "2", "3", "4", "5"))
	}
	c := f.out.Checkpoints[len(f.out.Checkpoints)-1]
	if n := c.Pages(); n != 1+2 {
		t.Fatalf("%d pages", n)
	}
	for i := 1; i < c.Pages(); i++ {
		if n := len(c.Page(i)); n > sessionsPerPage*sessionBytesMax || n < sessionsPerPage*bft.SessionReplyBytesMax {
			t.Fatalf("page %d has %d bytes", i, n)
		}
	}
}

// TestResultsAreHeldOnce: what a session caches is part of its page, and the page has no room to spare.
func TestResultsAreHeldOnce(t *testing.T) {
	f := newFixture(t, sessionsPerPage)
	for i := range 5 {
		s := f.open(i)
		f.slot(opReq(i, s, 0, 0, "one", "", "three"))
	}
	f.toCheckpoint()
	p := f.e.table.encoded(0)
	if len(p.bytes) != cap(p.bytes) || len(p.bytes) != pageBytes(f.e.table.placesOf(0)) {
		t.Fatalf("a page of %d bytes has room for %d, %d were reckoned", len(p.bytes), cap(p.bytes), pageBytes(f.e.table.placesOf(0)))
	}
	for _, s := range f.e.table.placesOf(0) {
		if s == nil {
			continue
		}
		for i := range s.replies {
			before := bytes.Clone(s.replies[i].result)
			flip(p.bytes)
			changed := bytes.Clone(s.replies[i].result)
			flip(p.bytes)
			if flip(changed); !bytes.Equal(changed, before) || !bytes.Equal(s.replies[i].result, before) {
				t.Fatalf("place %d: result %d is not a part of the page", s.place, i)
			}
		}
	}
}

func flip(b []byte) {
	for i := range b {
		b[i] = ^b[i]
	}
}

func FuzzSessionPage(f *testing.F) {
	x := newFixture(f, 8)
	s := x.open(1)
	x.slot(opReq(1, s, 3, 1, "a", "b"))
	x.open(101)
	f.Add(x.e.table.encoded(0).bytes)
	f.Fuzz(func(t *testing.T, b []byte) {
		alloctest.Reader(t, len(b), bft.StateItemBytesMax, func() { decodePage(b, 0) })
		sessions, err := decodePage(b, 0)
		if err != nil {
			return
		}
		places := make([]*session, sessionsPerPage)
		for _, s := range sessions {
			places[s.place] = s
		}
		if !bytes.Equal(encodePage(places).bytes, b) {
			t.Fatalf("%x is not canonical", b)
		}
	})
}

// Late responses.

func (f *fixture) answer(i int) {
	f.app.open[i](f.app.answers[i])
	for _, complete := range f.posted {
		complete(&f.out)
	}
	f.posted = nil
}

func TestLateResponses(t *testing.T) {
	f, ready := newFixture(t, 8), newFixture(t, 8)
	f.app.futures = true
	f.open(1)
	s := ready.open(1)
	for _, x := range []*fixture{f, ready} {
		x.slot(opReq(1, s, 0, 0, "a", "b"))
		x.slot()
		x.slot(opReq(1, s, 2, 0, "c"))
		// The session moves on before the checkpoint of slot 4 can be written.
		x.slot(opReq(1, s, 3, 3, "d"))
	}
	if len(f.out.Checkpoints) != 0 || len(f.out.Replies) != 0 {
		t.Fatalf("%d checkpoints and %d replies before any response", len(f.out.Checkpoints), len(f.out.Replies))
	}
	f.want(f.slot(opReq(1, s, 3, 3, "d"))) // a repeat of what is awaited
	f.out.Replies = nil
	for _, i := range []int{2, 1, 3} {
		f.answer(i)
	}
	f.want(f.out.Replies, "2=3:c", "1=2:b", "3=4:d")
	if len(f.out.Checkpoints) != 0 {
		t.Fatal("a checkpoint is announced while a response is awaited")
	}
	f.answer(0)
	if got, want := f.checkpoint().Digest(), ready.checkpoint().Digest(); got != want {
		t.Fatalf("late responses give checkpoint %s, ready ones %s", got, want)
	}
	ready.slot(opReq(1, s, 3, 3, "d"))
	if got, want := f.toCheckpoint().Digest(), ready.toCheckpoint().Digest(); got != want {
		t.Fatalf("afterwards %s and %s", got, want)
	}
	f.want(f.slot(opReq(1, s, 3, 3, "d")), "3=4:d")
}

func TestLateResponseAfterInstall(t *testing.T) {
	f, other := newFixture(t, 8), newFixture(t, 8)
	s := other.open(1)
	other.slot(opReq(1, s, 0, 0, "a"))
	c := other.toCheckpoint()
	f.app.futures = true
	f.open(1)
	f.slot(opReq(1, s, 0, 0, "a"))
	got, err := f.e.Install(copyState(c), false)
	if err != nil {
		t.Fatal(err)
	}
	f.answer(0)
	f.want(f.out.Replies, "0=1:a")
	if got.Digest() != c.Digest() || f.e.open != 0 {
		t.Fatalf("%d responses are open", f.e.open)
	}
	f.app.futures = false
	if a, b := f.toCheckpoint().Digest(), other.toCheckpoint().Digest(); a != b {
		t.Fatalf("checkpoints %s and %s", a, b)
	}
}

func TestLateOversized(t *testing.T) {
	f := newFixture(t, 8)
	s := f.open(1)
	f.app.futures = true
	f.app.reply = func([]byte) []byte { return make([]byte, bft.ResultBytesMax+1) }
	f.slot(opReq(1, s, 0, 0, "x"))
	f.answer(0)
	f.want(f.out.Replies, "0!dropped")
	f.want(f.slot(opReq(1, s, 0, 0, "x")), "0!dropped")
	ready := newFixture(t, 8)
	ready.open(1)
	ready.app.reply = f.app.reply
	ready.slot(opReq(1, s, 0, 0, "x"))
	ready.slot()
	if a, b := f.toCheckpoint().Digest(), ready.toCheckpoint().Digest(); a != b {
		t.Fatalf("checkpoints %s and %s", a, b)
	}
}
