package twins

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/sim/rng"
)

// Phase is a part of a round: the delivery of one kind of message.
type Phase uint8

// The phases of a round, in their order. A round begins in its view with proposals and ends with
// the change to the next view.
const (
	PrePrepare Phase = iota
	Prepare
	Commit
	ViewChange
	NewView
	phases // their number
)

var phaseNames = [phases]string{"pre-prepare", "prepare", "commit", "view-change", "new-view"}

// String is the name used in schedules.
func (p Phase) String() string {
	if p < phases {
		return phaseNames[p]
	}
	return "unknown"
}

// Epoch is a split of the endpoints and the phase of its round before which it takes effect.
type Epoch struct {
	Sides uint32 // bit i: endpoint i is on the side that endpoint 0 is not on
	From  Phase
}

// Schedule is one run: who is there twice, and what the network does in each round. Endpoints
// are the replicas 0 to Replicas-1 and then the second copy of each of Twins.
type Schedule struct {
	Replicas int
	Twins    []bft.ReplicaID
	Epochs   []Epoch
}

// Limits of a schedule.
const (
	replicasMax = 16
	twinsMax    = 4
	roundsMax   = 16
)

func (s *Schedule) endpoints() int { return s.Replicas + len(s.Twins) }

// identity is the replica that an endpoint claims to be.
func (s *Schedule) identity(endpoint int) bft.ReplicaID {
	if endpoint < s.Replicas {
		return bft.ReplicaID(endpoint)
	}
	return s.Twins[endpoint-s.Replicas]
}

// String is the schedule as ParseSchedule reads it: replicas, twins, and per round one letter a
// side for each endpoint and the phase: 4:0:AABBA@prepare,AAAAA@commit,ABBBA@new-view.
func (s *Schedule) String() string {
	names := make([]string, len(s.Twins))
	for i, id := range s.Twins {
		names[i] = strconv.Itoa(int(id))
	}
	epochs := make([]string, len(s.Epochs))
	for i, e := range s.Epochs {
		var b strings.Builder
		for k := range s.endpoints() {
			b.WriteByte('A' + byte(e.Sides>>k&1))
		}
		epochs[i] = b.String() + "@" + e.From.String()
	}
	return fmt.Sprintf("%d:%s:%s", s.Replicas, strings.Join(names, "+"), strings.Join(epochs, ","))
}

// ParseSchedule reads what String wrote.
func ParseSchedule(text string) (Schedule, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return Schedule{}, fmt.Errorf("twins: %q is no schedule; one is 4:0:AABBA@prepare,AAAAA@commit,ABBBA@new-view", text)
	}
	n, err := strconv.Atoi(parts[0])
	if err != nil {
		return Schedule{}, fmt.Errorf("twins: %q is no number of replicas", parts[0])
	}
	s := Schedule{Replicas: n}
	for name := range strings.SplitSeq(parts[1], "+") {
		id, err := strconv.ParseUint(name, 10, 16)
		if err != nil {
			return Schedule{}, fmt.Errorf("twins: %q is no replica", name)
		}
		s.Twins = append(s.Twins, bft.ReplicaID(id))
	}
	for text := range strings.SplitSeq(parts[2], ",") {
		e, err := parseEpoch(text, s.endpoints())
		if err != nil {
			return Schedule{}, err
		}
		s.Epochs = append(s.Epochs, e)
	}
	return s, s.valid()
}

func parseEpoch(text string, endpoints int) (Epoch, error) {
	sides, name, _ := strings.Cut(text, "@")
	at := slices.Index(phaseNames[:], name)
	if at < 0 {
		return Epoch{}, fmt.Errorf("twins: %q has no phase; phases: %s", text, strings.Join(phaseNames[:], ", "))
	}
	if sides == "" || len(sides) != endpoints || endpoints > 32 || strings.Trim(sides, "AB") != "" || sides[0] != 'A' {
		return Epoch{}, fmt.Errorf("twins: %q is no split of %d endpoints: one letter each, A or B, the first A", sides, endpoints)
	}
	e := Epoch{From: Phase(at)}
	for i := range sides {
		e.Sides |= uint32(sides[i]-'A') << i
	}
	return e, nil
}

// valid holds a schedule against its limits.
func (s *Schedule) valid() error {
	if s.Replicas < 4 || s.Replicas > replicasMax {
		return fmt.Errorf("twins: %d replicas, not 4 to %d", s.Replicas, replicasMax)
	}
	if len(s.Twins) == 0 || len(s.Twins) > twinsMax || len(s.Epochs) == 0 || len(s.Epochs) > roundsMax {
		return fmt.Errorf("twins: %d twins and %d rounds, not 1 to %d and 1 to %d", len(s.Twins), len(s.Epochs), twinsMax, roundsMax)
	}
	for i, id := range s.Twins {
		if int(id) >= s.Replicas || i > 0 && s.Twins[i-1] >= id {
			return fmt.Errorf("twins: %v are not ascending members of %d replicas", s.Twins, s.Replicas)
		}
	}
	return nil
}

// space is every schedule of one choice of twins, by number.
type space struct {
	replicas int
	twins    []bft.ReplicaID
	rounds   int
}

// perRound is how many epochs a round may have: two-way splits times phases.
func (sp space) perRound() uint64 { return uint64(phases) << (sp.replicas + len(sp.twins) - 1) }

// sizeMax bounds what is enumerated: days of one core.
const sizeMax = 1 << 27

// size is the number of schedules. ok is false when they are too many to run.
func (sp space) size() (size uint64, ok bool) {
	size = 1
	for range sp.rounds {
		if size > sizeMax/sp.perRound() {
			return 0, false
		}
		size *= sp.perRound()
	}
	return size, true
}

// at is the schedule with a number.
func (sp space) at(i uint64) Schedule {
	s := Schedule{Replicas: sp.replicas, Twins: sp.twins, Epochs: make([]Epoch, sp.rounds)}
	for k := range s.Epochs {
		one := i % sp.perRound()
		i /= sp.perRound()
		s.Epochs[k] = Epoch{Sides: uint32(one/uint64(phases)) << 1, From: Phase(one % uint64(phases))}
	}
	return s
}

// repeats reports whether another schedule with a lower number is the very same run: where an
// epoch splits as the one before (at first nothing is split), it does not matter when it begins.
func (s *Schedule) repeats() bool {
	before := uint32(0)
	for _, e := range s.Epochs {
		if e.Sides == before && e.From != 0 {
			return true
		}
		before = e.Sides
	}
	return false
}

// sample draws a schedule: which identities are there twice, and every epoch.
func sample(replicas, twins, rounds int, r *rng.Source) Schedule {
	s := Schedule{Replicas: replicas, Epochs: make([]Epoch, rounds)}
	for len(s.Twins) < twins {
		id := bft.ReplicaID(r.Intn(replicas))
		if !slices.Contains(s.Twins, id) {
			s.Twins = append(s.Twins, id)
		}
	}
	slices.Sort(s.Twins)
	for k := range s.Epochs {
		s.Epochs[k] = Epoch{Sides: uint32(r.Below(1<<(s.endpoints()-1))) << 1, From: Phase(r.Intn(int(phases)))}
	}
	return s
}
