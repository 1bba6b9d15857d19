package replica

import (
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/host"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/wire"
)

// testLink is a client link that nobody reads.
type testLink struct {
	id     bft.ClientID
	closed int
}

func (l *testLink) Client() bft.ClientID { return l.id }
func (l *testLink) Send([]byte) bool     { return true }
func (l *testLink) Close()               { l.closed++ }

var discard = slog.New(slog.DiscardHandler)

// numbered is an input that says which frame of its link it was.
func numbered(from bft.ReplicaID, n int) host.Input {
	return host.Rejected{Rejection: protocol.Rejection{From: from, Kind: wire.Kind(n % 200)}}
}

// TestIntakeKeepsTheOrderOfEachLink: frames of one link come out as they came in, whether their
// reader or a worker verified them and whichever worker was done first.
func TestIntakeKeepsTheOrderOfEachLink(t *testing.T) {
	const links, frames, workers = 4, 2000, 3
	signal := make(chan struct{}, 1)
	in := newIntake(links, workers, newClock(), func() {
		select {
		case signal <- struct{}{}:
		default:
		}
	})
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for b := in.claim(); b != nil; b = in.claim() {
				for i := range b.arrivals {
					if a := &b.arrivals[i]; !a.done {
						a.in, a.done = numbered(a.peer, a.size), true
					}
					if rand.IntN(8) == 0 {
						runtime.Gosched()
					}
				}
				in.verified(b)
			}
		})
	}
	for id := range bft.ReplicaID(links) {
		running.Go(func() {
			for n := range frames {
				a := arrival{source: in.sources[id], peer: id, size: n}
				if rand.IntN(2) == 0 {
					a.in, a.done = numbered(id, n), true
				}
				if !in.put(a) {
					t.Error("a frame was refused")
				}
			}
		})
	}
	var next [links]int
	var got taken
	for left := links * frames; left > 0; {
		<-signal
		in.take(&got)
		for i := range got.arrivals {
			a := &got.arrivals[i]
			r := a.in.(host.Rejected).Rejection
			if a.size != next[a.peer] || int(r.Kind) != a.size%200 || r.From != a.peer {
				t.Fatalf("link %d: frame %d came as number %d", a.peer, a.size, next[a.peer])
			}
			next[a.peer]++
		}
		left -= len(got.arrivals)
	}
	in.take(&got)
	for id, s := range in.sources {
		if s.frames != 0 || s.bytes != 0 || s.unverified != 0 {
			t.Errorf("link %d still holds %d frames, %d bytes, %d unverified", id, s.frames, s.bytes, s.unverified)
		}
	}
	in.close()
	running.Wait()
}

// TestIntakeBlocksOnlyTheGreedyLink: who is over its share waits, and nobody else does.
func TestIntakeBlocksOnlyTheGreedyLink(t *testing.T) {
	in := newIntake(1, 1, newClock(), func() {})
	link := &testLink{}
	other := &testLink{id: bft.ClientID{1}}
	greedy, modest := in.open(link), in.open(other)
	greedy.proven, modest.proven = true, true
	frame := func(s *source) arrival {
		return arrival{source: s, link: link, size: 10, frame: transport.Frame{Payload: make([]byte, 10)}}
	}
	for range clientFramesMax {
		in.put(frame(greedy))
	}
	through := make(chan bool)
	go func() { through <- in.put(frame(greedy)) }()
	for range 10 {
		in.put(frame(modest)) // returns: it has a share of its own
	}
	select {
	case <-through:
		t.Fatal("a link went over its share")
	default:
	}
	var got taken
	for in.lengths().pending > 0 {
		in.verified(in.claim())
	}
	in.take(&got)
	if len(got.arrivals) != clientFramesMax+10 {
		t.Fatalf("%d frames came through", len(got.arrivals))
	}
	in.take(&got) // gives the shares back
	if !<-through {
		t.Fatal("a frame was refused")
	}
	go func() { through <- in.put(arrival{source: greedy, link: link, size: clientBytesMax}) }()
	in.close()
	if <-through {
		t.Fatal("a frame over the share was taken")
	}
}

// TestIntakeTellsTheOldest: a timer may not overtake a frame that arrived before it was due.
func TestIntakeTellsTheOldest(t *testing.T) {
	in := newIntake(1, 1, newClock(), func() {})
	var got taken
	in.take(&got)
	if got.oldest >= 0 {
		t.Fatalf("nothing is queued, oldest is %d", got.oldest)
	}
	before := in.clock.sinceStart()
	in.put(arrival{source: in.sources[0], size: 1})
	after := in.clock.sinceStart()
	for _, where := range []string{"pending", "with a worker"} {
		in.take(&got)
		if len(got.arrivals) != 0 || got.oldest < before || got.oldest > after {
			t.Fatalf("%s: %d arrivals, oldest %d, received from %d to %d", where, len(got.arrivals), got.oldest, before, after)
		}
		if where == "pending" {
			defer in.verified(in.claim())
		}
	}
}

// TestFloodDoesNotStopTheClock: of a peer that sends without end something is always pending. What is
// the oldest must be told of what is pending now, and not of when the flood began: else no timer is
// ever due, and a primary that floods and proposes nothing stays.
func TestFloodDoesNotStopTheClock(t *testing.T) {
	in := newIntake(2, 1, newClock(), func() {})
	var got taken
	put := func(n int) {
		for range n {
			in.put(arrival{source: in.sources[1], peer: 1, size: 1})
		}
	}
	put(2 * verifyPeersMax)
	for round := range 10 {
		before := in.clock.sinceStart()
		for in.clock.sinceStart() == before { // a clock may be coarse
			runtime.Gosched()
		}
		put(verifyPeersMax)
		in.verified(in.claim())
		in.take(&got)
		if pending := in.lengths().pending; pending != 2*verifyPeersMax {
			t.Fatalf("round %d: %d frames pending", round, pending)
		}
	}
	began := in.clock.sinceStart()
	put(verifyPeersMax)
	for range 2 {
		in.verified(in.claim())
	}
	in.take(&got)
	if got.oldest < began {
		t.Fatalf("all that is pending came after %d, the oldest is said to be of %d", began, got.oldest)
	}
}

func TestClockLeavesPausesOut(t *testing.T) {
	const ms = bft.Millisecond
	c := newClock()
	for _, step := range []struct{ raw, want bft.Duration }{
		{50 * ms, 50 * ms},
		{150 * ms, 150 * ms},
		{10_150 * ms, 250 * ms}, // stopped for ten seconds
		{10_200 * ms, 300 * ms},
	} {
		if got := c.observe(step.raw); got != step.want {
			t.Errorf("after %d ms: running time %d ms, want %d", step.raw/ms, got/ms, step.want/ms)
		}
	}
	if got := c.before(300*ms, 10_180*ms); got != 280*ms {
		t.Errorf("with a frame of 280 ms: %d ms", got/ms)
	}
	if got := c.before(300*ms, 10_100*ms); got != 280*ms {
		t.Errorf("went back to %d ms", got/ms)
	}
	if got := c.before(310*ms, -1); got != 310*ms {
		t.Errorf("with nothing queued: %d ms", got/ms)
	}
}

// TestPeersGoFirst: what a peer sent does not wait behind what clients sent before.
func TestPeersGoFirst(t *testing.T) {
	in := newIntake(1, 1, newClock(), func() {})
	link := &testLink{}
	greedy := in.open(link)
	for range clientFramesMax {
		in.put(arrival{source: greedy, link: link, size: 10})
	}
	slow := in.claim() // a worker is busy with clients
	in.put(arrival{source: in.sources[0], size: 10})
	fast := in.claim()
	if len(fast.arrivals) != 1 || fast.arrivals[0].link != nil {
		t.Fatalf("%d arrivals, the first of link %v", len(fast.arrivals), fast.arrivals[0].link)
	}
	in.verified(fast)
	var got taken
	if in.take(&got); len(got.arrivals) != 1 {
		t.Fatalf("%d arrivals came through while a batch of clients is being verified", len(got.arrivals))
	}
	in.verified(slow)
	if in.take(&got); len(got.arrivals) == 0 {
		t.Fatal("the batch of clients did not come through")
	}
}

// TestClientsTogetherAreBounded: many greedy links hold no more than all clients may, and a
// modest one still gets through.
func TestClientsTogetherAreBounded(t *testing.T) {
	in := newIntake(1, 1, newClock(), func() {})
	const size = 64 << 10
	var greedy sync.WaitGroup
	for i := range 100 {
		link := &testLink{id: bft.ClientID{byte(i)}}
		s := in.open(link)
		greedy.Go(func() {
			for range 3 {
				in.put(arrival{source: s, link: link, size: size})
			}
		})
	}
	for in.lengths().clientBytes < clientsBytesMax {
		runtime.Gosched()
	}
	modest := &testLink{id: bft.ClientID{255}}
	var refused atomic.Bool
	greedy.Go(func() { refused.Store(!in.put(arrival{source: in.open(modest), link: modest, size: 10})) })
	served := make(chan struct{})
	go func() { greedy.Wait(); close(served) }()

	var got taken
	for most, going := 0, true; going; {
		most = max(most, in.lengths().clientBytes)
		if most >= clientsBytesMax+clientsReserveBytes+size {
			t.Fatalf("clients hold %d bytes", most)
		}
		if in.lengths().pending > 0 {
			in.verified(in.claim())
		}
		in.take(&got)
		select {
		case <-served: // everybody got through, one after the other
			going = false
		default:
		}
	}
	if refused.Load() {
		t.Fatal("a modest client was refused")
	}
	in.close()
}
