// Package sig authenticates with public-key signatures: Ed25519, ECDSA over P-256 and RSA with
// PKCS #1 v1.5, each with one acceptance rule. It builds the auth.Verifier of a membership and
// the auth.Signer of a private key.
//
// Everything it makes is immutable and may be used from any goroutine; the replica's verify
// workers and the client's connections do. It never logs, never keeps a private key beyond the
// Signer made of it, and never panics on what others send.
//
// The acceptance rules:
//
//   - ed25519: ZIP-215, single and batch alike. 64 bytes.
//   - ecdsa: P-256 with SHA-256, r||s of 32 bytes each, big endian, s at most half the order,
//     so that nobody can turn one valid signature into another.
//   - rsa: PKCS #1 v1.5 with SHA-256, whose signatures are unique. The modulus has 2048 to 4096
//     bits and the signature as many bytes as the modulus.
package sig

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/themis-bft/themis/bft"
)

// The names of the schemes, as in bft.Membership.Scheme.
const (
	Ed25519 = "ed25519"
	ECDSA   = "ecdsa"
	RSA     = "rsa"
)

// The sizes of RSA keys that are accepted. bft.SignatureBytesMax holds the larger.
const (
	rsaBitsMin = 2048
	rsaBitsMax = 4096
)

const _ = uint(bft.SignatureBytesMax - rsaBitsMax/8)

// ErrKey is returned for a public key that is malformed, not in its canonical encoding, or of a
// scheme or size that is not accepted. Whoever wrote the cluster file must correct it.
var ErrKey = errors.New("sig: public key not accepted")

// publicKey is one key with its acceptance rule.
type publicKey interface {
	verify(msg, sig []byte) bool
}

// public is a parsed key: its scheme, the client it would be, and how to verify with it.
type public struct {
	scheme string
	id     bft.ClientID
	key    publicKey
}

// parsePublic reads a key in PKIX (DER). One key has one encoding: an equal key in other bytes
// would be another client.
func parsePublic(der []byte) (public, error) {
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return public{}, fmt.Errorf("%w: %v", ErrKey, err)
	}
	if canonical, err := x509.MarshalPKIXPublicKey(key); err != nil || !bytes.Equal(canonical, der) {
		return public{}, fmt.Errorf("%w: encoding is not canonical", ErrKey)
	}
	p := public{id: sha256.Sum256(der)}
	switch k := key.(type) {
	case ed25519.PublicKey:
		p.scheme = Ed25519
		p.id = bft.ClientID(k)
		p.key, err = newEdKey(p.id)
	case *ecdsa.PublicKey:
		p.scheme = ECDSA
		if k.Curve != elliptic.P256() {
			err = fmt.Errorf("%w: curve %s, want P-256", ErrKey, k.Curve.Params().Name)
		}
		p.key = ecdsaKey{k}
	case *rsa.PublicKey:
		p.scheme = RSA
		if bits := k.N.BitLen(); bits < rsaBitsMin || bits > rsaBitsMax {
			err = fmt.Errorf("%w: RSA of %d bits, want %d to %d", ErrKey, bits, rsaBitsMin, rsaBitsMax)
		}
		p.key = rsaKey{k}
	default:
		err = fmt.Errorf("%w: %T", ErrKey, key)
	}
	if err != nil {
		return public{}, err
	}
	return p, nil
}

// ClientIDOf returns the identifier of the client that has this public key (PKIX, DER).
func ClientIDOf(pkix []byte) (bft.ClientID, error) {
	p, err := parsePublic(pkix)
	return p.id, err
}

// SchemeOf returns the scheme of a public key (PKIX, DER).
func SchemeOf(pkix []byte) (string, error) {
	p, err := parsePublic(pkix)
	return p.scheme, err
}
