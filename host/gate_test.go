package host

import (
	"bytes"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// screening is the script's codec with a Screen that the test decides.
type screening struct {
	scriptCodec
	say *protocol.Screened
}

func (s screening) Screen(protocol.Message, protocol.Hint) protocol.Screened { return *s.say }

// gated is a world whose verifier counts signature checks and screens as the test says.
func gated(t *testing.T) (*world, *counting, *protocol.Screened) {
	w, say := newWorld(t), &protocol.Screened{}
	c := &counting{Verifier: w.signer}
	w.verify = NewVerifier(w.m, screening{say: say}, c, 256)
	w.verify.Publish(w.node.Hint())
	return w, c, say
}

// forged is a proposal whose only request has a wrong signature, other bytes for each i.
func (w *world) forged(i uint64) []byte {
	r := w.request(0, 1, i)
	return w.proposalFrame(w.body(w.at.Wall, flipped(r, len(r)-1)))
}

// TestRefusedUnverified: what is sure to be rejected costs no signature check.
func TestRefusedUnverified(t *testing.T) {
	w, c, say := gated(t)
	frame := w.proposalFrame(w.body(w.at.Wall, w.request(0, 1, 0)))
	say.Refuse = protocol.ReasonOldView
	if got := reasonOf(w.verify.Peer(2, kindProposal, frame, w.at.Wall)); got != protocol.ReasonOldView || c.verified != 0 {
		t.Fatalf("refused for %v after %d checks", got, c.verified)
	}
	say.Refuse = protocol.ReasonNone
	if got := reasonOf(w.verify.Peer(2, kindProposal, frame, w.at.Wall)); got != protocol.ReasonNone || c.verified != 1 {
		t.Fatalf("refused for %v after %d checks", got, c.verified)
	}
}

// TestWasteIsBounded: what a peer makes us check for nothing is bounded, whichever way it does
// so; others are not touched, its useful messages are not either, and time brings it all back.
func TestWasteIsBounded(t *testing.T) {
	relay := func(w *world, i uint64) []byte {
		r := w.request(0, 1, i)
		return flipped(r, len(r)-1)
	}
	good := func(w *world, i uint64) []byte {
		return w.proposalFrame(w.body(w.at.Wall, w.request(0, 1, i)))
	}
	for _, a := range []struct {
		name   string
		kind   wire.Kind
		costly bool
		frame  func(*world, uint64) []byte
	}{
		{"forged relays", wire.KindRelay, false, relay},
		{"good proposals that may be of no use", kindProposal, true, good},
		{"forged proposals of views to come", kindProposal, true, (*world).forged},
	} {
		t.Run(a.name, func(t *testing.T) {
			w, c, say := gated(t)
			say.Costly = a.costly
			const most = 2 * bft.WastedChecksBurst
			tried := uint64(0)
			for ; tried < most; tried++ {
				if reasonOf(w.verify.Peer(2, a.kind, a.frame(w, tried), w.at.Wall)) == protocol.ReasonOverloaded {
					break
				}
			}
			if tried == most || c.verified > bft.WastedChecksBurst {
				t.Fatalf("%d frames and %d checks, and no end", tried, c.verified)
			}
			before := c.verified
			if got := reasonOf(w.verify.Peer(3, kindProposal, good(w, most), w.at.Wall)); got != protocol.ReasonNone {
				t.Errorf("another peer is refused for it: %v", got)
			}
			say.Costly = false
			if got := reasonOf(w.verify.Peer(2, kindProposal, good(w, most+1), w.at.Wall)); got != protocol.ReasonNone {
				t.Errorf("what it sends for the current view is refused: %v", got)
			}
			if c.verified != before+2 {
				t.Errorf("%d checks for two requests", c.verified-before)
			}
			say.Costly = a.costly
			if got := reasonOf(w.verify.Peer(2, a.kind, a.frame(w, most+2), w.at.Wall-bft.Time(bft.Second))); got != protocol.ReasonOverloaded {
				t.Errorf("a clock that was set back gives %v", got)
			}
			later := w.at.Wall + bft.Time(bft.Second)
			if got := reasonOf(w.verify.Peer(2, a.kind, relay(w, most+3), later)); got == protocol.ReasonOverloaded {
				t.Error("it is shut out for good")
			}
		})
	}
}

// TestUnaskedBody: a body is not hashed while none is awaited, and is as soon as one is.
func TestUnaskedBody(t *testing.T) {
	w, _, _ := gated(t)
	body := w.body(w.at.Wall, w.request(0, 1, 0))
	if got := reasonOf(w.verify.Peer(2, wire.KindBody, body, w.at.Wall)); got != protocol.ReasonUnrequested {
		t.Fatalf("a body that nobody asked for: %v", got)
	}
	w.effects(func(out *protocol.Effects) {
		out.Fetch = append(out.Fetch, protocol.Fetch{Digest: wire.BodyDigest(body), From: 2})
	})
	w.verify.Publish(w.node.Hint())
	in, ok := w.verify.Peer(2, wire.KindBody, body, w.at.Wall).(PeerBody)
	if !ok || !bytes.Equal(in.Body, body) {
		t.Fatal("an awaited body is refused")
	}
	w.handle(in)
	w.verify.Publish(w.node.Hint())
	if got := reasonOf(w.verify.Peer(2, wire.KindBody, body, w.at.Wall)); got != protocol.ReasonUnrequested {
		t.Fatalf("the same body again: %v", got)
	}
}
