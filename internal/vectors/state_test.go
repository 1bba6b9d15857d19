package vectors

import (
	"bytes"
	"testing"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/app/kv"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/catchup"
	"github.com/themis-bft/themis/exec"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// history is what the cluster of the vectors executed in slots 1 to 4: an OPEN of each client,
// three operations in two requests, and a null batch.
func (w *world) history() [][]byte {
	const start = 1_700_000_000_000_000_000
	raw := func(k *keys.Key, r wire.Request) []byte { return w.request(k, r).Raw }
	return [][]byte{
		wire.AppendBody(nil, start, [][]byte{raw(w.listed, wire.Request{First: wire.OpenNonce(start, 7), Answer: 15, Flags: wire.FlagOpen, Ops: [][]byte{nil}})}),
		wire.AppendBody(nil, start+5, [][]byte{
			raw(w.unlisted, wire.Request{First: wire.OpenNonce(start, 12345), Answer: 15, Flags: wire.FlagOpen, Ops: [][]byte{nil}}),
			raw(w.listed, wire.Request{Session: 1, First: 1, Done: 1, Answer: 15, Ops: [][]byte{kv.Put([]byte("a"), []byte("1")), kv.Get([]byte("a"))}}),
		}),
		wire.AppendBody(nil, start-9, [][]byte{raw(w.listed, wire.Request{Session: 1, First: 3, Done: 2, Answer: 15, Ops: [][]byte{kv.Put([]byte("signal/17"), []byte("green"))}})}),
		nil,
	}
}

// run executes the history and returns the checkpoint of slot 4.
func (w *world) run(t *testing.T, e *exec.Executor) *exec.Checkpoint {
	t.Helper()
	var out exec.Output
	for i, body := range w.history() {
		e.Execute(protocol.Committed{Seq: bft.SeqNum(i + 1), Digest: wire.BodyDigest(body), Body: body}, &out)
	}
	if len(out.Checkpoints) != 1 {
		t.Fatalf("%d checkpoints", len(out.Checkpoints))
	}
	return out.Checkpoints[0]
}

func (w *world) executor() *exec.Executor {
	return exec.New(w.m, 0, kv.New(), w.verifier.Admits, nil)
}

// stateFile holds the checkpoint of that history, whole: what CHECKPOINT signs comes from here.
func stateFile(t *testing.T, w *world) *file {
	f := &file{About: "The checkpoint after slot 4 of a history of four batches: its pages, its manifest, its digest. Pages of the application that are not named here are empty: four zero bytes."}
	c := w.run(t, w.executor())
	defer c.Release()
	f.add(t, w, "the manifest", "manifest", c.Manifest())
	f.Digests = append(f.Digests, digestOf("the checkpoint of slot 4", "checkpoint", c.Manifest()))
	empty := []byte{0, 0, 0, 0}
	f.Digests = append(f.Digests, digestOf("an empty page of the key-value store", "page", empty))
	for i := range kv.Pages {
		if b := c.Page(i); !bytes.Equal(b, empty) {
			f.add(t, w, "a page of the application", "kv_page", b)
			f.Digests = append(f.Digests, digestOf("a page of the application", "page", b))
		}
	}
	for i := kv.Pages; i < c.Pages(); i++ {
		f.add(t, w, "a page of the session table", "session_page", c.Page(i))
		f.Digests = append(f.Digests, digestOf("a page of the session table", "page", c.Page(i)))
	}
	var bodies []any
	for _, b := range w.history() {
		bodies = append(bodies, hx(b))
	}
	seed := append(w.m.Cluster[:], wire.AppendU64(nil, 2)...)
	d := wire.BodyDigest(w.history()[1])
	seed = wire.AppendU32(append(seed, d[:]...), 1)
	f.Digests = append(f.Digests, digestOf("the seed of the second operation in slot 2, which is the first after an OPEN", "seed", seed))
	f.Extra = object{"batches": bodies}
	m := c.Manifest()
	f.Refused = append(f.Refused, refused{"version 2", "manifest", repeats(append([]byte{2}, m[1:]...))})
	f.Refused = append(f.Refused, refused{"a page less than announced", "manifest", repeats(m[:len(m)-32])})
	f.refuse("8,193 pages of the application", "manifest", append(append(bytes.Clone(m[:49]), 1, 0x20, 0, 0, 0, 0, 0, 0), make([]byte, 32*8193)...))
	page := f.Vectors[1].Hex
	f.refuse("entries that do not ascend", "kv_page", twice(unhex(t, page)))
	f.refuse("a key of another page", "kv_page", append([]byte{2, 0, 0, 0, 1, 0, 0, 0, 'a', 0, 0, 0, 0, 1, 0, 0, 0, 'b'}, 0, 0, 0, 0))
	f.refuse("two for true", "session_page", append([]byte{2}, make([]byte, 15)...))
	return f
}

// twice is a page that has its entries two times.
func twice(b []byte) []byte {
	out := append(bytes.Clone(b), b[4:]...)
	out[0] *= 2
	return out
}

// seedKeeper is an application that remembers the seeds it was given.
type seedKeeper struct {
	app.Machine
	seeds []bft.Digest
}

// Execute remembers the seed.
func (s *seedKeeper) Execute(c app.Call, op []byte) app.Future {
	s.seeds = append(s.seeds, c.Seed)
	return s.Machine.Execute(c, op)
}

// TestState: what the file says of the checkpoint is installed by a fresh executor, and the seed
// is what the application was given.
func TestState(t *testing.T) {
	w := newWorld(t)
	f := read(t, "state.json")
	keeper := &seedKeeper{Machine: kv.New()}
	c := w.run(t, exec.New(w.m, 0, keeper, w.verifier.Admits, nil))
	defer c.Release()
	if c.Digest().Hex() != f.Digests[0].Digest {
		t.Errorf("the checkpoint has digest %s", c.Digest().Hex())
	}
	if last := f.Digests[len(f.Digests)-1]; keeper.seeds[0].Hex() != last.Digest {
		t.Errorf("the seed is %s, not %s", keeper.seeds[0].Hex(), last.Digest)
	}
	s := &catchup.State{Seq: 4, Digest: c.Digest()}
	s.Pages = make([][]byte, kv.Pages)
	for i := range s.Pages {
		s.Pages[i] = []byte{0, 0, 0, 0}
	}
	for _, v := range f.Vectors {
		switch b := unhex(t, v.Hex); v.Type {
		case "manifest":
			s.Manifest = b
		case "kv_page":
			d, err := decodeKVPage(w, b)
			if err != nil {
				t.Fatal(err)
			}
			s.Pages[d.value["page"].(int)] = b
		case "session_page":
			s.Pages = append(s.Pages, b)
		}
	}
	again, err := w.executor().Install(s, false)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Release()
	if again.Digest() != c.Digest() {
		t.Errorf("installed, the state has digest %s", again.Digest().Hex())
	}
}
