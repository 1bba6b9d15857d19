package catchup

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
)

// sources are the peers, and what is known of them.
type sources struct {
	peers     bft.ReplicaSet // all but self
	preferred bft.ReplicaSet // vouched for the target
	reachable bft.ReplicaSet
	liars     bft.ReplicaSet // sent a false item of this target
	rests     bft.ReplicaSet // left alone until resting
	resting   [bft.ReplicasMax]bft.Duration
	strikes   [bft.ReplicasMax]uint8 // failures since the last good fragment
	last      int                    // peer that was picked last
	n         int

	budget [bft.ReplicasMax]budget // what each may still be asked for now
	paced  bool                    // somebody would have been asked if its budget allowed,
	paceAt bft.Duration            // and may be asked then
}

// strikesMax bounds how long a peer that fails again and again is left alone: 2^strikesMax
// times the patience.
const strikesMax = 4

func newSources(self bft.ReplicaID, n int) sources {
	peers := bft.AllReplicas(n).Without(self)
	s := sources{peers: peers, reachable: peers, last: int(self), n: n}
	for i := range s.budget {
		s.budget[i].bytes = askBurstBytes
	}
	return s
}

// begin forgets, for a new target, who lied and who failed.
func (s *sources) begin(preferred bft.ReplicaSet) {
	s.preferred, s.liars, s.rests = preferred, 0, 0
	s.strikes = [bft.ReplicasMax]uint8{}
}

func (s *sources) up(peer bft.ReplicaID)   { s.reachable |= bft.SetOf(peer) & s.peers }
func (s *sources) down(peer bft.ReplicaID) { s.reachable = s.reachable.Without(peer) }

// failed leaves peer alone for a while, longer each time: it was silent, does not hold the
// checkpoint, or lied.
func (s *sources) failed(peer bft.ReplicaID, now, patience bft.Duration) {
	if s.rests.Has(peer) {
		return // several items failed at once
	}
	s.resting[peer] = now + patience<<s.strikes[peer]
	s.strikes[peer] = min(s.strikes[peer]+1, strikesMax)
	s.rests = s.rests.With(peer)
}

// awake ends the rest of peers whose time has come.
func (s *sources) awake(now bft.Duration) {
	for id := range s.rests.All() {
		if s.resting[id] <= now {
			s.rests = s.rests.Without(id)
		}
	}
}

// lied excludes peer; when everybody was excluded, all get another chance.
func (s *sources) lied(peer bft.ReplicaID) {
	if mutant.On("catchup-liar-asked-again") {
		return
	}
	s.liars = s.liars.With(peer)
	if s.peers&^s.liars == 0 {
		s.liars = 0
	}
}

// pick chooses the peer for the next item: the one with the fewest open fragments, in turn,
// among those that vouched for the target, or among all if none of those can be asked. Those in
// except are not asked.
func (s *sources) pick(open []int, except bft.ReplicaSet, now bft.Duration) (bft.ReplicaID, bool) {
	usable := s.reachable &^ s.liars &^ s.rests &^ except
	if vouched := usable & s.preferred; vouched != 0 {
		usable = vouched
	}
	best := -1
	for k := 1; k <= s.n; k++ {
		id := (s.last + k) % s.n
		if usable.Has(bft.ReplicaID(id)) && open[id] < peerFragmentsMax && (best < 0 || open[id] < open[best]) &&
			s.mayAsk(bft.ReplicaID(id), now) {
			best = id
		}
	}
	if best < 0 {
		return 0, false
	}
	s.last = best
	return bft.ReplicaID(best), true
}

// wake is when the next resting peer may be asked again.
func (s *sources) wake() (at bft.Duration, ok bool) {
	for id := range (s.rests & s.reachable &^ s.liars).All() {
		if !ok || s.resting[id] < at {
			at, ok = s.resting[id], true
		}
	}
	return at, ok
}
