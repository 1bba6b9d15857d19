package pbft

import (
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
)

// vote is what one sender last said about a slot. Keeping only the newest view bounds memory
// by senders, not by messages, and keeps votes that overtake NEW-VIEW (upstream defect L2).
type vote struct {
	cast   bool
	view   bft.View
	digest bft.Digest
}

// slot is what a replica knows of one sequence number.
type slot struct {
	accepted bool     // pre-prepared in view
	prepared bool     // prepared in view
	view     bft.View // view of the last acceptance
	digest   bft.Digest

	prepares []vote // by sender
	commits  []vote
	claims   []vote // DECIDED, view unused

	hasP bool
	p    Claim
	q    []Claim // one per digest with its latest view, in the order of those views

	decided       bool
	decidedDigest bft.Digest
	decidedView   bft.View
}

func (c *Core) resetSlot(s *slot) {
	if s.prepares == nil {
		s.prepares, s.commits, s.claims = make([]vote, c.n), make([]vote, c.n), make([]vote, c.n)
	}
	clear(s.prepares)
	clear(s.commits)
	clear(s.claims)
	*s = slot{prepares: s.prepares, commits: s.commits, claims: s.claims, q: s.q[:0]}
}

// acceptedIn reports whether the slot was pre-prepared in view v.
func (s *slot) acceptedIn(v bft.View) bool { return s.accepted && s.view == v }

// preparedIn reports whether the slot was prepared in view v.
func (s *slot) preparedIn(v bft.View) bool { return s.acceptedIn(v) && s.prepared }

// count returns the senders whose vote is for (v, d).
func count(votes []vote, v bft.View, d bft.Digest) bft.ReplicaSet {
	var set bft.ReplicaSet
	for i := range votes {
		o := &votes[i]
		if o.cast && o.view == v && (o.digest == d || mutant.On("pbft-vote-digest-ignored")) {
			set = set.With(bft.ReplicaID(i))
		}
	}
	return set
}

// noteQ enters (d, v) into Q, in the place of an older entry of d.
func (s *slot) noteQ(c Claim) {
	s.q = slices.DeleteFunc(s.q, func(old Claim) bool { return old.Digest == c.Digest || mutant.On("pbft-q-one-digest") })
	if len(s.q) == bft.QEntriesMax { // never by accident; agreement does not rest on the oldest
		s.q = append(s.q[:0], s.q[1:]...)
	}
	s.q = append(s.q, c)
}

// noteP enters (d, v) into P. Entries of Q of lower views go: were one of them kept by all
// who need it, this claim would outrank it anyway (models, "Prune by P").
func (s *slot) noteP(c Claim) {
	s.p, s.hasP = c, true
	kept := s.q[:0]
	for _, q := range s.q {
		if q.View >= c.View {
			kept = append(kept, q)
		}
	}
	s.q = kept
}
