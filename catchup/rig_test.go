package catchup

import (
	"bytes"
	"slices"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// checkpoint is a Held whose pages are given.
type checkpoint struct {
	seq      bft.SeqNum
	manifest []byte
	pages    [][]byte
	released int
}

func newCheckpoint(seq bft.SeqNum, pages ...[]byte) *checkpoint {
	m := Manifest{Seq: seq, Time: bft.Time(seq)}
	for i, p := range pages {
		if i < len(pages)/2 {
			m.App = append(m.App, PageDigest(p))
		} else {
			m.Sessions = append(m.Sessions, PageDigest(p))
		}
	}
	return &checkpoint{seq: seq, manifest: AppendManifest(nil, &m), pages: pages}
}

func (c *checkpoint) Seq() bft.SeqNum             { return c.seq }
func (c *checkpoint) Digest() bft.Digest          { return ManifestDigest(c.manifest) }
func (c *checkpoint) Manifest() []byte            { return c.manifest }
func (c *checkpoint) Pages() int                  { return len(c.pages) }
func (c *checkpoint) Page(i int) []byte           { return c.pages[i] }
func (c *checkpoint) PageDigest(i int) bft.Digest { return PageDigest(c.pages[i]) }
func (c *checkpoint) Release()                    { c.released++ }

func (c *checkpoint) target(sources ...bft.ReplicaID) protocol.Target {
	return protocol.Target{Seq: c.seq, Digest: c.Digest(), Sources: bft.SetOf(sources...)}
}

// page is the content of a page: n bytes that depend on id.
func page(id, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(id + i/251 + i*7)
	}
	return b
}

const (
	patience     = 100 * bft.Millisecond
	halfFragment = bft.StateFragmentBytesMax / 2
)

// answerer is how a peer answers; ok is false for silence.
type answerer func(w wire.StateWant) (f wire.StateFragment, ok bool)

// rig is a fetcher, replica 0, with its peers.
type rig struct {
	t       *testing.T
	f       *Fetcher
	now     bft.Duration
	peers   map[bft.ReplicaID]answerer
	out     Output
	done    *State
	rejects map[bft.ReplicaID][]protocol.Reason
	asked   map[bft.ReplicaID]int
	open    int // most that was asked for at once
	local   func(bft.Digest) []byte
}

func newRig(t *testing.T, n int) *rig {
	return &rig{
		t: t, f: NewFetcher(0, n, patience), peers: map[bft.ReplicaID]answerer{},
		rejects: map[bft.ReplicaID][]protocol.Reason{}, asked: map[bft.ReplicaID]int{},
	}
}

// honest answers from a Server that holds these checkpoints.
func honest(held ...*checkpoint) answerer {
	s := NewServer(8)
	for _, h := range held {
		s.Hold(h)
	}
	now := bft.Duration(0)
	return func(w wire.StateWant) (wire.StateFragment, bool) {
		now += bft.Second // the budget has its own test
		f, reason := s.Serve(0, w, now)
		return f, reason == protocol.ReasonNone
	}
}

func silent(wire.StateWant) (wire.StateFragment, bool) { return wire.StateFragment{}, false }

// lying changes what an honest peer would answer.
func lying(a answerer, change func(f *wire.StateFragment)) answerer {
	return func(w wire.StateWant) (wire.StateFragment, bool) {
		f, ok := a(w)
		if len(f.Bytes) == 0 {
			return f, ok // it does not have what was asked for
		}
		f.Bytes = bytes.Clone(f.Bytes)
		change(&f)
		return f, ok
	}
}

func (r *rig) start(t protocol.Target) {
	r.f.Start(t, r.local, r.now, &r.out)
}

// run answers all questions, and lets time pass when nothing is asked, until the state is
// there or the given time has passed.
func (r *rig) run(limit bft.Duration) *State {
	r.t.Helper()
	end := r.now + limit
	for r.done == nil && r.now < end {
		r.collect()
		if !r.exchange() {
			at, ok := r.f.Deadline()
			if !ok || at > end {
				r.now = end // time passes also while everybody rests for longer
				return r.done
			}
			r.now = max(at, r.now)
			r.f.Tick(r.now, &r.out)
			if next, ok := r.f.Deadline(); ok && next <= r.now {
				r.t.Fatalf("after Tick at %d the deadline is %d: the driver would spin", r.now, next)
			}
		}
	}
	return r.done
}

// exchange answers what is asked now and reports whether anything came back.
func (r *rig) exchange() (any bool) {
	wants := slices.Clone(r.out.Want)
	r.out.Reset()
	r.open = max(r.open, len(wants))
	r.now += bft.Microsecond
	for _, w := range wants {
		r.asked[w.To]++
		frag, ok := r.peers[w.To](w.Want)
		if !ok {
			continue
		}
		any = true
		encoded := frag.Append(nil)
		frag, err := wire.DecodeStateFragment(encoded)
		if err != nil {
			continue // the verify stage refuses it
		}
		r.f.Fragment(w.To, &frag, r.now, &r.out)
		clear(encoded) // the bytes belong to the link
		r.collect()
	}
	return any
}

func (r *rig) collect() {
	for _, j := range r.out.Reject {
		r.rejects[j.From] = append(r.rejects[j.From], j.Reason)
	}
	r.out.Reject = nil
	if r.out.Done != nil {
		r.done, r.out.Done = r.out.Done, nil
	}
}

func (r *rig) wantState(c *checkpoint) {
	r.t.Helper()
	s := r.done
	if s == nil {
		r.t.Fatalf("no state after %d ms; %+v; asked %v", r.now/bft.Millisecond, r.f.Stats(), r.asked)
	}
	if s.Seq != c.seq || s.Digest != c.Digest() || !bytes.Equal(s.Manifest, c.manifest) || len(s.Pages) != len(c.pages) {
		r.t.Fatalf("state of slot %d, %s, %d pages", s.Seq, s.Digest, len(s.Pages))
	}
	for i := range s.Pages {
		if !bytes.Equal(s.Pages[i], c.pages[i]) {
			r.t.Fatalf("page %d is not that of the checkpoint", i)
		}
	}
	if r.f.Active() {
		r.t.Fatal("still fetching")
	}
}

// blamed are the peers that were rejected for a reason that no correct peer gives.
func (r *rig) blamed() (set bft.ReplicaSet) {
	for id, reasons := range r.rejects {
		for _, reason := range reasons {
			if reason.Faulty() {
				set = set.With(id)
			}
		}
	}
	return set
}

func sample(seq bft.SeqNum) *checkpoint {
	return newCheckpoint(seq,
		page(1, 10), page(2, bft.StateFragmentBytesMax), page(3, 3*bft.StateFragmentBytesMax+5), nil,
		page(5, 1), page(1, 10), page(6, 9*bft.StateFragmentBytesMax), page(7, halfFragment))
}
