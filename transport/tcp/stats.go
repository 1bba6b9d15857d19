package tcp

import (
	"errors"
	"os"
	"sync/atomic"

	"github.com/themis-bft/themis/bft"
)

// Reason says why a connection was refused or a link was ended.
type Reason uint8

// The reasons. Their texts are the names under which they are counted.
const (
	ReasonTimeout      Reason = iota // TLS and HELLO were not done in time
	ReasonTLS                        // not TLS 1.3, no certificate, another application protocol
	ReasonKey                        // the key is not of a member, or the client is not admitted
	ReasonHello                      // another version, cluster, epoch or protocol
	ReasonPending                    // it made room for another handshake under way
	ReasonAddress                    // too many connections from one address; or it made room for another of its address
	ReasonTotal                      // too many client links
	ReasonClientLinks                // too many links of one client
	ReasonReplaced                   // the same peer connected anew
	ReasonFrameSize                  // a frame was longer than its link allows
	ReasonFrameStalled               // a frame began and did not arrive
	ReasonProtocol                   // a frame where none belongs
	ReasonNotReading                 // the other end takes nothing of what is sent to it
	ReasonIdle                       // a client that asked for nothing gave its place to another
	ReasonAccept                     // the system refused to accept (out of descriptors)
	reasonCount
)

var reasonNames = [reasonCount]string{
	"handshake-timeout", "tls", "key", "hello", "pending", "address", "total", "client-links",
	"replaced", "frame-size", "frame-stalled", "protocol", "not-reading", "idle", "accept",
}

// String is the name under which the reason is counted.
func (r Reason) String() string { return reasonNames[r] }

// Stats is a snapshot of a transport.
type Stats struct {
	Refused       map[string]uint64 // by Reason, all of them
	Peers         []PeerStats       // by replica; the own entry is zero
	Clients       int               // client links up
	ClientDropped uint64            // buffers for clients dropped from full queues
	ClientQueued  int64             // bytes that wait for clients
}

// PeerStats is the part of Stats about one replica.
type PeerStats struct {
	In, Out    bool   // the accepted link and the dialled link are up
	QueueBytes int    // waiting to be sent
	Dropped    uint64 // buffers dropped: no link, or its queue was full
	Dials      uint64 // attempts to reach it
	LastError  string // why it is not reached
}

// counters are what Stats is made of. Any goroutine adds.
type counters struct {
	refused       [reasonCount]atomic.Uint64
	clientDropped atomic.Uint64
}

func (c *counters) add(r Reason) { c.refused[r].Add(1) }

// Stats returns a snapshot. It may be called at any time.
func (t *Transport) Stats() Stats {
	s := Stats{Refused: make(map[string]uint64, reasonCount), Peers: make([]PeerStats, len(t.peers))}
	for r := range reasonCount {
		s.Refused[r.String()] = t.count.refused[r].Load()
	}
	for i, p := range t.peers {
		if bft.ReplicaID(i) != t.o.Self {
			s.Peers[i] = p.stats()
		}
	}
	s.Clients = t.clients.len()
	s.ClientDropped = t.count.clientDropped.Load()
	s.ClientQueued = t.clientBudget.used.Load()
	return s
}

// refusal is an error with the reason under which it is counted.
type refusal struct {
	reason Reason
	err    error
}

func (r refusal) Error() string { return r.reason.String() + ": " + r.err.Error() }
func (r refusal) Unwrap() error { return r.err }

// reasonOf finds the reason in err. A plain error of the connection has none: links break.
func reasonOf(err error) (Reason, bool) {
	var r refusal
	switch {
	case errors.As(err, &r):
		return r.reason, true
	case errors.Is(err, errFrameSize):
		return ReasonFrameSize, true
	case errors.Is(err, errFrameStalled):
		return ReasonFrameStalled, true
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ReasonNotReading, true
	}
	return 0, false
}
