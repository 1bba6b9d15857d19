package sim

import (
	"github.com/themis-bft/themis/bft"
)

// hourEvery is the distance between seeds with a partition of an hour: each costs as much as
// hundreds of others.
const hourEvery = 512

// shape cuts links to a pattern.
func (p *faultPlan) shape(f fault, span int64) {
	w := p.w
	order := p.order()
	place := make([]int, w.n)
	for i, id := range order {
		place[id] = i
	}
	replicas := func(a, b int) bool { return a < w.n && b < w.n }
	switch f {
	case faultRing: // everybody hears two neighbours only
		p.cut(span, func(a, b int) bool {
			d := place[a%w.n] - place[b%w.n]
			return replicas(a, b) && d != 1 && d != -1 && d != w.n-1 && d != 1-w.n
		})
	case faultBridge: // two halves that only one replica sees
		half := 1 + p.rand.Intn(w.n-2)
		side := func(x int) int {
			switch {
			case place[x] == 0:
				return 0
			case place[x] <= half:
				return 1
			}
			return 2
		}
		p.cut(span, func(a, b int) bool { return replicas(a, b) && side(a) != 0 && side(b) != 0 && side(a) != side(b) })
	default: // some can be heard and do not hear, or the reverse
		rows := make([]bft.ReplicaSet, w.n)
		for i := range rows {
			rows[i] = bft.ReplicaSet(p.rand.Uint64() & p.rand.Uint64())
		}
		if deaf := bft.ReplicaID(p.rand.Intn(w.n)); p.rand.Intn(3) == 0 {
			for i := range rows {
				rows[i] = bft.ReplicaSet(0).With(deaf)
			}
		}
		p.cut(span, func(a, b int) bool { return replicas(a, b) && rows[a].Has(bft.ReplicaID(b)) })
	}
}

// order is all replicas, shuffled.
func (p *faultPlan) order() []int {
	order := make([]int, p.w.n)
	for i := range order {
		order[i] = i
	}
	p.rand.Shuffle(p.w.n, func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

// many starts a fault of several processes, or one that is far out.
func (p *faultPlan) many(f fault, span int64) {
	w := p.w
	switch f {
	case faultPauseF:
		for _, id := range p.order()[:w.swarm.f] {
			if r := w.replicas[id]; r.alive && !r.paused && w.replicas[id].node.Status().Protocol.Primary != r.id {
				p.pause(r, 4*span)
			}
		}
	case faultRestartStorm: // each one, one after the other, some while others are still down
		at := bft.Duration(0)
		for range 1 + p.rand.Intn(2) {
			for _, id := range p.order() {
				r, power := w.replicas[id], p.rand.Intn(2) == 0
				at += bft.Duration(p.rand.Between(1, span/4))
				w.queue.push(event{at: w.now + at, what: faultEnds, do: func() {
					if p.storm {
						p.down(r, power, span/4)
					}
				}})
			}
		}
	case faultClockFar:
		r := w.replicas[p.rand.Intn(w.n)]
		if p.clock { // one at a time: a wrong clock is a fault of its replica
			return
		}
		p.clock = true
		before := r.skew
		year := bft.Duration(365*24*3600) * bft.Second
		far := [...]bft.Duration{3600 * bft.Second, 10 * year}[p.rand.Intn(2)]
		if p.rand.Intn(2) == 0 {
			far = -far
		}
		w.chart.note("the clock of %v jumps by %d s", r.id, far/bft.Second)
		r.skew += far
		p.lasts(4*span, func() { r.skew, p.clock = before, false })
	}
}

// pause lets a process stand still for a while.
func (p *faultPlan) pause(r *replica, span int64) {
	p.w.chart.note("%v pauses", r.id)
	r.pause()
	life := r.life
	p.lasts(span, func() {
		if r.life == life {
			p.w.chart.note("%v goes on", r.id)
			r.resume()
		}
	})
}

// hour cuts the replicas into parts of which none has a quorum, for an hour and nothing else.
func (p *faultPlan) hour() {
	w := p.w
	w.met.faults[faultHour] = true
	w.chart.note("fault: %v", faultHour)
	order := p.order()
	side := bft.ReplicaSet(0)
	for _, id := range order[:w.n/2] {
		side = side.With(bft.ReplicaID(id))
	}
	p.cut(int64(3600*bft.Second), func(a, b int) bool {
		return a < w.n && b < w.n && side.Has(bft.ReplicaID(a)) != side.Has(bft.ReplicaID(b))
	})
}
