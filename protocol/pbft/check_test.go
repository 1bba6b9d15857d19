package pbft

import (
	"bytes"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/alloctest"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// signed returns m with the signature of its signer.
func signed[M protocol.Signed](c *Codec, m M) M {
	return m.WithSignature(tags{}.sign(m.Signer(), c.AppendSigned(nil, m))).(M)
}

// proof is a stable proof of slot n by the given replicas.
func proof(c *Codec, n bft.SeqNum, d bft.Digest, ids ...bft.ReplicaID) Stable {
	s := Stable{Seq: n, Digest: d}
	for _, id := range ids {
		k := signed(c, &Checkpoint{Seq: n, Digest: d, Replica: id})
		s.Endorse = append(s.Endorse, Endorsement{Replica: id, Sig: k.Sig})
	}
	return s
}

func viewChange(c *Codec, id bft.ReplicaID, v bft.View, base Stable, p, q []Claim) *ViewChange {
	return signed(c, &ViewChange{View: v, Replica: id, Base: base, P: p, Q: q})
}

func newView(c *Codec, v bft.View, by bft.ReplicaID, set ...*ViewChange) *NewView {
	start, choices, _ := decide(c.q, set)
	return signed(c, &NewView{View: v, Replica: by, Set: set, Start: start, Choices: choices})
}

// checkTest is a message and what the verify stage says of it.
type checkTest struct {
	name string
	from bft.ReplicaID
	m    protocol.Message
	want protocol.Reason
}

// TestCheck names for each rule of the verify stage a message that breaks it and nothing else.
func TestCheck(t *testing.T) {
	c := NewCodec(membership(4, 1))
	for _, test := range append(voteTests(c), viewTests(c)...) {
		if got := c.Check(test.from, test.m, tags{}); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func voteTests(c *Codec) []checkTest {
	d, body := wire.BodyDigest(batch(1)), batch(1)
	good := proof(c, 4, dg("s"), 0, 1, 2)
	return []checkTest{
		{"pre-prepare", 0, &PrePrepare{Seq: 1, Digest: d, Batch: body}, protocol.ReasonNone},
		{"pre-prepare of a backup", 1, &PrePrepare{Seq: 1, Digest: d, Batch: body}, protocol.ReasonWrongSender},
		{"pre-prepare of the next primary for this view", 1, &PrePrepare{View: 4, Seq: 1, Digest: d, Batch: body}, protocol.ReasonWrongSender},
		{"null pre-prepare", 0, &PrePrepare{Seq: 1}, protocol.ReasonBadDigest},
		{"prepare", 1, &Prepare{Seq: 1, Digest: d}, protocol.ReasonNone},
		{"prepare of the primary", 0, &Prepare{Seq: 1, Digest: d}, protocol.ReasonWrongSender},
		{"prepare of the primary of view 1", 1, &Prepare{View: 1, Seq: 1, Digest: d}, protocol.ReasonWrongSender},
		{"commit of the primary", 0, &Commit{Seq: 1, Digest: d}, protocol.ReasonNone},
		{"checkpoint", 2, signed(c, &Checkpoint{Seq: 4, Digest: d, Replica: 2}), protocol.ReasonNone},
		{"checkpoint relayed", 1, signed(c, &Checkpoint{Seq: 4, Digest: d, Replica: 2}), protocol.ReasonWrongSender},
		{"checkpoint between intervals", 2, signed(c, &Checkpoint{Seq: 5, Digest: d, Replica: 2}), protocol.ReasonLimit},
		{"checkpoint unsigned", 2, &Checkpoint{Seq: 4, Digest: d, Replica: 2}, protocol.ReasonBadSignature},
		{"stable", 3, &good, protocol.ReasonNone},
		{"stable by two", 3, ptr(proof(c, 4, d, 0, 1)), protocol.ReasonBadProof},
		{"stable by one twice", 3, ptr(proof(c, 4, d, 0, 1, 1)), protocol.ReasonBadProof},
		{"stable out of order", 3, ptr(proof(c, 4, d, 1, 0, 2)), protocol.ReasonBadProof},
		{"stable by a stranger", 3, ptr(proof(c, 4, d, 0, 1, 9)), protocol.ReasonBadProof},
		{"stable of another digest", 3, &Stable{Seq: 4, Digest: dg("x"), Endorse: good.Endorse}, protocol.ReasonBadSignature},
		{"stable of slot 0", 3, &Stable{}, protocol.ReasonBadProof},
	}
}

func viewTests(c *Codec) []checkTest {
	d := wire.BodyDigest(batch(1))
	good := proof(c, 4, dg("s"), 0, 1, 2)
	at5 := []Claim{{Seq: 5, Digest: d, View: 0}}
	set := []*ViewChange{
		viewChange(c, 0, 1, good, at5, at5), viewChange(c, 1, 1, Stable{}, nil, nil), viewChange(c, 2, 1, good, nil, at5),
	}
	nv := newView(c, 1, 1, set...)
	changed := func(f func(*NewView)) *NewView {
		m := *nv
		m.Set = append([]*ViewChange(nil), nv.Set...)
		m.Choices = append([]Choice(nil), nv.Choices...)
		f(&m)
		return signed(c, &m)
	}
	wrongKey := *set[0]
	wrongKey.Sig = tags{}.sign(3, c.AppendSigned(nil, set[0]))
	return []checkTest{
		{"view-change", 0, set[0], protocol.ReasonNone},
		{"view-change for view 0", 0, viewChange(c, 0, 0, Stable{}, nil, nil), protocol.ReasonLimit},
		{"view-change in another's name", 1, set[0], protocol.ReasonWrongSender},
		{"view-change by another's key", 0, &wrongKey, protocol.ReasonBadSignature},
		{"view-change with a claim of its own view", 0, viewChange(c, 0, 1, Stable{}, []Claim{{Seq: 1, Digest: d, View: 1}}, nil), protocol.ReasonBadProof},
		{"view-change with a claim at its base", 0, viewChange(c, 0, 1, good, []Claim{{Seq: 4, Digest: d}}, nil), protocol.ReasonBadProof},
		{"view-change with a claim above the window", 0, viewChange(c, 0, 1, good, []Claim{{Seq: 13, Digest: d}}, nil), protocol.ReasonBadProof},
		{"view-change with two claims for a slot", 0, viewChange(c, 0, 1, good, []Claim{at5[0], at5[0]}, nil), protocol.ReasonBadProof},
		{"view-change with Q out of order", 0, viewChange(c, 0, 1, good, nil, []Claim{{Seq: 6, Digest: d}, {Seq: 5, Digest: d}}), protocol.ReasonBadProof},
		{"view-change with an unproven base", 0, viewChange(c, 0, 1, proof(c, 4, d, 0, 1), nil, nil), protocol.ReasonBadProof},
		{"new-view", 1, nv, protocol.ReasonNone},
		{"new-view shown by another member", 3, nv, protocol.ReasonNone},
		{"new-view of a backup", 2, newView(c, 1, 2, set...), protocol.ReasonWrongSender},
		{"new-view from two", 1, newView(c, 1, 1, set[:2]...), protocol.ReasonBadNewView},
		{"new-view with one member twice", 1, newView(c, 1, 1, set[0], set[0], set[1]), protocol.ReasonBadProof},
		{"new-view with a member for another view", 1, newView(c, 1, 1, set[0], set[1], viewChange(c, 2, 5, Stable{}, nil, nil)), protocol.ReasonBadProof},
		{"new-view with an unsigned member", 1, newView(c, 1, 1, set[0], set[1], &ViewChange{View: 1, Replica: 2}), protocol.ReasonBadSignature},
		{"new-view that drops a slot", 1, changed(func(m *NewView) { m.Choices = nil }), protocol.ReasonBadNewView},
		{"new-view with another digest", 1, changed(func(m *NewView) { m.Choices[0].Digest = dg("x") }), protocol.ReasonBadNewView},
		{"new-view with null for a claimed slot", 1, changed(func(m *NewView) { m.Choices[0].Digest = bft.NullDigest }), protocol.ReasonBadNewView},
		{"new-view with one slot more", 1, changed(func(m *NewView) { m.Choices = append(m.Choices, Choice{Seq: 6}) }), protocol.ReasonBadNewView},
		{"new-view with a lower start", 1, changed(func(m *NewView) { m.Start = 0 }), protocol.ReasonBadNewView},
	}
}

func ptr[T any](v T) *T { return &v }

// TestSignedBytesAreDistinct: no signed byte string of one kind, sender, cluster, epoch or
// protocol is one of another (reliability F5, upstream defect S3).
func TestSignedBytesAreDistinct(t *testing.T) {
	seen := map[string]string{}
	add := func(name string, m *bft.Membership, s protocol.Signed) {
		b := string(NewCodec(m).AppendSigned(nil, s))
		if old, ok := seen[b]; ok {
			t.Errorf("%s and %s sign the same bytes", name, old)
		}
		seen[b] = name
	}
	variants := map[string]func(*bft.Membership){
		"plain": func(*bft.Membership) {}, "cluster": func(m *bft.Membership) { m.Cluster[0] = 1 },
		"epoch": func(m *bft.Membership) { m.Epoch = 1 }, "protocol": func(m *bft.Membership) { m.Protocol = "hybster" },
	}
	for name, change := range variants {
		m := membership(4, 1)
		change(m)
		for id := range bft.ReplicaID(2) {
			add(name+" checkpoint "+id.String(), m, &Checkpoint{Seq: 4, Replica: id})
			add(name+" view-change "+id.String(), m, &ViewChange{View: 1, Replica: id})
			add(name+" new-view "+id.String(), m, &NewView{View: 1, Replica: id})
		}
	}
}

// samples is one message of each kind, with every list filled.
func samples(c *Codec) []protocol.Message {
	d, body := wire.BodyDigest(batch(1)), batch(1)
	good := proof(c, 4, dg("s"), 0, 1, 2)
	at5 := []Claim{{Seq: 5, Digest: d, View: 0}}
	set := []*ViewChange{viewChange(c, 0, 1, good, at5, at5), viewChange(c, 1, 1, Stable{}, nil, nil), viewChange(c, 2, 1, good, nil, at5)}
	return []protocol.Message{
		&PrePrepare{View: 3, Seq: 1, Digest: d, Batch: body}, &Prepare{View: 1, Seq: 2, Digest: d},
		&Commit{View: 1, Seq: 2, Digest: d}, &Status{View: 7, Active: true, Stable: 4, Committed: 6, Open: 5, Accepted: 3, Prepared: 1, ViewChanges: 5},
		signed(c, &Checkpoint{Seq: 4, Digest: d, Replica: 2}), set[0], newView(c, 1, 1, set...),
		&Decided{First: 9, Digests: []bft.Digest{d, dg("x")}}, &good,
	}
}

// TestCodecRoundTrip: what is encoded decodes to the same bytes, and no shorter or longer
// string does (canonical form, reliability F3).
func TestCodecRoundTrip(t *testing.T) {
	c := NewCodec(membership(4, 1))
	for _, m := range samples(c) {
		b := c.Append(nil, m)
		got, err := c.Decode(m.Kind(), b)
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		if again := c.Append(nil, got); !bytes.Equal(again, b) {
			t.Errorf("%T: %x became %x", m, b, again)
		}
		for i := range b {
			if _, err := c.Decode(m.Kind(), b[:i]); err == nil {
				t.Errorf("%T: a prefix of %d of %d bytes decodes", m, i, len(b))
			}
		}
		if _, err := c.Decode(m.Kind(), append(b[:len(b):len(b)], 0)); err == nil {
			t.Errorf("%T: a trailing byte decodes", m)
		}
	}
}

// FuzzDecode: any bytes are rejected, or are the canonical encoding of what they decode to,
// and checking that panics on nothing.
func FuzzDecode(f *testing.F) {
	c := NewCodec(membership(4, 1))
	for _, m := range samples(c) {
		f.Add(byte(m.Kind()), c.Append(nil, m))
	}
	for _, p := range overheard(f) {
		f.Add(byte(p.kind), p.payload)
	}
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		alloctest.Reader(t, len(b), bft.PeerFrameBytesMax, func() { c.Decode(wire.Kind(kind), b) })
		m, err := c.Decode(wire.Kind(kind), b)
		if err != nil {
			return
		}
		if again := c.Append(nil, m); !bytes.Equal(again, b) {
			t.Fatalf("%T: %x became %x", m, b, again)
		}
		for from := range bft.ReplicaID(4) {
			c.Check(from, m, tags{})
		}
		_ = Describe(m)
	})
}

// FuzzStep: whatever verified messages a peer sends, in any order, the core neither panics nor
// breaks an invariant. The bytes choose sender, kind and fields.
func FuzzStep(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newCluster(t, 4, 1)
		x := c.nodes[1]
		for len(b) >= 6 && len(x.log) < 4000 {
			m := scripted(c.codec, b)
			from := bft.ReplicaID(b[0] % 4)
			b = b[6:]
			if from == 1 || m == nil {
				continue
			}
			v, reason := protocol.Verify(c.codec, from, m, tags{})
			if reason == protocol.ReasonNone {
				c.step(x, protocol.Received{Verified: v})
			}
			c.net = c.net[:0]
		}
	})
}

// scripted makes a well-signed message from six bytes.
func scripted(c *Codec, b []byte) protocol.Message {
	from, v, n := bft.ReplicaID(b[0]%4), bft.View(b[2]%6), bft.SeqNum(b[3]%14)+1
	body := batch(uint64(b[4] % 4))
	d := wire.BodyDigest(body)
	switch b[1] % 9 {
	case 0:
		return &PrePrepare{View: v, Seq: n, Digest: d, Batch: body}
	case 1:
		return &Prepare{View: v, Seq: n, Digest: d}
	case 2:
		return &Commit{View: v, Seq: n, Digest: d}
	case 3:
		return &Status{View: v, Active: b[4]&1 == 0, Stable: n / 4 * 4, Committed: n, Accepted: uint64(b[5])}
	case 4:
		return signed(c, &Checkpoint{Seq: n / 4 * 4, Digest: d, Replica: from})
	case 5:
		return viewChange(c, from, v, Stable{}, []Claim{{Seq: min(n, 8), Digest: d, View: 0}}, []Claim{{Seq: min(n, 8), Digest: d, View: 0}})
	case 6:
		cl := []Claim{{Seq: min(n, 8), Digest: d, View: 0}}
		return newView(c, v, c.q.Primary(v), viewChange(c, 0, v, Stable{}, cl, cl), viewChange(c, 2, v, Stable{}, nil, cl), viewChange(c, 3, v, Stable{}, nil, nil))
	case 7:
		return &Decided{First: n, Digests: []bft.Digest{d}}
	}
	return ptr(proof(c, n/4*4, d, 0, 2, 3))
}
