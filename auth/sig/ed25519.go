package sig

import (
	"fmt"

	voi "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"

	"github.com/themis-bft/themis/auth"
	"github.com/themis-bft/themis/bft"
)

// zip215 is the only set of options with which this package verifies Ed25519. The library's
// default accepts a smaller set, and a single and a batch verification that disagree would let
// replicas disagree about a request.
var zip215 = &voi.Options{Verify: voi.VerifyOptionsZIP_215}

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
func edVerify(id bft.ClientID, msg, sig []byte) bool {
	return voi.VerifyWithOptions(id[:], msg, sig, zip215)
}

// isEdKey reports whether id is the encoding of a point, so that it can be somebody's key.
func isEdKey(id bft.ClientID) bool {
	_, err := voi.NewExpandedPublicKey(id[:])
	return err == nil
}

// edVerifyMany verifies the items at the given positions and reports in ok which are good.
func edVerifyMany(items []auth.Item, at []int, ok []bool) bool {
	all := true
	if len(at) < batchItemsMin {
		for _, i := range at {
			ok[i] = edVerify(items[i].Client, items[i].Msg, items[i].Sig)
			all = all && ok[i]
		}
		return all
	}
	batch := voi.NewBatchVerifierWithCapacity(len(at))
	for _, i := range at {
		batch.AddWithOptions(items[i].Client[:], items[i].Msg, items[i].Sig, zip215)
	}
	all, each := batch.Verify(nil)
	for j, i := range at {
		ok[i] = each[j]
	}
	return all
}
