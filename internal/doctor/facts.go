package doctor

import (
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/replica"
)

// Facts are what was seen of a cluster. Diagnose needs nothing else.
type Facts struct {
	Dir        string
	Quorums    bft.Quorums
	Membership string        // digest of the cluster file
	Skew       time.Duration // how far the time of a proposal may be off
	Every      bft.SeqNum    // slots between checkpoints
	Replicas   []Seen        // by number
}

// Seen is what was seen of one replica.
type Seen struct {
	// From its files.
	Config      string // path
	ClusterFile string // the cluster file that its configuration names
	DataDir     string
	Log         string // path of what it printed
	KeyFile     string
	KeyProblem  string // why it cannot serve with its key file; empty if it can
	Differs     string // in what its cluster file differs from the cluster's; empty if in nothing
	Free        uint64 // bytes free where its data lie, if FreeKnown
	FreeKnown   bool

	// From the system.
	Alive, Paused bool
	Died          bool   // it ended without being told to
	Lies          string // how it was made to lie
	LastWords     string // the error it ended with, from its log
	Taken         string // an address of it, on which another program listens while it is down

	Peer, Client, Admin string // its addresses

	// From itself, looked at twice, both nil if it did not answer both times.
	First, Last *replica.Status
	Between     time.Duration // the time between the looks
	ClockOff    time.Duration // its time of day less the doctor's, at the last look
	Silence     string        // why it did not answer
}

// answers reports whether the replica can be reasoned about.
func (s *Seen) answers() bool { return s.First != nil && s.Last != nil }

// link is what the replica says of its links with a peer at the last look.
func (s *Seen) link(with int) (l replica.PeerLink, ok bool) { return linkOf(s.Last, with) }

func linkOf(s *replica.Status, with int) (l replica.PeerLink, ok bool) {
	for _, p := range s.Links.Peers {
		if int(p.ID) == with {
			return p, true
		}
	}
	return l, false
}
