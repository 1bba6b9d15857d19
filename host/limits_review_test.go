package host

import (
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// TestBatchLimitsOfTheMembership: what a replica may be made to keep is counted in batches of the
// membership's size, so that a primary which proposes larger ones is not believed. One envelope
// is always allowed, however large it is.
func TestBatchLimitsOfTheMembership(t *testing.T) {
	w := newWorld(t)
	w.m.BatchCount, w.m.BatchBytes = 3, 1000
	one := w.request(0, 1, 0)
	large := testRequest(1, 1, 0, 1, bft.OpBytesMax)
	large.Raw, large.Sig = nil, nil
	large.Sig = w.signer.Client(large.Client).Sign(nil, large.AppendSigned(nil, wire.ClientDomain(w.m)))
	envelope := large.Append(nil)
	for _, c := range []struct {
		name   string
		reqs   [][]byte
		reason protocol.Reason
	}{
		{"as many as allowed", [][]byte{one, one, one}, protocol.ReasonNone},
		{"one too many", [][]byte{one, one, one, one}, protocol.ReasonLimit},
		{"one large envelope", [][]byte{envelope}, protocol.ReasonNone},
		{"a large envelope among others", [][]byte{one, envelope}, protocol.ReasonLimit},
	} {
		in := w.verify.Peer(2, kindProposal, w.proposalFrame(w.body(w.at.Wall, c.reqs...)), w.at.Wall)
		if got := reasonOf(in); got != c.reason {
			t.Errorf("%s: %v, want %v", c.name, got, c.reason)
		}
	}
}

// TestOwnBatchesKeepTheLimits: what the pool proposes is what the verify stage of the others accepts.
func TestOwnBatchesKeepTheLimits(t *testing.T) {
	for _, size := range []int{8, 300, 900, 5000} {
		w := newWorld(t)
		w.m.BatchCount, w.m.BatchBytes = 3, 1000
		w.become(1, 0)
		for c := range 7 {
			r := testRequest(c, 1, 0, 1, size)
			r.Raw, r.Sig = nil, nil
			r.Sig = w.signer.Client(r.Client).Sign(nil, r.AppendSigned(nil, wire.ClientDomain(w.m)))
			raw := r.Append(nil)
			decoded, err := wire.DecodeRequest(raw)
			if err != nil {
				t.Fatal(err)
			}
			w.fromClient(decoded)
		}
		for batches := 0; w.node.pool.unproposed > 0; batches++ {
			w.propose(0)
			w.node.Tick(w.at, &w.out)
			p, n := last[protocol.Proposed](w)
			if n != batches+1 {
				t.Fatalf("%d batches after %d", n, batches)
			}
			if got := reasonOf(w.verify.Peer(2, kindProposal, w.proposalFrame(p.Body), w.at.Wall)); got != protocol.ReasonNone {
				t.Fatalf("a batch of requests of %d bytes is refused: %v", size, got)
			}
		}
	}
}

// TestDivergedReplicaKeepsItsTransfer: own checkpoints that lie beyond the target come from the
// wrong state. They do not end the transfer that repairs it: in a cluster that falls idle no later
// target would start another.
func TestDivergedReplicaKeepsItsTransfer(t *testing.T) {
	w := newWorld(t)
	right, wrong := newHeld(8, []byte("right")), newHeld(12, []byte("wrong"))
	w.core.status.Diverged = true
	w.effects(func(out *protocol.Effects) {
		out.CatchUp = &protocol.Target{Seq: 8, Digest: right.Digest(), Sources: bft.SetOf(3)}
	})
	w.handle(Checkpoint{Held: wrong}) // executed before the core knew
	if s := w.node.Status(); s.CatchUp.Target != 8 {
		t.Fatalf("the transfer of slot 8 ended: target %d", s.CatchUp.Target)
	}
	w.core.status.Diverged = false
	w.effects(func(*protocol.Effects) {})
	w.handle(Checkpoint{Held: newHeld(16, []byte("right"))})
	if s := w.node.Status(); s.CatchUp.Target != 0 {
		t.Fatalf("execution got beyond slot 8 by itself, and it is still fetched: target %d", s.CatchUp.Target)
	}
}

// TestUnknownSessionsAreLookedUp: a client names a thousand sessions that do not exist. The primary
// asks the execute stage first, which answers that they are closed: none takes a place in the pool
// or in a batch. What follows in a session of which something was decided is ordered at once.
func TestUnknownSessionsAreLookedUp(t *testing.T) {
	w := newWorld(t)
	w.become(1, 1)
	for session := range uint64(1000) {
		w.handle(ClientRequest{Request: w.decoded(0, 1+session, 0)})
	}
	if s := w.node.Status(); s.Pending != 0 || len(w.out.Lookup) != 1000 {
		t.Fatalf("%d pending, %d lookups", s.Pending, len(w.out.Lookup))
	}
	w.out.Lookup = nil
	first := w.decoded(1, 7, 0)
	w.fromClient(first)
	w.commit(1, w.body(1, first.Raw))
	w.handle(ClientRequest{Request: w.decoded(1, 7, 1)})
	if s := w.node.Status(); s.Pending != 1 || len(w.out.Lookup) != 0 {
		t.Fatalf("the second of a session: %d pending, %d lookups", s.Pending, len(w.out.Lookup))
	}
}

// TestProposedTimeRecovers: the wall clock of a primary jumps far ahead and is corrected. What it
// proposes then is accepted again by those whose clocks never jumped.
func TestProposedTimeRecovers(t *testing.T) {
	w := newWorld(t)
	w.become(1, 1)
	right := w.at.Wall
	for i, wall := range []bft.Time{right, right + 3600e9, right, right - 1000} {
		w.fromClient(w.decoded(i, 1, 0))
		w.propose(1)
		w.at.Wall = wall
		w.node.Tick(w.at, &w.out)
		p, n := last[protocol.Proposed](w)
		if n != i+1 {
			t.Fatalf("%d proposals after %d", n, i)
		}
		want := protocol.ReasonNone
		if wall > right {
			want = protocol.ReasonBadTime
		}
		if got := reasonOf(w.verify.Peer(2, kindProposal, w.proposalFrame(p.Body), right)); got != want {
			t.Errorf("proposal %d: %v, want %v", i, got, want)
		}
	}
}
