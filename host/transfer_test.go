package host

import (
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/catchup"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// heldPages is a checkpoint made of the given pages.
type heldPages struct {
	seq      bft.SeqNum
	manifest []byte
	pages    [][]byte
	released int
}

func newHeld(seq bft.SeqNum, pages ...[]byte) *heldPages {
	m := catchup.Manifest{Seq: seq}
	for _, p := range pages {
		m.App = append(m.App, catchup.PageDigest(p))
	}
	return &heldPages{seq: seq, manifest: catchup.AppendManifest(nil, &m), pages: pages}
}

func (h *heldPages) Seq() bft.SeqNum             { return h.seq }
func (h *heldPages) Digest() bft.Digest          { return catchup.ManifestDigest(h.manifest) }
func (h *heldPages) Manifest() []byte            { return h.manifest }
func (h *heldPages) Pages() int                  { return len(h.pages) }
func (h *heldPages) Page(i int) []byte           { return h.pages[i] }
func (h *heldPages) PageDigest(i int) bft.Digest { return catchup.PageDigest(h.pages[i]) }
func (h *heldPages) Release()                    { h.released++ }

// exchange carries the frames of host kinds between a node and one that serves it, until both are quiet.
func exchange(fetches *world, serves *world, peer bft.ReplicaID) {
	for len(fetches.out.Frames) > 0 {
		frames := fetches.out.Frames
		fetches.out.Frames = nil
		for _, f := range frames {
			if f.To != peer {
				continue
			}
			serves.handle(serves.verify.Peer(2, wire.Kind(f.Bytes[4]), f.Bytes[wire.FrameHeaderBytes:], 0))
		}
		for _, f := range serves.out.Frames {
			fetches.handle(fetches.verify.Peer(peer, wire.Kind(f.Bytes[4]), f.Bytes[wire.FrameHeaderBytes:], 0))
		}
		serves.out.Frames = nil
	}
}

// A certified checkpoint is fetched from a peer and installed; what was pending is looked up
// again, commits go on behind it, and it is served to others.
func TestStateTransfer(t *testing.T) {
	serves, fetches := newWorld(t), newWorld(t)
	held := newHeld(8, []byte("one"), make([]byte, 200<<10), []byte("three"))
	serves.handle(Checkpoint{Held: held})
	if e, n := last[protocol.Executed](serves); n != 1 || e.Seq != 8 || e.Digest != held.Digest() {
		t.Fatalf("%d checkpoints reached the core", n)
	}
	fetches.become(0, 0)
	fetches.handle(Unexecuted{Request: fetches.decoded(0, 1, 0)})
	fetches.handle(Unexecuted{Request: fetches.decoded(1, 1, 0), Relay: true})
	fetches.out.Reset()
	fetches.effects(func(out *protocol.Effects) {
		out.CatchUp = &protocol.Target{Seq: 8, Digest: held.Digest(), Sources: bft.SetOf(3)}
	})
	if s := fetches.node.Status(); s.CatchUp.Target != 8 {
		t.Fatalf("target %d", s.CatchUp.Target)
	}
	exchange(fetches, serves, 3)
	got := fetches.out.Install
	if got == nil || got.Seq != 8 || len(got.Pages) != 3 || string(got.Pages[2]) != "three" {
		t.Fatalf("installs %+v", got)
	}
	own := newHeld(8, got.Pages...)
	fetches.handle(Installed{Held: own})
	if e, n := last[protocol.Installed](fetches); n != 1 || e.Seq != 8 || e.Digest != held.Digest() {
		t.Fatalf("%d installations reached the core", n)
	}
	if l := fetches.out.Lookup; len(l) != 2 || l[0].Relay || !l[1].Relay || fetches.node.Status().Pending != 0 {
		t.Fatalf("%d of 2 pending requests are looked up", len(l))
	}
	fetches.effects(func(out *protocol.Effects) {
		out.Commit = append(out.Commit, protocol.Committed{Seq: 9}, protocol.Committed{Seq: 10})
	})
	fetches.out.Reset()
	fetches.handle(PeerStateWant{From: 2, Want: wire.StateWant{Seq: 8, Item: 0}})
	f, err := wire.DecodeStateFragment(fetches.frames(2, wire.KindStateItem)[0])
	if err != nil || string(f.Bytes) != "one" {
		t.Fatalf("serves %q, %v", f.Bytes, err)
	}
	fetches.node.Close()
	if own.released != 1 {
		t.Fatalf("the checkpoint was released %d times", own.released)
	}
}

// Who gets to the target by executing needs no transfer; a lie and a want of nothing are counted.
func TestTransferEnds(t *testing.T) {
	w := newWorld(t)
	held := newHeld(8, []byte("page"))
	w.effects(func(out *protocol.Effects) {
		out.CatchUp = &protocol.Target{Seq: 8, Digest: held.Digest(), Sources: bft.SetOf(3)}
	})
	want, err := wire.DecodeStateWant(w.frames(3, wire.KindStateWant)[0])
	if err != nil {
		t.Fatal(err)
	}
	w.handle(PeerStateFragment{From: 3, Fragment: wire.StateFragment{Want: want, Total: 3, Bytes: []byte("lie")}})
	if w.node.Status().Rejections[3][protocol.ReasonBadState] != 1 {
		t.Fatal("a false manifest is not counted")
	}
	if _, ok := w.node.Deadline(); !ok {
		t.Fatal("nothing waits for the answer")
	}
	w.handle(Checkpoint{Held: held})
	if s := w.node.Status(); s.CatchUp.Target != 0 {
		t.Fatalf("still fetches %d", s.CatchUp.Target)
	}
	w.handle(PeerStateWant{From: 2, Want: wire.StateWant{Seq: 8, Item: 77}})
	if w.node.Status().Rejections[2][protocol.ReasonLimit] != 1 {
		t.Fatal("a want of a page that does not exist is not counted")
	}
}

// Who fetches a state does not know what is executed: it has nothing ordered and suspects nobody until the state
// is here, and then looks everything up anew.
func TestWhoFetchesRelaysNothing(t *testing.T) {
	for _, waits := range []bool{true, false} {
		serves, w := newWorld(t), newWorld(t)
		held := newHeld(8, []byte("page"))
		serves.handle(Checkpoint{Held: held})
		w.become(0, 0)
		r := w.decoded(0, 1, 0)
		w.effects(func(out *protocol.Effects) {
			out.CatchUp = &protocol.Target{Seq: 8, Digest: held.Digest(), Sources: bft.SetOf(3)}
		})
		w.handle(Unexecuted{Request: r})
		if waits {
			w.run(4 * testPatience)
		}
		for id := range bft.ReplicaID(4) {
			if n := len(w.frames(id, wire.KindRelay)); n > 0 {
				t.Errorf("%d RELAYs to %v", n, id)
			}
		}
		if s := w.node.Status(); s.Pending != 1 || s.Counts.Overdue != 0 {
			t.Fatalf("%d pending, %d suspicions", s.Pending, s.Counts.Overdue)
		}
		if waits {
			continue
		}
		exchange(w, serves, 3)
		if w.out.Install == nil {
			t.Fatal("the state did not come")
		}
		w.out.Reset()
		w.handle(Installed{Held: newHeld(8, []byte("page"))})
		if len(w.out.Lookup) != 1 {
			t.Fatalf("%d lookups after the state came", len(w.out.Lookup))
		}
		w.handle(Unexecuted{Request: r})
		if len(w.frames(0, wire.KindRelay)) != 1 {
			t.Fatal("the primary is not told when the state is here")
		}
	}
}
