package catchup

import (
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/wire"
)

// How much may be open at once: together about a mebibyte, so that a transfer beside the
// running protocol neither fills the queues of a link nor the memory of this replica.
const (
	fragmentsMax     = 16 // over all peers
	peerFragmentsMax = 8  // with one peer
	itemFragmentsMax = 4  // of one item
)

// HeldBytesMax is what items of which only a part has come can hold: whoever sends may claim the largest size.
const HeldBytesMax = fragmentsMax * bft.StateItemBytesMax

// transfer is an item on its way from one source.
type transfer struct {
	pendingItem
	from    bft.ReplicaID
	bytes   []byte // grows by what arrives, whatever total claims
	total   uint32 // as the source claims; 0 until its first fragment
	asked   uint32 // offset behind what was asked for
	began   bft.Duration
	due     bft.Duration // the next fragment must have come
	retried bool         // asked again since the last fragment
}

// verdict is what a fragment turned out to be.
type verdict int

const (
	fragmentGood   verdict = iota
	fragmentAbsent         // the source does not hold the checkpoint
	fragmentFalse          // no correct source sends this
)

// accept takes the fragment at the end of what is there. A correct source always sends the
// same total, and fragments that are full but for the last.
func (t *transfer) accept(frag *wire.StateFragment) verdict {
	if frag.Total == 0 {
		return fragmentAbsent
	}
	rest := uint64(frag.Total) - min(uint64(frag.Total), uint64(len(t.bytes)))
	full := min(rest, bft.StateFragmentBytesMax)
	switch {
	case t.total != 0 && frag.Total != t.total,
		frag.Total > t.bytesMax() && !mutant.On("catchup-size-not-bounded"),
		full == 0 || uint64(len(frag.Bytes)) != full:
		return fragmentFalse
	}
	t.total = frag.Total
	t.bytes = append(t.bytes, frag.Bytes...)
	t.asked = max(t.asked, uint32(len(t.bytes)))
	return fragmentGood
}

func (t *transfer) bytesMax() uint32 {
	if t.item == wire.Manifest {
		return manifestHeaderBytes + 32*bft.StatePagesMax
	}
	return bft.StateItemBytesMax
}

// open is the number of fragments that were asked for and have not come.
func (t *transfer) open() int {
	return int((t.asked - uint32(len(t.bytes)) + bft.StateFragmentBytesMax - 1) / bft.StateFragmentBytesMax)
}

// more reports whether there is something to ask for beyond what was asked. Before the first
// fragment nothing is known of the size.
func (t *transfer) more() bool { return t.asked == 0 || t.asked < t.total }

// ask asks for the next fragment.
func (t *transfer) ask(seq bft.SeqNum, out *Output) {
	w := wire.StateWant{Seq: seq, Item: t.item, Offset: t.asked}
	out.Want = append(out.Want, Want{To: t.from, Want: w})
	t.asked += bft.StateFragmentBytesMax
	if t.total != 0 {
		t.asked = min(t.asked, t.total)
	}
}

// deadline is when the item as a whole must be there, so that a source that drips, each
// fragment just in time, does not hold up the item: half the patience for every fragment.
func (t *transfer) deadline(patience bft.Duration) bft.Duration {
	fragments := bft.Duration(t.total/bft.StateFragmentBytesMax + 1)
	return t.began + 2*patience + fragments*patience/2
}

// Deadline is when Tick has something to do; ok is false if nothing waits for time.
func (f *Fetcher) Deadline() (at bft.Duration, ok bool) {
	if !f.active {
		return 0, false
	}
	for _, t := range f.parts {
		due := min(t.due, t.deadline(f.patience))
		if !ok || due < at {
			at, ok = due, true
		}
	}
	if len(f.pending) == 0 {
		for _, t := range f.slow() {
			if due := t.began + f.patience; due > f.looked && (!ok || due < at) {
				at, ok = due, true
			}
		}
	}
	if f.sources.paced && (!ok || f.sources.paceAt < at) {
		at, ok = f.sources.paceAt, true
	}
	if len(f.pending) > 0 || len(f.slow()) > 0 {
		if wake, some := f.sources.wake(); some && (!ok || wake < at) {
			at, ok = wake, true
		}
	}
	return at, ok
}

// Tick asks again, or asks others, for what did not come in time.
func (f *Fetcher) Tick(now bft.Duration, out *Output) {
	if !f.active {
		return
	}
	for i := len(f.parts) - 1; i >= 0; i-- {
		t := f.parts[i]
		switch {
		case now >= t.deadline(f.patience), now >= t.due && (t.retried || len(t.bytes) == 0):
			f.sources.failed(t.from, now, f.patience)
			f.abandon(i)
		case now >= t.due: // a fragment was lost on the way, or the source's budget was spent
			t.retried, t.due = true, now+f.patience
			t.asked = uint32(len(t.bytes))
		}
	}
	f.schedule(now, out)
}

// schedule asks for as much as may be open: first for the rest of what is under way.
func (f *Fetcher) schedule(now bft.Duration, out *Output) {
	if !f.active {
		return
	}
	f.looked = now
	f.sources.awake(now)
	f.sources.paced = false
	open, perPeer := 0, make([]int, bft.ReplicasMax)
	for _, t := range f.parts {
		open += t.open()
		perPeer[t.from] += t.open()
	}
	for _, t := range f.parts {
		for t.more() && t.open() < itemFragmentsMax && open < fragmentsMax && perPeer[t.from] < peerFragmentsMax &&
			f.sources.mayAsk(t.from, now) {
			f.sources.asked(t.from)
			t.ask(f.target.Seq, out)
			open++
			perPeer[t.from]++
		}
	}
	for len(f.pending) > 0 && open < fragmentsMax {
		from, ok := f.sources.pick(perPeer, 0, now)
		if !ok {
			return
		}
		item := f.pending[0]
		f.pending = f.pending[1:]
		f.begin(item, from, now, out)
		open++
		perPeer[from]++
	}
	if len(f.pending) == 0 {
		f.overtake(open, perPeer, now, out)
	}
}

// begin asks a source for the first fragment of an item.
func (f *Fetcher) begin(item pendingItem, from bft.ReplicaID, now bft.Duration, out *Output) {
	t := &transfer{pendingItem: item, from: from, began: now, due: now + f.patience}
	f.parts = append(f.parts, t)
	f.sources.asked(from)
	t.ask(f.target.Seq, out)
}

// overtake asks one more source for what others are slow with, once there is nothing else to ask
// for: the first that has an item whole wins. A source that drips delays a transfer by little
// more than the patience, whatever size it claims.
func (f *Fetcher) overtake(open int, perPeer []int, now bft.Duration, out *Output) {
	for _, t := range f.slow() {
		if now < t.began+f.patience || open >= fragmentsMax {
			continue
		}
		if from, ok := f.sources.pick(perPeer, f.sourcesOf(t.item), now); ok {
			f.begin(t.pendingItem, from, now, out)
			open++
			perPeer[from]++
		}
	}
}

// slow is, of every item under way, the transfer that began last, if there is another source to ask.
func (f *Fetcher) slow() (last []*transfer) {
	if mutant.On("catchup-nobody-overtakes") {
		return nil
	}
	for i, t := range f.parts {
		newer := func(o *transfer) bool { return o.item == t.item }
		if !slices.ContainsFunc(f.parts[i+1:], newer) && f.sources.peers&f.sources.reachable&^f.sourcesOf(t.item) != 0 {
			last = append(last, t)
		}
	}
	return last
}

// sourcesOf are the peers from which an item is being fetched.
func (f *Fetcher) sourcesOf(item wire.StateItem) (set bft.ReplicaSet) {
	for _, t := range f.parts {
		if t.item == item {
			set = set.With(t.from)
		}
	}
	return set
}

// overtaken drops what is under way of an item that has come, and leaves alone for a while who
// was slower though it was asked first.
func (f *Fetcher) overtaken(item wire.StateItem, now bft.Duration) {
	f.parts = slices.DeleteFunc(f.parts, func(t *transfer) bool {
		if t.item != item {
			return false
		}
		if now >= t.began+f.patience {
			f.sources.failed(t.from, now, f.patience)
		}
		return true
	})
}

// again puts an item back to the front of the queue, unless another source is at it.
func (f *Fetcher) again(item pendingItem) {
	if f.sourcesOf(item.item) == 0 {
		f.pending = slices.Insert(f.pending, 0, item)
	}
}
