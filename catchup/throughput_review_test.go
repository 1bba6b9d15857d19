package catchup

import (
	"container/heap"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// delivery is a frame under way in virtual time.
type delivery struct {
	at   bft.Duration
	seq  int
	want *Want
	frag *wire.StateFragment
	from bft.ReplicaID
}

type deliveries []delivery

func (d deliveries) Len() int { return len(d) }
func (d deliveries) Less(i, j int) bool {
	return d[i].at < d[j].at || d[i].at == d[j].at && d[i].seq < d[j].seq
}
func (d deliveries) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d *deliveries) Push(x any)   { *d = append(*d, x.(delivery)) }
func (d *deliveries) Pop() any {
	last := (*d)[len(*d)-1]
	*d = (*d)[:len(*d)-1]
	return last
}

// network connects a fetcher, replica 0, with servers over links of a latency and a rate.
type network struct {
	t       *testing.T
	f       *Fetcher
	servers map[bft.ReplicaID]*Server
	answer  map[bft.ReplicaID]func(wire.StateWant, bft.Duration) (wire.StateFragment, bft.Duration, bool)
	latency bft.Duration
	rate    int64 // bytes per second into the fetcher, over all links
	free    bft.Duration
	now     bft.Duration
	queue   deliveries
	count   int
	out     Output
	refused int
	done    *State
}

func newNetwork(t *testing.T, n int, latency bft.Duration, rate int64, c *checkpoint) *network {
	w := &network{
		t: t, f: NewFetcher(0, n, 400*bft.Millisecond), servers: map[bft.ReplicaID]*Server{},
		answer:  map[bft.ReplicaID]func(wire.StateWant, bft.Duration) (wire.StateFragment, bft.Duration, bool){},
		latency: latency, rate: rate,
	}
	for id := bft.ReplicaID(1); int(id) < n; id++ {
		w.servers[id] = NewServer(8)
		w.servers[id].Hold(c)
	}
	return w
}

func (w *network) push(d delivery) {
	w.count++
	d.seq = w.count
	heap.Push(&w.queue, d)
}

func (w *network) flush() {
	for i := range w.out.Want {
		want := w.out.Want[i]
		w.push(delivery{at: w.now + w.latency, want: &want})
	}
	if w.out.Done != nil {
		w.done = w.out.Done
	}
	w.out.Reset()
}

func (w *network) serve(want Want) {
	hold := bft.Duration(0)
	var frag wire.StateFragment
	ok := true
	if answer := w.answer[want.To]; answer != nil {
		frag, hold, ok = answer(want.Want, w.now)
	} else {
		var reason protocol.Reason
		frag, reason = w.servers[want.To].Serve(0, want.Want, w.now)
		if ok = reason == protocol.ReasonNone; !ok {
			w.refused++
		}
	}
	if !ok {
		return
	}
	if hold == 0 {
		w.free = max(w.free, w.now) + bft.Duration(int64(len(frag.Bytes)+64)*int64(bft.Second)/w.rate)
		w.push(delivery{at: w.free + w.latency, frag: &frag, from: want.To})
		return
	}
	w.push(delivery{at: w.now + hold + w.latency, frag: &frag, from: want.To})
}

// run fetches until the state is there or the time is over, and returns how long it took.
func (w *network) run(target protocol.Target, limit bft.Duration) bft.Duration {
	began := w.now
	w.f.Start(target, nil, w.now, &w.out)
	w.flush()
	for w.done == nil && w.now < began+limit {
		at, ok := w.f.Deadline()
		if len(w.queue) > 0 && (!ok || w.queue[0].at <= at) {
			d := heap.Pop(&w.queue).(delivery)
			w.now = max(w.now, d.at)
			if d.want != nil {
				w.serve(*d.want)
			} else {
				w.f.Fragment(d.from, d.frag, w.now, &w.out)
			}
		} else if ok {
			w.now = max(w.now, at)
			w.f.Tick(w.now, &w.out)
		} else {
			w.t.Fatal("the fetcher waits for nothing")
		}
		w.flush()
	}
	return w.now - began
}

// TestThroughputWithinTheBudget: a fetcher asks for no more than correct servers give, so that
// the budget of a server bounds the rate of a transfer and does not stall it. Three servers on a
// link that is faster than their budgets together give nearly all of these.
func TestThroughputWithinTheBudget(t *testing.T) {
	const pages, size = 128, 512 << 10
	content := make([][]byte, pages)
	for i := range content {
		content[i] = page(i*31, size)
	}
	c := newCheckpoint(8, content...)
	w := newNetwork(t, 4, 200*bft.Microsecond, 1<<30, c)
	took := w.run(c.target(1, 2, 3), 600*bft.Second)
	if w.done == nil {
		t.Fatalf("no state after %d s: %+v", took/bft.Second, w.f.Stats())
	}
	rate := float64(pages*size) / (float64(took) / float64(bft.Second)) / (1 << 20)
	t.Logf("%d MiB in %d ms: %.1f MiB/s, %d wants refused", pages*size>>20, took/bft.Millisecond, rate, w.refused)
	if least := 3 * float64(serveBytesPerSecond) / (1 << 20) * 3 / 4; rate < least {
		t.Errorf("%.1f MiB/s, want %.1f at least", rate, least)
	}
}

// TestDripDoesNotHoldUpTheRest: a source that claims the largest size for every item and sends each
// fragment just before it is due is overtaken by sources that have nothing else to do: a transfer
// takes a few times the patience longer, not what the claimed sizes would allow.
func TestDripDoesNotHoldUpTheRest(t *testing.T) {
	content := make([][]byte, 64)
	for i := range content {
		content[i] = page(i*31, 200<<10)
	}
	c := newCheckpoint(8, content...)
	w := newNetwork(t, 4, 200*bft.Microsecond, 1<<30, c)
	junk := make([]byte, bft.StateFragmentBytesMax)
	w.answer[2] = func(want wire.StateWant, _ bft.Duration) (wire.StateFragment, bft.Duration, bool) {
		total := uint32(bft.StateItemBytesMax)
		if want.Item == wire.Manifest {
			total = manifestHeaderBytes + 32*bft.StatePagesMax
		}
		rest := min(uint32(len(junk)), total-want.Offset)
		return wire.StateFragment{Want: want, Total: total, Bytes: junk[:rest]}, w.f.patience * 9 / 10, true
	}
	took := w.run(c.target(1, 2, 3), 600*bft.Second)
	if w.done == nil || took > 8*w.f.patience {
		t.Fatalf("after %d ms: %+v", took/bft.Millisecond, w.f.Stats())
	}
	t.Logf("%d ms", took/bft.Millisecond)
}
