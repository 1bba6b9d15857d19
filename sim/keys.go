package sim

import (
	"crypto/ed25519"
	"crypto/x509"
	"fmt"

	"github.com/themis-bft/themis/auth"
	"github.com/themis-bft/themis/auth/ideal"
	"github.com/themis-bft/themis/auth/sig"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/sim/rng"
)

// keyring holds the keys of everybody in a run and enters them into the membership.
type keyring struct {
	verifier counted
	replicas []auth.Signer
	clients  []auth.Signer
	ids      []bft.ClientID
	refused  uint64 // tags that verifier refused
}

// counter is the verifier of one process, which counts the signatures of clients that it is given.
type counter struct {
	auth.Verifier
	clients int
}

// VerifyClient counts one.
func (c *counter) VerifyClient(id bft.ClientID, msg, sig []byte) bool {
	c.clients++
	return c.Verifier.VerifyClient(id, msg, sig)
}

// VerifyClients counts all.
func (c *counter) VerifyClients(items []auth.Item, ok []bool) bool {
	c.clients += len(items)
	return c.Verifier.VerifyClients(items, ok)
}

// newKeyring makes keys: Ed25519 ones in some runs, ideal ones in the others.
func newKeyring(s *swarm, clients int, r *rng.Source) *keyring {
	if s.realKeys {
		return realKeyring(s, clients, r)
	}
	k := &keyring{}
	m := &s.membership
	for i := range m.Replicas {
		m.Replicas[i].Key = []byte{byte(i)}
	}
	for range clients {
		var id bft.ClientID
		r.Fill(id[:])
		k.ids = append(k.ids, id)
		m.Clients = append(m.Clients, bft.ClientKey{ID: id})
	}
	authority := ideal.New(r.Uint64(), m)
	k.verifier = counted{Verifier: authority, refused: &k.refused}
	for i := range m.Replicas {
		k.replicas = append(k.replicas, authority.Replica(bft.ReplicaID(i)))
	}
	for _, id := range k.ids {
		k.clients = append(k.clients, authority.Client(id))
	}
	return k
}

func realKeyring(s *swarm, clients int, r *rng.Source) *keyring {
	k := &keyring{}
	m := &s.membership
	for i := range m.Replicas {
		pub, signer := realKey(r)
		m.Replicas[i].Key = pub
		k.replicas = append(k.replicas, signer)
	}
	for range clients {
		pub, signer := realKey(r)
		id, err := sig.ClientIDOf(pub)
		if err != nil {
			panic(fmt.Sprintf("sim: a fresh key has no identifier: %v", err))
		}
		m.Clients = append(m.Clients, bft.ClientKey{ID: id, Key: pub})
		k.ids = append(k.ids, id)
		k.clients = append(k.clients, signer)
	}
	v, err := sig.New(m)
	if err != nil {
		panic(fmt.Sprintf("sim: membership of fresh keys: %v", err))
	}
	k.verifier = counted{Verifier: v, refused: &k.refused}
	return k
}

// holds verifies a client's tag without counting.
func (k *keyring) holds(id bft.ClientID, msg, sig []byte) bool {
	return k.verifier.Verifier.VerifyClient(id, msg, sig)
}

func realKey(r *rng.Source) ([]byte, auth.Signer) {
	seed := make([]byte, ed25519.SeedSize)
	r.Fill(seed)
	key := ed25519.NewKeyFromSeed(seed)
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(fmt.Sprintf("sim: public key of a fresh key: %v", err))
	}
	signer, err := sig.NewSigner(key)
	if err != nil {
		panic(fmt.Sprintf("sim: signer of a fresh key: %v", err))
	}
	return pub, signer
}
