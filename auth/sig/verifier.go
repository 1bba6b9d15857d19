package sig

import (
	"fmt"

	"github.com/themis-bft/themis/auth"
	"github.com/themis-bft/themis/bft"
)

// Verifier verifies the members of one cluster. It implements auth.Verifier.
type Verifier struct {
	replicas []publicKey
	listed   map[bft.ClientID]publicKey // nil value: Ed25519, verified from the identifier
	open     bool
	keys     *keyCache
}

var _ auth.Verifier = (*Verifier)(nil)

// New returns the verifier of m. A replica's key must be of m's scheme and its own; a listed
// client's scheme is that of its key. In an open cluster every other identifier is taken as an
// Ed25519 key. The error names the member that is at fault.
func New(m *bft.Membership) (*Verifier, error) {
	v := &Verifier{listed: make(map[bft.ClientID]publicKey, len(m.Clients)), open: m.Open, keys: &keyCache{}}
	seen := make(map[bft.ClientID]int, len(m.Replicas))
	for i, r := range m.Replicas {
		p, err := parsePublic(r.Key)
		if err != nil {
			return nil, fmt.Errorf("replica %d: %w", i, err)
		}
		if p.scheme != m.Scheme {
			return nil, fmt.Errorf("replica %d: %w: %s in a cluster of %s", i, ErrKey, p.scheme, m.Scheme)
		}
		if j, dup := seen[p.id]; dup {
			return nil, fmt.Errorf("replica %d: %w: same key as replica %d", i, ErrKey, j)
		}
		seen[p.id] = i
		v.replicas = append(v.replicas, p.key)
	}
	for i, c := range m.Clients {
		p, err := parsePublic(c.Key)
		if err != nil {
			return nil, fmt.Errorf("client %d (%s): %w", i, c.ID, err)
		}
		if p.id != c.ID {
			return nil, fmt.Errorf("client %d: %w: it is %s, listed as %s", i, ErrKey, p.id, c.ID)
		}
		if _, dup := v.listed[c.ID]; dup {
			return nil, fmt.Errorf("client %d: %w: %s is listed twice", i, ErrKey, c.ID)
		}
		if p.scheme == Ed25519 {
			p.key = nil // the table of multiples is not worth its memory for each of many clients
		}
		v.listed[c.ID] = p.key
	}
	return v, nil
}

// VerifyReplica reports whether sig is replica id's signature of msg.
func (v *Verifier) VerifyReplica(id bft.ReplicaID, msg, sig []byte) bool {
	return int(id) < len(v.replicas) && v.replicas[id].verify(msg, sig)
}

// VerifyClient reports whether sig is the client's signature of msg.
func (v *Verifier) VerifyClient(id bft.ClientID, msg, sig []byte) bool {
	key, listed := v.listed[id]
	switch {
	case key != nil:
		return key.verify(msg, sig)
	case listed || v.open:
		return v.keys.edVerify(id, msg, sig)
	}
	return false
}

// VerifyClients verifies many at once, those of Ed25519 as one batch.
func (v *Verifier) VerifyClients(items []auth.Item, ok []bool) bool {
	all := true
	var few [64]int
	batch := few[:0]
	for i := range items {
		it := &items[i]
		key, listed := v.listed[it.Client]
		if key == nil && (listed || v.open) {
			batch = append(batch, i)
			continue
		}
		ok[i] = key != nil && key.verify(it.Msg, it.Sig)
		all = all && ok[i]
	}
	return v.keys.edVerifyMany(items, batch, ok) && all
}

// Admits reports whether a client may open a session.
func (v *Verifier) Admits(id bft.ClientID) (admitted, listed bool) {
	if _, listed = v.listed[id]; listed {
		return true, true
	}
	return v.open && v.keys.get(id) != nil, false
}
