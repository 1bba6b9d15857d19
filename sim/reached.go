package sim

import (
	"fmt"
	"slices"

	"github.com/themis-bft/themis/auth"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/sim/byz"
	"github.com/themis-bft/themis/wire"
)

// UnreachedFrom is the number of seeds from which on a campaign must have met everything.
const UnreachedFrom = 1000

// MutatorsMin is how many distinct mutators such a campaign must have met.
const MutatorsMin = 60

// takesTwo are deeds that one liar alone comes to by luck only.
var takesTwo = map[string]bool{
	(firstDeed + sometimes(byz.TwoNewViews)).String(): true,
	(firstDeed + sometimes(byz.Hid)).String():         true,
}

// met is what one run drew and did, for the report.
type met struct {
	strategies []string
	mutators   map[string]int
	faults     [faultCount]bool
	presented  uint64
}

// strategy enters a strategy that a faulty replica or client of this run follows.
func (m *met) strategy(name string) {
	if !slices.Contains(m.strategies, name) {
		m.strategies = append(m.strategies, name)
	}
}

func (m *met) mutator(name string) {
	if m.mutators == nil {
		m.mutators = make(map[string]int)
	}
	m.mutators[name]++
}

// reached closes the books of a run on what it met.
func (w *world) reached(res *Result) {
	res.Strategies, res.Mutators, res.Faults = w.met.strategies, w.met.mutators, w.met.faults
	res.RealCrypto = w.swarm.realKeys
	res.Tags = TagCount{Presented: w.met.presented, Refused: w.keys.refused}
	if res.Tags.Refused > 0 {
		if res.RealCrypto {
			res.Sometimes[invalidTagReal] += int(res.Tags.Refused)
		} else {
			res.Sometimes[invalidTagIdeal] += int(res.Tags.Refused)
		}
	}
}

func newReport() Report {
	rep := Report{
		Violations: []Failure{}, Unreached: []string{},
		Sometimes: make(map[string]int), Strategies: make(map[string]int), Mutators: make(map[string]int), Faults: make(map[string]int),
	}
	for s := range sometimesCount {
		rep.Sometimes[s.String()] = 0
	}
	for f := range faultCount {
		rep.Faults[f.String()] = 0
	}
	for _, name := range Strategies() {
		rep.Strategies[name] = 0
	}
	return rep
}

func (rep *Report) reached(r *Result) {
	for _, name := range r.Strategies {
		rep.Strategies[name]++
	}
	for name, n := range r.Mutators {
		rep.Mutators[name] += n
	}
	for f := range faultCount {
		if r.Faults[f] {
			rep.Faults[f.String()]++
		}
	}
	tags := &rep.InvalidTags.Ideal
	if r.RealCrypto {
		rep.RealCryptoSeeds++
		tags = &rep.InvalidTags.Real
	}
	tags.Presented += r.Tags.Presented
	tags.Refused += r.Tags.Refused
}

// close names what the campaign o never met, if every one of its seeds could have drawn it and
// there were enough of them.
func (rep *Report) close(o *Options) {
	if rep.Seeds < UnreachedFrom || o.Byzantine >= 0 || len(o.Strategies) > 0 {
		return
	}
	for kind, counts := range map[string]map[string]int{"sometimes": rep.Sometimes, "strategy": rep.Strategies, "fault": rep.Faults} {
		for name, n := range counts {
			if n == 0 && !(faultsOf(o.Replicas) < 2 && takesTwo[name]) {
				rep.Unreached = append(rep.Unreached, kind+" "+name)
			}
		}
	}
	if n := len(rep.Mutators); n < MutatorsMin {
		rep.Unreached = append(rep.Unreached, fmt.Sprintf("mutators: %d of at least %d", n, MutatorsMin))
	}
	slices.Sort(rep.Unreached)
}

// counted is the verifier of a run: it counts what it refuses.
type counted struct {
	auth.Verifier
	refused *uint64
}

// VerifyReplica counts a refusal.
func (c counted) VerifyReplica(id bft.ReplicaID, msg, sig []byte) bool {
	return c.count(c.Verifier.VerifyReplica(id, msg, sig))
}

// VerifyClient counts a refusal.
func (c counted) VerifyClient(id bft.ClientID, msg, sig []byte) bool {
	return c.count(c.Verifier.VerifyClient(id, msg, sig))
}

// VerifyClients counts every refusal.
func (c counted) VerifyClients(items []auth.Item, ok []bool) bool {
	all := c.Verifier.VerifyClients(items, ok)
	if !all {
		for i := range items {
			c.count(ok[i])
		}
	}
	return all
}

func (c counted) count(ok bool) bool {
	if !ok {
		*c.refused++
	}
	return ok
}

// presents looks at a message that a strategy sends: does its tag hold? Tags are deterministic,
// so that the true one is the same again.
func (w *world) presents(m protocol.Message) {
	s, ok := m.(protocol.Signed)
	if !ok {
		return
	}
	if int(s.Signer()) < w.n {
		if good := w.certify(s.Signer(), s); string(w.codec.Append(nil, good)) == string(w.codec.Append(nil, m)) {
			return
		}
	}
	w.met.presented++
}

// presentsRequest is the same for the frame of a faulty client.
func (w *world) presentsRequest(payload []byte) {
	q, err := wire.DecodeRequest(payload)
	if err != nil {
		return
	}
	domain := wire.ClientDomain(&w.swarm.membership)
	if !w.keys.holds(q.Client, q.AppendSigned(nil, domain), q.Sig) {
		w.met.presented++
	}
}
