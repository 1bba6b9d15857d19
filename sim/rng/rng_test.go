package rng

import "testing"

func TestStreamIsFixed(t *testing.T) {
	s := New(1)
	got := []uint64{s.Uint64(), s.Uint64(), s.Uint64()}
	want := []uint64{0x910a2dec89025cc1, 0xbeeb8da1658eec67, 0xf893a2eefb32555e}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("number %d of seed 1 is %#x, want %#x", i, got[i], want[i])
		}
	}
}

func TestRangesAndForks(t *testing.T) {
	s := New(7)
	for range 10000 {
		if v := s.Between(3, 5); v < 3 || v > 5 {
			t.Fatalf("Between(3, 5) gave %d", v)
		}
		if v := s.Intn(4); v < 0 || v > 3 {
			t.Fatalf("Intn(4) gave %d", v)
		}
	}
	if New(7).Fork(1).Uint64() == New(7).Fork(2).Uint64() {
		t.Fatal("two purposes share a stream")
	}
	hits := 0
	for range 10000 {
		if s.PerMille(100) {
			hits++
		}
	}
	if hits < 800 || hits > 1200 {
		t.Fatalf("PerMille(100) was true %d times in 10000", hits)
	}
}
