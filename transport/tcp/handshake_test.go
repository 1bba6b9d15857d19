package tcp

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/alloctest"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/wire"
)

// caller is the far end of a new link: it says what it was given and hears what it is answered.
type caller struct {
	net.Conn
	says  []byte
	heard []byte
}

func (c *caller) Read(b []byte) (int, error) {
	if len(c.says) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.says)
	c.says = c.says[n:]
	return n, nil
}

func (c *caller) Write(b []byte) (int, error) {
	c.heard = append(c.heard, b...)
	return len(b), nil
}
func (*caller) Close() error                     { return nil }
func (*caller) SetDeadline(time.Time) error      { return nil }
func (*caller) SetReadDeadline(time.Time) error  { return nil }
func (*caller) SetWriteDeadline(time.Time) error { return nil }

// ports are the two doors of a replica, with TLS and without, as the listeners use them.
type ports struct {
	members *bft.Membership
	provers [4]prover // peers and clients with TLS, peers and clients without
	client  *keys.Key
}

func newPorts(t testing.TB) *ports {
	p := &ports{members: &bft.Membership{Cluster: bft.ClusterID{1}, Protocol: "pbft", Scheme: "ed25519"}}
	var own *keys.Key
	for range 4 {
		k, err := keys.Generate("ed25519")
		if err != nil {
			t.Fatal(err)
		}
		p.members.Replicas = append(p.members.Replicas, bft.Replica{Key: k.PublicDER()})
		own, p.client = k, own
	}
	const self = 3
	p.provers = [4]prover{
		proveTLSServer(own, identifyPeer(p.members, self)), proveTLSServer(own, identifyClient(p.members)),
		provePlainAccept(p.members, self, false), provePlainAccept(p.members, self, true),
	}
	return p
}

// answer is what a door does with what a caller says.
func (p *ports) answer(t testing.TB, door int, says []byte) (*caller, identity, error) {
	c := &caller{says: says}
	_, who, err := greet(t.Context(), c, p.provers[door], HelloOf(p.members), true, time.Minute)
	return c, who, err
}

// preamble is what a link without TLS begins with, and its HELLO.
func (p *ports) preamble(class byte, id bft.ClientID) []byte {
	b := append([]byte(plainMark), class)
	return wire.AppendFrame(append(b, id[:]...), wire.KindHello, wire.AppendHello(nil, HelloOf(p.members)))
}

// FuzzHandshake: whatever bytes arrive at a door before a link is made, each is refused with a
// reason that is counted, or is one member or client that said exactly this cluster's HELLO; and
// nobody gets through TLS by saying something.
func FuzzHandshake(f *testing.F) {
	p := newPorts(f)
	client := &caller{}
	if err := tls.Client(client, keys.ClientConfig(p.client, p.members.Replicas[3].Key)).Handshake(); err == nil || len(client.heard) < 100 {
		f.Fatalf("no ClientHello: %d bytes, %v", len(client.heard), err)
	}
	for door := range byte(4) {
		f.Add(door, client.heard)
		f.Add(door, p.preamble(plainReplica, bft.ClientID{2}))
		f.Add(door, p.preamble(plainClient, bft.ClientID{2, 9}))
	}
	f.Fuzz(func(t *testing.T, door byte, says []byte) {
		at := int(door % 4)
		alloctest.Reader(t, len(says), 1<<20, func() { p.answer(t, at, says) })
		c, who, err := p.answer(t, at, says)
		if err != nil {
			if r, ok := reasonOf(err); !ok {
				t.Fatalf("refused without a reason (%v): %v", r, err)
			}
			return
		}
		if at < 2 {
			t.Fatalf("%x passed TLS as %+v", says, who)
		}
		class, id := byte(plainReplica), bft.ClientID{byte(who.replica), byte(who.replica >> 8)}
		if who.isClient {
			class, id = plainClient, who.client
		} else {
			copy(id[2:], says[len(plainMark)+3:]) // the rest of the field says nothing
		}
		if want := p.preamble(class, id); !bytes.HasPrefix(says, want) || len(c.says) != len(says)-len(want) {
			t.Fatalf("%x was taken for %+v, and %d bytes are left", says, who, len(c.says))
		}
		if who.isClient != (at == 3) || !who.isClient && (int(who.replica) >= 4 || who.replica == 3) {
			t.Fatalf("%+v came in by door %d", who, at)
		}
	})
}
