package host

import (
	"sync"
	"sync/atomic"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
)

// gate stands in front of the expensive part of the verify stage. It knows what the node last
// published of itself, and how much of this replica's time each peer has wasted: what is sure
// to be rejected is refused unverified, and a peer that made too many checks for nothing has to
// wait until it may do so again. Nobody is shut out for good, and nobody pays for another.
//
// Workers share it. What it refuses, STATUS brings back if it was of use after all.
type gate struct {
	hint  atomic.Pointer[Hint]
	peers []account
}

// Hint is what the verify stage may know of a node while it decides.
type Hint struct {
	protocol.Hint
	Fetching bool // the node waits for bodies that it asked for
}

// account is what one peer may still cost.
type account struct {
	mu   sync.Mutex
	left int64 // checks; below zero after a frame that cost more than there was
	at   bft.Time
}

func newGate(n int) *gate {
	g := &gate{peers: make([]account, n)}
	for i := range g.peers {
		g.peers[i].left = bft.WastedChecksBurst
	}
	return g
}

// Hint is what the node lets the verify stage know. The driver publishes it after every round of
// Handle and Tick with Verifier.Publish, BEFORE the output of that round leaves.
func (n *Node) Hint() Hint {
	s := n.view()
	return Hint{
		Hint:     protocol.Hint{View: s.View, Active: s.Active, Stable: s.Stable, High: s.High},
		Fetching: len(n.fetches.order) > 0,
	}
}

// Publish tells the verify stage where the node is. Until the first call nothing is refused but
// what refutes itself.
func (v *Verifier) Publish(h Hint) {
	if old := v.gate.hint.Load(); old == nil || *old != h {
		v.gate.hint.Store(&h)
	}
}

// checksOf is about how many signatures a frame of this size can make us check: the smallest
// endorsement and the smallest request have more than 64 bytes with their signatures.
func checksOf(payload []byte) int64 { return int64(min(1+len(payload)/96, bft.BatchRequestsMax)) }

// earn gives back what time gives back. A wall clock that was set back earns nothing once.
func (a *account) earn(now bft.Time) {
	passed := now - a.at
	if a.at == 0 || passed < 0 {
		passed = 0
	}
	if passed >= bft.Time(bft.WastedChecksBurst/bft.WastedChecksPerSecond)*bft.Time(bft.Second) {
		a.left, a.at = bft.WastedChecksBurst, now
		return
	}
	const perCheck = bft.Time(bft.Second) / bft.WastedChecksPerSecond
	earned := passed / perCheck
	a.left = min(a.left+int64(earned), bft.WastedChecksBurst)
	a.at = now - passed%perCheck
}

// spend takes checks from what a peer may cost, and reports whether it had any left.
func (g *gate) spend(from bft.ReplicaID, now bft.Time, checks int64) bool {
	a := &g.peers[from]
	a.mu.Lock()
	defer a.mu.Unlock()
	a.earn(now)
	if a.left <= 0 && !mutant.On("verify-waste-not-bounded") {
		return false
	}
	a.left = max(a.left-checks, -bft.WastedChecksBurst)
	return true
}

// screen decides whether a message is worth verifying. paid says that its checks were taken
// from the budget of its sender already.
func (v *Verifier) screen(from bft.ReplicaID, m protocol.Message, checks int64, wall bft.Time) (reason protocol.Reason, paid bool) {
	s, ok := v.codec.(protocol.Screener)
	h := v.gate.hint.Load()
	if !ok || h == nil {
		return protocol.ReasonNone, false
	}
	found := s.Screen(m, h.Hint)
	switch {
	case found.Refuse != protocol.ReasonNone:
		return found.Refuse, true
	case found.Costly && !v.gate.spend(from, wall, checks):
		return protocol.ReasonOverloaded, true
	}
	return protocol.ReasonNone, found.Costly
}

// settle charges a peer for a frame that was verified and is of no use.
func (v *Verifier) settle(from bft.ReplicaID, in Input, checks int64, wall bft.Time) Input {
	var reason protocol.Reason
	switch in := in.(type) {
	case Rejected:
		reason = in.Rejection.Reason
	case PeerBodyRefused:
		reason = in.Reason
	}
	switch reason {
	case protocol.ReasonBadSignature, protocol.ReasonBadProof, protocol.ReasonBadRequest, protocol.ReasonBadNewView:
		v.gate.spend(from, wall, checks)
	}
	return in
}

// relay verifies a request that a peer passes on, unless too many of that peer's were forged.
func (v *Verifier) relay(from bft.ReplicaID, p []byte, wall bft.Time) (Input, protocol.Reason) {
	if !v.gate.spend(from, wall, 0) {
		return nil, protocol.ReasonOverloaded
	}
	r, reason := v.single(p)
	return PeerRelay{From: from, Request: r}, reason
}

// awaited reports whether a body may be what the node waits for; its digest is worth computing.
func (v *Verifier) awaited() bool {
	h := v.gate.hint.Load()
	return h == nil || h.Fetching
}
