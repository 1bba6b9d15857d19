package catchup

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// How much may be open at once: together about a mebibyte, so that a transfer beside the
// running protocol neither fills the queues of a link nor the memory of this replica.
const (
	fragmentsMax     = 16 // over all peers
	peerFragmentsMax = 8  // with one peer
	itemFragmentsMax = 4  // of one item
)

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
		frag.Total > t.bytesMax(),
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
	if len(f.pending) > 0 {
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
	f.sources.awake(now)
	open, perPeer := 0, make([]int, bft.ReplicasMax)
	for _, t := range f.parts {
		open += t.open()
		perPeer[t.from] += t.open()
	}
	for _, t := range f.parts {
		for t.more() && t.open() < itemFragmentsMax && open < fragmentsMax && perPeer[t.from] < peerFragmentsMax {
			t.ask(f.target.Seq, out)
			open++
			perPeer[t.from]++
		}
	}
	for len(f.pending) > 0 && open < fragmentsMax {
		from, ok := f.sources.pick(perPeer)
		if !ok {
			return
		}
		t := &transfer{pendingItem: f.pending[0], from: from, began: now, due: now + f.patience}
		f.pending = f.pending[1:]
		f.parts = append(f.parts, t)
		t.ask(f.target.Seq, out)
		open++
		perPeer[from]++
	}
}
