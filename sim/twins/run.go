package twins

import (
	"fmt"
	"io"
	"math/bits"
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/sim/check"
)

// healRounds is how many rounds after the healing may pass until every honest replica has
// executed a fresh batch, and healViews how many views beyond the highest one at the healing. A
// round with an honest primary and everybody in its view serves all. At most f primaries in a row
// are twins, and the first one may lead too few; leaving a primary costs the rest of a round and,
// where somebody has to be brought along, another. Two rounds and one view are the most that any
// schedule of four replicas needed.
func healRounds(f int) int { return 2 + 2*f }

func healViews(f int) bft.View { return bft.View(1 + f) }

// Outcome is what happened in one run.
type Outcome struct {
	Violations    []check.Violation
	Events        int    // events given to cores
	Lost          int    // messages that a split swallowed
	Commits       int    // slots executed by honest replicas before the healing
	InView        uint64 // bit v: an honest replica decided something in view v before the healing
	Entered       int    // views entered by honest replicas
	Equivocations uint64 // contradictions that cores noticed
	Conflicting   bool   // one identity proposed two batches in one view and slot
	Transfers     int
	HealRounds    int      // rounds after the healing until every honest replica was served
	HealViews     bft.View // views in them
	Hash          uint64   // of everything that was delivered and executed
}

// Run runs one schedule. With a chart it prints every message.
func Run(s Schedule, chart io.Writer) (out Outcome, err error) {
	if err := s.valid(); err != nil {
		return Outcome{}, err
	}
	return run(&s, chart), nil
}

// run is Run for a schedule that is known to be valid. A panic of the code under test is the
// finding of its run.
func run(s *Schedule, chart io.Writer) (out Outcome) {
	c := newCluster(s, chart)
	defer func() {
		if p := recover(); p != nil {
			out = c.outcome
			out.Violations = append(out.Violations, check.Violation{Checker: "panic", Detail: fmt.Sprint(p)})
		}
	}()
	return c.run()
}

// run is one whole run of a fresh cluster.
func (c *cluster) run() Outcome {
	s := c.schedule
	c.note("schedule %s", s)
	for i := range s.Epochs {
		c.round(i)
	}
	c.outcome.Commits = c.committed()
	c.heal()
	c.outcome.Violations = c.oracle.Violations()
	return c.outcome
}

// round delivers the phases of one view and lets every timer fire at its end.
func (c *cluster) round(i int) {
	e := c.schedule.Epochs[i]
	for at := range phases {
		if at == e.From {
			c.sides = e.Sides
		}
		c.note("round %d, %s: %s", i, at, c.split())
		switch at {
		case PrePrepare:
			c.propose()
		case ViewChange:
			c.tick()
			c.deliver(phases)
			c.suspect(true)
		}
		c.deliver(at)
	}
}

// tick lets the timers fire that repeat messages, and ends what needs somebody in reach.
func (c *cluster) tick() { c.fire(func(t protocol.TimerOp) bool { return t.After <= resend }) }

// suspect lets the timers fire that give up a view: everybody's, or of those who saw no progress.
func (c *cluster) suspect(everybody bool) {
	for _, x := range c.endpoints {
		if c.fires != nil && c.freshFrom == 0 && !c.fires(x) {
			continue
		}
		for _, t := range slices.Clone(x.timers) {
			switch {
			case t.After <= resend || !everybody && x.moved:
			case t.Timer == protocol.TimerPatience:
				c.step(x, protocol.Overdue{View: x.status.View, Cause: protocol.CauseSilence})
			default:
				c.fireOne(x, t)
			}
		}
		x.moved = false
	}
}

func (c *cluster) fire(which func(protocol.TimerOp) bool) {
	for _, x := range c.endpoints {
		for _, t := range slices.Clone(x.timers) {
			if t.Timer != protocol.TimerPatience && which(t) {
				c.fireOne(x, t)
			}
		}
		c.catchUp(x)
	}
}

// fireOne lets a timer fire unless it was stopped or set anew meanwhile.
func (c *cluster) fireOne(x *endpoint, t protocol.TimerOp) {
	i := slices.Index(x.timers, t)
	if i < 0 {
		return
	}
	x.timers = slices.Delete(x.timers, i, i+1)
	c.step(x, protocol.TimerFired{Timer: t.Timer})
}

// heal ends every split for good and holds the cluster to its promise: every honest replica
// executes a fresh batch, soon.
func (c *cluster) heal() {
	f := faults(c.schedule.Replicas)
	c.sides, c.freshFrom = 0, c.batches+1
	start := c.highestView()
	c.note("healed")
	for !c.served() {
		if c.outcome.HealRounds++; c.outcome.HealRounds > healRounds(f) {
			c.oracle.Complain("L1", "%d rounds after the healing not every honest replica has executed a fresh batch: %s", healRounds(f), c.stands())
			return
		}
		c.propose()
		c.settle()
		for range 2 {
			c.tick()
			c.settle()
		}
		if !c.served() {
			c.suspect(false)
			c.settle()
		}
	}
	c.outcome.HealViews = c.highestView() - start
	if c.outcome.HealViews > healViews(f) {
		c.oracle.Complain("L1", "%d views were needed after the healing, at most %d are explained: %s", c.outcome.HealViews, healViews(f), c.stands())
	}
	c.compare()
}

// settle delivers everything until nothing is on its way.
func (c *cluster) settle() {
	for {
		waiting := 0
		for at := range phases {
			c.deliver(at)
		}
		for at := range c.queue {
			waiting += c.queue[at].len()
		}
		if waiting == 0 {
			return
		}
	}
}

// served reports whether every honest replica executed, or installed, a fresh batch.
func (c *cluster) served() bool {
	if c.freshSlot == 0 {
		return false
	}
	for _, x := range c.endpoints {
		if x.honest && len(x.states) <= int(c.freshSlot) {
			return false
		}
	}
	return true
}

// compare holds the states of the honest replicas against each other, slot by slot.
func (c *cluster) compare() {
	for i, x := range c.endpoints {
		for _, y := range c.endpoints[:i] {
			for n := 1; x.honest && y.honest && n < min(len(x.states), len(y.states)); n++ {
				if x.states[n] != y.states[n] {
					c.oracle.Complain("S9", "%s and %s have different states after slot %d", c.name(x.at), c.name(y.at), n)
					return
				}
			}
		}
	}
}

func (c *cluster) highestView() bft.View {
	v := bft.View(0)
	for _, x := range c.endpoints {
		if x.honest {
			v = max(v, x.status.View)
		}
	}
	return v
}

func (c *cluster) committed() int {
	sum := 0
	for _, x := range c.endpoints {
		if x.honest {
			sum += len(x.states) - 1
		}
	}
	return sum
}

// views is how many different views o.InView names.
func (o *Outcome) views() int { return bits.OnesCount64(o.InView) }
