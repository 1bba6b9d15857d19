// Package transporttest is the conformance suite of package transport, and a Handler that
// records for other tests. It owns the transports that it is given for the length of one test,
// is called from tests only, and waits for conditions, never for time.
package transporttest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/wire"
)

// Client is a client's end of a link.
type Client interface {
	ReadFrame() (transport.Frame, error)
	WriteFrames(frames []byte) error
	Close() error
}

// Cluster is what the suite tests: n transports that are not started yet.
type Cluster struct {
	Transports []transport.Transport
	// Client connects the i-th client to a started replica.
	Client func(i int, to bft.ReplicaID) (bft.ClientID, Client, error)
	// Break ends all links between two replicas, which then come back by themselves.
	Break func(a, b bft.ReplicaID)
}

// kind is a kind of frame that no layer below looks at.
const kind = wire.KindProtocol + 7

// Run checks that the transports that newCluster makes keep the contract.
func Run(t *testing.T, newCluster func(t *testing.T, n int) Cluster) {
	for _, c := range []struct {
		name string
		n    int
		test func(t *testing.T, s *suite)
	}{
		{"order and identity", 4, order},
		{"large frames", 2, largeFrames},
		{"what is refused", 2, refused},
		{"bounded queues", 2, boundedQueues},
		{"reconnect", 3, reconnect},
		{"close unblocks", 3, closeUnblocks},
		{"clients", 2, clientLinks},
		{"client that does not read", 2, deafClient},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &suite{Cluster: newCluster(t, c.n), rec: make([]*Recorder, c.n)}
			for i := range s.rec {
				s.rec[i] = &Recorder{}
			}
			t.Cleanup(func() { s.finish(t) })
			c.test(t, s)
		})
	}
}

type suite struct {
	Cluster
	rec     []*Recorder
	release []func()
}

// start starts all and waits until everybody can send to everybody.
func (s *suite) start(t *testing.T) {
	t.Helper()
	for i, tr := range s.Transports {
		if err := tr.Start(s.rec[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i, tr := range s.Transports {
		for j := range s.Transports {
			if i != j {
				s.probe(t, tr, bft.ReplicaID(i), bft.ReplicaID(j))
			}
		}
	}
}

// probe sends until a frame arrives: into a link that has just broken, frames are lost. Their
// number is 0, which order does not count.
func (s *suite) probe(t *testing.T, tr transport.Transport, from, to bft.ReplicaID) {
	t.Helper()
	rec, before, now := s.rec[to], 0, 0
	rec.Look(func() { before = len(rec.Frames[from]) })
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for now == before {
		tr.SendPeer(to, Frame(kind, 0, 8))
		select {
		case <-tick.C:
			rec.Look(func() { now = len(rec.Frames[from]) })
		case <-limit:
			t.Fatalf("waited in vain: a frame from %s to %s", from, to)
		}
	}
}

func (s *suite) finish(t *testing.T) {
	for _, f := range s.release {
		f()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i, tr := range s.Transports {
		if err := tr.Close(ctx); err != nil {
			t.Errorf("replica %d: Close: %v", i, err)
		}
	}
	for i, r := range s.rec {
		r.Look(func() {
			for id, up := range r.Up {
				if up != 0 {
					t.Errorf("replica %d: %s is still up after Close", i, id)
				}
			}
			for l, up := range r.Links {
				if up {
					t.Errorf("replica %d: a link of client %s is still up after Close", i, l.Client())
				}
			}
			for _, b := range r.Broken {
				t.Errorf("replica %d: %s", i, b)
			}
		})
	}
}

// numbers are the frames from a peer without those of probes.
func (r *Recorder) numbers(from bft.ReplicaID) []uint64 {
	return slices.DeleteFunc(slices.Clone(r.Frames[from]), func(n uint64) bool { return n == 0 })
}

// order: everybody sends to everybody, in buffers of one to five frames, and all arrives in
// order under the sender's name.
func order(t *testing.T, s *suite) {
	s.start(t)
	const each = 300
	n := len(s.Transports)
	for i, tr := range s.Transports {
		go func() {
			for k := 1; k <= each; {
				var buf []byte
				for range 1 + k%5 {
					if k <= each {
						buf = append(buf, Frame(kind, uint64(k*n+i), 8+k%700)...)
						k++
					}
				}
				for j := range s.Transports {
					if i != j && !tr.SendPeer(bft.ReplicaID(j), buf) {
						t.Errorf("replica %d: a queue that is far from full dropped", i)
					}
				}
			}
		}()
	}
	for j, r := range s.rec {
		for i := range s.rec {
			if i == j {
				continue
			}
			from := bft.ReplicaID(i)
			r.Wait(t, "all frames", func() bool { return len(r.numbers(from)) >= each })
			r.Look(func() {
				for k, v := range r.numbers(from) {
					if want := uint64((k+1)*n + i); v != want {
						t.Fatalf("replica %d: frame %d from %s is %d, want %d", j, k, from, v, want)
					}
				}
			})
		}
	}
}

// largeFrames: the largest frame passes, between small ones.
func largeFrames(t *testing.T, s *suite) {
	s.start(t)
	const largest = bft.PeerFrameBytesMax - 1 // the limit counts the kind
	for k, size := range []int{8, 5000, 70_000, 1 << 20, largest, 8} {
		frame := Frame(kind, uint64(k+1), size)
		if !s.Transports[0].SendPeer(1, frame) {
			t.Fatalf("a frame of %d bytes was dropped", size)
		}
		s.rec[1].Wait(t, "a large frame", func() bool { return len(s.rec[1].numbers(0)) == k+1 })
	}
	s.rec[1].Look(func() {
		if got := s.rec[1].numbers(0); !slices.IsSorted(got) || got[len(got)-1] != 6 {
			t.Errorf("frames %v, want 1 to 6", got)
		}
	})
}

// refused: what is no buffer of whole frames within the limit never leaves, and the link stays.
func refused(t *testing.T, s *suite) {
	tr := s.Transports[0]
	if tr.SendPeer(1, Frame(kind, 1, 8)) {
		t.Error("SendPeer before Start took a buffer")
	}
	s.start(t)
	good := Frame(kind, 1, 8)
	for name, b := range map[string][]byte{
		"too long":         Frame(kind, 1, bft.PeerFrameBytesMax),
		"half a frame":     good[:len(good)-1],
		"half a header":    good[:3],
		"more than a half": append(slices.Clone(good), good[:6]...),
		"an empty frame":   {0, 0, 0, 0},
	} {
		if tr.SendPeer(1, b) {
			t.Errorf("SendPeer took %s", name)
		}
	}
	for _, id := range []bft.ReplicaID{0, 2, 64, 65535} {
		if tr.SendPeer(id, good) {
			t.Errorf("SendPeer of r0 took a buffer for %s", id)
		}
	}
	if !tr.SendPeer(1, Frame(kind, 9, 8)) {
		t.Fatal("a good frame behind refused ones was dropped")
	}
	s.rec[1].Wait(t, "the good frame", func() bool { return len(s.rec[1].numbers(0)) == 1 })
	s.rec[1].Look(func() {
		if s.rec[1].Downs[0] != 0 || s.rec[1].numbers(0)[0] != 9 {
			t.Errorf("the link went down %d times, frames %v", s.rec[1].Downs[0], s.rec[1].numbers(0))
		}
	})
}

// boundedQueues: a peer that does not take its frames costs the sender no more than a bound,
// never blocks it, and what arrives later is in order.
func boundedQueues(t *testing.T, s *suite) {
	gate := make(chan struct{})
	open := false
	s.release = append(s.release, func() {
		if !open {
			close(gate)
		}
	})
	s.start(t)
	s.gate(1, gate)
	const size, most = 256 << 10, 400 // 100 MiB: any bound, and what the system buffers, is less
	sent := 0
	for ; sent < most && s.Transports[0].SendPeer(1, Frame(kind, uint64(sent+1), size)); sent++ {
	}
	if sent == most {
		t.Fatalf("a peer that takes nothing was sent %d MiB", most*size>>20)
	}
	if sent == 0 {
		t.Fatal("nothing was taken at all")
	}
	open = true
	close(gate)
	s.rec[1].Wait(t, "what was queued", func() bool { return len(s.rec[1].numbers(0)) == sent })
	s.rec[1].Look(func() {
		for k, v := range s.rec[1].numbers(0) {
			if v != uint64(k+1) {
				t.Fatalf("frame %d is %d", k, v)
			}
		}
	})
	if !s.Transports[0].SendPeer(1, Frame(kind, 1, 8)) {
		t.Error("the queue has room again but drops")
	}
}

// gate makes a replica's handler block on every frame until the gate is closed.
func (s *suite) gate(id bft.ReplicaID, gate chan struct{}) {
	s.rec[id].Look(func() { s.rec[id].Gate = func(bft.ReplicaID) { <-gate } })
}

// reconnect: a broken link comes back by itself, is announced, and carries frames again.
func reconnect(t *testing.T, s *suite) {
	s.start(t)
	for range 3 {
		var before, downs int
		s.rec[1].Look(func() { before, downs = s.rec[1].Ups[0], s.rec[1].Downs[2] })
		s.Break(0, 1)
		s.rec[1].Wait(t, "PeerUp after a break", func() bool { return s.rec[1].Ups[0] > before })
		s.probe(t, s.Transports[0], 0, 1)
		s.probe(t, s.Transports[1], 1, 0)
		s.rec[1].Look(func() {
			if s.rec[1].Downs[2] != downs {
				t.Error("the link with another peer went down too")
			}
		})
	}
}

// closeUnblocks: Close returns while others send, and later calls are harmless.
func closeUnblocks(t *testing.T, s *suite) {
	s.start(t)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for k := uint64(1); ; k++ {
			select {
			case <-stop:
				return
			default:
				s.Transports[1].SendPeer(0, Frame(kind, k, 1000))
				s.Transports[0].SendPeer(1, Frame(kind, k, 1000))
			}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Transports[0].Close(ctx); err != nil {
		t.Errorf("Close while frames flow: %v", err)
	}
	s.rec[1].Wait(t, "PeerDown of the closed one", func() bool { return s.rec[1].Up[0] == 0 })
	close(stop)
	<-stopped
	if s.Transports[0].SendPeer(1, Frame(kind, 1, 8)) {
		t.Error("SendPeer after Close took a buffer")
	}
	s.probe(t, s.Transports[1], 1, 2)
	if err := s.Transports[0].Close(ctx); err != nil {
		t.Errorf("second Close: %v", err)
	}
}
