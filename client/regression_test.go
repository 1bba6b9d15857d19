package client

import (
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// TestSplitAnswersEndTheCall (L14): answers that fall into as many classes as there are replicas are no result, and no
// end without one: the session asks again, takes f+1 equal ones with whatever views they name, and
// a call of which nothing comes ends at its deadline (docs/regressions.md).
func TestSplitAnswersEndTheCall(t *testing.T) {
	b := opened(t, 4, 1, Options{})
	k := b.submit("op", 10000*ms)
	for i, value := range []string{"a", "b", "c", "d"} {
		b.answer(i, 1, value)
	}
	b.wantOpen(k)
	before := len(b.frames)
	b.pass(2000 * ms)
	if len(b.frames) == before || b.last().kind != wire.KindRetry || b.last().to != b.s.q.All() {
		t.Fatalf("%d frames after four different answers; the last is %+v", len(b.frames)-before, b.last())
	}
	for i, view := range []bft.View{7, 1 << 40} {
		b.reply(i, wire.Reply{Session: b.session, Number: 1, View: view, Result: []byte("a")})
	}
	b.want(k, "a")

	k = b.submit("op", 3000*ms)
	for range 3 {
		for i, value := range []string{"a", "b", "c", "d"} {
			b.answer(i, 2, value)
		}
		b.pass(500 * ms)
	}
	b.wantOpen(k)
	b.pass(3000 * ms)
	b.wantErr(k, ErrOutcomeUnknown)
}

// TestAnyReplicaMayBeMissing (L12): a session opens and works with any one of the replicas absent from the start, the
// first primary too.
func TestAnyReplicaMayBeMissing(t *testing.T) {
	for missing := range 4 {
		b := newBench(t, 4, 1, Options{})
		for i := range 4 {
			if i != missing {
				b.do(func() { b.s.LinkUp(bft.ReplicaID(i), b.now, &b.out) })
			}
		}
		b.do(func() { b.s.Open(b.now, &b.out) })
		b.pass(1000 * ms)
		nonce := b.last().req.First
		for i := range 4 {
			if i != missing {
				b.reply(i, wire.Reply{Number: nonce, View: 1, Result: wire.AppendU64(nil, 7)})
			}
		}
		if b.session = 7; !b.s.Ready() {
			t.Fatalf("without replica %d no session opens", missing)
		}
		k := b.submit("op", 10000*ms)
		b.pass(1000 * ms)
		for i := range 4 {
			if i != missing {
				b.answer(i, 1, "x")
			}
		}
		b.want(k, "x")
	}
}
