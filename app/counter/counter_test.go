package counter

import (
	"math/rand/v2"
	"testing"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/app/apptest"
)

func TestConformance(t *testing.T) {
	apptest.Run(t, New, func(r *rand.Rand) []byte {
		if r.IntN(3) == 0 {
			return Get()
		}
		return Add(r.Uint64())
	})
}

func TestCounter(t *testing.T) {
	m := New()
	for i, step := range []struct {
		op   []byte
		want uint64
	}{{Get(), 0}, {Add(5), 5}, {Add(^uint64(0)), 4}, {Get(), 4}} {
		b, _ := m.Execute(app.Call{}, step.op).Bytes()
		if got, err := ParseResult(b); err != nil || got != step.want {
			t.Fatalf("step %d: %d, %v; want %d", i, got, err, step.want)
		}
	}
	b, ready := m.Execute(app.Call{}, []byte("nonsense")).Bytes()
	if _, err := ParseResult(b); err == nil || !ready {
		t.Fatalf("nonsense is answered with %x", b)
	}
}
