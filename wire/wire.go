// Package wire turns what travels between replicas and clients into bytes and back:
// frames, requests, batches, replies. Every encoding is canonical (decode∘encode is the
// identity, or the bytes are rejected), versioned, and bounded before anything is allocated.
// Integers are little endian. docs/wire.md is the same in prose, byte by byte.
//
// The package owns nothing and is safe from any goroutine. Decoded values alias the bytes
// they were decoded from; who keeps them longer than those bytes must copy. Messages of a
// protocol live with the protocol; here are only the primitives for them.
package wire

import (
	"encoding/binary"
	"errors"

	"github.com/themis-bft/themis/internal/mutant"
)

// Version is the version of the wire format. Peers of another version are refused in HELLO.
const Version = 1

// ErrMalformed is returned for every byte string that is not the canonical encoding of a
// value: truncated, too long, over a limit, trailing bytes. The sender is at fault.
var ErrMalformed = errors.New("wire: malformed")

// Reader parses primitives from the front of a byte string. The first failure sticks: all
// later reads return zero values and Close reports ErrMalformed.
type Reader struct {
	rest []byte
	bad  bool
}

// NewReader returns a Reader of b. Byte slices it returns alias b.
func NewReader(b []byte) *Reader { return &Reader{rest: b} }

func (r *Reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.rest) {
		r.bad = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// U8 reads one byte.
func (r *Reader) U8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// U16 reads two bytes.
func (r *Reader) U16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

// U32 reads four bytes.
func (r *Reader) U32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// U64 reads eight bytes.
func (r *Reader) U64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// Array32 reads 32 bytes: a digest or a client.
func (r *Reader) Array32() (a [32]byte) {
	copy(a[:], r.take(32))
	return a
}

// Array16 reads 16 bytes: a cluster.
func (r *Reader) Array16() (a [16]byte) {
	copy(a[:], r.take(16))
	return a
}

// Bytes reads a four-byte length of at most limit and as many bytes.
func (r *Reader) Bytes(limit int) []byte {
	n := r.U32()
	if uint64(n) > uint64(limit) {
		r.bad = true
		return nil
	}
	return r.take(int(n))
}

// Bool reads one byte that must be 0 or 1.
func (r *Reader) Bool() bool {
	b := r.U8()
	if b > 1 {
		r.bad = true
	}
	return b == 1
}

// Count reads a two-byte count and fails when it exceeds limit, or when that many items of
// at least itemBytesMin bytes cannot follow. Allocation after Count is therefore bounded by
// the input.
func (r *Reader) Count(limit, itemBytesMin int) int {
	n := int(r.U16())
	if n > limit || n*itemBytesMin > len(r.rest) && !mutant.On("wire-count-not-bounded") {
		r.bad = true
		return 0
	}
	return n
}

// Rest returns what was not read yet and consumes it.
func (r *Reader) Rest() []byte { return r.take(len(r.rest)) }

// Take reads n bytes.
func (r *Reader) Take(n int) []byte { return r.take(n) }

// Len is the number of bytes not read yet.
func (r *Reader) Len() int { return len(r.rest) }

// Fail marks the input as malformed, for rules the primitives do not know.
func (r *Reader) Fail() { r.bad = true }

// Bad reports whether a read failed so far.
func (r *Reader) Bad() bool { return r.bad }

// Close returns ErrMalformed if a read failed or bytes are left over.
func (r *Reader) Close() error {
	if r.bad || len(r.rest) != 0 {
		return ErrMalformed
	}
	return nil
}

// AppendU8 and the following append what Reader reads.
func AppendU8(b []byte, v uint8) []byte { return append(b, v) }

// AppendU16 appends two bytes.
func AppendU16(b []byte, v uint16) []byte { return binary.LittleEndian.AppendUint16(b, v) }

// AppendU32 appends four bytes.
func AppendU32(b []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(b, v) }

// AppendU64 appends eight bytes.
func AppendU64(b []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(b, v) }

// AppendBool appends one byte, 0 or 1.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// AppendBytes appends a four-byte length and the bytes.
func AppendBytes(b, v []byte) []byte { return append(AppendU32(b, uint32(len(v))), v...) }
