package lying

import (
	"testing"

	"github.com/themis-bft/themis/auth/ideal"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/wire"
)

const (
	liarID = bft.ReplicaID(1)
	slot   = bft.SeqNum(64)
)

// room is four replicas that sign, one of which lies about its checkpoints.
type room struct {
	t     *testing.T
	codec *pbft.Codec
	keys  *ideal.Authority
	plan  *Plan
}

func newRoom(t *testing.T) *room {
	t.Helper()
	m := &bft.Membership{Protocol: "pbft", F: 1, CheckpointEvery: 64, Window: 256, InFlight: 4, Replicas: make([]bft.Replica, 4)}
	r := &room{t: t, codec: pbft.NewCodec(m), keys: ideal.New(1, m)}
	var err error
	if r.plan, err = New("false-checkpoint", liarID, r.codec, r.keys.Replica(liarID)); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *room) sign(m protocol.Signed) []byte {
	return r.keys.Replica(m.Signer()).Sign(nil, r.codec.AppendSigned(nil, m))
}

func (r *room) verifies(m protocol.Signed, sig []byte) bool {
	return r.keys.VerifyReplica(m.Signer(), r.codec.AppendSigned(nil, m), sig)
}

// sent is what leaves the liar in the place of m.
func (r *room) sent(m protocol.Message) (out protocol.Message) {
	r.t.Helper()
	frame := transport.Frame{Kind: uint8(m.Kind()), Payload: r.codec.Append(nil, m)}
	transport.Split(r.plan.lie(nil, 0, frame), bft.PeerFrameBytesMax, func(f transport.Frame) {
		var err error
		if out, err = r.codec.Decode(wire.Kind(f.Kind), f.Payload); err != nil {
			r.t.Fatalf("%T: what leaves cannot be read: %v", m, err)
		}
	})
	if out == nil {
		r.t.Fatalf("%T: nothing leaves", m)
	}
	return out
}

// proof is a checkpoint's, signed by three of which the liar is one if it shall.
func (r *room) proof(by ...bft.ReplicaID) pbft.Stable {
	s := pbft.Stable{Seq: slot, Digest: bft.Digest{1, 2, 3}}
	for _, id := range by {
		s.Endorse = append(s.Endorse, pbft.Endorsement{Replica: id, Sig: r.sign(&pbft.Checkpoint{Seq: s.Seq, Digest: s.Digest, Replica: id})})
	}
	return s
}

// judge checks who has signed what in a proof.
func (r *room) judge(what string, s *pbft.Stable) {
	r.t.Helper()
	if len(s.Endorse) != 3 {
		r.t.Errorf("%s: %d endorsements", what, len(s.Endorse))
	}
	for _, e := range s.Endorse {
		truth := r.verifies(&pbft.Checkpoint{Seq: s.Seq, Digest: s.Digest, Replica: e.Replica}, e.Sig)
		lie := r.verifies(&pbft.Checkpoint{Seq: s.Seq, Digest: falseDigest(s.Digest), Replica: e.Replica}, e.Sig)
		if truth != (e.Replica != liarID) || lie != (e.Replica == liarID) {
			r.t.Errorf("%s: %s signed the true digest %t, the false one %t", what, e.Replica, truth, lie)
		}
	}
}

// TestFalseCheckpoint: whoever signs a false checkpoint does so in every message that tells of it,
// validly, and changes nothing that others have signed.
func TestFalseCheckpoint(t *testing.T) {
	r := newRoom(t)
	own := &pbft.Checkpoint{Seq: slot, Digest: bft.Digest{1, 2, 3}, Replica: liarID}
	own.Sig = r.sign(own)
	c := r.sent(own).(*pbft.Checkpoint)
	if c.Digest != falseDigest(own.Digest) || !r.verifies(c, c.Sig) {
		t.Errorf("CHECKPOINT: %+v", c)
	}
	proof := r.proof(0, liarID, 2)
	r.judge("STABLE", r.sent(&proof).(*pbft.Stable))

	vc := &pbft.ViewChange{View: 1, Replica: liarID, Base: proof}
	vc.Sig = r.sign(vc)
	v := r.sent(vc).(*pbft.ViewChange)
	r.judge("VIEW-CHANGE", &v.Base)
	if !r.verifies(v, v.Sig) {
		t.Error("VIEW-CHANGE: not signed anew")
	}

	nv := &pbft.NewView{View: 1, Replica: liarID, Start: slot}
	for _, id := range []bft.ReplicaID{0, liarID, 2} {
		one := &pbft.ViewChange{View: 1, Replica: id, Base: r.proof(0, 2, 3)}
		if id == liarID {
			one.Base = proof
		}
		one.Sig = r.sign(one)
		nv.Set = append(nv.Set, one)
	}
	nv.Sig = r.sign(nv)
	n := r.sent(nv).(*pbft.NewView)
	if !r.verifies(n, n.Sig) {
		t.Error("NEW-VIEW: not signed anew")
	}
	for _, one := range n.Set {
		if !r.verifies(one, one.Sig) {
			t.Errorf("NEW-VIEW: the VIEW-CHANGE of %s is not signed by it", one.Replica)
		}
		if one.Replica == liarID {
			r.judge("NEW-VIEW", &one.Base)
		}
	}
}

// TestOthersAreLeftAlone: what the liar passes on of others, and has not signed, leaves as it is.
func TestOthersAreLeftAlone(t *testing.T) {
	r := newRoom(t)
	proof := r.proof(0, 2, 3)
	other := &pbft.ViewChange{View: 1, Replica: 2, Base: r.proof(0, liarID, 2)}
	other.Sig = r.sign(other)
	foreign := &pbft.Checkpoint{Seq: slot, Digest: bft.Digest{9}, Replica: 3}
	foreign.Sig = r.sign(foreign)
	for _, m := range []protocol.Message{&proof, other, foreign} {
		if got, want := string(r.codec.Append(nil, r.sent(m))), string(r.codec.Append(nil, m)); got != want {
			t.Errorf("%T was changed", m)
		}
	}
}
