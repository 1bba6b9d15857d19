// Package bench is the application of the benchmarks: operations of a given size, replies of a
// given size, and next to no work. It owns a count and a rolling checksum over all operations,
// so that a replica that loses, repeats or reorders one has another checkpoint. The machine is
// called from the execute stage and never fails.
package bench

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/bft"
)

// OpBytesMin is the smallest operation: it holds the wanted size of the reply.
const OpBytesMin = 4

// errState says that the bytes are no state of this application.
var errState = errors.New("bench: not the state of the benchmark application")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// New returns the application with nothing executed.
func New() app.Machine {
	var count uint64
	var sum uint32
	return app.Simple{
		Do: func(_ app.Call, op []byte) []byte {
			count++
			sum = crc32.Update(sum, castagnoli, op)
			if len(op) < OpBytesMin {
				return nil
			}
			reply := make([]byte, min(binary.LittleEndian.Uint32(op), bft.ResultBytesMax))
			var head [12]byte
			binary.LittleEndian.PutUint64(head[:], count)
			binary.LittleEndian.PutUint32(head[8:], sum)
			copy(reply, head[:])
			return reply
		},
		Save: func() []byte {
			return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(nil, count), sum)
		},
		Load: func(state []byte) error {
			if len(state) != 12 {
				return errState
			}
			count, sum = binary.LittleEndian.Uint64(state), binary.LittleEndian.Uint32(state[8:])
			return nil
		},
	}.Machine()
}

// Op returns an operation of payload bytes (at least OpBytesMin, at most bft.OpBytesMax) that
// asks for a reply of reply bytes. Different salts make different operations.
func Op(payload, reply int, salt uint64) []byte {
	op := make([]byte, min(max(payload, OpBytesMin), bft.OpBytesMax))
	binary.LittleEndian.PutUint32(op, uint32(min(max(reply, 0), bft.ResultBytesMax)))
	for i := OpBytesMin; i < len(op); i++ {
		op[i] = byte(salt >> (8 * (uint(i-OpBytesMin) % 8)))
	}
	return op
}
