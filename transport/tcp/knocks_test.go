package tcp_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/transport/tcp"
	"github.com/themis-bft/themis/transport/transporttest"
	"github.com/themis-bft/themis/wire"
)

// gate is a replica that is knocked at, with what a test needs to knock in every way.
type gate struct {
	*cluster
	rec  *transporttest.Recorder
	seed ed25519.PrivateKey // of the last listed client: tests make certificates of their own for it
}

func newGate(t *testing.T, l tcp.Limits) *gate {
	t.Helper()
	g := &gate{rec: &transporttest.Recorder{}, seed: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))}
	known, err := keys.FromSeed([ed25519.SeedSize]byte(g.seed.Seed()))
	if err != nil {
		t.Fatal(err)
	}
	g.cluster = newCluster(t, 2, false, func(o *tcp.Options) {
		o.Limits = l
		if o.Self == 0 {
			m := o.Membership
			m.Clients = append(m.Clients, bft.ClientKey{ID: known.ClientID(), Key: known.PublicDER()})
		}
	})
	if err := g.transports[0].Start(g.rec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, tr := range g.transports {
			if err := tr.Close(t.Context()); err != nil && t.Context().Err() == nil {
				t.Error(err)
			}
		}
	})
	return g
}

// as is the TLS configuration of the owner of k; edit may spoil it.
func (g *gate) as(k *keys.Key, edit ...func(*tls.Config)) *tls.Config {
	c := keys.ClientConfig(k, g.keys[0].PublicDER())
	for _, e := range edit {
		e(c)
	}
	return c
}

// certificate makes one for a key, spoilt by edit.
func certificate(t *testing.T, key crypto.Signer, edit func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	edit(c)
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func shows(c tls.Certificate) func(*tls.Config) {
	return func(tc *tls.Config) {
		tc.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
	}
}

func versions(low, high uint16) func(*tls.Config) {
	return func(tc *tls.Config) { tc.MinVersion, tc.MaxVersion, tc.VerifyConnection = low, high, nil }
}

func speaks(protocols ...string) func(*tls.Config) {
	return func(tc *tls.Config) { tc.NextProtos, tc.VerifyConnection = protocols, nil }
}

// knock is one way to come in. Any error on the way is fine: it is the other end that ends it.
type knock struct {
	name   string
	peers  bool // at the port of replicas
	reason tcp.Reason
	slow   bool // takes the whole time of a handshake
	// do makes what it needs, which may take long, and returns what is done on a connection: its time
	// runs from when it is made.
	do func(t *testing.T, g *gate) func(raw net.Conn)
}

// over does TLS with a configuration and then says what is given.
func over(config func(t *testing.T, g *gate) *tls.Config, say ...func(g *gate) []byte) func(*testing.T, *gate) func(net.Conn) {
	return func(t *testing.T, g *gate) func(net.Conn) {
		tc := config(t, g)
		return func(raw net.Conn) {
			conn := tls.Client(raw, tc)
			if conn.Handshake() != nil {
				return
			}
			for _, s := range say {
				conn.Write(s(g))
			}
		}
	}
}

// plain does something without TLS.
func plain(do func(raw net.Conn)) func(*testing.T, *gate) func(net.Conn) {
	return func(*testing.T, *gate) func(net.Conn) { return do }
}

func says(b []byte) func(*testing.T, *gate) func(net.Conn) {
	return plain(func(raw net.Conn) { raw.Write(b) })
}

func hello(edit func(*wire.Hello)) func(*gate) []byte {
	return func(g *gate) []byte {
		h := tcp.HelloOf(g.m)
		edit(&h)
		return wire.AppendFrame(nil, wire.KindHello, wire.AppendHello(nil, h))
	}
}

func same(*wire.Hello) {}

func listedClient(_ *testing.T, g *gate) *tls.Config { return g.as(g.clientKeys[0]) }

// certified are the configurations whose certificate is wrong.
func certified(how func(t *testing.T, g *gate) tls.Certificate) func(*testing.T, *gate) *tls.Config {
	return func(t *testing.T, g *gate) *tls.Config { return g.as(g.clientKeys[0], shows(how(t, g))) }
}

var knocks = []knock{
	{"unknown key to replicas", true, tcp.ReasonKey, false, over(func(t *testing.T, g *gate) *tls.Config { return g.as(generate(t)) }, hello(same))},
	{"a client's key to replicas", true, tcp.ReasonKey, false, over(listedClient, hello(same))},
	{"its own key to replicas", true, tcp.ReasonKey, false, over(func(_ *testing.T, g *gate) *tls.Config { return g.as(g.keys[0]) }, hello(same))},
	{"unlisted key to clients", false, tcp.ReasonKey, false, over(func(t *testing.T, g *gate) *tls.Config { return g.as(generate(t)) }, hello(same))},
	{"a replica's key to clients", false, tcp.ReasonKey, false, over(func(_ *testing.T, g *gate) *tls.Config { return g.as(g.keys[1]) }, hello(same))},
	{"an RSA key that is not listed", false, tcp.ReasonKey, false, over(certified(func(t *testing.T, _ *gate) tls.Certificate {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		return certificate(t, key, func(*x509.Certificate) {})
	}), hello(same))},
	{"a curve that no scheme has", false, tcp.ReasonTLS, false, over(certified(func(t *testing.T, _ *gate) tls.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return certificate(t, key, func(*x509.Certificate) {})
	}), hello(same))},
	{"the certificate of a replica without its key", true, tcp.ReasonTLS, false, over(certified(func(t *testing.T, g *gate) tls.Certificate {
		c, err := g.keys[1].Certificate()
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: c.Certificate, PrivateKey: g.seed}
	}), hello(same))},
	{"no certificate to replicas", true, tcp.ReasonTLS, false, over(certified(func(*testing.T, *gate) tls.Certificate { return tls.Certificate{} }), hello(same))},
	{"no certificate to clients", false, tcp.ReasonTLS, false, over(certified(func(*testing.T, *gate) tls.Certificate { return tls.Certificate{} }), hello(same))},
	{"rubbish for a certificate", false, tcp.ReasonTLS, false, over(certified(func(_ *testing.T, g *gate) tls.Certificate {
		return tls.Certificate{Certificate: [][]byte{[]byte("rubbish")}, PrivateKey: g.seed}
	}), hello(same))},
	{"a certificate of 60 KiB", false, tcp.ReasonTLS, false, over(certified(func(t *testing.T, g *gate) tls.Certificate {
		return certificate(t, g.seed, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Value: make([]byte, 60<<10)}}
		})
	}), hello(same))},
	{"a chain of a thousand certificates", false, tcp.ReasonTLS, false, over(certified(func(t *testing.T, g *gate) tls.Certificate {
		c := certificate(t, g.seed, func(*x509.Certificate) {})
		for range 1000 {
			c.Certificate = append(c.Certificate, c.Certificate[0])
		}
		return c
	}), hello(same))},
	{"TLS 1.2", true, tcp.ReasonTLS, false, over(func(_ *testing.T, g *gate) *tls.Config {
		return g.as(g.keys[1], versions(tls.VersionTLS12, tls.VersionTLS12))
	})},
	{"TLS 1.0 and 1.1", false, tcp.ReasonTLS, false, over(func(_ *testing.T, g *gate) *tls.Config {
		return g.as(g.clientKeys[0], versions(tls.VersionTLS10, tls.VersionTLS11))
	})},
	{"no application protocol", true, tcp.ReasonTLS, false, over(func(_ *testing.T, g *gate) *tls.Config { return g.as(g.keys[1], speaks()) }, hello(same))},
	{"another application protocol", false, tcp.ReasonTLS, false, over(func(_ *testing.T, g *gate) *tls.Config { return g.as(g.clientKeys[0], speaks("h2")) }, hello(same))},
	{"HELLO without TLS", true, tcp.ReasonTLS, false, says(wire.AppendFrame(nil, wire.KindHello, make([]byte, 60)))},
	{"an HTTP request", false, tcp.ReasonTLS, false, says([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))},
	{"a port scan", true, tcp.ReasonTLS, false, plain(func(raw net.Conn) { raw.(*net.TCPConn).CloseWrite() })},
	{"silence", true, tcp.ReasonTimeout, true, plain(func(net.Conn) {})},
	{"half a ClientHello", false, tcp.ReasonTimeout, true, func(t *testing.T, _ *gate) func(net.Conn) {
		b := clientHello(t)
		return func(raw net.Conn) { raw.Write(b[:len(b)/2]) }
	}},
	{"a byte now and then", true, tcp.ReasonTimeout, true, func(t *testing.T, _ *gate) func(net.Conn) {
		all := clientHello(t)
		return func(raw net.Conn) {
			drip := time.NewTicker(20 * time.Millisecond)
			defer drip.Stop()
			for _, b := range all {
				if _, err := raw.Write([]byte{b}); err != nil {
					return
				}
				<-drip.C
			}
		}
	}},
	{"no HELLO", false, tcp.ReasonTimeout, true, over(listedClient)},
	{"half a HELLO", false, tcp.ReasonTimeout, true, over(listedClient, func(*gate) []byte { return []byte{30, 0, 0} })},
	{"HELLO of another cluster", false, tcp.ReasonHello, false, over(listedClient, hello(func(h *wire.Hello) { h.Cluster[3] ^= 1 }))},
	{"HELLO of another epoch", false, tcp.ReasonHello, false, over(listedClient, hello(func(h *wire.Hello) { h.Epoch++ }))},
	{"HELLO of another protocol", false, tcp.ReasonHello, false, over(listedClient, hello(func(h *wire.Hello) { h.Protocol = "hybster" }))},
	{"HELLO of another version", false, tcp.ReasonHello, false, over(listedClient, hello(func(h *wire.Hello) { h.Version++ }))},
	{"HELLO of another cluster, of a replica", true, tcp.ReasonHello, false, over(func(_ *testing.T, g *gate) *tls.Config { return g.as(g.keys[1]) }, hello(func(h *wire.Hello) { h.Cluster[3] ^= 1 }))},
	{"HELLO that is too long", false, tcp.ReasonHello, false, over(listedClient, func(*gate) []byte { return wire.AppendFrame(nil, wire.KindHello, make([]byte, 1000)) })},
	{"rubbish for a HELLO", false, tcp.ReasonHello, false, over(listedClient, func(*gate) []byte { return wire.AppendFrame(nil, wire.KindHello, make([]byte, 9)) })},
	{"another frame first", false, tcp.ReasonHello, false, over(listedClient, func(*gate) []byte { return wire.AppendFrame(nil, wire.KindRequest, make([]byte, 60)) })},
	{"rubbish below TLS", false, tcp.ReasonHello, false, func(t *testing.T, g *gate) func(net.Conn) {
		tc := listedClient(t, g)
		return func(raw net.Conn) {
			if tls.Client(raw, tc).Handshake() == nil {
				raw.Write(append([]byte{23, 3, 3, 0, 64}, make([]byte, 64)...))
			}
		}
	}},
	{"HELLO twice", false, tcp.ReasonProtocol, false, over(listedClient, hello(same), hello(same))},
}

// TestHandshakes (F8): whoever comes in a wrong way is refused in time, for the reason under
// which he is counted, and the replica never hears of him.
func TestHandshakes(t *testing.T) {
	if len(knocks) < 20 {
		t.Fatalf("%d ways", len(knocks))
	}
	for _, k := range knocks {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			limits := tcp.Limits{HandshakeTime: patience / 2}
			if k.slow {
				limits.HandshakeTime = 300 * time.Millisecond
			}
			g := newGate(t, limits)
			address := g.clientAddr[0]
			if k.peers {
				address = g.peerAddr[0]
			}
			do := k.do(t, g)
			raw := dialRaw(t, address)
			do(raw)
			ended(t, raw)
			g.untilRefused(t, k.reason, 1)
			for reason, n := range g.transports[0].Stats().Refused {
				if n > 0 && reason != k.reason.String() {
					t.Errorf("also counted as %s", reason)
				}
			}
			g.rec.Look(func() {
				if len(g.rec.Ups) != 0 || len(g.rec.Links) != 0 && k.reason != tcp.ReasonProtocol {
					t.Errorf("the handler heard of %v and %v", g.rec.Ups, g.rec.Links)
				}
			})
		})
	}
}

// TestHandshakesAccepted: the controls of TestHandshakes. Of a certificate only the key counts:
// neither its dates nor what follows it in a chain. No session is ever resumed.
func TestHandshakesAccepted(t *testing.T) {
	edited := func(edit func(*x509.Certificate)) func(*testing.T, *gate) *tls.Config {
		return certified(func(t *testing.T, g *gate) tls.Certificate { return certificate(t, g.seed, edit) })
	}
	cache := tls.NewLRUClientSessionCache(4)
	resuming := func(_ *testing.T, g *gate) *tls.Config {
		return g.as(g.clientKeys[0], func(tc *tls.Config) { tc.ClientSessionCache, tc.SessionTicketsDisabled = cache, false })
	}
	for _, c := range []struct {
		name   string
		peers  bool
		times  int
		config func(*testing.T, *gate) *tls.Config
	}{
		{"a replica", true, 1, func(_ *testing.T, g *gate) *tls.Config { return g.as(g.keys[1]) }},
		{"a replica again", true, 2, func(_ *testing.T, g *gate) *tls.Config { return g.as(g.keys[1]) }},
		{"a client", false, 1, listedClient},
		{"expired", false, 1, edited(func(c *x509.Certificate) { c.NotAfter = time.Unix(1000, 0) })},
		{"not valid yet", false, 1, edited(func(c *x509.Certificate) { c.NotBefore = time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC) })},
		{"for another name", false, 1, edited(func(c *x509.Certificate) { c.DNSNames = []string{"example.org"} })},
		{"followed by another", false, 1, certified(func(t *testing.T, g *gate) tls.Certificate {
			c, other := certificate(t, g.seed, func(*x509.Certificate) {}), certificate(t, g.seed, func(*x509.Certificate) {})
			c.Certificate = append(c.Certificate, other.Certificate[0])
			return c
		})},
		{"that would resume", false, 2, resuming},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGate(t, tcp.Limits{})
			address := g.clientAddr[0]
			if c.peers {
				address = g.peerAddr[0]
			}
			for range c.times {
				conn := tls.Client(dialRaw(t, address), c.config(t, g))
				first := hello(same)(g)
				if _, err := conn.Write(first); err != nil {
					t.Fatal(err)
				}
				answer := make([]byte, len(first))
				if _, err := io.ReadFull(conn, answer); err != nil || !bytes.Equal(answer, first) {
					t.Fatalf("HELLO is answered with %x, %v", answer, err)
				}
				if conn.ConnectionState().DidResume {
					t.Error("a session was resumed")
				}
			}
			g.rec.Wait(t, "the handler to hear of it", func() bool { return len(g.rec.Ups)+len(g.rec.Links) > 0 })
		})
	}
}
