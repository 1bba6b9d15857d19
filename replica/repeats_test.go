package replica

import (
	"testing"

	"github.com/themis-bft/themis/bft"
)

// TestRepeats: a client draws its burst and then what it earns, others are not touched, and what is
// remembered is bounded.
func TestRepeats(t *testing.T) {
	var r repeats
	const piece = bft.SessionReplyBytesMax
	one, other := bft.ClientID{1}, bft.ClientID{2}
	draw := func(id bft.ClientID, now bft.Duration) (n int64) {
		for r.take(id, piece, now) {
			if n += piece; n > 100*piece {
				t.Fatal("a client draws without end")
			}
		}
		return n
	}
	if n := draw(one, 0); n != bft.RepeatBurstBytes {
		t.Errorf("%d bytes at once, want %d", n, bft.RepeatBurstBytes)
	}
	if n := draw(other, 0); n != bft.RepeatBurstBytes {
		t.Errorf("another client got %d bytes", n)
	}
	if huge := (bft.ClientID{4}); !r.take(huge, 100*bft.RepeatBurstBytes, 0) || r.take(huge, 1, 10*bft.Second) {
		t.Error("an answer over many links is never given, or costs nothing")
	}
	var sum int64
	for ms := range bft.Duration(10_000) {
		sum += draw(one, ms*bft.Millisecond)
	}
	if most := int64(10 * bft.RepeatBytesPerSecond); sum > most+piece || sum < most*9/10 {
		t.Errorf("%d bytes in ten seconds, want %d", sum, most)
	}
	for i := range 3 * repeatersMax {
		if id := (bft.ClientID{3, byte(i), byte(i >> 8), byte(i >> 16)}); !r.take(id, piece, 20*bft.Second) {
			t.Fatalf("client %d got nothing", i)
		}
		if len(r.drawn) > repeatersMax {
			t.Fatalf("%d clients are remembered", len(r.drawn))
		}
	}
}
