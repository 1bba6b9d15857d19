package vectors

import (
	"slices"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/wire"
)

// kindNames are the types of the messages of PBFT in the files.
var kindNames = map[wire.Kind]string{
	pbft.KindPrePrepare: "pre-prepare", pbft.KindPrepare: "prepare", pbft.KindCommit: "commit", pbft.KindStatus: "status",
	pbft.KindCheckpoint: "checkpoint", pbft.KindViewChange: "view-change", pbft.KindNewView: "new-view",
	pbft.KindDecided: "decided", pbft.KindStable: "stable",
}

// messages are samples of PBFT's messages that belong together: slot 5 was prepared in view 0 at
// replica 0 above the stable checkpoint 4, and view 1 begins with it.
type messages struct {
	d     bft.Digest // of the batch in slot 5
	state bft.Digest // of the checkpoint at slot 4
	base  pbft.Stable
	set   []*pbft.ViewChange
	nv    *pbft.NewView
}

func newMessages(w *world) *messages {
	s := &messages{d: wire.BodyDigest(w.body()), state: wire.DigestOf("checkpoint", []byte("vector"))}
	s.base = w.proof(4, s.state, 0, 1, 2)
	at5 := []pbft.Claim{{Seq: 5, Digest: s.d}}
	s.set = []*pbft.ViewChange{
		w.viewChange(0, 1, s.base, at5, at5), w.viewChange(1, 1, pbft.Stable{}, nil, nil), w.viewChange(2, 1, s.base, nil, at5),
	}
	s.nv = sign(w, &pbft.NewView{View: 1, Replica: 1, Set: s.set, Start: 4, Choices: []pbft.Choice{{Seq: 5, Digest: s.d}}})
	return s
}

// pbftFile holds every message, what of it is signed, and what the stateless checks say.
func pbftFile(t *testing.T, w *world) *file {
	f := &file{About: "Messages of PBFT for the cluster of keys.json (n = 4, f = 1, K = 4, L = 8). checked: a message as it came on the link from replica `from`, and why it is refused (\"\": it is accepted)."}
	s := newMessages(w)
	add := func(name string, m protocol.Message) {
		f.add(t, w, name, kindNames[m.Kind()], w.codec.Append(nil, m))
		if m, ok := m.(protocol.Signed); ok {
			f.Signed = append(f.Signed, w.signedMessage(name, m))
		}
	}
	add("slot 5 of view 0", &pbft.PrePrepare{Seq: 5, Digest: s.d, Batch: w.body()})
	add("slot 5 of view 0", &pbft.Prepare{Seq: 5, Digest: s.d})
	add("slot 6 of view 3", &pbft.Commit{View: 3, Seq: 6, Digest: s.d})
	add("behind", &pbft.Status{View: 2, Active: true, Stable: 4, Committed: 6, Open: 5, Accepted: 0b1011, Prepared: 1 << 63, ViewChanges: 0b0101})
	add("slot 4", sign(w, &pbft.Checkpoint{Seq: 4, Digest: s.state, Replica: 2}))
	add("with a base, P and Q", s.set[0])
	add("with nothing", s.set[1])
	add("two digests in one slot of Q", w.viewChange(3, 4, pbft.Stable{}, nil, ascending(s.d, wire.BodyDigest(nil))))
	add("view 1 from three", s.nv)
	add("slots 5 and 6", &pbft.Decided{First: 5, Digests: []bft.Digest{s.d, bft.NullDigest}})
	add("slot 4 by three", &s.base)
	refuseMessages(w, f, s)
	f.Checked = append(checkedVotes(w, s), checkedViews(w, s)...)
	return f
}

// ascending is Q with two digests of slot 2.
func ascending(a, b bft.Digest) []pbft.Claim {
	q := []pbft.Claim{{Seq: 2, Digest: a, View: 3}, {Seq: 2, Digest: b, View: 1}}
	slices.SortFunc(q, func(x, y pbft.Claim) int { return slices.Compare(x.Digest[:], y.Digest[:]) })
	return q
}

func (w *world) signedMessage(name string, m protocol.Signed) signed {
	id := m.Signer()
	all := w.codec.AppendSigned(nil, m)
	tag := wire.ProtocolDomain(w.m).AppendReplicaTag(nil, m.Kind(), id)
	s := seed(replicaSeed + byte(id))
	public := w.replicas[id].ClientID()
	return signed{
		Name: kindNames[m.Kind()] + ": " + name, Kind: uint8(m.Kind()), Sender: hx([]byte{byte(id), 0}), Protocol: "pbft", Tag: hx(tag), Body: hx(all[len(tag):]),
		Seed: hx(s[:]), Public: hx(public[:]), Signature: hx(w.replicas[id].Signer().Sign(nil, all)),
	}
}

func refuseMessages(w *world, f *file, s *messages) {
	no := func(name string, m protocol.Message, change func(b []byte) []byte) {
		b := w.codec.Append(nil, m)
		if change != nil {
			b = change(b)
		}
		f.refuse(name, kindNames[m.Kind()], b)
	}
	many := func(n int) []pbft.Claim {
		c := make([]pbft.Claim, n)
		for i := range c {
			c[i].Seq = bft.SeqNum(1 + i)
		}
		return c
	}
	prepare := &pbft.Prepare{View: 1, Seq: 5, Digest: s.d}
	no("slot 0", &pbft.Prepare{Digest: s.d}, nil)
	no("a view above 2^62", &pbft.Prepare{View: bft.ViewMax + 1, Seq: 1}, nil)
	no("a slot above 2^62", &pbft.Commit{Seq: bft.SeqMax + 1}, nil)
	no("a trailing byte", prepare, func(b []byte) []byte { return append(b, 0) })
	no("a batch over 1 MiB", &pbft.PrePrepare{Seq: 1, Digest: s.d, Batch: make([]byte, bft.BatchBytesMax+1)}, nil)
	no("active is 2", &pbft.Status{}, func(b []byte) []byte { b[8] = 2; return b })
	no("a signature of 513 bytes", &pbft.Checkpoint{Seq: 4, Sig: make([]byte, 513)}, nil)
	no("five endorsements of four replicas", &pbft.Stable{Seq: 4, Endorse: make([]pbft.Endorsement, 5)}, nil)
	no("more endorsements announced than there are bytes", &s.base, func(b []byte) []byte { b[40] = 4; return b })
	no("P of L + 1 claims", &pbft.ViewChange{View: 1, P: many(9)}, nil)
	no("Q of 22 L + 1 claims", &pbft.ViewChange{View: 1, Q: many(177)}, nil)
	no("a claim for slot 0", &pbft.ViewChange{View: 1, P: make([]pbft.Claim, 1)}, nil)
	no("five VIEW-CHANGEs of four replicas", &pbft.NewView{View: 1, Set: []*pbft.ViewChange{s.set[0], s.set[0], s.set[0], s.set[0], s.set[0]}}, nil)
	no("L + 1 choices", &pbft.NewView{View: 1, Choices: make([]pbft.Choice, 9)}, nil)
	no("no digest", &pbft.Decided{First: 1}, nil)
	no("slot 0", &pbft.Decided{Digests: make([]bft.Digest, 1)}, nil)
	no("33 digests", &pbft.Decided{First: 1, Digests: make([]bft.Digest, 33)}, nil)
}

// checks builds a list of checked messages, with the reason that the code gives.
type checks struct {
	w    *world
	list []checked
}

func (c *checks) add(name string, from bft.ReplicaID, m protocol.Message) {
	why := c.w.codec.Check(from, m, c.w.verifier)
	text := ""
	if why != protocol.ReasonNone {
		text = why.String()
	}
	c.list = append(c.list, checked{name, kindNames[m.Kind()], uint16(from), hx(c.w.codec.Append(nil, m)), text})
}

func checkedVotes(w *world, s *messages) []checked {
	c := &checks{w: w}
	body := w.body()
	stable := func(n bft.SeqNum, ids ...bft.ReplicaID) *pbft.Stable { p := w.proof(n, s.state, ids...); return &p }
	other := s.base
	other.Digest[0]++
	c.add("of the primary", 0, &pbft.PrePrepare{Seq: 5, Digest: s.d, Batch: body})
	c.add("of a backup", 1, &pbft.PrePrepare{Seq: 5, Digest: s.d, Batch: body})
	c.add("of the primary of view 5", 1, &pbft.PrePrepare{View: 5, Seq: 5, Digest: s.d, Batch: body})
	c.add("a null batch", 0, &pbft.PrePrepare{Seq: 5})
	c.add("of a backup", 1, &pbft.Prepare{Seq: 5, Digest: s.d})
	c.add("of the primary", 0, &pbft.Prepare{Seq: 5, Digest: s.d})
	c.add("of the primary", 0, &pbft.Commit{Seq: 5, Digest: s.d})
	c.add("slot 4", 2, sign(w, &pbft.Checkpoint{Seq: 4, Digest: s.state, Replica: 2}))
	c.add("shown by another replica", 1, sign(w, &pbft.Checkpoint{Seq: 4, Digest: s.state, Replica: 2}))
	c.add("no multiple of K", 2, sign(w, &pbft.Checkpoint{Seq: 5, Digest: s.state, Replica: 2}))
	c.add("without a signature", 2, &pbft.Checkpoint{Seq: 4, Digest: s.state, Replica: 2})
	c.add("by three", 3, &s.base)
	c.add("by two", 3, stable(4, 0, 1))
	c.add("by four, which is one too many", 3, stable(4, 0, 1, 2, 3))
	c.add("by one twice", 3, stable(4, 0, 1, 1))
	c.add("not ascending", 3, stable(4, 1, 0, 2))
	c.add("under another digest", 3, &other)
	c.add("slot 0", 3, &pbft.Stable{})
	return c.list
}

func checkedViews(w *world, s *messages) []checked {
	c := &checks{w: w}
	at5 := pbft.Claim{Seq: 5, Digest: s.d}
	none, empty := pbft.Stable{}, []pbft.Claim(nil)
	forged := *s.set[0]
	forged.Sig = s.set[1].Sig
	c.add("with a base, P and Q", 0, s.set[0])
	c.add("in another's name", 1, s.set[0])
	c.add("another's signature", 0, &forged)
	c.add("for view 0", 0, w.viewChange(0, 0, none, empty, empty))
	c.add("a claim at its base", 0, w.viewChange(0, 1, s.base, []pbft.Claim{{Seq: 4, Digest: s.d}}, nil))
	c.add("a claim above base + L", 0, w.viewChange(0, 1, s.base, []pbft.Claim{{Seq: 13, Digest: s.d}}, nil))
	c.add("a claim of its own view", 0, w.viewChange(0, 1, none, []pbft.Claim{{Seq: 1, Digest: s.d, View: 1}}, nil))
	c.add("two claims of one slot in P", 0, w.viewChange(0, 1, s.base, []pbft.Claim{at5, at5}, nil))
	c.add("Q does not ascend", 0, w.viewChange(0, 1, s.base, nil, []pbft.Claim{{Seq: 6, Digest: s.d}, at5}))
	c.add("23 digests of one slot in Q", 0, w.viewChange(0, 1, none, nil, crowd(23)))
	c.add("22 digests of one slot in Q", 0, w.viewChange(0, 1, none, nil, crowd(22)))
	c.add("an unproven base", 0, w.viewChange(0, 1, w.proof(4, s.state, 0, 1), nil, nil))
	changed := func(f func(m *pbft.NewView)) *pbft.NewView {
		m := *s.nv
		m.Set, m.Choices = slices.Clone(m.Set), slices.Clone(m.Choices)
		f(&m)
		return sign(w, &m)
	}
	c.add("follows from its set", 1, s.nv)
	c.add("shown by another replica", 3, s.nv)
	c.add("of a backup", 2, changed(func(m *pbft.NewView) { m.Replica = 2 }))
	c.add("from two", 1, changed(func(m *pbft.NewView) { m.Set = m.Set[:2] }))
	c.add("one member twice", 1, changed(func(m *pbft.NewView) { m.Set[1] = m.Set[0] }))
	c.add("a member for another view", 1, changed(func(m *pbft.NewView) { m.Set[2] = w.viewChange(2, 5, none, empty, empty) }))
	c.add("a member whose signature is another's", 1, changed(func(m *pbft.NewView) { m.Set[0] = &forged }))
	c.add("slot 5 left out", 1, changed(func(m *pbft.NewView) { m.Choices = nil }))
	c.add("null in slot 5", 1, changed(func(m *pbft.NewView) { m.Choices[0].Digest = bft.NullDigest }))
	c.add("a slot more", 1, changed(func(m *pbft.NewView) { m.Choices = append(m.Choices, pbft.Choice{Seq: 6}) }))
	c.add("a lower start", 1, changed(func(m *pbft.NewView) { m.Start = 0 }))
	claimed := w.viewChange(0, 1, none, []pbft.Claim{{Seq: 2, Digest: s.d}}, []pbft.Claim{{Seq: 2, Digest: s.d}})
	vouched := w.viewChange(2, 1, none, nil, []pbft.Claim{{Seq: 2, Digest: s.d}})
	quiet := s.set[1]
	gap := func(d ...bft.Digest) *pbft.NewView {
		m := &pbft.NewView{View: 1, Replica: 1, Set: []*pbft.ViewChange{claimed, quiet, vouched}}
		for i, x := range d {
			m.Choices = append(m.Choices, pbft.Choice{Seq: bft.SeqNum(1 + i), Digest: x})
		}
		return sign(w, m)
	}
	c.add("slot 1 is null, slot 2 was prepared", 1, gap(bft.NullDigest, s.d))
	c.add("slot 1 takes what belongs to slot 2", 1, gap(s.d, s.d))
	alone := sign(w, &pbft.NewView{View: 1, Replica: 1, Set: []*pbft.ViewChange{claimed, quiet, w.viewChange(3, 1, none, empty, empty)}, Choices: gap(bft.NullDigest, s.d).Choices})
	c.add("slot 2 is claimed in P by one, and in Q by nobody else", 1, alone)
	return c.list
}

// crowd is a Q of n digests for slot 1.
func crowd(n int) []pbft.Claim {
	q := make([]pbft.Claim, n)
	for i := range q {
		q[i] = pbft.Claim{Seq: 1, Digest: bft.Digest{byte(1 + i)}}
	}
	return q
}

// TestChecked holds every checked message of the file against the code.
func TestChecked(t *testing.T) {
	w := newWorld(t)
	reasons := map[string]bool{}
	kinds := map[string]wire.Kind{}
	for k, name := range kindNames {
		kinds[name] = k
	}
	for _, c := range read(t, "pbft.json").Checked {
		m, err := w.codec.Decode(kinds[c.Type], unhex(t, c.Hex))
		if err != nil {
			t.Fatalf("%s %q: %v", c.Type, c.Name, err)
		}
		got := ""
		if why := w.codec.Check(bft.ReplicaID(c.From), m, w.verifier); why != protocol.ReasonNone {
			got = why.String()
		}
		reasons[got] = true
		if got != c.Refuse {
			t.Errorf("%s %q is refused for %q, not for %q", c.Type, c.Name, got, c.Refuse)
		}
	}
	if len(reasons) < 6 {
		t.Errorf("only %v occur", reasons)
	}
}
