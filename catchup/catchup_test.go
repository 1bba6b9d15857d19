package catchup

import (
	"slices"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

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
