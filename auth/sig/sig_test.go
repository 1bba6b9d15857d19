package sig_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"

	"github.com/themis-bft/themis/auth/authtest"
	"github.com/themis-bft/themis/auth/sig"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/keys"
)

func generate(t *testing.T, scheme string) *keys.Key {
	t.Helper()
	k, err := keys.Generate(scheme)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func client(k *keys.Key, listed bool) authtest.Client {
	return authtest.Client{ID: k.ClientID(), Signer: k.Signer(), Listed: listed}
}

// world is a cluster of one scheme whose listed clients are of the given ones.
func world(t *testing.T, scheme string, open bool, clients ...string) authtest.World {
	t.Helper()
	m := &bft.Membership{Scheme: scheme, Open: open}
	var w authtest.World
	for range 2 {
		k := generate(t, scheme)
		m.Replicas = append(m.Replicas, bft.Replica{Key: k.PublicDER()})
		w.Replicas = append(w.Replicas, k.Signer())
	}
	for _, s := range clients {
		k := generate(t, s)
		m.Clients = append(m.Clients, bft.ClientKey{ID: k.ClientID(), Key: k.PublicDER()})
		w.Clients = append(w.Clients, client(k, true))
	}
	stranger := generate(t, sig.Ed25519)
	if open {
		w.Clients = append(w.Clients, client(stranger, false))
	} else {
		w.Strangers = append(w.Strangers, client(stranger, false))
	}
	// Without being listed, the digest of an ECDSA key says nothing about the key. (Half of all
	// digests are the encoding of some point; nobody can sign for it.)
	unlisted := client(generate(t, sig.ECDSA), false)
	if !open {
		w.Strangers = append(w.Strangers, unlisted)
	}
	v, err := sig.New(m)
	if err != nil {
		t.Fatal(err)
	}
	if v.VerifyClient(unlisted.ID, []byte("m"), unlisted.Signer.Sign(nil, []byte("m"))) {
		t.Error("an ECDSA client that is not listed verifies")
	}
	w.Verifier = v
	return w
}

func TestConformance(t *testing.T) {
	for _, scheme := range []string{sig.Ed25519, sig.ECDSA, sig.RSA} {
		t.Run(scheme, func(t *testing.T) { authtest.Run(t, world(t, scheme, false, scheme, scheme)) })
	}
	t.Run("open", func(t *testing.T) { authtest.Run(t, world(t, sig.Ed25519, true, sig.Ed25519)) })
	t.Run("mixed", func(t *testing.T) {
		authtest.Run(t, world(t, sig.ECDSA, true, sig.Ed25519, sig.RSA, sig.ECDSA, sig.Ed25519))
	})
}

func TestNewRefuses(t *testing.T) {
	ed, ed2, ec := generate(t, sig.Ed25519), generate(t, sig.Ed25519), generate(t, sig.ECDSA)
	replica := func(k *keys.Key) bft.Replica { return bft.Replica{Key: k.PublicDER()} }
	listed := func(k *keys.Key) bft.ClientKey { return bft.ClientKey{ID: k.ClientID(), Key: k.PublicDER()} }
	wrongID := listed(ed)
	wrongID.ID[0] ^= 1
	for name, m := range map[string]*bft.Membership{
		"scheme of a replica": {Scheme: sig.Ed25519, Replicas: []bft.Replica{replica(ed), replica(ec)}},
		"replica twice":       {Scheme: sig.Ed25519, Replicas: []bft.Replica{replica(ed), replica(ed2), replica(ed)}},
		"no key":              {Scheme: sig.Ed25519, Replicas: []bft.Replica{{}}},
		"bytes behind a key":  {Scheme: sig.Ed25519, Replicas: []bft.Replica{{Key: append(bytes.Clone(ed.PublicDER()), 0)}}},
		"client's identifier": {Scheme: sig.Ed25519, Clients: []bft.ClientKey{wrongID}},
		"client twice":        {Scheme: sig.Ed25519, Clients: []bft.ClientKey{listed(ec), listed(ec)}},
	} {
		if _, err := sig.New(m); !errors.Is(err, sig.ErrKey) {
			t.Errorf("%s: New returned %v, want ErrKey", name, err)
		}
	}
}

func TestKeysNotAccepted(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	ecdsaDER := generate(t, sig.ECDSA).PublicDER()
	compressed := compressPoint(t, ecdsaDER)
	notAPoint := bytes.Clone(generate(t, sig.Ed25519).PublicDER())
	copy(notAPoint[len(notAPoint)-32:], bytes.Repeat([]byte{0}, 32))
	notAPoint[len(notAPoint)-32] = 2 // y = 2 is on no point of the curve
	for name, der := range map[string][]byte{
		"P-384":              pkix(t, &p384.PublicKey),
		"RSA of 1024 bits":   pkix(t, &small.PublicKey),
		"compressed point":   compressed,
		"no point":           notAPoint,
		"nothing":            nil,
		"truncated":          ecdsaDER[:len(ecdsaDER)-1],
		"private key's type": []byte("-----BEGIN PRIVATE KEY-----"),
	} {
		if _, err := sig.SchemeOf(der); !errors.Is(err, sig.ErrKey) {
			t.Errorf("%s: SchemeOf returned %v, want ErrKey", name, err)
		}
	}
	if _, err := sig.NewSigner(p384); !errors.Is(err, sig.ErrKey) {
		t.Errorf("NewSigner of P-384 returned %v, want ErrKey", err)
	}
	if _, err := sig.NewSigner(small); !errors.Is(err, sig.ErrKey) {
		t.Errorf("NewSigner of RSA-1024 returned %v, want ErrKey", err)
	}
}

func pkix(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// compressPoint re-encodes a P-256 key with a compressed point: an equal key in other bytes.
func compressPoint(t *testing.T, der []byte) []byte {
	t.Helper()
	var info struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		t.Fatal(err)
	}
	point := info.Key.Bytes
	info.Key.Bytes = append([]byte{2 + point[64]&1}, point[1:33]...)
	info.Key.BitLength = 8 * len(info.Key.Bytes)
	out, err := asn1.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestECDSALowS: of the two signatures (r, s) and (r, n-s) only one is accepted, and it is the
// one that the Signer makes.
func TestECDSALowS(t *testing.T) {
	k := generate(t, sig.ECDSA)
	v, err := sig.New(&bft.Membership{Scheme: sig.ECDSA, Replicas: []bft.Replica{{Key: k.PublicDER()}}})
	if err != nil {
		t.Fatal(err)
	}
	n := elliptic.P256().Params().N
	for i := range 32 { // each signature is high with probability one half before it is lowered
		msg := []byte{byte(i)}
		s := k.Signer().Sign(nil, msg)
		if !v.VerifyReplica(0, msg, s) {
			t.Fatalf("signature %d does not verify", i)
		}
		high := new(big.Int).Sub(n, new(big.Int).SetBytes(s[32:]))
		other := bytes.Clone(s)
		high.FillBytes(other[32:])
		if v.VerifyReplica(0, msg, other) {
			t.Fatalf("signature %d verifies with the larger s too", i)
		}
	}
}
