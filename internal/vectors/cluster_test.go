package vectors

import (
	"bytes"
	"testing"

	"github.com/themis-bft/themis/auth/sig"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/wire"
)

// The cluster of the vectors: four replicas and a listed client, whose keys have seeds that
// anybody can write down.
const (
	replicaSeed  = 0x10 // of replica i: 32 bytes of this plus i
	listedSeed   = 0xa1
	unlistedSeed = 0xb2
)

// world is that cluster with its keys, codec and verifier.
type world struct {
	m        *bft.Membership
	codec    *pbft.Codec
	verifier *sig.Verifier
	replicas []*keys.Key
	listed   *keys.Key
	unlisted *keys.Key
}

func seed(b byte) (s [32]byte) {
	copy(s[:], bytes.Repeat([]byte{b}, len(s)))
	return s
}

func keyOf(t *testing.T, b byte) *keys.Key {
	t.Helper()
	k, err := keys.FromSeed(seed(b))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{listed: keyOf(t, listedSeed), unlisted: keyOf(t, unlistedSeed)}
	w.m = &bft.Membership{
		Epoch: 3, Protocol: "pbft", App: "kv", F: 1, Scheme: "ed25519", Open: true,
		CheckpointEvery: 4, Window: 8, InFlight: 2, BatchCount: 256, BatchBytes: 128 << 10, Sessions: 1024, TimeSkew: 10 * bft.Second,
		Clients: []bft.ClientKey{{ID: w.listed.ClientID(), Key: w.listed.PublicDER()}},
	}
	for i := range w.m.Cluster {
		w.m.Cluster[i] = byte(0xc0 + i)
	}
	for i := range 4 {
		k := keyOf(t, replicaSeed+byte(i))
		w.replicas = append(w.replicas, k)
		w.m.Replicas = append(w.m.Replicas, bft.Replica{Key: k.PublicDER()})
	}
	w.codec = pbft.NewCodec(w.m)
	v, err := sig.New(w.m)
	if err != nil {
		t.Fatal(err)
	}
	w.verifier = v
	return w
}

// sign returns m with the signature of its signer.
func sign[M protocol.Signed](w *world, m M) M {
	s := w.replicas[m.Signer()].Signer().Sign(nil, w.codec.AppendSigned(nil, m))
	return m.WithSignature(s).(M)
}

// request returns r of the given client, signed.
func (w *world) request(k *keys.Key, r wire.Request) wire.Request {
	r.Client = k.ClientID()
	r.Sig = k.Signer().Sign(nil, r.AppendSigned(nil, wire.ClientDomain(w.m)))
	r.Raw = r.Append(nil)
	return r
}

// proof is a stable proof of slot n by these replicas.
func (w *world) proof(n bft.SeqNum, d bft.Digest, ids ...bft.ReplicaID) pbft.Stable {
	s := pbft.Stable{Seq: n, Digest: d}
	for _, id := range ids {
		k := sign(w, &pbft.Checkpoint{Seq: n, Digest: d, Replica: id})
		s.Endorse = append(s.Endorse, pbft.Endorsement{Replica: id, Sig: k.Sig})
	}
	return s
}

func (w *world) viewChange(id bft.ReplicaID, v bft.View, base pbft.Stable, p, q []pbft.Claim) *pbft.ViewChange {
	return sign(w, &pbft.ViewChange{View: v, Replica: id, Base: base, P: p, Q: q})
}

// body is a batch of one small request.
func (w *world) body() []byte {
	r := w.request(w.listed, wire.Request{Session: 1, First: 1, Done: 1, Answer: 0b0111, Ops: [][]byte{{1, 1, 0, 0, 0, 'k'}}})
	return wire.AppendBody(nil, 1_700_000_000_000_000_000, [][]byte{r.Raw})
}
