package sig

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
)

type rsaKey struct{ key *rsa.PublicKey }

func (k rsaKey) verify(msg, sig []byte) bool {
	h := sha256.Sum256(msg)
	return rsa.VerifyPKCS1v15(k.key, crypto.SHA256, h[:], sig) == nil
}

type rsaSigner struct{ key *rsa.PrivateKey }

func (k rsaSigner) Sign(dst, msg []byte) []byte {
	h := sha256.Sum256(msg)
	s, err := rsa.SignPKCS1v15(nil, k.key, crypto.SHA256, h[:])
	if err != nil {
		panic(fmt.Sprintf("sig: RSA key of %d bits does not sign: %v", k.key.N.BitLen(), err))
	}
	return append(dst, s...)
}
