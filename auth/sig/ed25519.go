package sig

import (
	"fmt"

	voi "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"

	"github.com/themis-bft/themis/auth"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
)

// zip215 is the only set of options with which this package verifies Ed25519. The library's
// default accepts a smaller set, and a single and a batch verification that disagree would let
// replicas disagree about a request.
var zip215 = options()

func options() *voi.Options {
	if mutant.On("sig-another-rule") {
		return &voi.Options{Verify: voi.VerifyOptionsDefault}
	}
	return &voi.Options{Verify: voi.VerifyOptionsZIP_215}
}

// batchItemsMin is where a batch begins to be cheaper than its parts.
const batchItemsMin = 4

// edKey is a key whose multiples are precomputed (about 1.5 KiB), for those used again and again.
type edKey struct{ expanded *voi.ExpandedPublicKey }

func newEdKey(id bft.ClientID) (publicKey, error) {
	k, err := voi.NewExpandedPublicKey(id[:])
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrKey, err)
	}
	return edKey{k}, nil
}

func (k edKey) verify(msg, sig []byte) bool {
	return voi.VerifyExpandedWithOptions(k.expanded, msg, sig, zip215)
}

// edVerify verifies with a client's identifier, which is its key.
func (c *keyCache) edVerify(id bft.ClientID, msg, sig []byte) bool {
	k := c.get(id)
	return k != nil && voi.VerifyExpandedWithOptions(k, msg, sig, zip215)
}

// edVerifyMany verifies the items at the given positions and reports in ok which are good.
func (c *keyCache) edVerifyMany(items []auth.Item, at []int, ok []bool) bool {
	all := true
	if len(at) < batchItemsMin {
		for _, i := range at {
			ok[i] = c.edVerify(items[i].Client, items[i].Msg, items[i].Sig)
			all = all && ok[i]
		}
		return all
	}
	batch := voi.NewBatchVerifierWithCapacity(len(at))
	for _, i := range at {
		if k := c.get(items[i].Client); k != nil && mutant.On("sig-batch-by-another-rule") {
			batch.AddExpanded(k, items[i].Msg, items[i].Sig)
		} else if k != nil {
			batch.AddExpandedWithOptions(k, items[i].Msg, items[i].Sig, zip215)
		} else {
			batch.AddWithOptions(items[i].Client[:], items[i].Msg, items[i].Sig, zip215) // no key: it fails there
		}
	}
	all, each := batch.Verify(nil)
	for j, i := range at {
		ok[i] = each[j]
	}
	return all
}
