package assault

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/wire"
)

// aRogue is replica 3 of a cluster that exists in memory only.
func aRogue(t *testing.T) (*rogue, []*keys.Key) {
	t.Helper()
	m := &bft.Membership{Protocol: "pbft", App: "kv", F: 1, Scheme: "ed25519", Open: true, CheckpointEvery: 64, Window: 256}
	var private []*keys.Key
	for range 4 {
		key, err := keys.Generate("ed25519")
		if err != nil {
			t.Fatal(err)
		}
		private = append(private, key)
		m.Replicas = append(m.Replicas, bft.Replica{Key: key.PublicDER()})
	}
	a := &assailant{plan: &Plan{Rogue: 3}, m: m, key: private[3]}
	return &rogue{a: a, id: 3, codec: pbft.NewCodec(m), view: 5, slot: 1000, stable: 960}, private
}

// messages is one of every kind of the protocol.
func messages() []protocol.Message {
	sig := make([]byte, 64)
	vc := &pbft.ViewChange{View: 6, Replica: 3, P: []pbft.Claim{{Seq: 1, View: 2}}, Q: []pbft.Claim{{Seq: 1, View: 2}}, Sig: sig}
	return []protocol.Message{
		&pbft.PrePrepare{View: 5, Seq: 1001, Batch: []byte("batch")}, &pbft.Prepare{View: 5, Seq: 1001}, &pbft.Commit{View: 5, Seq: 1001},
		&pbft.Status{View: 5, Active: true}, &pbft.Checkpoint{Seq: 1024, Replica: 3, Sig: sig}, vc,
		&pbft.NewView{View: 6, Replica: 2, Set: []*pbft.ViewChange{vc}, Choices: []pbft.Choice{{Seq: 1}}, Sig: sig},
		&pbft.Decided{First: 1, Digests: []bft.Digest{{1}}}, &pbft.Stable{Seq: 64, Endorse: []pbft.Endorsement{{Replica: 1, Sig: sig}}},
	}
}

// TestMutants: mutants are frames unless their link ends by them, most differ from what was recorded,
// every kind is changed, and some are well-formed messages that say something else.
func TestMutants(t *testing.T) {
	r, _ := aRogue(t)
	var text []byte
	for _, m := range messages() {
		text = wire.AppendFrame(text, m.Kind(), r.codec.Append(nil, m))
	}
	text = wire.AppendFrame(text, wire.KindRequest, make([]byte, 200))
	frames := cutFrames(append(text, 9, 9)) // the last one is torn
	if len(frames) != 10 {
		t.Fatalf("%d frames were cut", len(frames))
	}
	m := newMutator(r, frames, rand.New(rand.NewPCG(1, 2)))
	const count = 20_000
	same, fatal, sound, kinds := 0, 0, map[wire.Kind]int{}, map[wire.Kind]bool{}
	for range count {
		frame, ends := m.next()
		if ends {
			fatal++
			continue
		}
		cut := cutFrames(frame)
		if len(cut) != 1 || len(cut[0].payload)+wire.FrameHeaderBytes != len(frame) {
			t.Fatalf("not one frame: %x", frame)
		}
		kinds[cut[0].kind] = true
		if bytes.Contains(text, frame) {
			same++
		}
		if _, err := r.codec.Decode(cut[0].kind, cut[0].payload); err == nil {
			sound[cut[0].kind]++
		}
	}
	if same > count/10 || fatal < count/200 || fatal > count/20 {
		t.Errorf("%d of %d are what was recorded, %d end their links", same, count, fatal)
	}
	if len(kinds) < 200 || len(sound) != 9 {
		t.Errorf("%d kinds; well-formed are %v", len(kinds), sound)
	}
}

// TestRogueFrames: what the rogue signs verifies, so that not its signature is what is refused.
func TestRogueFrames(t *testing.T) {
	r, private := aRogue(t)
	for _, m := range messages() {
		signed, ok := m.(protocol.Signed)
		if !ok {
			continue
		}
		f := cutFrames(r.frame(m))[0]
		back, err := r.codec.Decode(f.kind, f.payload)
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		want := signed.WithSignature(private[3].Signer().Sign(nil, r.codec.AppendSigned(nil, signed)))
		if !reflect.DeepEqual(back, want) {
			t.Errorf("%T is not signed by the rogue", m)
		}
	}
}

// TestPlans: a plan out of bounds is refused before anything is dialled.
func TestPlans(t *testing.T) {
	for _, p := range []Plan{
		{Attack: "none of them", Lasts: time.Second}, {Attack: "noise"}, {Attack: "noise", Lasts: 2 * timeMax}, {Attack: "noise", Lasts: time.Second, Rate: rateMax + 1},
		{Attack: "noise", Lasts: time.Second, Count: countMax + 1}, {Attack: "noise", Lasts: time.Second, Addresses: 251}, {Attack: "noise", Lasts: time.Second, Dir: t.TempDir()},
	} {
		if _, err := Run(t.Context(), p); err == nil {
			t.Errorf("%+v was carried out", p)
		}
	}
	seen := map[string]bool{}
	for _, a := range Attacks() {
		if seen[a.Name] || a.Name == "" || a.About == "" || a.Unit == "" || a.Rate < 1 || a.Rate > rateMax || a.Count > countMax || a.run == nil {
			t.Errorf("attack %q is not whole", a.Name)
		}
		seen[a.Name] = true
	}
}

// TestPacer: the rate is a ceiling, also after a pause.
func TestPacer(t *testing.T) {
	a := &assailant{ctx: t.Context(), pacer: pacer{every: time.Millisecond}}
	begin := time.Now()
	for range 100 {
		if !a.pace() {
			t.Fatal("the attack ended")
		}
	}
	if d := time.Since(begin); d < 100*time.Millisecond-2*lag {
		t.Errorf("100 turns at 1000/s took %s", d)
	}
}

// TestServe: nothing but a plan is understood.
func TestServe(t *testing.T) {
	var out strings.Builder
	if err := Serve(strings.NewReader("attack!"), &out); err == nil || out.Len() > 0 {
		t.Errorf("%v, %q", err, out.String())
	}
}
