package host

import (
	"bytes"
	"math"
	"reflect"
	"testing"

	"github.com/themis-bft/themis/auth"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/alloctest"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

func (w *world) body(at bft.Time, reqs ...[]byte) []byte { return wire.AppendBody(nil, at, reqs) }

func (w *world) proposalFrame(body []byte) []byte {
	return scriptCodec{}.Append(nil, &proposal{digest: wire.BodyDigest(body), body: body})
}

func reasonOf(in Input) protocol.Reason {
	switch in := in.(type) {
	case Rejected:
		return in.Rejection.Reason
	case PeerBodyRefused:
		return in.Reason
	}
	return protocol.ReasonNone
}

// flipped returns b with one bit of byte i changed.
func flipped(b []byte, i int) []byte {
	c := bytes.Clone(b)
	c[i] ^= 1
	return c
}

func TestVerifyPeerKinds(t *testing.T) {
	w := newWorld(t)
	req := w.request(0, 1, 0)
	wall := w.at.Wall
	body := w.body(wall, req, w.request(1, 2, 3))
	wrongDigest := w.proposalFrame(body)
	wrongDigest[0] ^= 1
	fragment := wire.StateFragment{Want: wire.StateWant{Seq: 4}, Total: 3, Bytes: []byte("abc")}
	none := protocol.ReasonNone
	skew := bft.Time(w.m.TimeSkew)
	for _, c := range []struct {
		name    string
		kind    wire.Kind
		payload []byte
		want    Input
		reason  protocol.Reason
	}{
		{"proposal", kindProposal, w.proposalFrame(body), PeerMessage{}, none},
		{"null proposal", kindProposal, w.proposalFrame(nil), PeerMessage{}, none},
		{"wrong digest", kindProposal, wrongDigest, Rejected{}, protocol.ReasonBadDigest},
		{"digest without body", kindProposal, append(bytes.Repeat([]byte{1}, 32), 0, 0, 0, 0), Rejected{}, protocol.ReasonBadDigest},
		{"malformed body", kindProposal, w.proposalFrame([]byte("rubbish")), PeerBodyRefused{}, protocol.ReasonBadRequest},
		{"forged request", kindProposal, w.proposalFrame(w.body(wall, req, flipped(req, len(req)-1))), PeerBodyRefused{}, protocol.ReasonBadRequest},
		{"early", kindProposal, w.proposalFrame(w.body(wall-skew, req)), PeerMessage{}, none},
		{"too early", kindProposal, w.proposalFrame(w.body(wall-skew-1, req)), PeerBodyRefused{}, protocol.ReasonBadTime},
		{"late", kindProposal, w.proposalFrame(w.body(wall+skew, req)), PeerMessage{}, none},
		{"too late", kindProposal, w.proposalFrame(w.body(wall+skew+1, req)), PeerBodyRefused{}, protocol.ReasonBadTime},
		{"the end of time", kindProposal, w.proposalFrame(w.body(math.MaxInt64, req)), PeerBodyRefused{}, protocol.ReasonBadTime},
		{"note", kindProposal + 1, scriptCodec{}.Append(nil, &note{text: []byte("x")}), PeerMessage{}, none},
		{"checked", kindProposal + 1, scriptCodec{}.Append(nil, &note{text: []byte("bad")}), Rejected{}, protocol.ReasonWrongSender},
		{"unknown message", kindProposal + 9, nil, Rejected{}, protocol.ReasonMalformed},
		{"relay", wire.KindRelay, req, PeerRelay{}, none},
		{"forged relay", wire.KindRelay, flipped(req, 40), Rejected{}, protocol.ReasonBadRequest},
		{"short relay", wire.KindRelay, req[:20], Rejected{}, protocol.ReasonMalformed},
		{"fetch", wire.KindFetch, bytes.Repeat([]byte{1}, 32), PeerFetch{}, none},
		{"fetch of nothing", wire.KindFetch, make([]byte, 32), Rejected{}, protocol.ReasonMalformed},
		{"long fetch", wire.KindFetch, make([]byte, 33), Rejected{}, protocol.ReasonMalformed},
		{"body", wire.KindBody, body, PeerBody{}, none},
		{"no body", wire.KindBody, nil, Rejected{}, protocol.ReasonMalformed},
		{"huge body", wire.KindBody, make([]byte, bft.BatchBytesMax+1), Rejected{}, protocol.ReasonLimit},
		{"want", wire.KindStateWant, wire.StateWant{Seq: 4}.Append(nil), PeerStateWant{}, none},
		{"short want", wire.KindStateWant, []byte{1}, Rejected{}, protocol.ReasonMalformed},
		{"item", wire.KindStateItem, fragment.Append(nil), PeerStateFragment{}, none},
		{"short item", wire.KindStateItem, []byte{1}, Rejected{}, protocol.ReasonMalformed},
		{"request of a peer", wire.KindRequest, req, Rejected{}, protocol.ReasonUnknownKind},
		{"second hello", wire.KindHello, nil, Rejected{}, protocol.ReasonUnknownKind},
		{"kind 31", 31, nil, Rejected{}, protocol.ReasonUnknownKind},
	} {
		in := w.verify.Peer(2, c.kind, c.payload, wall)
		if reflect.TypeOf(in) != reflect.TypeOf(c.want) || reasonOf(in) != c.reason {
			t.Errorf("%s: %T %v, want %T %v", c.name, in, reasonOf(in), c.want, c.reason)
		}
	}
	if in := w.verify.Peer(4, wire.KindRelay, req, wall); reasonOf(in) != protocol.ReasonWrongSender {
		t.Errorf("replica 4 of 4: %T", in)
	}
	if in, ok := w.verify.Peer(2, wire.KindBody, body, wall).(PeerBody); !ok || in.Digest != wire.BodyDigest(body) {
		t.Error("digest of a body was not computed here")
	}
}

// Each changed bit of a signed request is noticed, whatever was verified before.
func TestVerifyNoticesEveryBit(t *testing.T) {
	w := newWorld(t)
	req := w.request(0, 1, 0)
	c := testClient(0)
	if _, reason := w.verify.Client(c, wire.KindRequest, req); reason != protocol.ReasonNone {
		t.Fatalf("good request: %v", reason)
	}
	for i := range req {
		if in, reason := w.verify.Client(c, wire.KindRequest, flipped(req, i)); reason == protocol.ReasonNone || in != nil {
			t.Errorf("byte %d changed: accepted", i)
		}
		if in := w.verify.Peer(2, wire.KindRelay, flipped(req, i), 0); reasonOf(in) == protocol.ReasonNone {
			t.Errorf("byte %d changed: relay accepted", i)
		}
	}
}

func TestVerifyClient(t *testing.T) {
	w := newWorld(t)
	req := w.request(0, 1, 0)
	frames := []ClientFrame{
		{Link: testClient(0), Kind: wire.KindRequest, Payload: req},
		{Link: testClient(1), Kind: wire.KindRequest, Payload: req},
		{Link: testClient(0), Kind: wire.KindRetry, Payload: req},
		{Link: testClient(0), Kind: wire.KindRequest, Payload: flipped(req, len(req)-1)},
		{Link: testClient(0), Kind: wire.KindRelay, Payload: req},
		{Link: testClient(0), Kind: wire.KindRequest, Payload: req[1:]},
		{Link: testClient(2), Kind: wire.KindRequest, Payload: w.request(2, 0, 99)},
	}
	w.verify.ClientBatch(frames)
	want := []protocol.Reason{
		protocol.ReasonNone, protocol.ReasonBadClient, protocol.ReasonNone, protocol.ReasonBadSignature,
		protocol.ReasonUnknownKind, protocol.ReasonMalformed, protocol.ReasonNone,
	}
	for i, f := range frames {
		if f.Reason != want[i] || (f.Input != nil) != (f.Reason == protocol.ReasonNone) {
			t.Errorf("frame %d: %v with input %v, want %v", i, f.Reason, f.Input, want[i])
		}
	}
	if in, ok := frames[2].Input.(ClientRequest); !ok || !in.Retry {
		t.Error("a RETRY is not marked as one")
	}
}

// counting counts signature verifications, and refuses a client.
type counting struct {
	auth.Verifier
	verified int
	stranger bft.ClientID
}

func (c *counting) VerifyClients(items []auth.Item, ok []bool) bool {
	c.verified += len(items)
	return c.Verifier.VerifyClients(items, ok)
}

func (c *counting) Admits(id bft.ClientID) (bool, bool) { return id != c.stranger, false }

// A request is verified once; one stranger in a batch costs no signature.
func TestVerifyOnce(t *testing.T) {
	w := newWorld(t)
	c := &counting{Verifier: w.signer, stranger: testClient(9)}
	v := NewVerifier(w.m, scriptCodec{}, c, 256)
	a, b := w.request(0, 1, 0), w.request(1, 1, 0)
	v.Client(testClient(0), wire.KindRequest, a)
	if in := v.Peer(0, kindProposal, w.proposalFrame(w.body(w.at.Wall, a, b)), w.at.Wall); reasonOf(in) != protocol.ReasonNone {
		t.Fatalf("refused: %v", reasonOf(in))
	}
	if c.verified != 2 {
		t.Fatalf("%d verifications of 2 requests", c.verified)
	}
	in := v.Peer(0, kindProposal, w.proposalFrame(w.body(w.at.Wall, w.request(0, 1, 7), w.request(9, 1, 0))), w.at.Wall)
	if reasonOf(in) != protocol.ReasonBadRequest || c.verified != 2 {
		t.Fatalf("a stranger in a batch: %v after %d verifications", reasonOf(in), c.verified-2)
	}
	if _, reason := v.Client(testClient(9), wire.KindRequest, w.request(9, 1, 0)); reason != protocol.ReasonBadClient {
		t.Fatalf("a stranger: %v", reason)
	}
}

// The cache keeps what it has room for and forgets the oldest of a set.
func TestVerifiedCache(t *testing.T) {
	c := newVerifiedCache(1)
	same := func(i byte) (d bft.Digest) { d[31] = i + 1; return d }
	for i := range byte(cacheWays + 1) {
		c.add(same(i))
	}
	if c.has(same(0)) {
		t.Error("the oldest was not forgotten")
	}
	for i := byte(1); i <= cacheWays; i++ {
		if !c.has(same(i)) {
			t.Errorf("digest %d was forgotten", i)
		}
	}
}

// Workers share one Verifier; what one of them sees of another is at most a verification saved.
func TestVerifierIsShared(t *testing.T) {
	w := newWorld(t)
	good := w.request(0, 1, 0)
	bad := flipped(good, len(good)-1)
	results := make(chan bool)
	for range 4 {
		go func() {
			ok := true
			for range 500 {
				_, a := w.verify.Client(testClient(0), wire.KindRequest, good)
				_, b := w.verify.Client(testClient(0), wire.KindRequest, bad)
				ok = ok && a == protocol.ReasonNone && b == protocol.ReasonBadSignature
			}
			results <- ok
		}()
	}
	for range 4 {
		if !<-results {
			t.Error("a worker got a wrong answer")
		}
	}
}

func FuzzPeerFrame(f *testing.F) {
	w := newWorld(&testing.T{})
	req := w.request(0, 1, 0)
	body := w.body(w.at.Wall, req)
	fragment := wire.StateFragment{Want: wire.StateWant{Seq: 4}, Total: 3, Bytes: []byte("abc")}
	for k, p := range map[wire.Kind][]byte{
		kindProposal: w.proposalFrame(body), wire.KindRelay: req, wire.KindBody: body,
		wire.KindFetch: make([]byte, 32), wire.KindStateWant: wire.StateWant{Seq: 1}.Append(nil),
		wire.KindStateItem: fragment.Append(nil), kindProposal + 1: scriptCodec{}.Append(nil, &note{}),
	} {
		f.Add(byte(k), p)
	}
	f.Fuzz(func(t *testing.T, kind byte, payload []byte) {
		w := newWorld(t)
		alloctest.Reader(t, len(payload), bft.PeerFrameBytesMax, func() { w.verify.Peer(2, wire.Kind(kind), payload, w.at.Wall) })
		in := w.verify.Peer(2, wire.Kind(kind), payload, w.at.Wall)
		if in == nil {
			t.Fatal("no input")
		}
		w.handle(in)
		w.at.Mono += testPatience
		w.node.Tick(w.at, &w.out)
	})
}

func FuzzClientFrame(f *testing.F) {
	w := newWorld(&testing.T{})
	f.Add(byte(wire.KindRequest), w.request(0, 1, 0))
	f.Add(byte(wire.KindRetry), w.request(0, 0, 5))
	f.Fuzz(func(t *testing.T, kind byte, payload []byte) {
		w := newWorld(t)
		alloctest.Reader(t, len(payload), bft.ClientFrameBytesMax, func() { w.verify.Client(testClient(0), wire.Kind(kind), payload) })
		in, reason := w.verify.Client(testClient(0), wire.Kind(kind), payload)
		if (in != nil) != (reason == protocol.ReasonNone) {
			t.Fatalf("input %v with reason %v", in, reason)
		}
		if in == nil {
			return
		}
		r := in.(ClientRequest).Request
		if !bytes.Equal(r.Append(nil), payload) {
			t.Fatal("an accepted request is not canonical")
		}
		w.handle(in)
		w.node.Tick(w.at, &w.out)
	})
}
