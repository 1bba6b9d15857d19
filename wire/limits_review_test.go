package wire_test

import (
	"bytes"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// TestBodyCountsThatAreNegativeInThirtyTwoBits gives counts with the highest bit set, which
// become negative where int has 32 bits: they are refused there too, and nobody panics. Run with
// GOARCH=386 to see it.
func TestBodyCountsThatAreNegativeInThirtyTwoBits(t *testing.T) {
	for _, count := range []uint32{1 << 31, 1<<32 - 1, 1<<31 + 1, 1<<32 - 64} {
		body := wire.AppendU32(wire.AppendU64(nil, 1), count)
		body = append(body, bytes.Repeat([]byte{0}, 200)...)
		if _, _, err := wire.DecodeBody(body); err == nil {
			t.Errorf("a body that announces %d requests decodes", count)
		}
	}
	for _, length := range []uint32{1 << 31, 1<<32 - 1} {
		r := wire.NewReader(append(wire.AppendU32(nil, length), 1, 2, 3))
		if b := r.Bytes(bft.StateItemBytesMax); b != nil || !r.Bad() {
			t.Errorf("a byte string that announces %d bytes reads as %d", length, len(b))
		}
	}
}
