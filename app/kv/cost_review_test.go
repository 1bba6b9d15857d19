package kv

import (
	"encoding/binary"
	"testing"

	"github.com/themis-bft/themis/bft"
)

// onePage makes keys that all belong to one page, as anybody can.
func onePage(n int) [][]byte {
	keys := make([][]byte, 0, n)
	for i := uint32(0); len(keys) < n; i++ {
		if key := binary.BigEndian.AppendUint32(nil, i*2654435761); pageOf(key) == 7 {
			keys = append(keys, key)
		}
	}
	return keys
}

// TestPageOfTinyEntries: to insert into a page moves its entries, so that their number is bounded
// and not only their bytes: else a client that fills one page with tiny keys makes each of its
// operations cost all replicas a millisecond.
func TestPageOfTinyEntries(t *testing.T) {
	s := New()
	keys := onePage(PageEntriesMax + 1)
	for _, k := range keys[1:] {
		if r := run(t, s, Put(k, nil)); r.Code != Done {
			t.Fatalf("%v", r.Code)
		}
	}
	if r := run(t, s, Put(keys[0], nil)); r.Code != Full {
		t.Fatalf("one more entry than a page holds: %v", r.Code)
	}
	if r := run(t, s, CAS(keys[0], nil, []byte("x"))); r.Code != Full {
		t.Fatalf("by compare-and-swap: %v", r.Code)
	}
	if r := run(t, s, Put(keys[1], []byte("other"))); r.Code != Done {
		t.Fatalf("an entry of a full page is not changed: %v", r.Code)
	}
	if r := run(t, s, Delete(keys[1])); r.Code != Done {
		t.Fatal(r.Code)
	}
	if r := run(t, s, Put(keys[0], nil)); r.Code != Done {
		t.Fatalf("in the place of another: %v", r.Code)
	}
	snapshot := s.Snapshot()
	defer snapshot.Release()
	pages := make([][]byte, snapshot.Pages())
	for i := range pages {
		pages[i] = snapshot.Page(i)
	}
	if err := New().Restore(pages); err != nil {
		t.Fatalf("a full page is not restored: %v", err)
	}
}

// TestEncodedPagesAreShared: a peer that asks for every page of every checkpoint makes the store
// encode each page once, however many snapshots share it, and what was encoded goes with the
// snapshots that are given back.
func TestEncodedPagesAreShared(t *testing.T) {
	s := New()
	const big = 7
	for _, k := range onePage(4) {
		run(t, s, Put(k, make([]byte, ValueBytesMax)))
	}
	first, second := s.Snapshot(), s.Snapshot()
	if first.Digest(big); s.pages[big].encoded.Load() != nil {
		t.Fatal("a checkpoint leaves the pages that it hashed behind")
	}
	if a, b := first.Page(big), second.Page(big); &a[0] != &b[0] {
		t.Fatal("two snapshots encode the page they share twice")
	}
	second.Release()
	if s.pages[big].encoded.Load() != nil {
		t.Fatal("the encoded page stays behind when a snapshot is given back")
	}
	if len(first.Page(big)) <= bft.StateFragmentBytesMax {
		t.Fatal("the page is too small for this test")
	}
	first.Release()
}
