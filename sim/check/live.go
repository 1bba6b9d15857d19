package check

import "github.com/themis-bft/themis/bft"

// Liveness is what a run that is healed promises: the bound within which every request of a
// correct client completes after the healing (L1), and how many changes of view the faults
// that remain can explain (L2).
type Liveness struct {
	Healed bft.Duration // when the core quorum was healed for good
	Bound  bft.Duration
}

// Completes checks L1 for one request: called at healed, answered at done (or still waiting
// at the end).
func (o *Oracle) Completes(l Liveness, client bft.ClientID, called, done bft.Duration, answered bool) {
	from := max(called, l.Healed)
	if !answered || done-from > l.Bound {
		o.Complain("L1", "a request of client %v waits %d ms after the healing, the bound is %d ms (answered: %v)",
			client, (done-from)/bft.Millisecond, l.Bound/bft.Millisecond, answered)
	}
}

// Stays checks L2: with a correct primary, after the healing and once the first view in common
// is reached, no view is left any more.
func (o *Oracle) Stays(r bft.ReplicaID, settled, now bft.View) {
	if now != settled {
		o.Complain("L2", "%v is in view %d; the healed cluster had settled in view %d under a correct primary", r, now, settled)
	}
}

// Works checks M2 where nobody is faulty: a process that verified signatures of clients so many
// times since it started verified none of them twice, but for a few that its memory gave up.
func (o *Oracle) Works(r bft.ReplicaID, verified int) {
	signed := len(o.clients.ledger)
	if most := signed + signed/8 + 8; o.cfg.Faulty == 0 && len(o.clients.faulty) == 0 && verified > most {
		o.Complain("M2", "%v verified %d signatures of clients, who signed %d requests", r, verified, signed)
	}
}

// Busy checks V1: a phase in which nothing was executed shows nothing.
func (o *Oracle) Busy(phase string, commits, least int) {
	if commits < least {
		o.Complain("V1", "only %d slots were executed in the phase %q, at least %d are needed", commits, phase, least)
	}
}
