// Package snapshot keeps checkpoints on disk: each in a file of its own, complete and synced
// before it has its name, the newest two of them. The log may be cut at a checkpoint once Save
// of it returned.
//
// The package owns the files "snapshot-*" and "snapshot.new" of a directory and no state in
// memory. Save and Load are called from one goroutine at a time, Save from one that may wait for
// the device. It never judges what a page means: the manifest is held against the checkpoint's
// digest here, the pages against the manifest by who installs them.
//
// # Format
//
// Integers are little endian. CRC-32C; each checksum is seeded with the one before, so that no
// part can stand in for another.
//
//	magic "themissn", version u32, seq u64, digest 32 bytes, pages u32, length of the manifest u32, checksum
//	manifest, checksum
//	for each page: length u32, page, checksum
package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/wire"
)

const (
	prefix        = "snapshot-"
	draft         = "snapshot.new"
	magic         = "themissn"
	formatVersion = 1
	headerBytes   = 8 + 4 + 8 + 32 + 4 + 4
	sumBytes      = 4

	// keptMax is how many snapshots stay: a second one for when the first cannot be read.
	keptMax = 2
	// chunkBytes is what Save collects before it writes.
	chunkBytes = 64 << 10
)

// ErrNone says that the directory holds no snapshot: the state is the initial one, or must
// come from peers.
var ErrNone = errors.New("snapshot: none")

// Source is a checkpoint to save. catchup.Held is one.
type Source interface {
	Seq() bft.SeqNum
	Digest() bft.Digest
	Manifest() []byte
	Pages() int
	Page(i int) []byte
}

// Snapshot is a checkpoint that was loaded. The digest of its manifest is Digest.
type Snapshot struct {
	Seq      bft.SeqNum
	Digest   bft.Digest
	Manifest []byte
	Pages    [][]byte
	// Refused is how many newer snapshots were damaged. If it is not 0, slots between this
	// snapshot and the start of the log may be missing and must come from peers.
	Refused int
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func nameOf(seq bft.SeqNum) string { return fmt.Sprintf("%s%020d", prefix, uint64(seq)) }

// Save makes src durable and removes all snapshots but the newest two. After an error
// the older ones are still there; with storage.ErrNoSpace it may be tried again.
func Save(f storage.FS, src Source) error {
	if err := write(f, src); err != nil {
		if errors.Is(err, storage.ErrNoSpace) {
			_ = f.Remove(draft) // gives the space back; else Load removes it
		}
		return fmt.Errorf("snapshot: save at %d: %w", src.Seq(), err)
	}
	if err := f.Rename(draft, nameOf(src.Seq())); err != nil {
		return fmt.Errorf("snapshot: save at %d: %w", src.Seq(), err)
	}
	if err := f.SyncDir(); err != nil {
		return fmt.Errorf("snapshot: save at %d: %w", src.Seq(), err)
	}
	seqs, err := list(f)
	if err != nil {
		return err
	}
	for _, seq := range seqs[min(keptMax, len(seqs)):] {
		if err := f.Remove(nameOf(seq)); err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
	}
	return nil
}

// list returns the slots of all snapshots, newest first.
func list(f storage.FS) ([]bft.SeqNum, error) {
	names, err := f.List()
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	var seqs []bft.SeqNum
	for _, name := range names {
		digits, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		if n, err := strconv.ParseUint(digits, 10, 64); err == nil && nameOf(bft.SeqNum(n)) == name {
			seqs = append(seqs, bft.SeqNum(n))
		}
	}
	slices.Sort(seqs)
	slices.Reverse(seqs)
	return seqs, nil
}

// writer appends to a file in chunks and keeps the running checksum.
type writer struct {
	file storage.File
	buf  []byte
	off  int64
	sum  uint32
	err  error
}

func (w *writer) write(b []byte) {
	w.sum = crc32.Update(w.sum, castagnoli, b)
	w.raw(b)
}

func (w *writer) raw(b []byte) {
	if len(w.buf)+len(b) > chunkBytes {
		w.flush(w.buf)
		w.buf = w.buf[:0]
	}
	if len(b) > chunkBytes {
		w.flush(b)
		return
	}
	w.buf = append(w.buf, b...)
}

func (w *writer) flush(b []byte) {
	if w.err == nil && len(b) > 0 {
		_, w.err = w.file.WriteAt(b, w.off)
		w.off += int64(len(b))
	}
}

func (w *writer) checksum() { w.raw(binary.LittleEndian.AppendUint32(nil, w.sum)) }

func write(f storage.FS, src Source) error {
	file, err := f.Create(draft)
	if err != nil {
		return err
	}
	w := &writer{file: file, buf: make([]byte, 0, chunkBytes)}
	manifest, digest := src.Manifest(), src.Digest()
	h := append(make([]byte, 0, headerBytes), magic...)
	h = binary.LittleEndian.AppendUint32(h, formatVersion)
	h = binary.LittleEndian.AppendUint64(h, uint64(src.Seq()))
	h = append(h, digest[:]...)
	h = binary.LittleEndian.AppendUint32(h, uint32(src.Pages()))
	w.write(binary.LittleEndian.AppendUint32(h, uint32(len(manifest))))
	w.checksum()
	w.write(manifest)
	w.checksum()
	for i := range src.Pages() {
		page := src.Page(i)
		w.write(binary.LittleEndian.AppendUint32(nil, uint32(len(page))))
		w.write(page)
		w.checksum()
	}
	w.flush(w.buf)
	err = w.err
	if err == nil && !mutant.On("snapshot-not-synced") {
		err = file.Sync()
	}
	if e := file.Close(); err == nil {
		err = e
	}
	return err
}

// Load returns the newest snapshot that verifies. It removes what interrupted saves left and
// snapshots that are damaged. Without any it returns ErrNone; if there were some and all are
// damaged, storage.ErrCorrupt.
func Load(f storage.FS) (*Snapshot, error) {
	if err := removeDraft(f); err != nil {
		return nil, err
	}
	seqs, err := list(f)
	if err != nil {
		return nil, err
	}
	for i, seq := range seqs {
		s, err := read(f, seq)
		if err == nil {
			s.Refused = i
			return s, nil
		}
		if !errors.Is(err, storage.ErrCorrupt) {
			return nil, err // a device that fails now may work later
		}
		if err := f.Remove(nameOf(seq)); err != nil {
			return nil, fmt.Errorf("snapshot: %w", err)
		}
	}
	if len(seqs) > 0 {
		return nil, fmt.Errorf("snapshot: all %d are damaged: %w", len(seqs), storage.ErrCorrupt)
	}
	return nil, ErrNone
}

func removeDraft(f storage.FS) error {
	names, err := f.List()
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if !slices.Contains(names, draft) {
		return nil
	}
	if err := f.Remove(draft); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

// reader reads a file from the front; the first failure sticks.
type reader struct {
	file storage.File
	off  int64
	size int64
	sum  uint32
	err  error
}

// read returns the next n bytes. What the file is too short for is not allocated.
func (r *reader) read(n int64) []byte {
	if r.err == nil && n > r.size-r.off {
		r.err = storage.ErrCorrupt
	}
	if r.err != nil {
		return nil
	}
	b := make([]byte, n)
	if k, err := r.file.ReadAt(b, r.off); err != nil && (err != io.EOF || int64(k) < n) {
		r.err = err
		return nil
	}
	r.off += n
	return b
}

func (r *reader) summed(n int64) []byte {
	b := r.read(n)
	r.sum = crc32.Update(r.sum, castagnoli, b)
	return b
}

func (r *reader) checksum() {
	want := r.sum
	if b := r.read(sumBytes); b != nil && binary.LittleEndian.Uint32(b) != want {
		r.err = storage.ErrCorrupt
	}
}

// length reads a length of at most limit.
func (r *reader) length(limit int64) int64 {
	b := r.summed(4)
	if b == nil {
		return 0
	}
	n := int64(binary.LittleEndian.Uint32(b))
	if n > limit {
		r.err = storage.ErrCorrupt
	}
	return n
}

func read(f storage.FS, seq bft.SeqNum) (*Snapshot, error) {
	file, err := f.Open(nameOf(seq))
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	defer file.Close()
	r := &reader{file: file}
	if r.size, err = file.Size(); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	s := r.snapshot(seq)
	if r.err != nil {
		return nil, fmt.Errorf("snapshot: load %s at offset %d: %w", nameOf(seq), r.off, r.err)
	}
	return s, nil
}

func (r *reader) snapshot(seq bft.SeqNum) *Snapshot {
	h := r.summed(headerBytes)
	r.checksum()
	if r.err != nil {
		return nil
	}
	s := &Snapshot{Seq: bft.SeqNum(binary.LittleEndian.Uint64(h[12:]))}
	copy(s.Digest[:], h[20:])
	pages := binary.LittleEndian.Uint32(h[52:])
	manifest := int64(binary.LittleEndian.Uint32(h[56:]))
	if string(h[:8]) != magic || binary.LittleEndian.Uint32(h[8:]) != formatVersion ||
		s.Seq != seq || pages > bft.StatePagesMax || manifest > bft.StateItemBytesMax {
		r.err = storage.ErrCorrupt
		return nil
	}
	s.Manifest = r.summed(manifest)
	r.checksum()
	if r.err == nil && wire.DigestOf("checkpoint", s.Manifest) != s.Digest {
		r.err = storage.ErrCorrupt
	}
	for i := uint32(0); i < pages && r.err == nil; i++ {
		s.Pages = append(s.Pages, r.summed(r.length(bft.StateItemBytesMax)))
		r.checksum()
	}
	if r.err == nil && r.off != r.size {
		r.err = storage.ErrCorrupt
	}
	return s
}
