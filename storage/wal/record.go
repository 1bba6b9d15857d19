package wal

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/storage"
)

const (
	recordHeaderBytes  = 40
	segmentHeaderBytes = 64
	alignBytes         = 8

	// RecordBytesMax bounds the data of one record: a NEW-VIEW is a frame between replicas, and
	// a record of a view holds about one too. What claims to be larger is not a record.
	RecordBytesMax = 16 << 20

	_ = uint(RecordBytesMax - bft.PeerFrameBytesMax - 1<<20)
)

// The kinds of record that are the log's own; see the package comment.
const (
	kindSeal storage.RecordKind = 0xF1
	kindCut  storage.RecordKind = 0xF2
	kindMark storage.RecordKind = 0xF3
)

func kindKnown(k storage.RecordKind) bool {
	return k >= storage.RecordVote && k <= storage.RecordKindMax || k >= kindSeal && k <= kindMark
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// entry is a record with its place in the chain.
type entry struct {
	kind    storage.RecordKind
	seq     bft.SeqNum
	data    []byte
	at      uint64 // position
	durable uint64 // position below which everything was synced
	prev    uint32 // checksum of the entry before
	crc     uint32
}

// position is where the byte at offset off of generation gen stands in the log.
func position(gen uint64, off int64) uint64 { return gen<<32 | uint64(off) }

// footprint is what n bytes of data take in a segment.
func footprint(n int) int64 {
	return int64(recordHeaderBytes+n+alignBytes-1) &^ (alignBytes - 1)
}

const sealBytes = recordHeaderBytes

// appendEntry appends the bytes of e and returns its checksum.
func appendEntry(b []byte, tag uint32, e *entry) ([]byte, uint32) {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.data)))
	b = binary.LittleEndian.AppendUint64(b, e.at)
	b = binary.LittleEndian.AppendUint64(b, e.durable)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.seq))
	b = binary.LittleEndian.AppendUint32(b, e.prev)
	b = append(b, byte(e.kind), 0, 0, 0)
	b = append(b, e.data...)
	crc := crc32.Update(tag, castagnoli, b[start+4:])
	binary.LittleEndian.PutUint32(b[start:], crc)
	var zeros [alignBytes]byte
	return append(b, zeros[:footprint(len(e.data))-int64(len(b)-start)]...), crc
}

// claimedPosition is the position that the record at the front of b claims, if it is one.
func claimedPosition(b []byte) uint64 { return binary.LittleEndian.Uint64(b[8:]) }

// parseEntry reads the record at the front of b, which is the rest of a segment from position
// at on. Its data alias b.
func parseEntry(b []byte, tag uint32, at uint64) (e entry, size int64, ok bool) {
	if len(b) < recordHeaderBytes || claimedPosition(b) != at {
		return entry{}, 0, false
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if n > RecordBytesMax || footprint(int(n)) > int64(len(b)) {
		return entry{}, 0, false
	}
	e = entry{
		kind:    storage.RecordKind(b[36]),
		seq:     bft.SeqNum(binary.LittleEndian.Uint64(b[24:])),
		data:    b[recordHeaderBytes : recordHeaderBytes+int(n) : recordHeaderBytes+int(n)],
		at:      at,
		durable: binary.LittleEndian.Uint64(b[16:]),
		prev:    binary.LittleEndian.Uint32(b[32:]),
		crc:     binary.LittleEndian.Uint32(b),
	}
	if !kindKnown(e.kind) || b[37]|b[38]|b[39] != 0 {
		return entry{}, 0, false
	}
	if !mutant.On("wal-no-checksum") &&
		crc32.Update(tag, castagnoli, b[4:recordHeaderBytes+int(n)]) != e.crc {
		return entry{}, 0, false
	}
	return e, footprint(int(n)), true
}
