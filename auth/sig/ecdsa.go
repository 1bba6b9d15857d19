package sig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"math/big"

	"github.com/themis-bft/themis/internal/mutant"
)

// ecdsaBytes is the size of a signature: r and s of 32 bytes each.
const ecdsaBytes = 64

// halfOrder is the largest s that is accepted: of s and n-s, which verify alike, the smaller.
var halfOrder = new(big.Int).Rsh(elliptic.P256().Params().N, 1)

type ecdsaKey struct{ key *ecdsa.PublicKey }

func (k ecdsaKey) verify(msg, sig []byte) bool {
	if len(sig) != ecdsaBytes {
		return false
	}
	r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
	if s.Cmp(halfOrder) > 0 && !mutant.On("sig-ecdsa-both-values") {
		return false
	}
	h := sha256.Sum256(msg)
	return ecdsa.Verify(k.key, h[:], r, s)
}

type ecdsaSigner struct{ key *ecdsa.PrivateKey }

// Sign appends r||s with the smaller of the two values of s.
func (k ecdsaSigner) Sign(dst, msg []byte) []byte {
	h := sha256.Sum256(msg)
	r, s, err := ecdsa.Sign(rand.Reader, k.key, h[:])
	if err != nil {
		panic(fmt.Sprintf("sig: ECDSA key of %d bits does not sign: %v", k.key.Params().BitSize, err))
	}
	if s.Cmp(halfOrder) > 0 {
		s.Sub(elliptic.P256().Params().N, s)
	}
	var out [ecdsaBytes]byte
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return append(dst, out[:]...)
}
