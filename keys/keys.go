// Package keys holds the private key of one replica or client: on disk, as a Signer, and as the
// identity of a TLS link.
//
// A Key is immutable and may be used from any goroutine. Programs, the TCP transport and the
// client library call it; the protocol never sees one. It never prints a private key, never
// overwrites one, and never talks to a certificate authority: peers are known by public key.
package keys

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
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/themis-bft/themis/auth"
	"github.com/themis-bft/themis/auth/sig"
	"github.com/themis-bft/themis/bft"
)

// rsaBits is the size of a generated RSA key.
const rsaBits = 2048

// pemType is the label of a PKCS #8 block; fileBytesMax bounds what Load reads.
const (
	pemType      = "PRIVATE KEY"
	fileBytesMax = 16 << 10
)

// ErrFile is returned for a key file that is not exactly one unencrypted PKCS #8 block in PEM.
var ErrFile = errors.New("keys: not a private key file")

// Key is a private key of one of the schemes.
type Key struct {
	private crypto.Signer
	signer  auth.Signer
	public  []byte // PKIX, DER
	scheme  string
	id      bft.ClientID

	// certificate is made at the first use: most keys of a cluster file never serve a link.
	certificate func() (tls.Certificate, error)
}

// Generate makes a new key of scheme "ed25519", "ecdsa" (P-256) or "rsa" (2048 bits).
func Generate(scheme string) (*Key, error) {
	var private crypto.Signer
	var err error
	switch scheme {
	case sig.Ed25519:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case sig.ECDSA:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case sig.RSA:
		private, err = rsa.GenerateKey(rand.Reader, rsaBits)
	default:
		return nil, fmt.Errorf("keys: scheme %q: want %s, %s or %s", scheme, sig.Ed25519, sig.ECDSA, sig.RSA)
	}
	if err != nil {
		return nil, fmt.Errorf("keys: generate %s: %w", scheme, err)
	}
	return newKey(private)
}

// FromSeed makes the Ed25519 key of a seed of 32 bytes. Benchmarks and tests use it to have
// many clients without many files; a seed that others can guess is no key.
func FromSeed(seed [ed25519.SeedSize]byte) (*Key, error) {
	return newKey(ed25519.NewKeyFromSeed(seed[:]))
}

func newKey(private crypto.Signer) (*Key, error) {
	k := &Key{private: private}
	var err error
	if k.signer, err = sig.NewSigner(private); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	if k.public, err = x509.MarshalPKIXPublicKey(private.Public()); err != nil {
		return nil, fmt.Errorf("keys: encode public key: %w", err)
	}
	if k.scheme, err = sig.SchemeOf(k.public); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	if k.id, err = sig.ClientIDOf(k.public); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	k.certificate = sync.OnceValues(k.selfSign)
	return k, nil
}

// Load reads a key that Save wrote, or any single PKCS #8 block in PEM of an accepted scheme.
func Load(path string) (*Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, fileBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	block, rest := pem.Decode(text)
	if len(text) > fileBytesMax || block == nil || block.Type != pemType || len(bytes.TrimSpace(rest)) != 0 {
		return nil, fmt.Errorf("%w: %s", ErrFile, path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %v", ErrFile, path, err)
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: %s: %T does not sign", ErrFile, path, parsed)
	}
	return newKey(private)
}

// Save writes the key to a new file that only its owner may read, and syncs it. An existing
// file is never overwritten: the error then is fs.ErrExist.
func (k *Key) Save(path string) error {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return fmt.Errorf("keys: encode: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	err = pem.Encode(f, &pem.Block{Type: pemType, Bytes: der})
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("keys: %w", err), os.Remove(path))
	}
	return nil
}

// PublicDER is the public key in PKIX (DER), as a cluster file lists it. It must not be changed.
func (k *Key) PublicDER() []byte { return k.public }

// Scheme is the name of the key's scheme.
func (k *Key) Scheme() string { return k.scheme }

// ClientID is the identifier of the client that has this key.
func (k *Key) ClientID() bft.ClientID { return k.id }

// Signer signs with the key.
func (k *Key) Signer() auth.Signer { return k.signer }

// String names the key by scheme and identifier, so that a key that is printed by mistake
// gives nothing away.
func (k *Key) String() string { return k.scheme + ":" + k.id.String() }

// GoString is String.
func (k *Key) GoString() string { return k.String() }

// ClientIDOf returns the identifier of the client that has this public key (PKIX, DER).
func ClientIDOf(pkixDER []byte) (bft.ClientID, error) { return sig.ClientIDOf(pkixDER) }

// SchemeOf returns the scheme of a public key (PKIX, DER).
func SchemeOf(pkixDER []byte) (string, error) { return sig.SchemeOf(pkixDER) }
