package catchup

import (
	"fmt"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

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
