package pbft

import (
	"slices"
	"testing"

	"github.com/themis-bft/themis/bft"
)

// dg is a digest that sorts by its letter; "0" is null.
func dg(s string) bft.Digest {
	if s == "0" {
		return bft.NullDigest
	}
	return bft.Digest{s[0]}
}

func claim(n bft.SeqNum, d string, v bft.View) Claim { return Claim{Seq: n, Digest: dg(d), View: v} }

// vc is a VIEW-CHANGE for view 9 from replica id with base h.
func vc(id bft.ReplicaID, h bft.SeqNum, p, q []Claim) *ViewChange {
	slices.SortFunc(q, compareClaims)
	return &ViewChange{View: 9, Replica: id, Base: Stable{Seq: h}, P: p, Q: q}
}

type claims = []Claim

var a0, b0, b1 = claim(1, "a", 0), claim(1, "b", 0), claim(1, "b", 1)

// decideTests are the situations that the models single out.
var decideTests = []struct {
	name string
	n, f int
	set  []*ViewChange
	want string // digests from slot start+1 on; "?" undecided
}{
	{"nothing claimed", 4, 1, []*ViewChange{vc(0, 0, nil, nil), vc(1, 0, nil, nil), vc(2, 0, nil, nil)}, ""},
	{"too few members", 4, 1, []*ViewChange{vc(0, 0, nil, nil), vc(1, 0, nil, nil)}, "?"},
	{
		"committed once, seen by two", 4, 1,
		[]*ViewChange{vc(0, 0, claims{a0}, claims{a0}), vc(1, 0, nil, claims{a0}), vc(2, 0, nil, nil)}, "a",
	},
	{
		"A2: a forged claim of a higher view without witnesses", 4, 1,
		[]*ViewChange{vc(0, 0, claims{a0}, claims{a0}), vc(1, 0, claims{a0}, claims{a0}), vc(2, 0, claims{b1}, claims{b1})}, "?",
	},
	{
		"the same with the fourth member", 4, 1,
		[]*ViewChange{
			vc(0, 0, claims{a0}, claims{a0}), vc(1, 0, claims{a0}, claims{a0}),
			vc(2, 0, claims{b1}, claims{b1}), vc(3, 0, nil, claims{a0}),
		}, "a",
	},
	{
		"A1: another digest of the same view speaks against both", 4, 1,
		[]*ViewChange{vc(0, 0, claims{a0}, claims{a0, b0}), vc(1, 0, claims{b0}, claims{a0, b0}), vc(2, 0, nil, nil)}, "?",
	},
	{
		"the highest view wins", 4, 1,
		[]*ViewChange{vc(0, 0, claims{a0}, claims{a0}), vc(1, 0, claims{b1}, claims{a0, b1}), vc(2, 0, nil, claims{b1})}, "b",
	},
	{
		"of two digests that qualify, that of the higher view", 4, 1,
		[]*ViewChange{
			vc(0, 0, claims{a0}, claims{a0}), vc(1, 0, claims{b1}, claims{b1}), vc(2, 0, nil, claims{a0}), vc(3, 0, nil, claims{b1}),
		}, "b",
	},
	{
		"tie of |S| > q: the smallest digest", 4, 1,
		[]*ViewChange{
			vc(0, 0, nil, claims{a0}), vc(1, 0, claims{a0}, claims{a0}),
			vc(2, 0, nil, claims{b0}), vc(3, 0, claims{b0}, claims{b0}),
		}, "a",
	},
	{
		"B: null needs a quorum without a claim", 4, 1,
		[]*ViewChange{vc(0, 0, claims{a0}, claims{a0}), vc(1, 0, nil, nil), vc(2, 0, nil, nil)}, "?",
	},
	{
		"a gap becomes null", 4, 1,
		[]*ViewChange{
			vc(0, 0, claims{claim(2, "b", 0)}, claims{claim(2, "b", 0)}),
			vc(1, 0, claims{claim(2, "b", 0)}, claims{claim(2, "b", 0)}), vc(2, 0, nil, nil),
		}, "0b",
	},
	{
		"the start is the highest proven checkpoint", 4, 1,
		[]*ViewChange{
			vc(0, 4, claims{claim(5, "c", 2)}, claims{claim(5, "c", 2)}), vc(1, 4, nil, claims{claim(5, "c", 2)}),
			vc(2, 0, claims{a0}, claims{a0}),
		}, "c",
	},
	{
		"a quorum at n = 7 is five", 7, 2,
		[]*ViewChange{vc(0, 0, nil, nil), vc(1, 0, nil, nil), vc(2, 0, nil, nil), vc(3, 0, nil, nil)}, "?",
	},
	{
		"n = 5 with f = 1 needs four", 5, 1,
		[]*ViewChange{vc(0, 0, nil, nil), vc(1, 0, nil, nil), vc(2, 0, nil, nil)}, "?",
	},
}

// TestDecide holds the rule against the situations that the models single out.
func TestDecide(t *testing.T) {
	for _, test := range decideTests {
		start, got, ok := decide(bft.Quorums{N: test.n, F: test.f}, test.set)
		if !ok {
			if test.want != "?" {
				t.Errorf("%s: undecided, want %q", test.name, test.want)
			}
			continue
		}
		if len(got) != len(test.want) {
			t.Errorf("%s: %d slots, want %q", test.name, len(got), test.want)
			continue
		}
		for i, c := range got {
			if c.Seq != start+1+bft.SeqNum(i) || c.Digest != dg(test.want[i:i+1]) {
				t.Errorf("%s: slot %d is %v, want %q", test.name, c.Seq, c.Digest, test.want)
			}
		}
	}
}

// TestDecideIsAFunctionOfTheSet: members in any order decide the same.
func TestDecideIsAFunctionOfTheSet(t *testing.T) {
	set := []*ViewChange{
		vc(0, 0, nil, claims{a0}), vc(1, 0, claims{a0}, claims{a0}), vc(2, 0, nil, claims{b0}), vc(3, 0, claims{b0}, claims{b0}),
	}
	q := bft.Quorums{N: 4, F: 1}
	_, want, _ := decide(q, set)
	slices.Reverse(set)
	if _, got, _ := decide(q, set); !slices.Equal(got, want) {
		t.Fatalf("reversed set decides %v, want %v", got, want)
	}
}
