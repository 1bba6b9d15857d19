package sim

import (
	"fmt"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/host"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/sim/byz"
	"github.com/themis-bft/themis/sim/check"
	"github.com/themis-bft/themis/sim/rng"
	"github.com/themis-bft/themis/wire"
)

// eventsMax ends a run that does not end by itself.
const eventsMax = 400_000

// world is one run: everything in it, and the one loop that moves it.
type world struct {
	seed     uint64
	swarm    swarm
	n        int
	now      bft.Duration
	queue    queue
	net      *network
	keys     *keyring
	family   protocol.Family
	dialect  dialect
	codec    protocol.Codec
	replicas []*replica
	clients  []*simClient
	workload *workload
	faults   *faultPlan
	stages   *stages
	watch    *watch
	oracle   *check.Oracle
	chart    *chart
	hash     trace
	events   uint64
	ended    bool
	liars    []*replica // replicas with a strategy
	met      met
}

// newWorld builds the run of a seed up to its first event.
func newWorld(o Options, seed uint64, c *chart) (*world, error) {
	fam, dia, err := familyOf(o.Protocol)
	if err != nil {
		return nil, err
	}
	if err := fam.Replicas(o.Replicas, faultsOf(o.Replicas)); err != nil {
		return nil, err
	}
	r := rng.New(seed)
	w := &world{seed: seed, family: fam, dialect: dia, n: o.Replicas, chart: c}
	c.bind(w)
	w.swarm = draw(r.Fork(1), o, seed)
	s := &w.swarm
	w.keys = newKeyring(s, s.clients+s.faultyClients, r.Fork(2))
	w.codec = fam.Codec(&s.membership)
	w.oracle = check.New(check.Config{
		N: s.n, F: s.f, Faulty: s.faulty.Len(), Liars: s.faulty, Window: s.membership.Window,
		SafetyOnly: s.faulty.Len() > s.f, Off: o.Without,
	})
	w.watch = newWatch(w)
	w.net = newNetwork(s, s.n+s.clients+s.faultyClients, r.Fork(3))
	w.workload = newWorkload(w, r.Fork(4))
	w.faults = &faultPlan{w: w, rand: r.Fork(5)}
	w.stages = &stages{w: w, rand: r.Fork(6)}
	w.makeClients(o, r.Fork(7))
	w.makeReplicas(o, r.Fork(8))
	w.stages.begin()
	return w, nil
}

func (w *world) makeReplicas(o Options, r *rng.Source) {
	victim := w.keys.ids[r.Intn(w.swarm.clients)]
	for i := range w.n {
		p := &replica{w: w, id: bft.ReplicaID(i), rand: r.Fork(uint64(i)), skew: bft.Duration(r.Between(0, w.swarm.clockSkew))}
		w.replicas = append(w.replicas, p)
		if p.faulty() {
			p.lie(o, victim)
			w.liars = append(w.liars, p)
		}
	}
	for _, p := range w.replicas {
		p.format()
		p.start()
	}
	for _, a := range w.replicas {
		for _, b := range w.replicas {
			if a != b {
				w.queue.push(event{at: w.net.latency(), what: linkUp, from: int32(b.id), to: int32(a.id)})
			}
		}
	}
}

// lie gives a faulty replica its strategy.
func (r *replica) lie(o Options, victim bft.ClientID) {
	w := r.w
	choices := byz.Table
	if o.liesReplicas() || w.swarm.faulty.Len() > w.swarm.f {
		choices = nil
		for _, e := range byz.Table {
			if !o.liesReplicas() && (e.Conspires || r.rand.Intn(8) == 0) || contains(o.Strategies, e.Name) {
				choices = append(choices, e)
			}
		}
	}
	e := byz.Draw(r.rand, choices)
	if w.swarm.cabal && len(w.liars) > 0 {
		e = w.liars[0].entry // they act as one
	}
	for _, x := range byz.Table {
		if x.Name == w.swarm.plot {
			e = x
		}
	}
	r.entry = e
	w.met.strategy(e.Name)
	r.strategy = e.Make(r.rand.Fork(11))
	r.env = &byz.Env{
		Self: r.id, Membership: &w.swarm.membership, Rand: r.rand.Fork(12), Codec: w.codec,
		Patience: w.swarm.patience, Faulty: w.swarm.faulty, Victim: victim,
		Sign: func(m protocol.Signed) protocol.Message { return w.certify(r.id, m) },
		SignAs: func(id bft.ReplicaID, m protocol.Signed) protocol.Message {
			if !w.swarm.faulty.Has(id) {
				id = r.id
			}
			return w.certify(id, m)
		},
		Accomplice: w.accomplice, Send: r.emit, SendAs: w.emitAs, Reached: w.met.mutator,
		Did: func(d byz.Deed) { w.watch.hit(firstDeed + sometimes(d)) },
	}
	if f, ok := r.strategy.(byz.StateFlipper); ok {
		r.flipAt = f.FlipsStateAt()
	}
	w.chart.note("%v is faulty: %s", r.id, e.Name)
	w.queue.push(event{at: w.swarm.patience / 4, what: strategyWakes, to: int32(r.id)})
}

// emitAs sends a parcel on the link of a faulty replica, if it runs.
func (w *world) emitAs(from bft.ReplicaID, p byz.Parcel) {
	if r := w.replicas[from]; r.faulty() && r.alive && !r.paused {
		r.emit(p)
	}
}

// accomplice signs q if its client is faulty.
func (w *world) accomplice(q *wire.Request) bool {
	c := w.clientByID(q.Client)
	if c == nil || c.faulty == nil {
		return false
	}
	c.env.Sign(q)
	return true
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// certify signs m as a replica.
func (w *world) certify(id bft.ReplicaID, m protocol.Signed) protocol.Message {
	return m.WithSignature(w.keys.replicas[id].Sign(nil, w.codec.AppendSigned(nil, m)))
}

// overheard lets the adversary see a message.
func (w *world) overheard(from, to bft.ReplicaID, m protocol.Message) {
	for _, l := range w.liars {
		if l.alive && !l.paused && l.id != from {
			l.strategy.Observe(l.env, from, to, m)
		}
	}
}

// run delivers events until the stages have ended.
func (w *world) run() {
	for !w.ended {
		e, ok := w.queue.pop()
		if !ok {
			break
		}
		if w.events++; w.events > w.swarm.eventsMax {
			w.oracle.Complain("L1", "the run does not end: %d events, %d ms", w.events, w.now/bft.Millisecond)
			break
		}
		w.now = e.at
		w.hash.event(&e)
		w.deliver(&e)
		if w.oracle.Failed() {
			break
		}
	}
}

// deliver lets one event happen.
func (w *world) deliver(e *event) {
	switch e.what {
	case frameArrives, requestComes, replyComes:
		w.deliverFrame(e)
	case linkUp, linkDown:
		w.deliverLink(e)
	case timerDue, syncEnds, inputComes, snapshotSaved:
		w.deliverOwn(e)
	case clientDue:
		w.clients[int(e.to)-w.n].due()
	case clientLink:
		c := w.clients[int(e.to)-w.n]
		c.linked(bft.ReplicaID(e.from), !w.net.link(int(e.from), c.end).down)
	case faultStarts:
		w.faults.next()
	case faultEnds, phaseEnds:
		e.do()
	case strategyWakes:
		r := w.replicas[e.to]
		if r.alive && !r.paused {
			r.strategy.Wake(r.env)
		}
		w.queue.push(event{at: w.now + w.swarm.patience/4, what: strategyWakes, to: e.to})
	case parcelLeaves:
		if r := w.replicas[e.from]; r.alive && r.life == e.life {
			w.send(frameArrives, int(e.from), int(e.to), e.kind, e.data)
		}
	case processReturns:
		if r := w.replicas[e.to]; !r.alive && r.life == e.life && !r.frozen {
			r.restart()
		}
	default:
		panic(fmt.Sprintf("sim: event %d", e.what))
	}
}

func (w *world) deliverFrame(e *event) {
	if w.net.link(int(e.from), int(e.to)).epoch != e.life {
		w.chart.lost(int(e.from), int(e.to), e.kind, e.data)
		return
	}
	if e.what == replyComes {
		w.chart.frame(e)
		w.clients[int(e.to)-w.n].reply(bft.ReplicaID(e.from), e.data)
		return
	}
	r := w.replicas[e.to]
	if !r.runs(e) {
		return
	}
	w.chart.frame(e)
	if e.what == requestComes {
		r.clientFrame(w.keys.ids[int(e.from)-w.n], e.kind, e.data)
		return
	}
	r.peerFrame(bft.ReplicaID(e.from), e.kind, e.data)
}

func (w *world) deliverLink(e *event) {
	r := w.replicas[e.to]
	l := w.net.link(int(e.to), int(e.from))
	if e.what == linkDown {
		if r.runs(e) {
			r.input(host.PeerDown{Peer: bft.ReplicaID(e.from)})
		}
		return
	}
	if l.epoch != e.life || !w.replicas[e.from].alive {
		return
	}
	l.down = false
	if r.runs(e) {
		w.chart.note("%v has a link to r%d", r.id, e.from)
		r.input(host.PeerUp{Peer: bft.ReplicaID(e.from)})
	}
}

func (w *world) deliverOwn(e *event) {
	r := w.replicas[e.to]
	if r.life != e.life {
		return
	}
	if e.what == timerDue {
		if e.at == r.alarm && r.alive && !r.paused {
			r.alarm = 0
			r.tick()
		}
		return
	}
	if !r.runs(e) {
		return
	}
	switch e.what {
	case syncEnds:
		r.synced()
	case snapshotSaved:
		r.snapshotDone()
	default:
		r.input(e.in)
	}
}

// restart starts a crashed process again, with all its links.
func (r *replica) restart() {
	r.w.chart.note("%v starts again", r.id)
	r.start()
	r.w.join(int(r.id))
}
