package sig

import (
	"encoding/binary"
	"sync/atomic"

	voi "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
)

// expandedMax bounds the clients' keys that are kept with their multiples: 1.5 KiB each, so at
// most 768 KiB. A verification with such a key costs a quarter less, and whether an identifier is
// a key at all need not be found out for every request.
const expandedMax = 512

// keyCache is a direct-mapped cache of expanded Ed25519 keys. Clients that are busy find their
// key in it; two whose identifiers share a place only take turns. It is safe for concurrent use.
type keyCache struct {
	places [expandedMax]atomic.Pointer[cachedKey]
}

// cachedKey is an identifier and what it expands to; nil if it is no key.
type cachedKey struct {
	id       bft.ClientID
	expanded *voi.ExpandedPublicKey
}

// get returns the expanded key of id, or nil if id is no key.
func (c *keyCache) get(id bft.ClientID) *voi.ExpandedPublicKey {
	place := &c.places[binary.LittleEndian.Uint64(id[:])%expandedMax]
	if k := place.Load(); k != nil && (k.id == id || mutant.On("sig-key-of-another")) {
		return k.expanded
	}
	expanded, err := voi.NewExpandedPublicKey(id[:])
	if err != nil {
		expanded = nil
	}
	place.Store(&cachedKey{id: id, expanded: expanded})
	return expanded
}
