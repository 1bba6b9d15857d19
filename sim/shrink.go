package sim

import (
	"fmt"
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/sim/byz"
	"github.com/themis-bft/themis/wire"
)

// clientsPart is the name under which Options.Leave makes the faulty clients honest.
const clientsPart = "clients"

// Parts lists what Options.Leave may name: faults, replicas and the faulty clients.
func Parts(replicas int) []string {
	parts := append(Faults(), clientsPart)
	for i := range replicas {
		parts = append(parts, bft.ReplicaID(i).String())
	}
	return parts
}

// leave takes the parts out of a drawn swarm that the options leave out.
func (s *swarm) leave(o *Options) {
	for f := range faultCount {
		if contains(o.Leave, f.String()) {
			s.faults[f] = false
		}
	}
	for id := range s.faulty.All() {
		if contains(o.Leave, id.String()) {
			s.faulty = s.faulty.Without(id) // and the oracles count it among the correct
		}
	}
}

// parts are what of the seed can be left out.
func (w *world) parts() (parts []string) {
	for f := range faultCount {
		if w.swarm.faults[f] {
			parts = append(parts, f.String())
		}
	}
	for id := range w.swarm.faulty.All() {
		parts = append(parts, id.String())
	}
	if w.swarm.faultyClients > 0 {
		parts = append(parts, clientsPart)
	}
	return parts
}

// honestClient is a faulty client that the options made honest.
type honestClient struct{}

// Outgoing sends what the honest session sends.
func (honestClient) Outgoing(e *byz.ClientEnv, to bft.ReplicaID, k wire.Kind, q *wire.Request) {
	e.Send(to, k, q.Append(nil))
}

// Shrink switches off one part of a failing seed after the other, for as long as the same checker
// complains first, and returns the options with the largest Leave that it found. Left out
// parts change what the rest meets, so that the result is small and not always the smallest.
func Shrink(o Options, seed uint64) (Options, Result, error) {
	res, err := Run(o, seed)
	if err != nil {
		return o, res, err
	}
	if len(res.Violations) == 0 {
		return o, res, fmt.Errorf("sim: seed %d does not fail", seed)
	}
	w, err := newWorld(o, seed, nil)
	if err != nil {
		return o, res, err
	}
	checker := res.Violations[0].Checker
	for again := true; again; {
		again = false
		for _, part := range w.parts() {
			if contains(o.Leave, part) {
				continue
			}
			try := o
			try.Leave = append(slices.Clone(o.Leave), part)
			got, err := Run(try, seed)
			if err != nil {
				return o, res, err
			}
			if len(got.Violations) > 0 && got.Violations[0].Checker == checker {
				o, res, again = try, got, true
			}
		}
	}
	return o, res, nil
}
