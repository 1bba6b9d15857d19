package twins

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/sim/rng"
)

// failuresMax bounds what a report remembers of runs that went wrong.
const failuresMax = 16

// Options says which schedules a campaign runs.
type Options struct {
	Replicas int
	Rounds   int
	// Twins are the identities that run twice, together in every schedule. Empty: with Samples
	// drawn per schedule, without them each identity in turn.
	Twins []bft.ReplicaID
	// Draw is how many identities run twice where a sample draws them.
	Draw    int
	Samples uint64 // 0: every schedule there is
	Seed    uint64 // of the samples
	// Part and Parts cut an enumeration into equal parts: part 1 of 1 is all of it.
	Part, Parts uint64
	// Only, where set, leaves out every schedule with an epoch that begins in another phase.
	Only *Phase
	Jobs int
}

// Failure is a run that broke a promise.
type Failure struct {
	Schedule string `json:"schedule"`
	Checker  string `json:"checker"`
	Detail   string `json:"detail"`
}

// Report sums up a campaign. Its numbers do not depend on Jobs.
type Report struct {
	Schedules     uint64    `json:"schedules"`
	Repeated      uint64    `json:"repeated"` // of them, not run: the very same run as another, or left out
	Violations    uint64    `json:"violations"`
	Failures      []Failure `json:"failures"`
	Events        uint64    `json:"events"`
	Lost          uint64    `json:"lost"`
	Commits       uint64    `json:"commits"`
	Views         []uint64  `json:"decided_in_view"` // schedules in which something was decided in view 0, 1, …
	Idle          uint64    `json:"idle"`            // schedules in which nothing was decided before the healing
	Entered       uint64    `json:"views_entered"`
	Conflicting   uint64    `json:"conflicting_proposals"` // schedules
	Equivocations uint64    `json:"equivocations_noticed"` // schedules
	Transfers     uint64    `json:"state_transfers"`
	HealRounds    int       `json:"heal_rounds_most"`
	HealViews     uint64    `json:"heal_views_most"`
	Hash          string    `json:"trace_hash"`
	hash          uint64
}

// viewsShown is how many views a report counts apart; later ones count as the last of them.
const viewsShown = 8

func (r *Report) add(number uint64, s *Schedule, o *Outcome) {
	r.Events += uint64(o.Events)
	r.Lost += uint64(o.Lost)
	r.Commits += uint64(o.Commits)
	r.Entered += uint64(o.Entered)
	r.Transfers += uint64(o.Transfers)
	r.HealRounds = max(r.HealRounds, o.HealRounds)
	r.HealViews = max(r.HealViews, uint64(o.HealViews))
	r.hash += mix(o.Hash ^ mix(number)) // a sum: the order of runs makes no difference
	if o.Conflicting {
		r.Conflicting++
	}
	if o.Equivocations > 0 {
		r.Equivocations++
	}
	if o.InView == 0 {
		r.Idle++
	}
	for v := range 64 {
		if o.InView>>v&1 == 1 {
			r.Views[min(v, viewsShown-1)]++
		}
	}
	for _, v := range o.Violations {
		r.Violations++
		if len(r.Failures) < failuresMax {
			r.Failures = append(r.Failures, Failure{Schedule: s.String(), Checker: v.Checker, Detail: v.Detail})
		}
	}
}

// merge adds what another worker counted.
func (r *Report) merge(o *Report) {
	r.Repeated += o.Repeated
	r.Violations += o.Violations
	r.Failures = append(r.Failures, o.Failures...)
	r.Failures = r.Failures[:min(len(r.Failures), failuresMax)]
	r.Events += o.Events
	r.Lost += o.Lost
	r.Commits += o.Commits
	r.Idle += o.Idle
	r.Entered += o.Entered
	r.Conflicting += o.Conflicting
	r.Equivocations += o.Equivocations
	r.Transfers += o.Transfers
	r.HealRounds = max(r.HealRounds, o.HealRounds)
	r.HealViews = max(r.HealViews, o.HealViews)
	r.hash += o.hash
	for v := range r.Views {
		r.Views[v] += o.Views[v]
	}
}

// Campaign runs all schedules that the options name.
func Campaign(o Options) (Report, error) {
	plan, count, err := o.plan()
	if err != nil {
		return Report{}, err
	}
	first, last := count*(o.Part-1)/o.Parts, count*o.Part/o.Parts
	total := Report{Schedules: last - first, Failures: []Failure{}, Views: make([]uint64, viewsShown)}
	next := atomic.Uint64{}
	next.Store(first)
	var wait sync.WaitGroup
	var lock sync.Mutex
	for range max(o.Jobs, 1) {
		wait.Go(func() {
			mine := Report{Views: make([]uint64, viewsShown)}
			const chunk = 256
			for {
				from := next.Add(chunk) - chunk
				if from >= last {
					break
				}
				for i := from; i < min(from+chunk, last); i++ {
					s := plan(i)
					if o.left(&s) {
						mine.Repeated++
						continue
					}
					out := run(&s, nil)
					mine.add(i, &s, &out)
				}
			}
			lock.Lock()
			defer lock.Unlock()
			total.merge(&mine)
		})
	}
	wait.Wait()
	total.Hash = fmt.Sprintf("%016x", total.hash)
	return total, nil
}

// left reports whether a schedule is left out.
func (o *Options) left(s *Schedule) bool {
	if o.Only != nil {
		for _, e := range s.Epochs {
			if e.From != *o.Only {
				return true
			}
		}
		return false
	}
	return o.Samples == 0 && s.repeats()
}

// plan returns the schedules by number, and their count.
func (o *Options) plan() (plan func(uint64) Schedule, count uint64, err error) {
	if o.Parts == 0 {
		o.Part, o.Parts = 1, 1
	}
	if o.Part < 1 || o.Part > o.Parts {
		return nil, 0, fmt.Errorf("twins: part %d of %d", o.Part, o.Parts)
	}
	if len(o.Twins) > 0 {
		o.Draw = len(o.Twins)
	}
	shape := Schedule{Replicas: o.Replicas, Twins: o.Twins, Epochs: make([]Epoch, max(o.Rounds, 0))}
	if len(o.Twins) == 0 {
		shape.Twins = []bft.ReplicaID{0} // whoever it will be
	}
	if err := shape.valid(); err != nil {
		return nil, 0, err
	}
	if o.Samples == 0 {
		return o.enumerate()
	}
	if o.Draw < 1 || o.Draw > min(twinsMax, o.Replicas) {
		return nil, 0, fmt.Errorf("twins: %d twins, not 1 to %d", o.Draw, min(twinsMax, o.Replicas))
	}
	return func(i uint64) Schedule {
		s := sample(o.Replicas, o.Draw, o.Rounds, rng.New(o.Seed).Fork(i))
		if len(o.Twins) > 0 {
			s.Twins = o.Twins
		}
		return s
	}, o.Samples, nil
}

// enumerate is the plan that leaves nothing out.
func (o *Options) enumerate() (plan func(uint64) Schedule, count uint64, err error) {
	sets := [][]bft.ReplicaID{o.Twins}
	if len(o.Twins) == 0 {
		sets = nil
		for id := range o.Replicas {
			sets = append(sets, []bft.ReplicaID{bft.ReplicaID(id)})
		}
	}
	one, ok := space{replicas: o.Replicas, twins: sets[0], rounds: o.Rounds}.size()
	if !ok {
		return nil, 0, fmt.Errorf("twins: too many schedules of %d replicas and %d rounds to run them all: draw samples", o.Replicas, o.Rounds)
	}
	return func(i uint64) Schedule {
		return space{replicas: o.Replicas, twins: sets[i/one], rounds: o.Rounds}.at(i % one)
	}, one * uint64(len(sets)), nil
}
