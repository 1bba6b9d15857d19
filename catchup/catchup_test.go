package catchup

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/alloctest"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// checkpoint is a Held whose pages are given.
type checkpoint struct {
	seq      bft.SeqNum
	manifest []byte
	pages    [][]byte
	released int
}

func newCheckpoint(seq bft.SeqNum, pages ...[]byte) *checkpoint {
	m := Manifest{Seq: seq, Time: bft.Time(seq)}
	for i, p := range pages {
		if i < len(pages)/2 {
			m.App = append(m.App, PageDigest(p))
		} else {
			m.Sessions = append(m.Sessions, PageDigest(p))
		}
	}
	return &checkpoint{seq: seq, manifest: AppendManifest(nil, &m), pages: pages}
}

func (c *checkpoint) Seq() bft.SeqNum             { return c.seq }
func (c *checkpoint) Digest() bft.Digest          { return ManifestDigest(c.manifest) }
func (c *checkpoint) Manifest() []byte            { return c.manifest }
func (c *checkpoint) Pages() int                  { return len(c.pages) }
func (c *checkpoint) Page(i int) []byte           { return c.pages[i] }
func (c *checkpoint) PageDigest(i int) bft.Digest { return PageDigest(c.pages[i]) }
func (c *checkpoint) Release()                    { c.released++ }

func (c *checkpoint) target(sources ...bft.ReplicaID) protocol.Target {
	return protocol.Target{Seq: c.seq, Digest: c.Digest(), Sources: bft.SetOf(sources...)}
}

// page is the content of a page: n bytes that depend on id.
func page(id, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(id + i/251 + i*7)
	}
	return b
}

const (
	patience     = 100 * bft.Millisecond
	halfFragment = bft.StateFragmentBytesMax / 2
)

// answerer is how a peer answers; ok is false for silence.
type answerer func(w wire.StateWant) (f wire.StateFragment, ok bool)

// rig is a fetcher, replica 0, with its peers.
type rig struct {
	t       *testing.T
	f       *Fetcher
	now     bft.Duration
	peers   map[bft.ReplicaID]answerer
	out     Output
	done    *State
	rejects map[bft.ReplicaID][]protocol.Reason
	asked   map[bft.ReplicaID]int
	open    int // most that was asked for at once
	local   func(bft.Digest) []byte
}

func newRig(t *testing.T, n int) *rig {
	return &rig{
		t: t, f: NewFetcher(0, n, patience), peers: map[bft.ReplicaID]answerer{},
		rejects: map[bft.ReplicaID][]protocol.Reason{}, asked: map[bft.ReplicaID]int{},
	}
}

// honest answers from a Server that holds these checkpoints.
func honest(held ...*checkpoint) answerer {
	s := NewServer(8)
	for _, h := range held {
		s.Hold(h)
	}
	now := bft.Duration(0)
	return func(w wire.StateWant) (wire.StateFragment, bool) {
		now += bft.Second // the budget has its own test
		f, reason := s.Serve(0, w, now)
		return f, reason == protocol.ReasonNone
	}
}

func silent(wire.StateWant) (wire.StateFragment, bool) { return wire.StateFragment{}, false }

// lying changes what an honest peer would answer.
func lying(a answerer, change func(f *wire.StateFragment)) answerer {
	return func(w wire.StateWant) (wire.StateFragment, bool) {
		f, ok := a(w)
		if len(f.Bytes) == 0 {
			return f, ok // it does not have what was asked for
		}
		f.Bytes = bytes.Clone(f.Bytes)
		change(&f)
		return f, ok
	}
}

func (r *rig) start(t protocol.Target) {
	r.f.Start(t, r.local, r.now, &r.out)
}

// run answers all questions, and lets time pass when nothing is asked, until the state is
// there or the given time has passed.
func (r *rig) run(limit bft.Duration) *State {
	r.t.Helper()
	end := r.now + limit
	for r.done == nil && r.now < end {
		r.collect()
		if !r.exchange() {
			at, ok := r.f.Deadline()
			if !ok || at > end {
				r.now = end // time passes also while everybody rests for longer
				return r.done
			}
			r.now = max(at, r.now)
			r.f.Tick(r.now, &r.out)
			if next, ok := r.f.Deadline(); ok && next <= r.now {
				r.t.Fatalf("after Tick at %d the deadline is %d: the driver would spin", r.now, next)
			}
		}
	}
	return r.done
}

// exchange answers what is asked now and reports whether anything came back.
func (r *rig) exchange() (any bool) {
	wants := slices.Clone(r.out.Want)
	r.out.Reset()
	r.open = max(r.open, len(wants))
	r.now += bft.Microsecond
	for _, w := range wants {
		r.asked[w.To]++
		frag, ok := r.peers[w.To](w.Want)
		if !ok {
			continue
		}
		any = true
		encoded := frag.Append(nil)
		frag, err := wire.DecodeStateFragment(encoded)
		if err != nil {
			continue // the verify stage refuses it
		}
		r.f.Fragment(w.To, &frag, r.now, &r.out)
		clear(encoded) // the bytes belong to the link
		r.collect()
	}
	return any
}

func (r *rig) collect() {
	for _, j := range r.out.Reject {
		r.rejects[j.From] = append(r.rejects[j.From], j.Reason)
	}
	r.out.Reject = nil
	if r.out.Done != nil {
		r.done, r.out.Done = r.out.Done, nil
	}
}

func (r *rig) wantState(c *checkpoint) {
	r.t.Helper()
	s := r.done
	if s == nil {
		r.t.Fatalf("no state after %d ms; %+v; asked %v", r.now/bft.Millisecond, r.f.Stats(), r.asked)
	}
	if s.Seq != c.seq || s.Digest != c.Digest() || !bytes.Equal(s.Manifest, c.manifest) || len(s.Pages) != len(c.pages) {
		r.t.Fatalf("state of slot %d, %s, %d pages", s.Seq, s.Digest, len(s.Pages))
	}
	for i := range s.Pages {
		if !bytes.Equal(s.Pages[i], c.pages[i]) {
			r.t.Fatalf("page %d is not that of the checkpoint", i)
		}
	}
	if r.f.Active() {
		r.t.Fatal("still fetching")
	}
}

// blamed are the peers that were rejected for a reason that no correct peer gives.
func (r *rig) blamed() (set bft.ReplicaSet) {
	for id, reasons := range r.rejects {
		for _, reason := range reasons {
			if reason.Faulty() {
				set = set.With(id)
			}
		}
	}
	return set
}

func sample(seq bft.SeqNum) *checkpoint {
	return newCheckpoint(seq,
		page(1, 10), page(2, bft.StateFragmentBytesMax), page(3, 3*bft.StateFragmentBytesMax+5), nil,
		page(5, 1), page(1, 10), page(6, 9*bft.StateFragmentBytesMax), page(7, halfFragment))
}

func TestFetchFromHonest(t *testing.T) {
	c := sample(8)
	r := newRig(t, 4)
	for id := bft.ReplicaID(1); id < 4; id++ {
		r.peers[id] = honest(c)
	}
	r.start(c.target(1, 2, 3))
	r.run(bft.Second)
	r.wantState(c)
	if r.blamed() != 0 || r.now > patience {
		t.Fatalf("blamed %b after %d", r.blamed(), r.now)
	}
	for id := bft.ReplicaID(1); id < 4; id++ {
		if r.asked[id] == 0 {
			t.Errorf("replica %d was not asked: the pages come from one source", id)
		}
	}
	if r.open > fragmentsMax {
		t.Fatalf("%d fragments were asked for at once", r.open)
	}
}

func TestNothingToFetch(t *testing.T) {
	for _, c := range []*checkpoint{newCheckpoint(4), newCheckpoint(4, nil, nil)} {
		r := newRig(t, 4)
		r.peers[1] = honest(c)
		r.start(c.target(1))
		r.run(bft.Second)
		r.wantState(c)
	}
}

func TestLocalPagesAreNotFetched(t *testing.T) {
	c := sample(8)
	r := newRig(t, 4)
	s := NewServer(4)
	s.Hold(newCheckpoint(4, c.pages[:7]...))
	r.local = s.Local
	seen := map[wire.StateItem]bool{}
	r.peers[1] = func(w wire.StateWant) (wire.StateFragment, bool) {
		seen[w.Item] = true
		return honest(c)(w)
	}
	r.start(c.target(1))
	r.run(bft.Second)
	r.wantState(c)
	if len(seen) != 2 || !seen[wire.Manifest] || !seen[7] {
		t.Fatalf("asked for items %v", seen)
	}
}

// TestEveryFragmentCorrupted: whatever single fragment a source falsifies, the state is right,
// and that source, and no other, is blamed.
func TestEveryFragmentCorrupted(t *testing.T) {
	c := sample(8)
	var wants []wire.StateWant
	for item := -1; item < len(c.pages); item++ {
		w, bytes := wire.StateWant{Seq: 8, Item: wire.Manifest}, c.manifest
		if item >= 0 {
			w.Item, bytes = wire.StateItem(item), c.pages[item]
		}
		for ; int(w.Offset) < len(bytes); w.Offset += bft.StateFragmentBytesMax {
			wants = append(wants, w)
		}
	}
	hit := 0
	for _, target := range wants {
		r := newRig(t, 4)
		lied := bft.ReplicaSet(0)
		for id := bft.ReplicaID(1); id < 4; id++ {
			r.peers[id] = lying(honest(c), func(f *wire.StateFragment) {
				if f.Want == target && lied == 0 {
					f.Bytes[len(f.Bytes)-1] ^= 1
					lied = lied.With(id)
				}
			})
		}
		r.start(c.target(1, 2, 3))
		r.run(10 * bft.Second)
		r.wantState(c)
		if r.blamed() != lied {
			t.Errorf("%+v falsified by %b, blamed %b: %v", target, lied, r.blamed(), r.rejects)
		}
		hit += lied.Len()
	}
	if hit < len(wants)-1 { // equal pages are fetched once
		t.Fatalf("%d of %d fragments were ever falsified", hit, len(wants))
	}
}

// TestLies: f liars of every kind, asked first, do not keep the state away, and are not
// believed in anything.
func TestLies(t *testing.T) {
	c, other := sample(8), newCheckpoint(8, page(9, 20), page(10, 20))
	for name, lie := range map[string]func(f *wire.StateFragment){
		"every byte":      func(f *wire.StateFragment) { f.Bytes[0] ^= 1 },
		"short fragment":  func(f *wire.StateFragment) { f.Bytes = f.Bytes[:len(f.Bytes)/2] },
		"empty fragment":  func(f *wire.StateFragment) { f.Bytes = nil },
		"larger":          func(f *wire.StateFragment) { f.Total = bft.StateItemBytesMax; pad(f) },
		"changing total":  func(f *wire.StateFragment) { f.Total += f.Want.Offset; pad(f) },
		"smaller":         func(f *wire.StateFragment) { f.Total = f.Want.Offset + 1; f.Bytes = f.Bytes[:1] },
		"other state":     func(f *wire.StateFragment) { *f, _ = honest(other)(f.Want) },
		"zero fragment":   func(f *wire.StateFragment) { clear(f.Bytes) },
		"page as another": func(f *wire.StateFragment) { w := f.Want; w.Item ^= 1; *f, _ = honest(c)(w); f.Want.Item ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 7)
			for id := bft.ReplicaID(1); id < 7; id++ {
				r.peers[id] = honest(c)
				if id <= 2 {
					r.peers[id] = lying(honest(c), lie)
				}
			}
			r.start(c.target(1, 2, 3))
			r.run(20 * bft.Second)
			r.wantState(c)
			if r.blamed()&^bft.SetOf(1, 2) != 0 {
				t.Fatalf("blamed %b: %v", r.blamed(), r.rejects)
			}
		})
	}
}

func pad(f *wire.StateFragment) {
	for len(f.Bytes) < bft.StateFragmentBytesMax && len(f.Bytes) < int(f.Total-f.Want.Offset) {
		f.Bytes = append(f.Bytes, 0)
	}
}

// TestLiarIsNotAskedAgain, while another is left.
func TestLiarIsNotAskedAgain(t *testing.T) {
	c := sample(8)
	r := newRig(t, 4)
	r.peers[1] = lying(honest(c), func(f *wire.StateFragment) { f.Bytes[0] ^= 1 })
	r.peers[2], r.peers[3] = honest(c), honest(c)
	r.start(c.target(1, 2))
	r.run(10 * bft.Second)
	r.wantState(c)
	if len(r.rejects[1]) != 1 || r.asked[1] > peerFragmentsMax {
		t.Fatalf("replica 1 was asked %d times and rejected for %v", r.asked[1], r.rejects[1])
	}
}

// TestLiarRestsForTheWholeTarget: not even when its time of rest is over and all others are slow.
func TestLiarRestsForTheWholeTarget(t *testing.T) {
	c := sample(8)
	r := newRig(t, 4)
	r.peers[1] = lying(honest(c), func(f *wire.StateFragment) { f.Bytes[0] ^= 1 })
	r.peers[2], r.peers[3] = silent, silent
	r.start(c.target(1, 2, 3))
	if r.run(40*patience) != nil || len(r.rejects[1]) != 1 {
		t.Fatalf("replica 1 was rejected for %v while others were left to ask", r.rejects[1])
	}
	r.peers[2] = honest(c)
	r.run(40 * patience)
	r.wantState(c)
}

// TestCheckpointBeforeTheStableOneIsKept: a peer that is fetching it when the next becomes stable
// gets the rest of it.
func TestCheckpointBeforeTheStableOneIsKept(t *testing.T) {
	s := NewServer(4)
	defer s.Close()
	for _, seq := range []bft.SeqNum{4, 8, 12} {
		s.Hold(sample(seq))
		s.Stable(seq)
	}
	if s.Held(4) != nil || s.Held(8) == nil || s.Held(12) == nil {
		t.Fatalf("held after 12 became stable: 4 %v, 8 %v, 12 %v", s.Held(4) != nil, s.Held(8) != nil, s.Held(12) != nil)
	}
}

// TestAllLie: nothing false is installed, nobody is flooded, and the first honest answer ends it.
func TestAllLie(t *testing.T) {
	c := sample(8)
	r := newRig(t, 4)
	for id := bft.ReplicaID(1); id < 4; id++ {
		r.peers[id] = lying(honest(c), func(f *wire.StateFragment) { f.Bytes[0] ^= 1 })
	}
	r.start(c.target(1, 2, 3))
	if r.run(20*patience) != nil {
		t.Fatal("a state of liars was accepted")
	}
	if n := r.asked[1] + r.asked[2] + r.asked[3]; n > 3*20 {
		t.Fatalf("%d questions in %d times the patience", n, 20)
	}
	r.peers[2] = honest(c)
	r.run(100 * patience)
	r.wantState(c)
}

func TestSilentAndAbsentSources(t *testing.T) {
	c := sample(8)
	r := newRig(t, 7)
	r.peers[1], r.peers[2] = silent, silent
	r.peers[3], r.peers[4] = honest(), honest(sample(4)) // do not hold it
	r.peers[5], r.peers[6] = honest(c), silent
	r.start(c.target(1, 2, 3))
	r.run(60 * patience)
	r.wantState(c)
	if r.blamed() != 0 {
		t.Fatalf("blamed %b: %v", r.blamed(), r.rejects)
	}
}

// TestDrip: a source that sends every fragment just in time does not hold the state up.
func TestDrip(t *testing.T) {
	c := newCheckpoint(8, page(1, 200*bft.StateFragmentBytesMax))
	r := newRig(t, 4)
	var out Output
	r.f.Start(c.target(1), nil, 0, &out)
	drip := honest(c)
	for moved := false; !moved; {
		if r.now > 150*patience {
			t.Fatal("the dripping source keeps the page")
		}
		r.now += patience * 9 / 10
		wants := slices.Clone(out.Want)
		out.Reset()
		first := true
		for _, w := range wants {
			moved = moved || w.To != 1
			if w.To == 1 && first {
				frag, _ := drip(w.Want)
				r.f.Fragment(1, &frag, r.now, &out)
				first = false
			} else {
				out.Want = append(out.Want, w)
			}
		}
		r.f.Tick(r.now, &out)
	}
}

// TestLostFragments: what gets lost on the way is asked for again, from where it broke off.
func TestLostFragments(t *testing.T) {
	c := sample(8)
	r := newRig(t, 4)
	n := 0
	for id := bft.ReplicaID(1); id < 4; id++ {
		r.peers[id] = func(w wire.StateWant) (wire.StateFragment, bool) {
			if n++; n%5 == 0 {
				return wire.StateFragment{}, false
			}
			return honest(c)(w)
		}
	}
	r.start(c.target(1, 2, 3))
	r.run(100 * patience)
	r.wantState(c)
	if r.blamed() != 0 {
		t.Fatalf("blamed %b: %v", r.blamed(), r.rejects)
	}
}

// TestServerDropsCheckpoint: the only source has moved on; the newer target reuses what came.
func TestServerDropsCheckpoint(t *testing.T) {
	old := sample(8)
	next := newCheckpoint(12, append(slices.Clone(old.pages[:7]), page(8, 30))...)
	r := newRig(t, 4)
	served, fetchedAgain := 0, 0
	r.peers[1] = func(w wire.StateWant) (wire.StateFragment, bool) {
		if served++; served < 8 {
			return honest(old)(w)
		}
		if w.Seq == 12 && (w.Item == 0 || w.Item == 1) {
			fetchedAgain++
		}
		return honest(next)(w)
	}
	r.peers[2], r.peers[3] = silent, silent
	r.start(old.target(1))
	if r.run(4*patience) != nil {
		t.Fatal("a checkpoint that was dropped is complete")
	}
	r.start(next.target(1))
	r.run(40 * patience)
	r.wantState(next)
	if fetchedAgain != 0 || r.f.Stats().Reused == 0 {
		t.Fatalf("%d questions for pages that were there; %+v", fetchedAgain, r.f.Stats())
	}
	if r.blamed() != 0 {
		t.Fatalf("blamed %v", r.rejects)
	}
}

func TestLinksGoAndCome(t *testing.T) {
	c := sample(8)
	r := newRig(t, 4)
	for id := bft.ReplicaID(1); id < 4; id++ {
		r.peers[id] = honest(c)
		r.f.Down(id, 0, &r.out)
	}
	r.start(c.target(1, 2))
	if len(r.out.Want) != 0 {
		t.Fatalf("asked without a link: %v", r.out.Want)
	}
	r.f.Up(2, 0, &r.out)
	r.out.Reset() // the question is lost with the link
	r.f.Down(2, 0, &r.out)
	r.f.Up(3, 0, &r.out)
	r.run(bft.Second)
	r.wantState(c)
	if r.asked[2] != 0 || r.asked[3] == 0 {
		t.Fatalf("asked %v", r.asked)
	}
}

func TestUnrequestedChangesNothing(t *testing.T) {
	c := sample(8)
	r := newRig(t, 4)
	frag, _ := honest(c)(wire.StateWant{Seq: 8, Item: wire.Manifest})
	var out Output
	r.f.Fragment(1, &frag, 0, &out) // idle
	r.f.Start(c.target(1), nil, 0, &out)
	r.f.Fragment(2, &frag, 0, &out) // not asked
	page0, _ := honest(c)(wire.StateWant{Seq: 8, Item: 0})
	r.f.Fragment(1, &page0, 0, &out) // not yet asked for
	if len(out.Reject) != 3 || len(out.Want) != 1 || r.f.Stats().Bytes != 0 {
		t.Fatalf("%+v, %+v", out, r.f.Stats())
	}
	for _, j := range out.Reject {
		if j.Reason != protocol.ReasonUnrequested {
			t.Fatalf("rejected for %v", j.Reason)
		}
	}
}

// TestTotalIsNotTrusted: memory grows by what arrives, not by what is claimed.
func TestTotalIsNotTrusted(t *testing.T) {
	tr := transfer{pendingItem: pendingItem{item: 0}}
	frag := wire.StateFragment{Total: bft.StateItemBytesMax, Bytes: make([]byte, bft.StateFragmentBytesMax)}
	if v := tr.accept(&frag); v != fragmentGood || cap(tr.bytes) > 2*bft.StateFragmentBytesMax {
		t.Fatalf("verdict %v, %d bytes reserved", v, cap(tr.bytes))
	}
	m := transfer{pendingItem: pendingItem{item: wire.Manifest}}
	if v := m.accept(&frag); v != fragmentFalse {
		t.Fatal("a manifest of 16 MiB is believed")
	}
}

func TestServer(t *testing.T) {
	s := NewServer(4)
	var all []*checkpoint
	for seq := bft.SeqNum(4); seq <= 40; seq += 4 {
		all = append(all, sample(seq))
		s.Hold(all[len(all)-1])
		if seq == 16 {
			s.Stable(12)
		}
	}
	held := ""
	for _, c := range all {
		if s.Held(c.seq) != nil {
			held += fmt.Sprint(c.seq, " ")
		}
		if want := map[bool]int{true: 0, false: 1}[s.Held(c.seq) != nil]; c.released != want {
			t.Errorf("checkpoint %d was released %d times", c.seq, c.released)
		}
	}
	if held != "12 32 36 40 " && held != "8 12 36 40 " {
		t.Fatalf("held: %s", held)
	}
	if f, reason := s.Serve(1, wire.StateWant{Seq: 20}, 0); reason != protocol.ReasonNone || f.Total != 0 {
		t.Fatalf("%+v, %v", f, reason)
	}
	for _, w := range []wire.StateWant{{Seq: 40, Item: 8}, {Seq: 40, Item: 0, Offset: 10}, {Seq: 40, Item: 3}} {
		if _, reason := s.Serve(1, w, 0); reason != protocol.ReasonLimit {
			t.Errorf("%+v: %v", w, reason)
		}
	}
	s.Close()
	for _, c := range all {
		if c.released != 1 {
			t.Errorf("checkpoint %d was released %d times", c.seq, c.released)
		}
	}
}

func TestServerBudget(t *testing.T) {
	s := NewServer(4)
	s.Hold(sample(8))
	w := wire.StateWant{Seq: 8, Item: 6}
	take := func(from bft.ReplicaID, now bft.Duration) (n int) {
		for ; n < 1<<14; n++ {
			if _, reason := s.Serve(from, w, now); reason != protocol.ReasonNone {
				if reason != protocol.ReasonOverloaded {
					t.Fatal(reason)
				}
				break
			}
		}
		return n
	}
	if n := take(1, 0); n != serveBurstBytes/bft.StateFragmentBytesMax {
		t.Fatalf("%d fragments at once", n)
	}
	if n := take(2, 0); n == 0 {
		t.Fatal("one peer spends the budget of another")
	}
	if n := take(1, 10*bft.Millisecond); n == 0 || n > 12 {
		t.Fatalf("%d fragments after 10 ms", n)
	}
	if n := take(1, 100*bft.Second); n != serveBurstBytes/bft.StateFragmentBytesMax {
		t.Fatalf("%d fragments after a long time", n)
	}
}

func FuzzManifest(f *testing.F) {
	f.Add(sample(8).manifest)
	f.Add(newCheckpoint(0).manifest)
	f.Fuzz(func(t *testing.T, b []byte) {
		alloctest.Reader(t, len(b), bft.StateItemBytesMax, func() { ParseManifest(b) })
		m, err := ParseManifest(b)
		if err != nil {
			return
		}
		if !bytes.Equal(AppendManifest(nil, &m), b) {
			t.Fatalf("%x is not canonical", b)
		}
	})
}

func TestManifestIsStrict(t *testing.T) {
	good := sample(8).manifest
	for name, b := range map[string][]byte{
		"empty": nil, "cut": good[:len(good)-1], "longer": append(slices.Clone(good), 0),
		"version":  append([]byte{2}, good[1:]...),
		"counts":   append(append(slices.Clone(good[:49]), 255, 255, 255, 255), good[53:]...),
		"negative": append(append(slices.Clone(good[:16]), 0x80), good[17:]...),
	} {
		if _, err := ParseManifest(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
