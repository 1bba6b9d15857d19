package keys_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"

	"github.com/themis-bft/themis/keys"
)

// shake runs a handshake over a pipe and returns what each side made of it.
func shake(t *testing.T, server, client *tls.Config) (s, c *tls.Conn, serverErr, clientErr error) {
	t.Helper()
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	s, c = tls.Server(a, server), tls.Client(b, client)
	done := make(chan error, 1)
	go func() {
		err := s.HandshakeContext(context.Background())
		if err != nil {
			a.Close()
		}
		done <- err
	}()
	clientErr = c.HandshakeContext(context.Background())
	if clientErr == nil {
		// In TLS 1.3 the client is done before the server has judged its certificate.
		go func() { b.Read(make([]byte, 1)); b.Close() }()
	} else {
		b.Close()
	}
	return s, c, <-done, clientErr
}

func anyone([]byte) error { return nil }

func TestHandshake(t *testing.T) {
	for _, scheme := range schemes {
		t.Run(scheme, func(t *testing.T) {
			server, client := generate(t, scheme), generate(t, scheme)
			var seen []byte
			sc := keys.ServerConfig(server, func(der []byte) error { seen = der; return nil })
			s, c, serr, cerr := shake(t, sc, keys.ClientConfig(client, server.PublicDER()))
			if serr != nil || cerr != nil {
				t.Fatalf("server %v, client %v", serr, cerr)
			}
			if string(seen) != string(client.PublicDER()) {
				t.Error("the server was shown another key than the client's")
			}
			if der, err := keys.PeerDER(c.ConnectionState()); err != nil || string(der) != string(server.PublicDER()) {
				t.Errorf("the client sees another key than the server's (%v)", err)
			}
			if der, err := keys.PeerDER(s.ConnectionState()); err != nil || string(der) != string(client.PublicDER()) {
				t.Errorf("the server sees another key than the client's (%v)", err)
			}
		})
	}
}

func TestHandshakeRefuses(t *testing.T) {
	server, client, other := generate(t, "ed25519"), generate(t, "ed25519"), generate(t, "ed25519")
	errNo := errors.New("not on the list")
	edit := func(f func(*tls.Config)) *tls.Config {
		c := keys.ClientConfig(client, server.PublicDER())
		f(c)
		return c
	}
	for _, c := range []struct {
		name    string
		verify  func([]byte) error
		client  *tls.Config
		atWhich string
		is      error
	}{
		{"wrong server", anyone, keys.ClientConfig(client, other.PublicDER()), "client", keys.ErrPeer},
		{"refused client", func([]byte) error { return errNo }, edit(func(*tls.Config) {}), "server", errNo},
		{"no certificate", anyone, edit(func(c *tls.Config) {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
		}), "server", nil},
		{"TLS 1.2", anyone, edit(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }), "server", nil},
		{"no application protocol", anyone, edit(func(c *tls.Config) { c.NextProtos, c.VerifyConnection = nil, nil }), "server", keys.ErrPeer},
		{"another application protocol", anyone, edit(func(c *tls.Config) { c.NextProtos = []string{"h2"} }), "server", nil},
	} {
		_, _, serr, cerr := shake(t, keys.ServerConfig(server, c.verify), c.client)
		err := serr
		if c.atWhich == "client" {
			err = cerr
		}
		if err == nil || (c.is != nil && !errors.Is(err, c.is)) {
			t.Errorf("%s: the %s says %v, want %v", c.name, c.atWhich, err, c.is)
		}
	}
	// A server that does not speak the application protocol is refused by the client.
	sc := keys.ServerConfig(server, anyone)
	sc.NextProtos, sc.VerifyConnection = nil, nil
	if _, _, _, cerr := shake(t, sc, keys.ClientConfig(client, server.PublicDER())); !errors.Is(cerr, keys.ErrPeer) {
		t.Errorf("server without application protocol: the client says %v", cerr)
	}
}

// TestNoResumption: a client that keeps tickets gets none, so every link proves its key anew.
func TestNoResumption(t *testing.T) {
	server, client := generate(t, "ed25519"), generate(t, "ed25519")
	cache := &countingCache{}
	cc := keys.ClientConfig(client, server.PublicDER())
	cc.SessionTicketsDisabled, cc.ClientSessionCache, cc.ServerName = false, cache, "x"
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s, c := tls.Server(a, keys.ServerConfig(server, anyone)), tls.Client(b, cc)
	go func() {
		s.Handshake()
		s.Write([]byte("x"))
	}()
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if cache.puts != 0 {
		t.Errorf("the server sent %d tickets", cache.puts)
	}
}

type countingCache struct{ puts int }

func (c *countingCache) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (c *countingCache) Put(string, *tls.ClientSessionState)        { c.puts++ }
