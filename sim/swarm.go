package sim

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/sim/rng"
)

// swarm is what a seed draws before anything happens.
type swarm struct {
	n, f       int
	eventsMax  uint64
	faulty     bft.ReplicaSet
	cabal      bool   // all faulty replicas follow one strategy
	plot       string // which, if the seed does not leave it to chance
	realKeys   bool   // Ed25519 instead of ideal tags
	allPages   bool   // the real pages of the store instead of few
	membership bft.Membership

	patience, newView, patienceMax, resend bft.Duration

	netDelay    int64 // typical one-way delay
	netTail     bool
	fifo        bool // links keep order, as TCP does
	syncDelay   int64
	execDelay   int64
	clockSkew   int64
	segmentSize int64

	clients       int
	faultyClients int
	bundle        int
	outstanding   int
	keys          int
	thinkTime     int64

	calmOps, stormOps, healOps, steadyOps int

	faults     [faultCount]bool
	faultPause int64 // typical time between faults
	stormLimit bft.Duration
	loss       int // per mille, while loss is on
	duplicate  int
}

// plotEvery is the distance between seeds in which the first two primaries are faulty and plot
// against the second view: by chance it hardly happens.
const plotEvery = 32

// draw makes the swarm of a seed. Windows and checkpoint intervals are small, so that their
// edges come within seconds.
func draw(r *rng.Source, o Options, seed uint64) swarm {
	n := o.Replicas
	s := swarm{n: n, f: faultsOf(n), eventsMax: eventsMax}
	count := o.Byzantine
	if count < 0 {
		count = r.Intn(s.f + 1)
	}
	if count > 0 && r.Intn(2) == 0 { // the first primaries matter most
		s.faulty = s.faulty.With(bft.ReplicaID(r.Intn(2)))
	}
	for s.faulty.Len() < min(count, n) {
		s.faulty = s.faulty.With(bft.ReplicaID(r.Intn(n)))
	}
	if s.cabal = r.Intn(3) == 0; s.cabal && r.Intn(2) == 0 { // the first primaries, one after the other
		s.faulty = bft.ReplicaSet(1)<<s.faulty.Len() - 1
	}
	if o.Byzantine < 0 && len(o.Strategies) == 0 && s.f >= 2 && seed%plotEvery == plotEvery/2 {
		s.faulty, s.cabal, s.plot = 0b11, true, "chosen-set" // it takes two primaries in a row
	}
	s.realKeys, s.allPages = r.PerMille(65), r.PerMille(60)
	s.drawMembership(r, o.Protocol)
	s.drawTimes(r)
	s.drawWork(r)
	s.drawFaults(r)
	if o.liesClients() {
		s.faultyClients = 1
	}
	s.drawMisfortunes(r.Fork(1), seed)
	s.leave(&o)
	return s
}

func (s *swarm) drawMembership(r *rng.Source, protocol string) {
	every := bft.SeqNum(r.Between(4, 16))
	m := &s.membership
	*m = bft.Membership{
		Protocol: protocol, App: "kv", F: s.f, Scheme: "ed25519", Open: r.Intn(2) == 0,
		CheckpointEvery: every,
		Window:          min(2*every+bft.SeqNum(r.Between(0, int64(every))), 32),
		InFlight:        bft.SeqNum(r.Between(1, 8)),
		BatchCount:      int(r.Between(1, 16)),
		BatchBytes:      1 << (16 + r.Intn(3)),
		Sessions:        int(r.Between(8, 32)),
		TimeSkew:        10 * bft.Second,
		Replicas:        make([]bft.Replica, s.n),
	}
	m.Window = max(m.Window, 8, 2*every)
	r.Fill(m.Cluster[:])
}

func (s *swarm) drawTimes(r *rng.Source) {
	ms := int64(bft.Millisecond)
	s.netDelay = r.Between(ms/10, 4*ms)
	s.netTail, s.fifo = r.Intn(3) != 0, r.Intn(3) != 0
	s.syncDelay = [...]int64{0, ms / 8, ms, 5 * ms}[r.Intn(4)]
	s.execDelay = [...]int64{0, 0, ms / 10, 3 * ms}[r.Intn(4)]
	s.clockSkew = r.Between(0, 2000) * ms
	s.patience = bft.Duration(r.Between(100, 400) * ms)
	s.newView = bft.Duration(r.Between(100, 400) * ms)
	s.patienceMax = s.patience * bft.Duration(r.Between(8, 16))
	s.resend = s.patience * bft.Duration(r.Between(300, 1200)) / 1000
	s.segmentSize = 16 << (10 + r.Intn(3))
}

func (s *swarm) drawWork(r *rng.Source) {
	s.clients = int(r.Between(1, 4))
	if r.PerMille(350) {
		s.faultyClients = 1
	}
	s.outstanding = int(r.Between(1, 8))
	s.outstanding = min(s.outstanding, 16/s.clients)
	s.bundle = 1
	if r.Intn(3) == 0 {
		s.bundle = int(r.Between(2, 4))
	}
	s.keys = int(r.Between(3, 8))
	s.thinkTime = r.Between(0, 40) * int64(bft.Millisecond)
	s.calmOps = int(r.Between(4, 10))
	s.stormOps = int(r.Between(30, 70))
	s.healOps = int(r.Between(12, 20))
	s.steadyOps = int(r.Between(6, 12))
}

func (s *swarm) drawFaults(r *rng.Source) {
	for f := range faultRing {
		s.faults[f] = r.Intn(3) == 0
	}
	s.faultPause = r.Between(50, 500) * int64(bft.Millisecond)
	s.stormLimit = bft.Duration(r.Between(1500, 6000)) * bft.Millisecond
	s.loss = 10 << r.Intn(5)
	s.duplicate = 10 << r.Intn(5)
}

// drawMisfortunes draws the faults that make a run long or costly: fewer seeds have them.
func (s *swarm) drawMisfortunes(r *rng.Source, seed uint64) {
	for f := faultRing; f < faultHour; f++ {
		s.faults[f] = r.Intn(8) == 0
	}
	if seed%hourEvery == hourEvery/2 {
		s.faults = [faultCount]bool{faultHour: true}
		s.stormLimit = 3605 * bft.Second
		s.eventsMax *= 20
		s.faultyClients, s.resend = 0, max(s.resend, s.patience) // an hour of their noise costs seconds
	}
}
