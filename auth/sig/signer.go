package sig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"

	"github.com/themis-bft/themis/auth"
)

// NewSigner returns the Signer of a private key of one of the schemes. Another key is ErrKey.
func NewSigner(key crypto.Signer) (auth.Signer, error) {
	switch k := key.(type) {
	case ed25519.PrivateKey:
		return edSigner{k}, nil
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P256() {
			return ecdsaSigner{k}, nil
		}
	case *rsa.PrivateKey:
		if bits := k.N.BitLen(); bits >= rsaBitsMin && bits <= rsaBitsMax {
			return rsaSigner{k}, nil
		}
	}
	return nil, fmt.Errorf("%w: private key %T", ErrKey, key)
}

// edSigner signs with the standard library: signing has one result, only verifying has dialects.
type edSigner struct{ key ed25519.PrivateKey }

func (k edSigner) Sign(dst, msg []byte) []byte {
	return append(dst, ed25519.Sign(k.key, msg)...)
}
