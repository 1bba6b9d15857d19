package sim

import (
	"errors"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/client"
	"github.com/themis-bft/themis/sim/check"
	"github.com/themis-bft/themis/sim/rng"
)

// phase is one part of a run.
type phase uint8

const (
	phaseCalm phase = iota
	phaseStorm
	phaseHeal
	phaseSettle
	phaseSteady
	phaseJoin
)

var phaseNames = [...]string{"calm", "storm", "heal", "settle", "steady", "join"}

// lookEvery is how often the stages look whether a phase is over.
const lookEvery = 20 * bft.Millisecond

// stages leads a run through its phases.
type stages struct {
	w       *world
	rand    *rng.Source
	phase   phase
	since   bft.Duration
	before  int // slots executed when the phase began
	core    bft.ReplicaSet
	live    check.Liveness
	settled bft.View
	lonely  bool
	unknown int // calls of correct clients that ended without an outcome since the healing
}

func (s *stages) begin() {
	s.enter(phaseCalm, s.w.swarm.calmOps)
	s.look()
}

// enter begins a phase with a number of operations for the clients.
func (s *stages) enter(p phase, ops int) {
	w := s.w
	w.chart.note("phase: %s", phaseNames[p])
	s.phase, s.since, s.before = p, w.now, w.oracle.Committed()
	for i, c := range w.clients {
		c.budget += ops/len(w.clients) + 1
		_ = i
		if ops == 0 {
			c.budget = 0
		}
		c.next = w.now
		c.alarm = w.now
		w.queue.push(event{at: w.now, what: clientDue, to: int32(c.end)})
	}
}

// idle reports whether every correct client has all its answers.
func (s *stages) idle() bool {
	for _, c := range s.w.clients {
		if c.faulty == nil && (c.budget > 0 || len(c.calls) > 0) {
			return false
		}
	}
	return true
}

// bound is L1: f+1 views may fail, each with the longest patience twice, then come retries and
// a transfer of state.
func (s *stages) bound() bft.Duration {
	sw := &s.w.swarm
	views := bft.Duration(sw.f + 1)
	once := 2*sw.patienceMax + sw.newView + 4*sw.resend
	return 3*(views*once+8*sw.patience) + 2*bft.Second
}

// look goes to the next phase when this one is over.
func (s *stages) look() {
	w := s.w
	w.queue.push(event{at: w.now + lookEvery, what: phaseEnds, do: s.look})
	spent := w.now - s.since
	switch s.phase {
	case phaseCalm:
		if s.idle() || spent > 2*bft.Second {
			s.storm()
		}
	case phaseStorm:
		if spent > w.swarm.stormLimit {
			s.heal()
		}
	case phaseHeal:
		if s.idle() {
			if s.unknown == 0 { // who floods OPENs closes the sessions of others: their calls end, executed or not
				w.oracle.Busy("heal", w.oracle.Committed()-s.before, 1)
			}
			s.enter(phaseSettle, 0)
		} else if spent > s.live.Bound {
			s.late()
		}
	case phaseSettle:
		if view, ok := s.common(); ok && s.caughtUp() {
			s.settled = view
			s.enter(phaseSteady, w.swarm.steadyOps)
		} else if spent > 8*w.swarm.patience && s.caughtUp() {
			// One correct replica may have left the view alone: as long as nothing is asked of
			// the others, or faulty ones make up the quorum, nobody owes it a view change.
			s.lonely = true
			s.enter(phaseSteady, w.swarm.steadyOps)
		} else if spent > s.live.Bound {
			w.oracle.Complain("L1", "the healed quorum %v does not settle in one view: %s", s.members(), s.standings())
			w.ended = true
		}
	case phaseSteady:
		s.steady(spent)
	case phaseJoin:
		s.joined(spent)
	}
}

func (s *stages) storm() {
	if s.idle() {
		s.w.oracle.Busy("calm", s.w.oracle.Committed(), 1)
	}
	s.enter(phaseStorm, s.w.swarm.stormOps)
	s.w.net.doublings = 6
	s.w.faults.begin()
}

// heal ends the storm: a random quorum of correct replicas comes back for good, the other
// correct ones stay frozen as they are or worse. Faulty ones go on.
func (s *stages) heal() {
	w := s.w
	w.faults.heal()
	order := s.rand.Fork(1)
	var correct []*replica
	for _, r := range w.replicas {
		r.slowSync = 0
		if !r.faulty() {
			correct = append(correct, r)
		}
	}
	order.Shuffle(len(correct), func(i, j int) { correct[i], correct[j] = correct[j], correct[i] })
	keep := min(len(correct), w.n-w.swarm.f)
	for _, r := range correct[:keep] {
		s.core = s.core.With(r.id)
	}
	w.chart.note("healed: %v", s.members())
	for _, r := range correct[keep:] {
		s.freeze(r)
	}
	for _, r := range w.replicas {
		if s.core.Has(r.id) || r.faulty() {
			s.revive(r)
		}
	}
	s.relink()
	w.net.doublings = boundedDoublings
	w.calm()
	s.live = check.Liveness{Healed: w.now, Bound: s.bound()}
	s.enter(phaseHeal, w.swarm.healOps)
}

// freeze takes a correct replica out: dead, standing still, or cut off.
func (s *stages) freeze(r *replica) {
	r.frozen = true
	switch s.rand.Intn(3) {
	case 0:
		r.crash(true)
	case 1:
		r.pause()
	default:
		for end := range s.w.net.ends {
			if end != int(r.id) {
				s.w.net.link(end, int(r.id)).blocked++
				s.w.net.link(int(r.id), end).blocked++
			}
		}
	}
}

// revive brings a replica back to running.
func (s *stages) revive(r *replica) {
	if !r.alive {
		r.restart()
	}
	r.resume()
}

// relink makes every link whose ends run.
func (s *stages) relink() {
	for _, a := range s.w.replicas {
		for _, b := range s.w.replicas {
			if a != b && a.alive && b.alive {
				s.w.connect(int(a.id), int(b.id))
			}
		}
	}
}

// late reports who waits beyond the bound.
func (s *stages) late() {
	w := s.w
	w.oracle.Complain("L1", "after %d ms not all is answered: %s", (w.now-s.live.Healed)/bft.Millisecond, s.standings())
	for _, c := range w.clients {
		if c.faulty != nil {
			continue
		}
		for _, k := range callsOf(c) {
			w.oracle.Completes(s.live, c.id, k.op.Call, w.now, false)
		}
		if c.budget > 0 && len(c.calls) == 0 {
			w.oracle.Complain("L1", "client %d cannot begin its operations", c.index)
		}
	}
	w.ended = true
}

// finished checks L1 for one call of a correct client.
func (s *stages) finished(c *simClient, k *call, err error) {
	if s.phase < phaseHeal || k.deadline != client.Never {
		return
	}
	if errors.Is(err, client.ErrOutcomeUnknown) {
		s.unknown++
	}
	if err != nil && !errors.Is(err, client.ErrOutcomeUnknown) {
		s.w.oracle.Complain("L1", "a call of client %d ends with %v", c.index, err)
	}
	s.w.oracle.Completes(s.live, c.id, k.op.Call, s.w.now, true)
}

// common is the view in which the whole core is active, if it is one.
func (s *stages) common() (bft.View, bool) {
	view, first := bft.View(0), true
	for id := range s.core.All() {
		st := s.w.replicas[id].node.Status().Protocol
		if !st.Active || !first && st.View != view {
			return 0, false
		}
		view, first = st.View, false
	}
	return view, true
}

// caughtUp reports whether the whole core has executed everything.
func (s *stages) caughtUp() bool {
	for id := range s.core.All() {
		if s.w.replicas[id].exec.Executed() != s.w.oracle.Last() {
			return false
		}
	}
	return true
}

// steady checks L2: under a correct, healed primary nobody leaves the view.
func (s *stages) steady(spent bft.Duration) {
	w := s.w
	primary := bft.ReplicaID(uint64(s.settled) % uint64(w.n))
	if s.core.Has(primary) && !s.lonely {
		for id := range s.core.All() {
			w.oracle.Stays(id, s.settled, w.replicas[id].node.Status().Protocol.View)
		}
		if w.oracle.Failed() {
			w.oracle.Complain("L2", "replicas: %s", s.standings())
		}
	}
	switch {
	case s.idle() && spent > 2*w.swarm.patience:
		s.join()
	case spent > s.live.Bound:
		s.late()
	}
}

// join brings everybody back.
func (s *stages) join() {
	for _, r := range s.w.replicas {
		if !r.frozen {
			continue
		}
		r.frozen = false
		for end := range s.w.net.ends {
			if end != int(r.id) {
				s.w.net.link(end, int(r.id)).blocked = 0
				s.w.net.link(int(r.id), end).blocked = 0
			}
		}
		s.revive(r)
	}
	s.relink()
	s.enter(phaseJoin, 0)
}

// joined ends the run when all correct replicas stand at the end of the log.
func (s *stages) joined(spent bft.Duration) {
	w := s.w
	last := w.oracle.Last()
	all := s.idle()
	for _, r := range w.replicas {
		if !r.faulty() && (!r.alive || r.exec.Executed() != last) {
			all = false
		}
	}
	if !all && spent <= s.live.Bound {
		return
	}
	if !all {
		w.oracle.Complain("L1", "not all come to the end of the log at %d: %s", last, s.standings())
	}
	w.ended = true
}

// members are the replicas of the core, for complaints.
func (s *stages) members() []bft.ReplicaID {
	var ids []bft.ReplicaID
	for id := range s.core.All() {
		ids = append(ids, id)
	}
	return ids
}

// callsOf are the open calls of a client, oldest first.
func callsOf(c *simClient) []*call {
	var list []*call
	for t := client.Token(0); len(list) < len(c.calls); t++ {
		if k, ok := c.calls[t]; ok {
			list = append(list, k)
		}
	}
	return list
}

// standings says in one line where every replica stands.
func (s *stages) standings() string {
	text := ""
	for _, r := range s.w.replicas {
		text += r.standing() + "; "
	}
	return text
}
