package replica_test

import (
	"testing"

	"github.com/themis-bft/themis/internal/lying"
	"github.com/themis-bft/themis/replica"
)

// TestLiar runs the cluster with every kind of liar as the first primary: what clients are told
// stays right, and the correct replicas agree.
func TestLiar(t *testing.T) {
	for _, how := range lying.Ways() {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 4, 1)
			c.wrap = func(i int, o *replica.Options) {
				if i != 0 {
					return
				}
				p, err := lying.New(how, o.Self, o.Family.Codec(o.Membership), o.Signer)
				must(t, err)
				o.Transport, o.Machine = p.Transport(o.Transport), p.Machine(o.Machine)
			}
			c.startAll()
			cl := c.client()
			const ops = 20
			for i := uint64(1); i <= ops; i++ {
				if got := add(t, cl, 1); got != i {
					t.Fatalf("sum %d after %d operations", got, i)
				}
			}
			eventually(t, "the correct replicas make one checkpoint stable", func() bool {
				a, b, d := c.status(1), c.status(2), c.status(3)
				if a.Stable < 16 {
					add(t, cl, 0)
				}
				return a.Stable >= 16 && a.Stable == b.Stable && b.Stable == d.Stable &&
					a.StateDigest == b.StateDigest && b.StateDigest == d.StateDigest
			})
		})
	}
}
