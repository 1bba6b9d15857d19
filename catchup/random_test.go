package catchup

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// TestRandomFaults: up to f peers answer at random (silence, false bytes, false sizes, absence,
// other states), correct ones may lose answers or not hold the checkpoint, and links break. The
// state always arrives, is right, and no correct peer is blamed.
func TestRandomFaults(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := rapid.IntRange(1, 3).Draw(rt, "f")
		n := 3*f + 1
		c, other := drawCheckpoint(rt, 8), drawCheckpoint(rt, 8)
		r := newRig(t, n)
		var faulty, sources bft.ReplicaSet
		for id := bft.ReplicaID(1); int(id) < n; id++ {
			held := []*checkpoint{c}
			if int(id) > f+1 && rapid.Bool().Draw(rt, "lacks") {
				held = nil
			}
			r.peers[id] = lossy(rt, honest(held...))
			if int(id) <= f {
				faulty = faulty.With(id)
				r.peers[id] = arbitrary(rt, honest(c), honest(other))
			}
			if int(id) <= f+1 {
				sources = sources.With(id)
			}
		}
		target := c.target()
		target.Sources = sources
		r.start(target)
		for round := 0; r.done == nil; round++ {
			if round > 40 {
				rt.Fatalf("no state: %+v, asked %v", r.f.Stats(), r.asked)
			}
			r.run(5 * patience)
			if r.done == nil && rapid.Bool().Draw(rt, "break") {
				peer := bft.ReplicaID(rapid.IntRange(1, n-1).Draw(rt, "peer"))
				r.f.Down(peer, r.now, &r.out)
				r.f.Up(peer, r.now, &r.out)
			}
		}
		r.wantState(c)
		if r.blamed()&^faulty != 0 {
			rt.Fatalf("blamed %b, faulty are %b: %v", r.blamed(), faulty, r.rejects)
		}
	})
}

func drawCheckpoint(rt *rapid.T, seq bft.SeqNum) *checkpoint {
	pages := make([][]byte, rapid.IntRange(0, 12).Draw(rt, "pages"))
	for i := range pages {
		size := rapid.SampledFrom([]int{0, 1, 100, halfFragment, 2 * halfFragment, 5*halfFragment + 3}).Draw(rt, "size")
		pages[i] = page(rapid.IntRange(0, 5).Draw(rt, "id"), size)
	}
	return newCheckpoint(seq, pages...)
}

func lossy(rt *rapid.T, a answerer) answerer {
	return func(w wire.StateWant) (wire.StateFragment, bool) {
		if rapid.IntRange(0, 9).Draw(rt, "lost") == 0 {
			return silent(w)
		}
		return a(w)
	}
}

func arbitrary(rt *rapid.T, right, other answerer) answerer {
	return func(w wire.StateWant) (wire.StateFragment, bool) {
		switch rapid.IntRange(0, 6).Draw(rt, "fault") {
		case 0:
			return silent(w)
		case 1:
			return wire.StateFragment{Want: w}, true
		case 2:
			return other(w)
		case 3:
			return lying(right, func(f *wire.StateFragment) { f.Bytes[len(f.Bytes)/2] ^= 4 })(w)
		case 4:
			return lying(right, func(f *wire.StateFragment) { f.Total += 1000 })(w)
		case 5:
			return lying(right, func(f *wire.StateFragment) { f.Want.Offset += bft.StateFragmentBytesMax })(w)
		default:
			return right(w)
		}
	}
}
