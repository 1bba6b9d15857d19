// Package authtest is the conformance suite of package auth: any authenticator runs it in one
// line. It owns nothing, is called from tests only, and never looks behind the contract.
package authtest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/themis-bft/themis/auth"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// Client is a client with its signer.
type Client struct {
	ID     bft.ClientID
	Signer auth.Signer
	Listed bool
}

// World is one cluster as its authenticator sees it.
type World struct {
	Verifier  auth.Verifier
	Replicas  []auth.Signer // of all members, by number; at least two
	Clients   []Client      // admitted; at least two
	Strangers []Client      // not admitted; at least one unless the cluster is open
}

// Run checks that w keeps the contract of package auth.
func Run(t *testing.T, w World) {
	if w.Verifier == nil || len(w.Replicas) < 2 || len(w.Clients) < 2 {
		t.Fatalf("authtest: want a verifier, two replicas and two clients, got %d and %d", len(w.Replicas), len(w.Clients))
	}
	t.Run("round trip", w.roundTrip)
	t.Run("sign appends", w.signAppends)
	t.Run("wrong sender", w.wrongSender)
	t.Run("wrong domain tag", w.wrongDomain)
	t.Run("bit flips", w.bitFlips)
	t.Run("length of signature", w.signatureLength)
	t.Run("batch", w.batch)
	t.Run("unknown identities", w.unknown)
	t.Run("admits", w.admits)
}

var domain = wire.Domain{Protocol: "client", Cluster: bft.ClusterID{1, 2, 3}, Epoch: 4}

func message(d wire.Domain, k wire.Kind, id bft.ReplicaID) []byte {
	return append(d.AppendReplicaTag(nil, k, id), "a message of some length, longer than a block of sixty-four bytes"...)
}

func (w World) roundTrip(t *testing.T) {
	for _, msg := range [][]byte{nil, {0}, []byte("short"), message(domain, 32, 0), bytes.Repeat([]byte{7}, 5000)} {
		for i, s := range w.Replicas {
			if !w.Verifier.VerifyReplica(bft.ReplicaID(i), msg, s.Sign(nil, msg)) {
				t.Errorf("replica %d: own signature of %d bytes does not verify", i, len(msg))
			}
		}
		for i, c := range w.Clients {
			if !w.Verifier.VerifyClient(c.ID, msg, c.Signer.Sign(nil, msg)) {
				t.Errorf("client %d: own signature of %d bytes does not verify", i, len(msg))
			}
		}
	}
}

func (w World) signAppends(t *testing.T) {
	msg, prefix := message(domain, 32, 0), []byte("prefix")
	out := w.Replicas[0].Sign(bytes.Clone(prefix), msg)
	if !bytes.HasPrefix(out, prefix) {
		t.Fatalf("Sign must append to dst, but it begins with %q", out[:min(len(out), len(prefix))])
	}
	if !w.Verifier.VerifyReplica(0, msg, out[len(prefix):]) {
		t.Error("what Sign appended does not verify")
	}
	if n := len(out) - len(prefix); n > bft.SignatureBytesMax {
		t.Errorf("a signature of %d bytes is longer than bft.SignatureBytesMax", n)
	}
}

func (w World) wrongSender(t *testing.T) {
	msg := message(domain, 32, 0)
	byReplica, byClient := w.Replicas[0].Sign(nil, msg), w.Clients[0].Signer.Sign(nil, msg)
	for i := range w.Replicas {
		if i != 0 && w.Verifier.VerifyReplica(bft.ReplicaID(i), msg, byReplica) {
			t.Errorf("replica 0's signature verifies as replica %d's", i)
		}
		if w.Verifier.VerifyReplica(bft.ReplicaID(i), msg, byClient) {
			t.Errorf("a client's signature verifies as replica %d's", i)
		}
	}
	for i, c := range w.Clients {
		if i != 0 && w.Verifier.VerifyClient(c.ID, msg, byClient) {
			t.Errorf("client 0's signature verifies as client %d's", i)
		}
		if w.Verifier.VerifyClient(c.ID, msg, byReplica) {
			t.Errorf("a replica's signature verifies as client %d's", i)
		}
	}
}

func (w World) wrongDomain(t *testing.T) {
	sig := w.Replicas[0].Sign(nil, message(domain, 32, 0))
	other := map[string][]byte{
		"protocol": message(wire.Domain{Protocol: "clienu", Cluster: domain.Cluster, Epoch: domain.Epoch}, 32, 0),
		"cluster":  message(wire.Domain{Protocol: domain.Protocol, Epoch: domain.Epoch}, 32, 0),
		"epoch":    message(wire.Domain{Protocol: domain.Protocol, Cluster: domain.Cluster, Epoch: 5}, 32, 0),
		"kind":     message(domain, 33, 0),
		"sender":   message(domain, 32, 1),
	}
	for what, msg := range other {
		if w.Verifier.VerifyReplica(0, msg, sig) {
			t.Errorf("a signature verifies under another %s", what)
		}
	}
}

func (w World) bitFlips(t *testing.T) {
	c, msg := w.Clients[0], message(domain, 2, 0)
	byReplica, byClient := w.Replicas[0].Sign(nil, msg), c.Signer.Sign(nil, msg)
	check := func(what string, msg, byReplica, byClient []byte) {
		if w.Verifier.VerifyReplica(0, msg, byReplica) {
			t.Errorf("%s: the replica's signature still verifies", what)
		}
		if w.Verifier.VerifyClient(c.ID, msg, byClient) {
			t.Errorf("%s: the client's signature still verifies", what)
		}
	}
	for bit := 0; bit < 8*len(msg); bit += 3 {
		check(fmt.Sprintf("bit %d of the message", bit), flip(msg, bit), byReplica, byClient)
	}
	for bit := range 8 * len(byReplica) {
		check(fmt.Sprintf("bit %d of the signature", bit), msg, flip(byReplica, bit), flip(byClient, bit%(8*len(byClient))))
	}
}

func flip(b []byte, bit int) []byte {
	out := bytes.Clone(b)
	out[bit/8] ^= 1 << (bit % 8)
	return out
}

func (w World) signatureLength(t *testing.T) {
	c, msg := w.Clients[0], message(domain, 2, 0)
	byReplica, byClient := w.Replicas[0].Sign(nil, msg), c.Signer.Sign(nil, msg)
	variants := func(s []byte) [][]byte {
		return [][]byte{nil, {}, s[:1], s[:len(s)-1], s[1:], append(bytes.Clone(s), 0), append([]byte{0}, s...), append(bytes.Clone(s), s...)}
	}
	for i, s := range variants(byReplica) {
		if w.Verifier.VerifyReplica(0, msg, s) {
			t.Errorf("variant %d: a replica's signature of %d bytes instead of %d verifies", i, len(s), len(byReplica))
		}
	}
	for i, s := range variants(byClient) {
		if w.Verifier.VerifyClient(c.ID, msg, s) {
			t.Errorf("variant %d: a client's signature of %d bytes instead of %d verifies", i, len(s), len(byClient))
		}
	}
}

// batch checks every size around the point where implementations switch to a batch, with one
// bad item at every place, and with two.
func (w World) batch(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 4, 5, 9, 70} {
		items := make([]auth.Item, n)
		for i := range items {
			c := w.Clients[i%len(w.Clients)]
			msg := append(message(domain, 2, 0), byte(i))
			items[i] = auth.Item{Client: c.ID, Msg: msg, Sig: c.Signer.Sign(nil, msg)}
		}
		w.expect(t, items, -1, -1)
		step := 1 + n/8
		for bad := 0; bad < n; bad += step {
			good := items[bad]
			items[bad].Sig = flip(good.Sig, 8*(bad%len(good.Sig)))
			w.expect(t, items, bad, -1)
			items[bad].Sig = nil
			w.expect(t, items, bad, -1)
			items[bad] = good
			items[bad].Client = bft.ClientID{0xff, 0xee, byte(bad)}
			w.expect(t, items, bad, -1)
			if n > 1 {
				second := (bad + 1) % n
				kept := items[second]
				items[second].Msg = flip(kept.Msg, 0)
				w.expect(t, items, bad, second)
				items[second] = kept
			}
			items[bad] = good
		}
	}
}

// expect verifies items of which those at a and b are bad.
func (w World) expect(t *testing.T, items []auth.Item, a, b int) {
	t.Helper()
	for _, before := range []bool{false, true} {
		ok := make([]bool, len(items))
		for i := range ok {
			ok[i] = before // VerifyClients must write every place
		}
		if all := w.Verifier.VerifyClients(items, ok); all != (a < 0 && b < 0) {
			t.Errorf("%d items, bad at %d and %d: VerifyClients returned %v", len(items), a, b, all)
		}
		for i := range ok {
			if want := i != a && i != b; ok[i] != want {
				t.Errorf("%d items, bad at %d and %d: ok[%d] is %v", len(items), a, b, i, ok[i])
			}
			if single := w.Verifier.VerifyClient(items[i].Client, items[i].Msg, items[i].Sig); single != ok[i] {
				t.Errorf("%d items: item %d is %v in the batch and %v alone", len(items), i, ok[i], single)
			}
		}
	}
}

func (w World) unknown(t *testing.T) {
	msg := message(domain, 32, 0)
	sig := w.Replicas[0].Sign(nil, msg)
	for _, id := range []bft.ReplicaID{bft.ReplicaID(len(w.Replicas)), 63, 64, 65535} {
		if w.Verifier.VerifyReplica(id, msg, sig) {
			t.Errorf("%s is no member of %d, yet its signature verifies", id, len(w.Replicas))
		}
	}
	for i, c := range w.Strangers {
		if w.Verifier.VerifyClient(c.ID, msg, c.Signer.Sign(nil, msg)) {
			t.Errorf("stranger %d is neither listed nor admitted, yet its signature verifies", i)
		}
	}
}

func (w World) admits(t *testing.T) {
	for i, c := range w.Clients {
		if admitted, listed := w.Verifier.Admits(c.ID); !admitted || listed != c.Listed {
			t.Errorf("client %d: admitted %v, listed %v; want true, %v", i, admitted, listed, c.Listed)
		}
	}
	for i, c := range w.Strangers {
		if admitted, listed := w.Verifier.Admits(c.ID); admitted || listed {
			t.Errorf("stranger %d: admitted %v, listed %v; want neither", i, admitted, listed)
		}
	}
}
