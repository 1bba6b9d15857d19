package sim

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/sim/rng"
)

// fault is one kind of misfortune.
type fault uint8

const (
	faultLoss fault = iota
	faultDuplicate
	faultReorder
	faultSlowNet
	faultPartition
	faultOneWay
	faultIsolate
	faultReset
	faultPowerCut
	faultKill
	faultPowerCutAll
	faultPause
	faultSlowSync
	faultClock
	faultRing
	faultBridge
	faultOneWayPairs
	faultPauseF
	faultRestartStorm
	faultClockFar
	faultHour // one seed in hourEvery
	faultCount
)

var faultNames = [faultCount]string{
	"loss", "duplication", "reordering", "slow-network", "partition", "one-way-partition", "isolation", "link-reset",
	"power-cut", "kill", "power-cut-of-all", "pause", "slow-sync", "clock-jump",
	"ring-partition", "bridge-partition", "one-way-pairs", "pause-of-f", "restart-storm", "clock-far", "partition-of-an-hour",
}

// String is the name of the fault.
func (f fault) String() string { return faultNames[f] }

// faultPlan draws faults while a storm lasts and knows how to undo them.
type faultPlan struct {
	w      *world
	rand   *rng.Source
	storm  bool
	clock  bool // some clock is far out
	active []*undo
}

// undo ends one fault, once.
type undo struct {
	do   func()
	done bool
}

func (p *faultPlan) begin() {
	p.storm = true
	if p.w.swarm.faults[faultHour] {
		p.hour()
		return
	}
	p.schedule()
}

func (p *faultPlan) schedule() {
	p.w.queue.push(event{at: p.w.now + bft.Duration(p.rand.Tail(p.w.swarm.faultPause)), what: faultStarts})
}

// heal ends every fault; replicas that are down stay so until the caller starts them.
func (p *faultPlan) heal() {
	p.storm = false
	for _, u := range p.active {
		u.run()
	}
	p.active = nil
}

func (u *undo) run() {
	if !u.done {
		u.done = true
		u.do()
	}
}

// lasts ends a fault after a while, or when the storm ends.
func (p *faultPlan) lasts(d int64, end func()) {
	u := &undo{do: end}
	p.active = append(p.active, u)
	p.w.queue.push(event{at: p.w.now + bft.Duration(p.rand.Tail(d)), what: faultEnds, do: u.run})
}

// next draws one fault of those that the seed allows.
func (p *faultPlan) next() {
	if !p.storm {
		return
	}
	p.schedule()
	var allowed []fault
	for f := range faultCount {
		if p.w.swarm.faults[f] {
			allowed = append(allowed, f)
		}
	}
	if len(allowed) == 0 {
		return
	}
	f := allowed[p.rand.Intn(len(allowed))]
	p.w.chart.note("fault: %v", f)
	p.start(f)
}

func (p *faultPlan) start(f fault) {
	w, net := p.w, p.w.net
	w.met.faults[f] = true
	span := int64(w.swarm.patience) * p.rand.Between(1, 4) / 2
	switch f {
	case faultLoss:
		net.loss = w.swarm.loss
		p.lasts(span, func() { net.loss = 0 })
	case faultDuplicate:
		net.dup = w.swarm.duplicate
		p.lasts(span, func() { net.dup = 0 })
	case faultReorder:
		net.reorder = true
		p.lasts(span, func() { net.reorder = false })
	case faultSlowNet:
		net.slow = p.rand.Between(2, 60)
		p.lasts(span, func() { net.slow = 0 })
	case faultPartition:
		side := bft.ReplicaSet(p.rand.Uint64())
		p.cut(span, func(a, b int) bool {
			return a < w.n && b < w.n && side.Has(bft.ReplicaID(a)) != side.Has(bft.ReplicaID(b))
		})
	case faultOneWay:
		from, to := p.rand.Intn(w.n), bft.ReplicaSet(p.rand.Uint64())
		p.cut(span, func(a, b int) bool { return a == from && b < w.n && to.Has(bft.ReplicaID(b)) })
	case faultIsolate:
		id := p.rand.Intn(w.n)
		p.cut(span, func(a, b int) bool { return a == id || b == id })
	case faultReset:
		for range 1 + p.rand.Intn(w.n) {
			a, b := p.rand.Intn(w.n), p.rand.Intn(w.n)
			if a != b {
				w.reset(a, b, bft.Duration(p.rand.Between(1, span/4)))
			}
		}
	case faultRing, faultBridge, faultOneWayPairs:
		p.shape(f, span)
	case faultPauseF, faultRestartStorm, faultClockFar:
		p.many(f, span)
	default:
		p.process(f, span)
	}
}

// process starts a fault of processes or disks.
func (p *faultPlan) process(f fault, span int64) {
	w := p.w
	r := w.replicas[p.rand.Intn(w.n)]
	if p.rand.Intn(3) == 0 { // preferably whom it hurts
		for _, x := range w.replicas {
			if x.alive {
				r = w.replicas[x.node.Status().Protocol.Primary]
				break
			}
		}
	}
	switch f {
	case faultPowerCut, faultKill:
		p.down(r, f == faultPowerCut, span)
	case faultPowerCutAll:
		for _, x := range w.replicas {
			p.down(x, true, span/2)
		}
	case faultPause:
		if !r.alive || r.paused {
			return
		}
		p.pause(r, span)
	case faultSlowSync:
		r.slowSync = p.rand.Between(int64(w.swarm.patience)/20, int64(w.swarm.patience))
		p.lasts(span*2, func() { r.slowSync = 0 })
	case faultClock:
		r.skew = bft.Duration(p.rand.Between(0, w.swarm.clockSkew))
	}
}

// down crashes a process and brings it back later.
func (p *faultPlan) down(r *replica, power bool, span int64) {
	if !r.alive {
		return
	}
	p.w.chart.note("%v dies (power cut: %v)", r.id, power)
	r.crash(power)
	p.w.queue.push(event{at: p.w.now + bft.Duration(p.rand.Tail(span)), what: processReturns, to: int32(r.id), life: r.life})
}

// cut blocks the links that match for a while.
func (p *faultPlan) cut(span int64, match func(from, to int) bool) {
	net := p.w.net
	var hit []*link
	for a := range net.ends {
		for b := range net.ends {
			if a != b && match(a, b) {
				l := net.link(a, b)
				l.blocked++
				hit = append(hit, l)
			}
		}
	}
	p.lasts(span, func() {
		for _, l := range hit {
			l.blocked--
		}
	})
}
