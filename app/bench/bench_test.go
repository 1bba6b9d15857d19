package bench

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/app/apptest"
	"github.com/themis-bft/themis/bft"
)

func TestConformance(t *testing.T) {
	apptest.Run(t, New, func(r *rand.Rand) []byte { return Op(r.IntN(200), r.IntN(100), r.Uint64()) })
}

func TestSizes(t *testing.T) {
	m := New()
	for _, size := range []struct{ payload, reply, wantOp, wantReply int }{
		{100, 8, 100, 8}, {0, 0, OpBytesMin, 0}, {1 << 20, 1 << 20, bft.OpBytesMax, bft.ResultBytesMax},
	} {
		op := Op(size.payload, size.reply, 7)
		reply, _ := m.Execute(app.Call{}, op).Bytes()
		if len(op) != size.wantOp || len(reply) != size.wantReply {
			t.Errorf("Op(%d, %d): %d bytes, answered with %d", size.payload, size.reply, len(op), len(reply))
		}
	}
}

func TestOrderShowsInState(t *testing.T) {
	a, b := New(), New()
	x, y := Op(20, 0, 1), Op(20, 0, 2)
	a.Execute(app.Call{}, x)
	a.Execute(app.Call{}, y)
	b.Execute(app.Call{}, y)
	b.Execute(app.Call{}, x)
	if bytes.Equal(a.Snapshot().Page(0), b.Snapshot().Page(0)) {
		t.Fatal("two orders of the same operations have the same state")
	}
}
