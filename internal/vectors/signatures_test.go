package vectors

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"filippo.io/edwards25519"

	"github.com/themis-bft/themis/auth"
	"github.com/themis-bft/themis/auth/sig"
	"github.com/themis-bft/themis/bft"
)

// verified is a signature and whether it is accepted. Public is a raw key for ed25519, since
// some of these have no other form, and PKIX for the others.
type verified struct {
	Name      string `json:"name"`
	Scheme    string `json:"scheme"`
	Public    string `json:"public"`
	Message   string `json:"message"`
	Signature string `json:"signature"`
	Accepted  bool   `json:"accepted"`
}

// signaturesFile holds where implementations of the schemes are known to differ.
func signaturesFile(t *testing.T) *file {
	f := &file{About: "Signatures of each scheme and whether they are accepted: Ed25519 by ZIP-215 (public is the raw key), ECDSA P-256 and RSA PKCS #1 v1.5 (public is PKIX)."}
	f.Verified = edwards(t)
	if _, err := os.Stat(filepath.Join(folder, "signatures.json")); err != nil {
		f.Verified = append(f.Verified, randomised(t)...)
		return f
	}
	for _, v := range read(t, "signatures.json").Verified { // their signatures and keys are random
		if v.Scheme != sig.Ed25519 {
			f.Verified = append(f.Verified, v)
		}
	}
	return f
}

// edwards are the cases of Ed25519.
func edwards(t *testing.T) []verified {
	t.Helper()
	var list []verified
	msg := []byte("message")
	add := func(name string, public, signature []byte, accepted bool) {
		list = append(list, verified{name, sig.Ed25519, hx(public), hx(msg), hx(signature), accepted})
	}
	private := ed25519.NewKeyFromSeed(make([]byte, 32))
	public, good := []byte(private.Public().(ed25519.PublicKey)), ed25519.Sign(private, msg)
	add("a signature", public, good, true)
	other := ed25519.Sign(private, []byte("massage"))
	add("of another message", public, other, false)
	add("s + L", public, append(good[:32:32], plusOrder(good[32:])...), false)
	add("63 bytes", public, good[:63], false)
	add("65 bytes", public, append(good[:64:64], 0), false)
	small := [][]byte{
		unhex(t, "0100000000000000000000000000000000000000000000000000000000000000"), // order 1
		unhex(t, "0100000000000000000000000000000000000000000000000000000000000080"), // the same, x = 0 with a sign
		unhex(t, "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), // the same, y = p + 1
		unhex(t, "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), // order 2
		unhex(t, "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), // order 8
	}
	for _, a := range small {
		for _, r := range small {
			add("key and R of small order, s = 0", a, append(slices.Clone(r), make([]byte, 32)...), true)
		}
		add("key of small order, s = L", a, append(slices.Clone(a), plusOrder(make([]byte, 32))...), false)
	}
	order8 := small[4]
	add("a point of order 8 in the key", torsion(t, public, order8), signTorsion(t, order8, nil, msg), true)
	add("a point of order 8 in R", public, signTorsion(t, nil, order8, msg), true)
	none := append([]byte{2}, make([]byte, 31)...)
	add("a key that is no point", none, good, false)
	add("an R that is no point", public, append(none, good[32:]...), false)
	return list
}

// plusOrder adds the order of the base point to a little-endian scalar.
func plusOrder(s []byte) []byte {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	reversed := func(b []byte) []byte {
		b = slices.Clone(b)
		slices.Reverse(b)
		return b
	}
	v := new(big.Int).SetBytes(reversed(s))
	return reversed(v.Add(v, order).FillBytes(make([]byte, 32)))
}

// torsion adds a point of small order to another; none to itself.
func torsion(t *testing.T, to, add []byte) []byte {
	t.Helper()
	if add == nil {
		return to
	}
	a, err := new(edwards25519.Point).SetBytes(to)
	if err != nil {
		t.Fatal(err)
	}
	b, err := new(edwards25519.Point).SetBytes(add)
	if err != nil {
		t.Fatal(err)
	}
	return a.Add(a, b).Bytes()
}

// signTorsion signs for the key of seed zero with points of small order added to the key or to R:
// good with the cofactor and bad without it.
func signTorsion(t *testing.T, inKey, inR, msg []byte) []byte {
	t.Helper()
	h := sha512.Sum512(make([]byte, 32))
	a, err := edwards25519.NewScalar().SetBytesWithClamping(h[:32])
	if err != nil {
		t.Fatal(err)
	}
	r, err := edwards25519.NewScalar().SetUniformBytes(append(h[32:64:64], h[:32]...))
	if err != nil {
		t.Fatal(err)
	}
	key := torsion(t, new(edwards25519.Point).ScalarBaseMult(a).Bytes(), inKey)
	commitment := torsion(t, new(edwards25519.Point).ScalarBaseMult(r).Bytes(), inR)
	k := sha512.Sum512(slices.Concat(commitment, key, msg))
	c, err := edwards25519.NewScalar().SetUniformBytes(k[:])
	if err != nil {
		t.Fatal(err)
	}
	return append(commitment, edwards25519.NewScalar().MultiplyAdd(c, a, r).Bytes()...)
}

// randomised are the cases of the schemes whose keys and signatures cannot be made again.
func randomised(t *testing.T) []verified {
	t.Helper()
	var list []verified
	msg := []byte("message")
	h := sha256.Sum256(msg)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	modulus, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	public := map[string][]byte{}
	public[sig.ECDSA], err = x509.MarshalPKIXPublicKey(curve.Public())
	must(t, err)
	public[sig.RSA], err = x509.MarshalPKIXPublicKey(modulus.Public())
	must(t, err)
	add := func(name, scheme string, message, signature []byte, accepted bool) {
		list = append(list, verified{name, scheme, hx(public[scheme]), hx(message), hx(signature), accepted})
	}
	signer, err := sig.NewSigner(curve)
	must(t, err)
	good := signer.Sign(nil, msg)
	s := new(big.Int).SetBytes(good[32:])
	high := append(good[:32:32], s.Sub(elliptic.P256().Params().N, s).FillBytes(make([]byte, 32))...)
	asn1, err := ecdsa.SignASN1(rand.Reader, curve, h[:])
	must(t, err)
	add("r and s, big endian", sig.ECDSA, msg, good, true)
	add("of another message", sig.ECDSA, []byte("massage"), good, false)
	add("the other s", sig.ECDSA, msg, high, false)
	add("in ASN.1", sig.ECDSA, msg, asn1, false)
	add("s = 0", sig.ECDSA, msg, append(good[:32:32], make([]byte, 32)...), false)
	add("63 bytes", sig.ECDSA, msg, good[:63], false)
	padded, err := rsa.SignPKCS1v15(nil, modulus, crypto.SHA256, h[:])
	must(t, err)
	pss, err := rsa.SignPSS(rand.Reader, modulus, crypto.SHA256, h[:], nil)
	must(t, err)
	add("a signature", sig.RSA, msg, padded, true)
	add("of another message", sig.RSA, []byte("massage"), padded, false)
	add("PSS", sig.RSA, msg, pss, false)
	add("a byte less", sig.RSA, msg, padded[1:], false)
	add("a zero in front", sig.RSA, msg, append([]byte{0}, padded...), false)
	return list
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestVerified holds every signature of the file against the code, alone and in a batch.
func TestVerified(t *testing.T) {
	schemes := map[string]int{}
	for _, v := range read(t, "signatures.json").Verified {
		schemes[v.Scheme]++
		public, msg, signature := unhex(t, v.Public), unhex(t, v.Message), unhex(t, v.Signature)
		m := &bft.Membership{Scheme: v.Scheme, Open: v.Scheme == sig.Ed25519}
		var id bft.ClientID
		if m.Open {
			id = bft.ClientID(public)
		} else {
			listed, err := sig.ClientIDOf(public)
			must(t, err)
			id = listed
			m.Clients = []bft.ClientKey{{ID: id, Key: public}}
		}
		verifier, err := sig.New(m)
		must(t, err)
		if got := verifier.VerifyClient(id, msg, signature); got != v.Accepted {
			t.Errorf("%s, %s: accepted is %t", v.Scheme, v.Name, got)
		}
		same := slices.Repeat([]auth.Item{{Client: id, Msg: msg, Sig: signature}}, 5)
		if got := verifier.VerifyClients(same, make([]bool, 5)); got != v.Accepted {
			t.Errorf("%s, %s: in a batch accepted is %t", v.Scheme, v.Name, got)
		}
	}
	if schemes[sig.Ed25519] < 30 || schemes[sig.ECDSA] < 6 || schemes[sig.RSA] < 5 {
		t.Errorf("too few cases: %v", schemes)
	}
}
