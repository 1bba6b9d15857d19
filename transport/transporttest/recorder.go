package transporttest

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/wire"
)

// patience is how long a test waits for a condition before it fails. Slow machines take long.
const patience = time.Minute

// Recorder is a Handler that remembers what it was told and checks the order of calls. Its
// zero value is ready. Fields are read inside Wait or Look.
type Recorder struct {
	mu      sync.Mutex
	changed chan struct{}

	Up      map[bft.ReplicaID]int // directions of a peer that are up
	Ups     map[bft.ReplicaID]int // calls of PeerUp
	Downs   map[bft.ReplicaID]int
	Frames  map[bft.ReplicaID][]uint64 // the numbers of the frames that came
	Links   map[transport.ClientLink]bool
	FromCli map[transport.ClientLink][]uint64
	Broken  []string // calls against the contract

	// Gate, when set, is called with every frame before it is recorded, and may block.
	Gate func(from bft.ReplicaID)
	// Client, when set, is called with every frame of a client.
	Client func(l transport.ClientLink, f transport.Frame)
}

func (r *Recorder) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Up == nil {
		r.Up, r.Ups, r.Downs = make(map[bft.ReplicaID]int), make(map[bft.ReplicaID]int), make(map[bft.ReplicaID]int)
		r.Frames = make(map[bft.ReplicaID][]uint64)
		r.Links, r.FromCli = make(map[transport.ClientLink]bool), make(map[transport.ClientLink][]uint64)
	}
	f()
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// Look calls f while nothing changes.
func (r *Recorder) Look(f func()) { r.change(f) }

// Wait returns when cond holds; it is evaluated at every change.
func (r *Recorder) Wait(t *testing.T, what string, cond func() bool) {
	t.Helper()
	limit := time.After(patience)
	for {
		var ok bool
		var changed chan struct{}
		r.Look(func() { ok = cond() })
		r.mu.Lock()
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		changed = r.changed
		r.mu.Unlock()
		// A change between Look and here is caught by looking once more.
		if !ok {
			r.mu.Lock()
			ok = cond()
			r.mu.Unlock()
		}
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit:
			r.Look(func() { t.Fatalf("waited in vain: %s (up %v, broken %v)", what, r.Up, r.Broken) })
		}
	}
}

func (r *Recorder) broken(format string, args ...any) {
	r.Broken = append(r.Broken, fmt.Sprintf(format, args...))
}

// PeerUp records that a direction came up.
func (r *Recorder) PeerUp(from bft.ReplicaID) {
	r.change(func() { r.Up[from]++; r.Ups[from]++ })
}

// PeerDown records that the peer is gone.
func (r *Recorder) PeerDown(from bft.ReplicaID) {
	r.change(func() {
		if r.Up[from] == 0 {
			r.broken("%s: PeerDown of a peer that is not up", from)
		}
		r.Up[from] = 0
		r.Downs[from]++
	})
}

// PeerFrame records the number that Frame put into the frame.
func (r *Recorder) PeerFrame(from bft.ReplicaID, f transport.Frame) {
	var gate func(bft.ReplicaID)
	r.Look(func() { gate = r.Gate })
	if gate != nil {
		gate(from)
	}
	n := number(f)
	r.change(func() {
		if r.Up[from] == 0 {
			r.broken("%s: frame %d while it is not up", from, n)
		}
		r.Frames[from] = append(r.Frames[from], n)
	})
}

// ClientUp records a link.
func (r *Recorder) ClientUp(l transport.ClientLink) {
	r.change(func() {
		if _, seen := r.Links[l]; seen {
			r.broken("client %s: ClientUp twice for one link", l.Client())
		}
		r.Links[l] = true
	})
}

// ClientFrame records the number of a frame.
func (r *Recorder) ClientFrame(l transport.ClientLink, f transport.Frame) {
	n := number(f)
	r.change(func() {
		if !r.Links[l] {
			r.broken("client %s: frame on a link that is not up", l.Client())
		}
		r.FromCli[l] = append(r.FromCli[l], n)
	})
	if r.Client != nil {
		r.Client(l, f)
	}
}

// ClientDown records the end of a link.
func (r *Recorder) ClientDown(l transport.ClientLink) {
	r.change(func() {
		if !r.Links[l] {
			r.broken("client %s: ClientDown of a link that is not up", l.Client())
		}
		r.Links[l] = false
	})
}

// Frame is an encoded frame of a kind that carries a number in a payload of size bytes (at
// least 8), whose last byte depends on the number.
func Frame(kind wire.Kind, n uint64, size int) []byte {
	p := make([]byte, max(size, 8))
	p[len(p)-1] = byte(n)
	binary.LittleEndian.PutUint64(p, n)
	return wire.AppendFrame(nil, kind, p)
}

// number returns what Frame put in, or all ones for another frame.
func number(f transport.Frame) uint64 {
	if len(f.Payload) < 8 {
		return ^uint64(0)
	}
	n := binary.LittleEndian.Uint64(f.Payload)
	if len(f.Payload) > 8 && f.Payload[len(f.Payload)-1] != byte(n) {
		return ^uint64(0)
	}
	return n
}
