// Package alloctest bounds what a call allocates, for tests of code that reads bytes of others:
// no length that an input merely states may become memory.
package alloctest

import (
	"runtime/metrics"
	"testing"
)

// slack is what goes unnoticed: the runtime counts small objects a span at a time, and the
// fuzzer's own goroutines allocate too.
const slack = 128 << 10

// tries is how often a call is repeated before its allocations are believed.
const tries = 5

// Reader runs f, which reads an input of length bytes of a kind that is at most limit bytes long,
// and fails if it allocates more than eight times the input, or twice the limit: parsed, an input
// may be larger than its encoding (a slice header for an empty operation), but never by what it
// only claims. f must be repeatable.
func Reader(t testing.TB, length, limit int, f func()) {
	t.Helper()
	allowed := uint64(min(8*length, 2*limit)) + slack
	least := ^uint64(0)
	for range tries {
		before := allocated()
		f()
		if least = min(least, allocated()-before); least <= allowed {
			return
		}
	}
	t.Fatalf("reading %d bytes allocates %d, allowed are %d", length, least, allowed)
}

// allocated is how many bytes this process has allocated so far.
func allocated() uint64 {
	sample := [1]metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample[:])
	return sample[0].Value.Uint64()
}
