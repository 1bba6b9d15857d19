package sig

import (
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/hex"
	"math/big"
	"testing"

	"filippo.io/edwards25519"
	"github.com/hdevalence/ed25519consensus"

	"github.com/themis-bft/themis/auth"
	"github.com/themis-bft/themis/bft"
)

// smallOrder are all encodings, canonical and not, of the points of order 1, 2, 4 and 8.
var smallOrder = []string{
	"0100000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000080",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0000000000000000000000000000000000000000000000000000000000000080",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
}

// groupOrder is L, the order of the base point.
var groupOrder, _ = new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)

type edCase struct {
	name string
	item auth.Item
}

// edCases are the places where implementations of Ed25519 are known to differ.
func edCases(t *testing.T) []edCase {
	t.Helper()
	var cases []edCase
	add := func(name string, key, msg, sig []byte) {
		cases = append(cases, edCase{name, auth.Item{Client: bft.ClientID(key), Msg: msg, Sig: sig}})
	}
	private := ed25519.NewKeyFromSeed(make([]byte, 32))
	public, msg := private.Public().(ed25519.PublicKey), []byte("message")
	good := ed25519.Sign(private, msg)
	add("honest", public, msg, good)
	add("other message", public, []byte("massage"), good)
	for i := range 9 {
		add("s plus a multiple of L", public, msg, append(good[:32:32], plusOrder(good[32:], int64(i))...))
	}
	for _, a := range smallOrder {
		for _, r := range smallOrder {
			s := append(unhex(t, r), make([]byte, 32)...)
			add("small order A "+a[:4]+" R "+r[:4], unhex(t, a), msg, s)
			add("small order, s = L", unhex(t, a), msg, append(unhex(t, r), plusOrder(make([]byte, 32), 1)...))
		}
		add("small order A, honest R", unhex(t, a), msg, good)
		add("small order R, honest A", public, msg, append(unhex(t, a), good[32:]...))
		add("mixed order A, torsion "+a[:4], mixed(t, a, public), msg, signMixed(t, a, "", msg))
		add("mixed order R, torsion "+a[:4], public, msg, signMixed(t, "", a, msg))
	}
	for _, y := range []byte{0xee, 0xef, 0xf0, 0xf5, 0xff} { // y = p+1 … : not canonical, some no point
		bad := unhex(t, smallOrder[6])
		bad[0] = y
		add("not canonical A", bad, msg, append(unhex(t, smallOrder[0]), make([]byte, 32)...))
		add("not canonical R", public, msg, append(bad, good[32:]...))
	}
	add("empty signature", public, msg, nil)
	add("63 bytes", public, msg, good[:63])
	add("65 bytes", public, msg, append(good[:64:64], 0))
	two := make([]byte, 32)
	two[0] = 2
	add("A is no point", two, msg, good)
	add("R is no point", public, msg, append(two, good[32:]...))
	return cases
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// plusOrder adds i·L to a little-endian scalar; what does not fit in 32 bytes is cut off.
func plusOrder(s []byte, i int64) []byte {
	v := new(big.Int).SetBytes(reversed(s))
	v.Add(v, new(big.Int).Mul(groupOrder, big.NewInt(i)))
	v.Mod(v, new(big.Int).Lsh(big.NewInt(1), 256))
	return reversed(v.FillBytes(make([]byte, 32)))
}

func reversed(b []byte) []byte {
	out := make([]byte, len(b))
	for i, x := range b {
		out[len(b)-1-i] = x
	}
	return out
}

func point(t *testing.T, b []byte) *edwards25519.Point {
	t.Helper()
	p, err := new(edwards25519.Point).SetBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mixed adds a point of small order to a key.
func mixed(t *testing.T, torsion string, key []byte) []byte {
	t.Helper()
	if torsion == "" {
		return key
	}
	return new(edwards25519.Point).Add(point(t, key), point(t, unhex(t, torsion))).Bytes()
}

// signMixed signs for the key of seed zero with a point of small order added to A or to R:
// valid with the cofactor, invalid without it.
func signMixed(t *testing.T, torsionA, torsionR string, msg []byte) []byte {
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
	A := mixed(t, torsionA, new(edwards25519.Point).ScalarBaseMult(a).Bytes())
	R := mixed(t, torsionR, new(edwards25519.Point).ScalarBaseMult(r).Bytes())
	k := sha512.New()
	k.Write(R)
	k.Write(A)
	k.Write(msg)
	c, err := edwards25519.NewScalar().SetUniformBytes(k.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	return append(R, edwards25519.NewScalar().MultiplyAdd(c, a, r).Bytes()...)
}

// TestZIP215 compares four ways to verify here with another implementation of the same rule.
func TestZIP215(t *testing.T) {
	cases := edCases(t)
	v := &Verifier{open: true, keys: &keyCache{}}
	items, want := make([]auth.Item, len(cases)), make([]bool, len(cases))
	accepted := 0
	for i, c := range cases {
		items[i] = c.item
		want[i] = ed25519consensus.Verify(c.item.Client[:], c.item.Msg, c.item.Sig)
		if want[i] {
			accepted++
		}
		if got := v.VerifyClient(c.item.Client, c.item.Msg, c.item.Sig); got != want[i] {
			t.Errorf("%s: single is %v, the other implementation says %v", c.name, got, want[i])
		}
		if key, err := newEdKey(c.item.Client); err == nil && key.verify(c.item.Msg, c.item.Sig) != want[i] {
			t.Errorf("%s: expanded is %v, the other implementation says %v", c.name, !want[i], want[i])
		} else if err != nil && want[i] {
			t.Errorf("%s: key refused (%v), the other implementation accepts", c.name, err)
		}
		same := []auth.Item{c.item, c.item, c.item, c.item, c.item}
		ok := make([]bool, len(same))
		if all := v.VerifyClients(same, ok); all != want[i] || ok[0] != want[i] || ok[4] != want[i] {
			t.Errorf("%s: batch is %v %v, the other implementation says %v", c.name, all, ok, want[i])
		}
	}
	ok := make([]bool, len(items))
	v.VerifyClients(items, ok)
	for i := range ok {
		if ok[i] != want[i] {
			t.Errorf("%s: in a batch of all cases %v, the other implementation says %v", cases[i].name, ok[i], want[i])
		}
	}
	// 14·14 small-order pairs, the honest one, and the mixed ones at least.
	if accepted < 14*14+1+2*14 || accepted == len(cases) {
		t.Errorf("%d of %d cases are accepted: the cases no longer show the differences", accepted, len(cases))
	}
}
