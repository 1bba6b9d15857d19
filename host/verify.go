package host

import (
	"github.com/themis-bft/themis/auth"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// Verifier makes Inputs from the frames of peers and clients: it decodes and verifies
// everything that can be decided without state. It is safe for concurrent use by any number of
// workers. It remembers which request envelopes verified before, which changes what a verification
// costs and never what it says, and keeps a gate (gate.go) in front of what costs much. Cheap
// checks come before expensive ones, so that what is refused is refused for little.
//
// Inputs alias the payload they were made from; the caller gives its bytes away.
type Verifier struct {
	membership *bft.Membership
	codec      protocol.Codec
	auth       auth.Verifier
	domain     wire.Domain
	verified   *verifiedCache
	gate       *gate
}

// NewVerifier returns a Verifier for the cluster m. It remembers at most the given number of
// verified requests; bft.VerifiedRequestsMax suits a replica.
func NewVerifier(m *bft.Membership, c protocol.Codec, a auth.Verifier, remembered int) *Verifier {
	return &Verifier{
		membership: m, codec: c, auth: a,
		domain: wire.ClientDomain(m), verified: newVerifiedCache(remembered), gate: newGate(m.N()),
	}
}

// Peer verifies a frame of a peer. The link has authenticated from. Wall is the wall clock at
// the frame's receipt, against which a proposed time is held. The result is never nil: what is
// refused comes back as Rejected, or as PeerBodyRefused when it tells something of a proposal.
func (v *Verifier) Peer(from bft.ReplicaID, kind wire.Kind, payload []byte, wall bft.Time) Input {
	if int(from) >= v.membership.N() {
		return rejected(from, kind, protocol.ReasonWrongSender)
	}
	if kind >= wire.KindProtocol {
		return v.message(from, kind, payload, wall)
	}
	in, reason := v.hostFrame(from, kind, payload, wall)
	if reason != protocol.ReasonNone {
		return v.settle(from, rejected(from, kind, reason), checksOf(payload), wall)
	}
	return in
}

func rejected(from bft.ReplicaID, kind wire.Kind, reason protocol.Reason) Input {
	return Rejected{protocol.Rejection{From: from, Kind: kind, Reason: reason}}
}

// message verifies a message of the protocol, and the batch that it may carry.
func (v *Verifier) message(from bft.ReplicaID, kind wire.Kind, payload []byte, wall bft.Time) Input {
	m, err := v.codec.Decode(kind, payload)
	if err != nil {
		return rejected(from, kind, protocol.ReasonMalformed)
	}
	checks := checksOf(payload)
	reason, paid := v.screen(from, m, checks, wall)
	if reason != protocol.ReasonNone {
		return rejected(from, kind, reason)
	}
	in := v.good(from, kind, m, wall)
	if !paid {
		v.settle(from, in, checks, wall)
	}
	return in
}

// good holds a message against every rule that needs no state, its batch included.
func (v *Verifier) good(from bft.ReplicaID, kind wire.Kind, m protocol.Message, wall bft.Time) Input {
	good, reason := protocol.Verify(v.codec, from, m, v.auth)
	if reason != protocol.ReasonNone {
		return rejected(from, kind, reason)
	}
	carrier, ok := m.(protocol.BodyCarrier)
	if !ok {
		return PeerMessage{good}
	}
	digest, body := carrier.Body()
	if !verifyDigestSkipped() && wire.BodyDigest(body) != digest {
		return rejected(from, kind, protocol.ReasonBadDigest)
	}
	if reason := v.body(body, wall); reason != protocol.ReasonNone {
		return PeerBodyRefused{From: from, Digest: digest, Reason: reason}
	}
	return PeerMessage{good}
}

// body verifies a proposed batch: form, size, time, then every request.
func (v *Verifier) body(body []byte, wall bft.Time) protocol.Reason {
	t, reqs, err := wire.DecodeBody(body)
	if err != nil {
		return protocol.ReasonBadRequest
	}
	if len(reqs) == 0 {
		return protocol.ReasonNone // the null batch proposes nothing, no time either
	}
	if overLimits(v.membership, len(reqs), len(body)) && !mutant.On("verify-batch-limits-skipped") {
		return protocol.ReasonLimit
	}
	if !v.near(t, wall) && !mutant.On("verify-time-unchecked") {
		return protocol.ReasonBadTime
	}
	if !v.requests(reqs) {
		return protocol.ReasonBadRequest
	}
	return protocol.ReasonNone
}

// near reports whether a proposed time is within the agreed skew of the wall clock. The
// difference is taken the way round that cannot overflow: a proposed time is not negative.
func (v *Verifier) near(t, wall bft.Time) bool {
	skew := bft.Time(v.membership.TimeSkew)
	wall = max(wall, 0)
	if t > wall {
		return t-wall <= skew
	}
	return wall-t <= skew
}

// hostFrame verifies the kinds that are the same for all protocols.
func (v *Verifier) hostFrame(from bft.ReplicaID, kind wire.Kind, p []byte, wall bft.Time) (Input, protocol.Reason) {
	switch kind {
	case wire.KindRelay:
		return v.relay(from, p, wall)
	case wire.KindFetch:
		r := wire.NewReader(p)
		d := bft.Digest(r.Array32())
		if r.Close() != nil || d.IsNull() {
			return nil, protocol.ReasonMalformed
		}
		return PeerFetch{From: from, Digest: d}, protocol.ReasonNone
	case wire.KindBody:
		if len(p) == 0 {
			return nil, protocol.ReasonMalformed
		}
		if len(p) > bft.BatchBytesMax {
			return nil, protocol.ReasonLimit
		}
		if !v.awaited() {
			return nil, protocol.ReasonUnrequested
		}
		return PeerBody{From: from, Digest: wire.BodyDigest(p), Body: p}, protocol.ReasonNone
	case wire.KindStateWant:
		w, err := wire.DecodeStateWant(p)
		return PeerStateWant{From: from, Want: w}, malformedIf(err)
	case wire.KindStateItem:
		f, err := wire.DecodeStateFragment(p)
		return PeerStateFragment{From: from, Fragment: f}, malformedIf(err)
	default:
		return nil, protocol.ReasonUnknownKind
	}
}

func malformedIf(err error) protocol.Reason {
	if err != nil {
		return protocol.ReasonMalformed
	}
	return protocol.ReasonNone
}

// Client verifies a frame of an authenticated client. The Input is not nil if and only if the
// reason is ReasonNone.
func (v *Verifier) Client(link bft.ClientID, kind wire.Kind, payload []byte) (Input, protocol.Reason) {
	one := [1]ClientFrame{{Link: link, Kind: kind, Payload: payload}}
	v.ClientBatch(one[:])
	return one[0].Input, one[0].Reason
}

// ClientFrame is one frame of a client, and what verification made of it.
type ClientFrame struct {
	Link    bft.ClientID // the client that the link has authenticated
	Kind    wire.Kind
	Payload []byte

	Input  Input           // nil unless Reason is ReasonNone
	Reason protocol.Reason // why there is no Input
}

// ClientBatch verifies many frames of clients at once, which costs less per signature than one
// by one, and fills in Input and Reason of each. One bad frame spoils no other.
func (v *Verifier) ClientBatch(frames []ClientFrame) {
	reqs := make([]wire.Request, 0, len(frames))
	at := make([]int, 0, len(frames))
	for i := range frames {
		f := &frames[i]
		var r wire.Request
		if r, f.Reason = v.clientRequest(f); f.Reason == protocol.ReasonNone {
			reqs, at = append(reqs, r), append(at, i)
		}
	}
	ok := make([]bool, len(reqs))
	v.verifyEach(reqs, ok)
	for j, i := range at {
		f := &frames[i]
		if !ok[j] {
			f.Reason = protocol.ReasonBadSignature
			continue
		}
		f.Input = ClientRequest{Request: reqs[j], Retry: f.Kind == wire.KindRetry}
	}
}

// clientRequest does everything but the signature.
func (v *Verifier) clientRequest(f *ClientFrame) (wire.Request, protocol.Reason) {
	if f.Kind != wire.KindRequest && f.Kind != wire.KindRetry {
		return wire.Request{}, protocol.ReasonUnknownKind
	}
	r, err := wire.DecodeRequest(f.Payload)
	if err != nil {
		return r, protocol.ReasonMalformed
	}
	if r.Client != f.Link && !mutant.On("verify-link-not-compared") {
		return r, protocol.ReasonBadClient
	}
	if admitted, _ := v.auth.Admits(r.Client); !admitted {
		return r, protocol.ReasonBadClient
	}
	return r, protocol.ReasonNone
}
