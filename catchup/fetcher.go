package catchup

import (
	"fmt"
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// Fetcher fetches one certified checkpoint: first its manifest, whose digest is certified, then
// every page that is not held here already, several at a time and from several peers. All
// fragments of one item come from one source, so that an item with the wrong digest names who
// lied; that source is not asked again for this target while another is left. What a source is
// slow with is asked of another as well, whole, once nothing else is left to ask for.
//
// It never gives a target up: sources that are silent, slow or do not hold it are asked again
// in turn until a newer target replaces it. All methods are called from the step thread.
type Fetcher struct {
	self     bft.ReplicaID
	patience bft.Duration

	active   bool
	target   protocol.Target
	local    func(bft.Digest) []byte
	manifest []byte // verified, nil until then
	layout   Manifest
	pages    map[bft.Digest][]byte // verified pages, by digest
	pending  []pendingItem         // not yet fetched and not being fetched, in order
	parts    []*transfer           // being fetched
	sources  sources
	looked   bft.Duration // when it was last seen to what to ask for
	stats    FetchStats
}

// FetchStats is what a Fetcher has done since it was made, and how far it is.
type FetchStats struct {
	Targets   uint64 // different targets
	Completed uint64 // checkpoints fetched whole
	Bytes     uint64 // bytes of verified items that came from peers
	Reused    uint64 // pages that were held here already
	Lies      uint64 // items with a wrong digest, size or layout
	Missing   int    // items of the present target that are still to come
}

// Want is a question to one peer.
type Want struct {
	To   bft.ReplicaID
	Want wire.StateWant
}

// Output collects what follows from one or several calls.
type Output struct {
	Want   []Want
	Done   *State // the target, complete and verified
	Reject []protocol.Rejection
}

// Reset empties o and keeps its memory.
func (o *Output) Reset() { *o = Output{Want: o.Want[:0], Reject: o.Reject[:0]} }

// pendingItem is an item to fetch and the digest it must have.
type pendingItem struct {
	item   wire.StateItem
	digest bft.Digest
}

// NewFetcher returns an idle Fetcher of replica self among n. A fragment that does not come for
// patience is asked for again.
func NewFetcher(self bft.ReplicaID, n int, patience bft.Duration) *Fetcher {
	if n < 2 || n > bft.ReplicasMax || int(self) >= n || patience <= 0 {
		panic(fmt.Sprintf("catchup: replica %d of %d with patience %d", self, n, patience))
	}
	return &Fetcher{self: self, patience: patience, sources: newSources(self, n)}
}

// Active reports whether a target is being fetched.
func (f *Fetcher) Active() bool { return f.active }

// Target is the checkpoint being fetched; the zero value if there is none.
func (f *Fetcher) Target() protocol.Target { return f.target }

// Stats returns counts and progress.
func (f *Fetcher) Stats() FetchStats {
	s := f.stats
	s.Missing = len(f.pending)
	for i, t := range f.parts {
		if !slices.ContainsFunc(f.parts[:i], func(o *transfer) bool { return o.item == t.item }) {
			s.Missing++
		}
	}
	return s
}

// Start begins to fetch t, or adds its sources if t is being fetched. Another target replaces
// the present one; pages already verified are used again. local returns a page held here by its
// digest, or nil; its bytes must stay as they are.
func (f *Fetcher) Start(t protocol.Target, local func(bft.Digest) []byte, now bft.Duration, out *Output) {
	if f.active && f.target.Seq == t.Seq && f.target.Digest == t.Digest {
		f.target.Sources |= t.Sources
		f.sources.preferred = f.target.Sources
		f.schedule(now, out)
		return
	}
	f.active, f.target, f.local = true, t, local
	f.manifest, f.layout, f.parts = nil, Manifest{}, nil
	f.sources.begin(t.Sources)
	f.stats.Targets++
	f.pending = append(f.pending[:0], pendingItem{item: wire.Manifest, digest: t.Digest})
	f.schedule(now, out)
}

// Stop forgets the target and everything fetched for it.
func (f *Fetcher) Stop() {
	f.active, f.target, f.local = false, protocol.Target{}, nil
	f.manifest, f.layout, f.pages, f.pending, f.parts = nil, Manifest{}, nil, nil, nil
}

// Up says that a link to a peer was made.
func (f *Fetcher) Up(peer bft.ReplicaID, now bft.Duration, out *Output) {
	f.sources.up(peer)
	f.schedule(now, out)
}

// Down says that the link to a peer is gone: what was asked of it is asked of others.
func (f *Fetcher) Down(peer bft.ReplicaID, now bft.Duration, out *Output) {
	f.sources.down(peer)
	f.abandonFrom(peer)
	f.schedule(now, out)
}

// abandonFrom puts every item that peer was asked for back to the front of the queue.
func (f *Fetcher) abandonFrom(peer bft.ReplicaID) {
	for i := len(f.parts) - 1; i >= 0; i-- {
		if f.parts[i].from == peer {
			f.abandon(i)
		}
	}
}

// abandon puts the item of transfer i back; its bytes go, for the next source answers for all
// of them.
func (f *Fetcher) abandon(i int) {
	t := f.parts[i]
	f.parts = slices.Delete(f.parts, i, i+1)
	f.again(t.pendingItem)
}

// Fragment takes what a peer sent. Bytes are copied.
func (f *Fetcher) Fragment(from bft.ReplicaID, frag *wire.StateFragment, now bft.Duration, out *Output) {
	i := f.transferOf(from, frag.Want)
	if i < 0 {
		f.reject(from, protocol.ReasonUnrequested, out)
		return
	}
	t := f.parts[i]
	switch verdict := t.accept(frag); verdict {
	case fragmentAbsent:
		f.sources.failed(from, now, f.patience)
		f.abandonFrom(from)
	case fragmentFalse:
		f.lied(from, now, out)
	case fragmentGood:
		f.sources.came(from, len(frag.Bytes))
		t.due, t.retried = now+f.patience, false
		f.sources.strikes[from] = 0
		if len(t.bytes) == int(t.total) {
			f.parts = slices.Delete(f.parts, i, i+1)
			f.complete(t, now, out)
		}
	}
	f.schedule(now, out)
}

// transferOf finds the transfer that waits for exactly this fragment, or -1.
func (f *Fetcher) transferOf(from bft.ReplicaID, w wire.StateWant) int {
	if !f.active || w.Seq != f.target.Seq {
		return -1
	}
	for i, t := range f.parts {
		if t.item == w.Item && t.from == from && uint32(len(t.bytes)) == w.Offset {
			return i
		}
	}
	return -1
}

// complete holds a whole item against its digest and uses it.
func (f *Fetcher) complete(t *transfer, now bft.Duration, out *Output) {
	if t.item == wire.Manifest {
		f.completeManifest(t, now, out)
	} else if PageDigest(t.bytes) != t.digest && !mutant.On("catchup-page-not-checked") {
		f.again(t.pendingItem)
		f.lied(t.from, now, out)
	} else {
		f.overtaken(t.item, now)
		f.pages[t.digest] = t.bytes
		f.stats.Bytes += uint64(len(t.bytes))
	}
	f.finish(out)
}

// completeManifest checks the manifest and finds out which pages are missing.
func (f *Fetcher) completeManifest(t *transfer, now bft.Duration, out *Output) {
	m, err := ParseManifest(t.bytes)
	right := ManifestDigest(t.bytes) == t.digest || mutant.On("catchup-manifest-not-checked")
	if !right || err != nil || m.Seq != f.target.Seq {
		// With the right digest and the wrong layout the certificate itself is wrong: more
		// replicas than f are faulty, and all that is left is to wait for another target.
		f.again(t.pendingItem)
		f.lied(t.from, now, out)
		return
	}
	f.overtaken(t.item, now)
	f.manifest, f.layout = t.bytes, m
	f.stats.Bytes += uint64(len(t.bytes))
	before := f.pages
	f.pages = make(map[bft.Digest][]byte, m.Pages())
	wanted := make(map[bft.Digest]bool, m.Pages())
	for i := range m.Pages() {
		f.plan(i, before, wanted)
	}
}

// plan takes page i from what is here, or queues it. Equal pages are fetched once; an empty
// page needs no fetching, since its bytes are known.
func (f *Fetcher) plan(i int, before map[bft.Digest][]byte, wanted map[bft.Digest]bool) {
	d := f.layout.Page(i)
	if _, there := f.pages[d]; there || wanted[d] {
		return
	}
	b, there := before[d]
	if !there && d == emptyPage {
		b, there = []byte{}, true
	}
	if !there && f.local != nil {
		b = f.local(d)
		there = b != nil
	}
	if there {
		f.pages[d] = b
		f.stats.Reused++
		return
	}
	wanted[d] = true
	f.pending = append(f.pending, pendingItem{item: wire.StateItem(i), digest: d})
}

var emptyPage = PageDigest(nil)

// finish hands the state over when nothing is missing.
func (f *Fetcher) finish(out *Output) {
	if f.manifest == nil || len(f.pending)+len(f.parts) > 0 {
		return
	}
	s := &State{Seq: f.target.Seq, Digest: f.target.Digest, Manifest: f.manifest, Pages: make([][]byte, f.layout.Pages())}
	for i := range s.Pages {
		b, there := f.pages[f.layout.Page(i)]
		if !there {
			panic(fmt.Sprintf("catchup: page %d of %d is missing and not asked for, slot %d", i, len(s.Pages), s.Seq))
		}
		s.Pages[i] = b
	}
	out.Done = s
	f.stats.Completed++
	f.Stop()
}

// lied names a source and asks others for all that it was asked.
func (f *Fetcher) lied(from bft.ReplicaID, now bft.Duration, out *Output) {
	f.stats.Lies++
	f.sources.lied(from)
	f.sources.failed(from, now, f.patience)
	f.abandonFrom(from)
	f.reject(from, protocol.ReasonBadState, out)
}

func (f *Fetcher) reject(from bft.ReplicaID, r protocol.Reason, out *Output) {
	out.Reject = append(out.Reject, protocol.Rejection{From: from, Kind: wire.KindStateItem, Reason: r})
}
