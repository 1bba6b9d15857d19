package pbft

import (
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
)

// Check holds a message against every rule that needs no state. It runs on the workers; the
// core relies on each of these rules and repeats none.
func (c *Codec) Check(from bft.ReplicaID, m protocol.Message, v protocol.SignatureVerifier) protocol.Reason {
	switch m := m.(type) {
	case *PrePrepare:
		return c.checkPrePrepare(from, m)
	case *Prepare:
		if from == c.q.Primary(m.View) && !mutant.On("pbft-primary-prepares") {
			return protocol.ReasonWrongSender // its PRE-PREPARE is its vote (upstream defect S4)
		}
	case *Commit, *Status, *Decided:
	case *Checkpoint:
		if m.Replica != from {
			return protocol.ReasonWrongSender
		}
		return c.checkCheckpoint(m, v)
	case *ViewChange:
		if m.Replica != from {
			return protocol.ReasonWrongSender
		}
		return c.checkViewChange(m, v)
	case *NewView:
		return c.checkNewView(m, v)
	case *Stable:
		if m.Seq == 0 {
			return protocol.ReasonBadProof
		}
		return c.checkStable(m, v)
	default:
		return protocol.ReasonUnknownKind
	}
	return protocol.ReasonNone
}

// checkPrePrepare accepts proposals of the view's primary only. A null batch is never
// proposed this way: only NEW-VIEW fills gaps, so a primary cannot burn slots.
func (c *Codec) checkPrePrepare(from bft.ReplicaID, m *PrePrepare) protocol.Reason {
	if from != c.q.Primary(m.View) && !mutant.On("pbft-any-primary") {
		return protocol.ReasonWrongSender
	}
	if m.Digest.IsNull() || len(m.Batch) == 0 {
		return protocol.ReasonBadDigest
	}
	return protocol.ReasonNone
}

func (c *Codec) checkCheckpoint(m *Checkpoint, v protocol.SignatureVerifier) protocol.Reason {
	if m.Seq == 0 || m.Seq%c.every != 0 || int(m.Replica) >= c.q.N {
		return protocol.ReasonLimit
	}
	if !c.signed(m, m.Sig, v) {
		return protocol.ReasonBadSignature
	}
	return protocol.ReasonNone
}

func (c *Codec) signed(m protocol.Signed, sig []byte, v protocol.SignatureVerifier) bool {
	if mutant.On("pbft-signature-unchecked") {
		return true
	}
	return v.VerifyReplica(m.Signer(), c.AppendSigned(nil, m), sig)
}

// checkStable verifies a proof: a quorum, and no more, of distinct members under one (n, d).
func (c *Codec) checkStable(s *Stable, v protocol.SignatureVerifier) protocol.Reason {
	if s.Seq == 0 {
		if len(s.Endorse) != 0 || !s.Digest.IsNull() {
			return protocol.ReasonBadProof
		}
		return protocol.ReasonNone
	}
	need := c.q.Quorum()
	if mutant.On("pbft-proof-small") {
		need = c.q.F
	}
	if s.Seq%c.every != 0 || len(s.Endorse) < need || len(s.Endorse) > c.q.Quorum() {
		return protocol.ReasonBadProof
	}
	var seen bft.ReplicaSet
	for _, e := range s.Endorse {
		if int(e.Replica) >= c.q.N || seen>>e.Replica != 0 && !mutant.On("pbft-proof-repeats") { // ascending, hence distinct
			return protocol.ReasonBadProof
		}
		seen = seen.With(e.Replica)
		m := &Checkpoint{Seq: s.Seq, Digest: s.Digest, Replica: e.Replica}
		if !c.signed(m, e.Sig, v) {
			return protocol.ReasonBadSignature
		}
	}
	return protocol.ReasonNone
}

func (c *Codec) checkViewChange(m *ViewChange, v protocol.SignatureVerifier) protocol.Reason {
	if m.View == 0 || int(m.Replica) >= c.q.N {
		return protocol.ReasonLimit
	}
	if !c.claimsCanonical(m) {
		return protocol.ReasonBadProof
	}
	if !c.signed(m, m.Sig, v) {
		return protocol.ReasonBadSignature
	}
	if mutant.On("pbft-base-unproven") {
		return protocol.ReasonNone
	}
	return c.checkStable(&m.Base, v)
}

// claimsCanonical checks order, distinctness and bounds of P and Q: slots inside the window
// above Base, views below the one asked for, one claim per slot in P, a limited number per slot
// in Q, and no more of both than leaves room for everybody else in NEW-VIEW.
func (c *Codec) claimsCanonical(m *ViewChange) bool {
	inside := func(cl Claim) bool {
		return cl.Seq > m.Base.Seq && cl.Seq <= m.Base.Seq+c.window && (cl.View < m.View || mutant.On("pbft-claims-of-later-views"))
	}
	if len(m.P)+len(m.Q) > c.claims {
		return false
	}
	for i, cl := range m.P {
		if !inside(cl) || i > 0 && m.P[i-1].Seq >= cl.Seq {
			return false
		}
	}
	run := 0
	for i, cl := range m.Q {
		if !inside(cl) || i > 0 && compareClaims(m.Q[i-1], cl) >= 0 {
			return false
		}
		if run++; i > 0 && m.Q[i-1].Seq != cl.Seq {
			run = 1
		}
		if run > bft.QEntriesMax {
			return false
		}
	}
	return true
}

// checkNewView verifies that NEW-VIEW comes from the primary of its view and follows from its
// own set: nothing of the receiver's state enters.
func (c *Codec) checkNewView(m *NewView, v protocol.SignatureVerifier) protocol.Reason {
	if m.View == 0 || m.Replica != c.q.Primary(m.View) && !mutant.On("pbft-new-view-by-anyone") {
		return protocol.ReasonWrongSender
	}
	if !c.signed(m, m.Sig, v) {
		return protocol.ReasonBadSignature
	}
	var seen bft.ReplicaSet
	for _, vc := range m.Set {
		if int(vc.Replica) >= c.q.N || vc.View != m.View || seen>>vc.Replica != 0 && !mutant.On("pbft-set-repeats") {
			return protocol.ReasonBadProof
		}
		seen = seen.With(vc.Replica)
		if r := c.checkViewChange(vc, v); r != protocol.ReasonNone {
			return r
		}
	}
	start, choices, ok := decide(c.q, m.Set)
	if mutant.On("pbft-new-view-unchecked") {
		return protocol.ReasonNone
	}
	if !ok || start != m.Start || !slices.Equal(choices, m.Choices) {
		return protocol.ReasonBadNewView
	}
	return protocol.ReasonNone
}
