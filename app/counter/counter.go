// Package counter is the smallest useful application: one number that clients add to. It owns
// that number and shows how app.Simple makes a replicated application of three functions. The
// machine is called from the execute stage and never fails: what is no operation is answered
// with an empty result.
package counter

import (
	"encoding/binary"
	"errors"

	"github.com/themis-bft/themis/app"
)

// Operations are one byte, of an addition followed by the summand.
const (
	opGet byte = 1
	opAdd byte = 2
)

// Errors of ParseResult and Restore.
var (
	// ErrResult: the bytes are no result of a counter; the operation was malformed.
	ErrResult = errors.New("counter: not a result of the counter")
	errState  = errors.New("counter: not the state of a counter")
)

// New returns a counter at 0.
func New() app.Machine {
	var n uint64
	return app.Simple{
		Do: func(_ app.Call, op []byte) []byte {
			switch {
			case len(op) == 1 && op[0] == opGet:
			case len(op) == 9 && op[0] == opAdd:
				n += binary.LittleEndian.Uint64(op[1:])
			default:
				return nil
			}
			return binary.LittleEndian.AppendUint64(nil, n)
		},
		Save: func() []byte { return binary.LittleEndian.AppendUint64(nil, n) },
		Load: func(state []byte) error {
			if len(state) != 8 {
				return errState
			}
			n = binary.LittleEndian.Uint64(state)
			return nil
		},
	}.Machine()
}

// Get returns the operation that reads the number.
func Get() []byte { return []byte{opGet} }

// Add returns the operation that adds n, modulo 2^64, and reads the sum.
func Add(n uint64) []byte { return binary.LittleEndian.AppendUint64([]byte{opAdd}, n) }

// ParseResult returns the number that a result carries.
func ParseResult(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, ErrResult
	}
	return binary.LittleEndian.Uint64(b), nil
}
