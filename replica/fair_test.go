package replica

import (
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/host"
	"github.com/themis-bft/themis/protocol"
)

// turns has one worker verify until done says so, and returns how many batches that took.
func turns(t *testing.T, in *intake, done func(*batch) bool) (n int) {
	t.Helper()
	for n = 1; n < 1000; n++ {
		b := in.claim()
		for i := range b.arrivals {
			b.arrivals[i].in, b.arrivals[i].done = host.Rejected{}, true
		}
		stop := done(b)
		in.verified(b)
		if stop {
			return n
		}
	}
	t.Fatal("never taken")
	return n
}

func has(link *testLink, peer bft.ReplicaID) func(*batch) bool {
	return func(b *batch) bool {
		for i := range b.arrivals {
			a := &b.arrivals[i]
			if link != nil && a.link == link || link == nil && a.link == nil && a.peer == peer {
				return true
			}
		}
		return false
	}
}

// TestFloodingPeerDelaysNobody: however much one peer has sent, a frame of another is taken at
// its turn, and stepped although frames of the first that were taken before it are not done.
func TestFloodingPeerDelaysNobody(t *testing.T) {
	in := newIntake(4, 2, newClock(), func() {})
	for range 200 {
		in.put(arrival{source: in.sources[0], peer: 0, size: 8 << 10})
	}
	stuck := in.claim() // a worker takes long over frames of the flood
	if len(stuck.arrivals) > verifyPeersMax {
		t.Fatalf("%d frames of one peer at once", len(stuck.arrivals))
	}
	in.put(arrival{source: in.sources[3], peer: 3, size: 100})
	if n := turns(t, in, has(nil, 3)); n > 2 {
		t.Fatalf("taken after %d batches", n)
	}
	var got taken
	if in.take(&got); len(got.arrivals) != 1 || got.arrivals[0].peer != 3 {
		t.Fatalf("%d arrivals are stepped, want the one of the other peer", len(got.arrivals))
	}
	in.put(arrival{source: in.sources[2], peer: 2, size: 1 << 20})
	in.put(arrival{source: in.sources[2], peer: 2, size: 10})
	turns(t, in, func(b *batch) bool {
		if len(b.arrivals) > 1 && b.arrivals[0].size > verifyPeersBytes {
			t.Errorf("%d frames are taken with a large one", len(b.arrivals))
		}
		return has(nil, 2)(b)
	})
	in.verified(stuck)
}

// TestFloodingPeersDoNotStopClients: peers go first, but not without end.
func TestFloodingPeersDoNotStopClients(t *testing.T) {
	in := newIntake(2, 1, newClock(), func() {})
	for id := range bft.ReplicaID(2) {
		for range 200 {
			in.put(arrival{source: in.sources[id], peer: id, size: 8 << 10})
		}
	}
	link := &testLink{}
	in.put(arrival{source: in.open(link), link: link, size: 100})
	if n := turns(t, in, has(link, 0)); n > peerTurnsMax+1 {
		t.Fatalf("taken after %d batches of peers", n)
	}
}

// TestFloodingClientDelaysNobody: a client gets a turn for itself, however many frames it sends
// and on however many links.
func TestFloodingClientDelaysNobody(t *testing.T) {
	in := newIntake(1, 1, newClock(), func() {})
	for i := range byte(4) {
		for range 4 { // links of one client
			link := &testLink{id: bft.ClientID{i + 1}}
			s := in.open(link)
			s.proven = true
			for range clientFramesMax / 4 {
				in.put(arrival{source: s, link: link, size: 100})
			}
		}
	}
	modest := &testLink{}
	s := in.open(modest)
	in.put(arrival{source: s, link: modest, size: 100})
	if n := turns(t, in, has(modest, 0)); n > 1 {
		t.Fatalf("taken after %d batches", n)
	}
	in.leave(modest)
	if again := in.open(modest); again == s {
		t.Error("the account outlives the last link")
	}
}

// TestStrangersAreTried: few frames of a client are taken before one of them verified, and none
// once one of them was what no correct client sends.
func TestStrangersAreTried(t *testing.T) {
	in := newIntake(1, 1, newClock(), func() {})
	link := &testLink{}
	s := in.open(link)
	for range 3 * verifyBatchMax {
		in.put(arrival{source: s, link: link, size: 100})
	}
	b := in.claim()
	if len(b.arrivals) != unprovenMax {
		t.Fatalf("%d frames of a stranger at once, want %d", len(b.arrivals), unprovenMax)
	}
	in.verified(b) // none of them is good
	if b = in.claim(); len(b.arrivals) != unprovenMax {
		t.Fatalf("then %d", len(b.arrivals))
	}
	b.arrivals[0].in = host.ClientRequest{}
	in.verified(b)
	if b = in.claim(); len(b.arrivals) != verifyBatchMax {
		t.Fatalf("%d frames of a client that is known, want %d", len(b.arrivals), verifyBatchMax)
	}
	in.verified(b)
}

// TestBarred: a client that goes on sending what no correct client sends is kept out, longer
// each time, and let in again; what is remembered is bounded.
func TestBarred(t *testing.T) {
	r := &Replica{log: discard, clock: newClock(), links: newLinks(1), metrics: newMetrics(1), barred: newBarred()}
	r.intake = newIntake(1, 1, r.clock, func() {})
	h, link := receive{r}, &testLink{id: bft.ClientID{7}}
	offend := func() {
		h.ClientUp(link)
		r.rejectClient(r.intake.sourceOf(link), link, protocol.ReasonBadSignature)
		if !r.intake.sourceOf(link).bad.Load() {
			t.Fatal("what else it sent is still verified")
		}
		h.ClientDown(link)
	}
	for range offencesFree {
		offend()
	}
	if h.ClientUp(link); link.closed != offencesFree {
		t.Fatalf("its links were ended %d times after %d offences", link.closed, offencesFree)
	}
	h.ClientDown(link)
	offend()
	if h.ClientUp(link); link.closed != offencesFree+2 || r.metrics.clientBarred.Get() != 1 {
		t.Fatalf("its links were ended %d times, %d of them at once", link.closed, r.metrics.clientBarred.Get())
	}
	h.ClientUp(link)
	other := &testLink{id: link.id}
	r.intake.sourceOf(link).bad.Store(true)
	h.ClientUp(other)
	if r.intake.sourceOf(other).bad.Load() {
		t.Error("a new link has the account of those that are being ended")
	}
	h.ClientDown(link)
	if r.intake.sourceOf(other) == nil {
		t.Error("the end of an old link closed the account of a new one")
	}
	b, now := r.barred, r.clock.sinceStart()
	if b.has(link.id, now+barTimeMin) || b.has(bft.ClientID{8}, now) {
		t.Error("barred for longer than it should be, or somebody else is")
	}
	b.add(link.id, now+barTimeMin)
	if !b.has(link.id, now+2*barTimeMin) || b.has(link.id, now+3*barTimeMin) {
		t.Error("the second time is not twice as long")
	}
	late := now + 4*barTimeMin + offenceTime
	if b.add(link.id, late); b.has(link.id, late) {
		t.Error("old offences are not forgotten")
	}
	for i := range 3 * barredMax {
		b.add(bft.ClientID{9, byte(i), byte(i >> 8)}, late)
	}
	if len(b.terms) != barredMax || len(b.order) != barredMax {
		t.Errorf("%d clients are remembered, in an order of %d", len(b.terms), len(b.order))
	}
}
