package keys

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/themis-bft/themis/auth/sig"
	"github.com/themis-bft/themis/internal/mutant"
)

// alpn is the application protocol that both ends must agree on, so that no other service's
// TLS port is ever taken for one of ours.
const alpn = "themis/1"

// ErrPeer is returned in a TLS handshake with an end that is not who it must be, or that did not
// agree on the application protocol. The handshake's error wraps the reason.
var ErrPeer = errors.New("keys: peer not accepted")

// Certificate returns the self-signed certificate that carries the key in TLS. It is made in
// memory and says nothing but the public key: its dates hold for ever, since a machine without
// a clock must be able to join.
func (k *Key) Certificate() (tls.Certificate, error) { return k.certificate() }

func (k *Key) selfSign() (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "themis"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280: no end
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.private.Public(), k.private)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("keys: certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k.private}, nil
}

// ServerConfig returns the TLS configuration of a listener: TLS 1.3, mutual, no resumption.
// verify is given the public key of whoever connects and refuses it by an error. It is called
// from the handshake's goroutine, for several at once.
func ServerConfig(k *Key, verify func(pkixDER []byte) error) *tls.Config {
	c := config(verify)
	c.ClientAuth = tls.RequireAnyClientCert
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := k.Certificate()
		return &cert, err
	}
	return c
}

// ClientConfig returns the TLS configuration of a dialler that wants to meet exactly the owner
// of wantPeerDER (PKIX).
func ClientConfig(k *Key, wantPeerDER []byte) *tls.Config {
	c := config(func(pkixDER []byte) error {
		if !bytes.Equal(pkixDER, wantPeerDER) && !mutant.On("keys-pin-not-compared") {
			return fmt.Errorf("%w: another key than the one listed", ErrPeer)
		}
		return nil
	})
	// The library's own check wants a name and an authority; VerifyConnection replaces it.
	c.InsecureSkipVerify = true
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		cert, err := k.Certificate()
		return &cert, err
	}
	return c
}

func config(verify func(pkixDER []byte) error) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{alpn},
		SessionTicketsDisabled: true,
		// Frames are written in pieces as large as a record; cutting them smaller helps browsers.
		DynamicRecordSizingDisabled: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			der, err := PeerDER(s)
			if err != nil {
				return err
			}
			return verify(der)
		},
	}
}

// PeerDER returns the public key (PKIX, DER) of the other end. The handshake proved that it
// holds the private key. It is an error if the handshake did not end as ServerConfig and
// ClientConfig require, which no connection made with them can cause.
func PeerDER(s tls.ConnectionState) ([]byte, error) {
	switch {
	case s.Version != tls.VersionTLS13:
		return nil, fmt.Errorf("%w: %s", ErrPeer, tls.VersionName(s.Version))
	case s.NegotiatedProtocol != alpn && !mutant.On("keys-alpn-not-compared"):
		return nil, fmt.Errorf("%w: application protocol %q, want %q", ErrPeer, s.NegotiatedProtocol, alpn)
	case len(s.PeerCertificates) == 0:
		return nil, fmt.Errorf("%w: no certificate", ErrPeer)
	}
	der := s.PeerCertificates[0].RawSubjectPublicKeyInfo
	if _, err := sig.SchemeOf(der); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPeer, err)
	}
	return der, nil
}
