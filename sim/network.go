package sim

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/sim/rng"
	"github.com/themis-bft/themis/wire"
)

// link is one direction between two ends.
type link struct {
	last    bft.Duration // arrival of the newest frame, for links that keep order
	latest  bft.Duration // latest arrival of all that are under way
	epoch   uint32       // a reset starts a new one; frames of an older one are lost
	blocked int          // partitions that cut it now
	down    bool         // its ends know that it is broken
}

// network is all links, and what is wrong with them now.
type network struct {
	n       int
	rand    *rng.Source
	links   []link // from × to; clients follow the replicas
	ends    int
	loss    int // per mille
	dup     int
	reorder bool
	slow    int64 // added delay, in multiples of the typical one
	delay   int64
	tail    bool
	fifo    bool

	doublings int // of the tail of delays: fewer when delays are bounded
}

func newNetwork(s *swarm, ends int, r *rng.Source) *network {
	return &network{
		n: s.n, rand: r, links: make([]link, ends*ends), ends: ends,
		delay: s.netDelay, tail: s.netTail, fifo: s.fifo, doublings: boundedDoublings,
	}
}

// boundedDoublings holds the tail of delays of network and disks far below patience while the
// run promises timeliness.
const boundedDoublings = 2

func (w *network) link(from, to int) *link { return &w.links[from*w.ends+to] }

// latency draws the delay of one frame.
func (w *network) latency() bft.Duration {
	d := w.delay
	if w.tail {
		d = w.rand.Tailed(d, w.doublings)
	} else {
		d = w.rand.Between(d/2, d*3/2)
	}
	if w.slow > 0 {
		d += w.rand.Tail(w.delay * w.slow)
	}
	return bft.Duration(d)
}

// send puts a frame on its way, or loses it.
func (w *world) send(what what, from, to int, k wire.Kind, data []byte) {
	net := w.net
	l := net.link(from, to)
	if l.down || l.blocked > 0 || net.rand.PerMille(net.loss) {
		w.chart.lost(from, to, k, data)
		return
	}
	copies := 1
	if net.rand.PerMille(net.dup) {
		copies = 2
	}
	for range copies {
		at := w.now + net.latency()
		if net.fifo && !net.reorder {
			at = max(at, l.last)
			l.last = at
		}
		l.latest = max(l.latest, at)
		w.queue.push(event{at: at, what: what, kind: k, from: int32(from), to: int32(to), life: l.epoch, data: data})
	}
}

// reset breaks the link from → to: what is in flight is lost, and both ends learn of it; it is
// made again after a while.
func (w *world) reset(from, to int, after bft.Duration) {
	l := w.net.link(from, to)
	if l.down {
		return
	}
	l.epoch++
	l.down = true
	w.queue.push(event{at: w.now, what: linkDown, from: int32(to), to: int32(from)})
	w.queue.push(event{at: w.now + after, what: linkUp, from: int32(to), to: int32(from), life: l.epoch})
}

// calm makes every link timely from now on: what a slow network still holds for longer than a
// frame takes is lost with its link.
func (w *world) calm() {
	for from := range w.net.ends {
		for to := range w.net.ends {
			l := w.net.link(from, to)
			late := l.latest > w.now+bft.Duration(16*w.net.delay)
			l.last, l.latest = min(l.last, w.now), 0
			if !late {
				continue
			}
			if from < w.n && to < w.n {
				w.reset(from, to, bft.Millisecond)
			} else {
				l.epoch++
			}
		}
	}
}

// sever breaks all links of a replica for as long as its process is gone.
func (w *world) sever(id int) {
	for other := range w.net.ends {
		if other == id {
			continue
		}
		for _, l := range []*link{w.net.link(id, other), w.net.link(other, id)} {
			l.epoch++
			l.down = true
		}
		if other < w.n {
			w.queue.push(event{at: w.now, what: linkDown, from: int32(id), to: int32(other)})
		} else {
			w.queue.push(event{at: w.now, what: clientLink, from: int32(id), to: int32(other)})
		}
	}
}

// join makes the links of a replica whose process is back.
func (w *world) join(id int) {
	for other := range w.net.ends {
		if other == id {
			continue
		}
		if other < w.n {
			if !w.replicas[other].alive {
				continue
			}
			w.connect(id, other)
			w.connect(other, id)
		} else {
			w.net.link(id, other).down = false
			w.net.link(other, id).down = false
			w.queue.push(event{at: w.now + w.net.latency(), what: clientLink, from: int32(id), to: int32(other)})
		}
	}
}

// connect makes the link from → to some time soon.
func (w *world) connect(from, to int) {
	l := w.net.link(from, to)
	if l.down {
		w.queue.push(event{at: w.now + w.net.latency(), what: linkUp, from: int32(to), to: int32(from), life: l.epoch})
	}
}
