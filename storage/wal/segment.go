package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/storage"
)

const (
	segmentPrefix  = "seg-"
	segmentMagic   = "themislg"
	formatVersion  = 1
	zeroChunkBytes = 64 << 10

	// segmentBytesMax bounds what Open reads at once: the largest segment for one record, or
	// the largest that Options may ask for.
	segmentBytesMax = 64 << 20

	_ = uint(segmentBytesMax - RecordBytesMax - 1<<20)
)

var zeroChunk [zeroChunkBytes]byte

// segment is one file of the log.
type segment struct {
	name string
	file storage.File
	size int64
	gen  uint64
	high bft.SeqNum // highest slot of its votes and bodies
	end  int64      // of its records, once no more follow; of the last segment what Open found
}

// header is what the first bytes of a segment say.
type header struct {
	gen, oldest uint64
	size        int64
}

func segmentName(n uint64) string { return fmt.Sprintf("%s%08d", segmentPrefix, n) }

// segmentNumber is the number in a segment's name.
func segmentNumber(name string) (uint64, bool) {
	s, ok := strings.CutPrefix(name, segmentPrefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return n, err == nil && segmentName(n) == name
}

func (h header) encode(tag uint32) []byte {
	b := make([]byte, 0, segmentHeaderBytes)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	b = binary.LittleEndian.AppendUint32(b, tag)
	b = binary.LittleEndian.AppendUint64(b, h.gen)
	b = binary.LittleEndian.AppendUint64(b, h.oldest)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.size))
	b = append(b, make([]byte, segmentHeaderBytes-4-len(b))...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// parseHeader reads the header of a whole segment b that belongs to the owner of tag.
func parseHeader(b []byte, tag uint32) (header, bool) {
	if len(b) < segmentHeaderBytes {
		return header{}, false
	}
	h := header{
		gen:    binary.LittleEndian.Uint64(b[16:]),
		oldest: binary.LittleEndian.Uint64(b[24:]),
		size:   int64(binary.LittleEndian.Uint64(b[32:])),
	}
	ok := string(b[:8]) == segmentMagic && string(h.encode(tag)) == string(b[:segmentHeaderBytes]) &&
		h.size == int64(len(b)) && h.oldest >= 1 && h.oldest <= h.gen && h.gen < 1<<32
	return h, ok
}

// createSegment makes a file of zeros that is durable, name included. Without syncs (durable
// false) the file is made sparse.
func createSegment(fs storage.FS, name string, size int64, durable bool) (*segment, error) {
	f, err := fs.Create(name)
	if err != nil {
		return nil, err
	}
	s := &segment{name: name, file: f, size: size}
	if durable {
		err = s.zero(0, size)
		if err == nil {
			err = f.Sync()
		}
		if err == nil {
			err = fs.SyncDir()
		}
	} else {
		err = f.Truncate(size)
	}
	if err != nil {
		_ = f.Close()       // the first error counts;
		_ = fs.Remove(name) // what stays is removed by Open
		return nil, err
	}
	return s, nil
}

// zero overwrites the bytes from and up to to.
func (s *segment) zero(from, to int64) error {
	for from < to {
		n := min(to-from, zeroChunkBytes)
		if _, err := s.file.WriteAt(zeroChunk[:n], from); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// read returns the whole segment, in buf if it fits.
func (s *segment) read(buf []byte) ([]byte, error) {
	if int64(cap(buf)) < s.size {
		buf = make([]byte, s.size)
	}
	buf = buf[:s.size]
	if n, err := s.file.ReadAt(buf, 0); err != nil && !(err == io.EOF && n == len(buf)) {
		return buf, fmt.Errorf("wal: read %s: %w", s.name, err)
	}
	return buf, nil
}
