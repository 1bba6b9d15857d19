package sig

import (
	"crypto/ed25519"
	"strconv"
	"testing"

	"github.com/themis-bft/themis/auth"
	"github.com/themis-bft/themis/bft"
)

// BenchmarkVerifyClients shows what a batch saves; batchItemsMin follows from it.
func BenchmarkVerifyClients(b *testing.B) {
	for _, n := range []int{1, 2, 4, 8, 32, 128} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			v, items, ok := &Verifier{open: true, keys: &keyCache{}}, make([]auth.Item, n), make([]bool, n)
			for i := range items {
				k := ed25519.NewKeyFromSeed(append([]byte{byte(i)}, make([]byte, 31)...))
				msg := append(make([]byte, 200), byte(i))
				items[i] = auth.Item{Client: bft.ClientID(k.Public().(ed25519.PublicKey)), Msg: msg, Sig: ed25519.Sign(k, msg)}
			}
			b.ReportAllocs()
			for b.Loop() {
				if !v.VerifyClients(items, ok) {
					b.Fatal("a good batch does not verify")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/item")
		})
	}
}
