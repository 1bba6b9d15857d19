package host

import (
	"testing"

	"github.com/themis-bft/themis/auth/ideal"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// script is a protocol that records its events and does what the test says next.
type script struct {
	events []protocol.Event
	react  func(ev protocol.Event, out *protocol.Effects)
	bodies map[bft.Digest][]byte
	status protocol.Status
}

func (s *script) Step(ev protocol.Event, out *protocol.Effects) {
	s.events = append(s.events, ev)
	if s.react != nil {
		s.react(ev, out)
	}
}
func (s *script) Body(d bft.Digest) []byte { return s.bodies[d] }
func (s *script) Status() protocol.Status  { return s.status }

// proposal is the only message of the script: a batch and a signature.
type proposal struct {
	digest bft.Digest
	body   []byte
	sig    []byte
	slot   bft.SeqNum
}

const kindProposal = wire.KindProtocol

func (p *proposal) Kind() wire.Kind            { return kindProposal }
func (p *proposal) Body() (bft.Digest, []byte) { return p.digest, p.body }
func (p *proposal) Slot() bft.SeqNum           { return 1 + p.slot }

// note is a message without a body.
type note struct{ text []byte }

func (*note) Kind() wire.Kind { return kindProposal + 1 }

type scriptCodec struct{}

func (scriptCodec) Decode(k wire.Kind, p []byte) (protocol.Message, error) {
	r := wire.NewReader(p)
	switch k {
	case kindProposal:
		m := &proposal{digest: r.Array32(), body: r.Bytes(bft.BatchBytesMax)}
		return m, r.Close()
	case kindProposal + 1:
		m := &note{text: r.Bytes(100)}
		return m, r.Close()
	}
	return nil, wire.ErrMalformed
}

func (scriptCodec) Append(b []byte, m protocol.Message) []byte {
	switch m := m.(type) {
	case *proposal:
		return wire.AppendBytes(append(b, m.digest[:]...), m.body)
	case *note:
		return wire.AppendBytes(b, m.text)
	}
	return b
}

func (scriptCodec) AppendSigned(b []byte, m protocol.Signed) []byte { return b }

func (scriptCodec) Check(from bft.ReplicaID, m protocol.Message, v protocol.SignatureVerifier) protocol.Reason {
	if n, ok := m.(*note); ok && string(n.text) == "bad" {
		return protocol.ReasonWrongSender
	}
	return protocol.ReasonNone
}

// world is a node of replica 1 of 4, led by a script, and an authority that signs for clients.
type world struct {
	t      *testing.T
	m      *bft.Membership
	core   *script
	node   *Node
	out    Output
	at     Instant
	signer *ideal.Authority
	verify *Verifier
}

func newWorld(t *testing.T) *world {
	m := testMembership(16)
	w := &world{
		t: t, m: m, signer: ideal.New(7, m), at: Instant{Mono: bft.Second, Wall: 1e18},
		core: &script{bodies: map[bft.Digest][]byte{}, status: protocol.Status{Active: true, High: m.Window}},
	}
	w.verify = NewVerifier(m, scriptCodec{}, w.signer, 256)
	w.node = New(Options{
		Protocol: protocol.Config{Self: 1, Membership: m, Patience: testPatience, Resend: bft.Second},
		New:      func(protocol.Config, protocol.Boot, *protocol.Effects) protocol.Protocol { return w.core },
		Now:      w.at.Mono, Wall: w.at.Wall,
	}, &w.out)
	return w
}

// request is a signed request of a client as its frame's payload.
func (w *world) request(client int, session, first uint64) []byte {
	r := testRequest(client, session, first, 1, 8)
	r.Raw, r.Sig = nil, nil
	r.Sig = w.signer.Client(r.Client).Sign(nil, r.AppendSigned(nil, wire.ClientDomain(w.m)))
	return r.Append(nil)
}

func (w *world) decoded(client int, session, first uint64) wire.Request {
	r, err := wire.DecodeRequest(w.request(client, session, first))
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) handle(in Input) { w.node.Handle(w.at, in, &w.out) }

// fromClient hands in a request, and what is looked up because of it as not executed.
func (w *world) fromClient(r wire.Request) {
	w.handle(ClientRequest{Request: r})
	for _, l := range w.out.Lookup {
		w.handle(Unexecuted{Request: l.Request, Relay: l.Relay})
	}
	w.out.Lookup = nil
}

// effects makes the core do something at its next step.
func (w *world) effects(f func(out *protocol.Effects)) {
	w.core.react = func(_ protocol.Event, out *protocol.Effects) { f(out) }
	w.handle(Certified{Msg: &note{}})
	w.core.react = nil
}

// message is a verified message of a peer.
func (w *world) message(from bft.ReplicaID, m protocol.Message) PeerMessage {
	v, reason := protocol.Verify(scriptCodec{}, from, m, w.signer)
	if reason != protocol.ReasonNone {
		w.t.Fatalf("message is rejected: %v", reason)
	}
	return PeerMessage{v}
}

// last is the newest event of the given type, and how many there were.
func last[E protocol.Event](w *world) (e E, n int) {
	for _, ev := range w.core.events {
		if x, ok := ev.(E); ok {
			e = x
			n++
		}
	}
	return e, n
}

// frames are the payloads sent to a peer of a kind since the last reset.
func (w *world) frames(to bft.ReplicaID, k wire.Kind) (payloads [][]byte) {
	for _, f := range w.out.Frames {
		if f.To == to && wire.Kind(f.Bytes[4]) == k {
			payloads = append(payloads, f.Bytes[wire.FrameHeaderBytes:])
		}
	}
	return payloads
}
