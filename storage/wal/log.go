package wal

import (
	"errors"
	"fmt"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/storage"
)

const (
	// freeSegmentsMax bounds the segments kept for later; a burst does not hold the disk for ever.
	freeSegmentsMax = 4
	// bufferBytesMax bounds the buffer kept between syncs; a rare large record gives its back.
	bufferBytesMax = 2 << 20
)

// Log is an open log; see the package comment. Open makes one.
type Log struct {
	fs      storage.FS
	o       Options
	tag     uint32
	release func()

	live    []*segment // oldest first; the last is written to
	free    []*segment // one is held in reserve for Cut
	leaving []*segment // cut, but the cut is not synced yet
	names   uint64     // highest number in a name

	oldest     uint64 // oldest generation in use, as synced
	nextOldest uint64 // the same with cuts that are not synced

	off     int64  // where the next record goes in the last segment
	prev    uint32 // checksum of the last entry
	durable uint64 // position below which everything is synced
	buf     []byte // entries not written yet
	chunks  []chunk
	newest  [storage.RecordKindMax + 1]placed

	began, closed bool
	err           error // sticky
}

var _ storage.Log = (*Log)(nil)

// chunk is a run of buf that belongs together: it goes to seg at off, and ends where the next starts.
type chunk struct {
	seg   *segment
	off   int64
	start int
}

// state is what an Append that finds no space gives back.
type state struct {
	buf, chunks, live int
	off               int64
	prev              uint32
	high              bft.SeqNum
	newest            [storage.RecordKindMax + 1]placed
}

func (l *Log) current() *segment { return l.live[len(l.live)-1] }

func (l *Log) save() state {
	return state{len(l.buf), len(l.chunks), len(l.live), l.off, l.prev, l.current().high, l.newest}
}

// restore forgets what was appended since s was saved. Segments begun since lose their header, for
// the next one begun has the same generation.
func (l *Log) restore(s state) {
	for _, seg := range l.live[s.live:] {
		if err := seg.wipeHeader(); err != nil {
			l.err = fmt.Errorf("wal: %w", err)
		}
		l.retire(seg)
	}
	l.buf, l.chunks, l.live = l.buf[:s.buf], l.chunks[:s.chunks], l.live[:s.live]
	l.off, l.prev, l.newest = s.off, s.prev, s.newest
	l.current().high, l.current().end = s.high, s.off
}

// failed makes an error of the device sticky. A full device is none: it damaged nothing.
func (l *Log) failed(err error) error {
	err = fmt.Errorf("wal: %w", err)
	if !errors.Is(err, storage.ErrNoSpace) {
		l.err = err
	}
	return err
}

// Append copies the records into the buffer, all or, with storage.ErrNoSpace, none.
func (l *Log) Append(recs ...storage.Record) error {
	if l.err != nil {
		return l.err
	}
	l.began = true
	saved := l.save()
	for i := range recs {
		r := &recs[i]
		if r.Kind < storage.RecordVote || r.Kind > storage.RecordKindMax || len(r.Data) > RecordBytesMax {
			l.restore(saved)
			return fmt.Errorf("wal: record of kind %d with %d bytes, the limit is %d", r.Kind, len(r.Data), RecordBytesMax)
		}
		if err := l.add(r.Kind, r.Seq, r.Data, 1); err != nil {
			l.restore(saved)
			return err
		}
	}
	return nil
}

// add puts one entry into the buffer and its segment into account. keep is the number of free
// segments that it must leave.
func (l *Log) add(kind storage.RecordKind, seq bft.SeqNum, data []byte, keep int) error {
	need := footprint(len(data))
	if l.off+need+sealBytes > l.current().size {
		if err := l.advance(need, keep); err != nil {
			return err
		}
	}
	l.encode(kind, seq, data)
	s := l.current()
	switch {
	case kind > storage.RecordKindMax:
	case kind.Latest():
		l.newest[kind] = placed{seg: s, at: l.off - need, len: len(data)}
	default:
		s.high = max(s.high, seq)
	}
	return nil
}

func (l *Log) encode(kind storage.RecordKind, seq bft.SeqNum, data []byte) {
	s := l.current()
	if len(l.chunks) == 0 {
		l.chunks = append(l.chunks, chunk{seg: s, off: l.off, start: 0})
	}
	e := entry{kind: kind, seq: seq, data: data, at: position(s.gen, l.off), durable: l.durable, prev: l.prev}
	l.buf, l.prev = appendEntry(l.buf, l.tag, &e)
	l.off += footprint(len(data))
	s.end = l.off
}

// advance seals the last segment and begins another that has room for an entry of need bytes.
func (l *Log) advance(need int64, keep int) error {
	next, err := l.acquire(segmentHeaderBytes+need+sealBytes, keep)
	if err != nil {
		return err
	}
	if err := next.begin(l.tag, header{gen: l.current().gen + 1, oldest: l.oldest}, !l.o.Memory); err != nil {
		if err = l.failed(err); l.err == nil { // no space: whatever was written must not count
			if e := next.wipeHeader(); e != nil {
				l.err = fmt.Errorf("wal: %w", e)
			}
		}
		l.retire(next)
		return err
	}
	l.encode(kindSeal, bft.SeqNum(next.gen), nil)
	l.live = append(l.live, next)
	l.off = segmentHeaderBytes
	l.chunks = append(l.chunks, chunk{seg: next, off: l.off, start: len(l.buf)})
	return nil
}

// acquire returns a segment of at least size bytes, a free one if there are more than keep.
func (l *Log) acquire(size int64, keep int) (*segment, error) {
	if size <= int64(l.o.SegmentBytes) {
		if n := len(l.free); n > keep {
			s := l.free[n-1]
			l.free = l.free[:n-1]
			return s, nil
		}
		size = int64(l.o.SegmentBytes)
	}
	s, err := l.create((size + segmentBytesMin - 1) &^ (segmentBytesMin - 1))
	if err != nil {
		return nil, l.failed(err)
	}
	return s, nil
}

func (l *Log) create(size int64) (*segment, error) {
	l.names++
	return createSegment(l.fs, segmentName(l.names), size, !l.o.Memory)
}

// retire keeps a segment for later use, or removes it if it has an odd size or there are enough.
// A removed file that comes back with a crash is recognised by its generation.
func (l *Log) retire(s *segment) {
	if s.size == int64(l.o.SegmentBytes) && len(l.free) < freeSegmentsMax {
		l.free = append(l.free, s)
		return
	}
	_ = s.file.Close() // nothing in it counts
	if err := l.fs.Remove(s.name); err != nil && l.err == nil {
		l.err = fmt.Errorf("wal: %w", err)
	}
}

// Sync makes everything appended durable: one write and one sync per segment concerned, mostly
// one of each in all. After an error that is not storage.ErrNoSpace every later call returns it
// again; after storage.ErrNoSpace a later Sync repeats the same writes.
func (l *Log) Sync() error {
	if l.err != nil {
		return l.err
	}
	if len(l.chunks) == 0 {
		return nil
	}
	for i, c := range l.chunks {
		end := len(l.buf)
		if i+1 < len(l.chunks) {
			end = l.chunks[i+1].start
		}
		if _, err := c.seg.file.WriteAt(l.buf[c.start:end], c.off); err != nil {
			return l.failed(err)
		}
	}
	if !l.o.Memory {
		for _, c := range l.chunks {
			if err := c.seg.file.Sync(); err != nil && !mutant.On("wal-sync-error-ignored") {
				return l.unsynced(err)
			}
		}
	}
	l.durable = position(l.current().gen, l.off)
	l.chunks = l.chunks[:0]
	l.buf = l.buf[:0]
	if cap(l.buf) > bufferBytesMax {
		l.buf = nil
	}
	l.oldest = l.nextOldest
	for _, s := range l.leaving {
		l.retire(s)
	}
	l.leaving = l.leaving[:0]
	return nil
}

// unsynced notes that a sync failed, for good. Want of room is no excuse here: what a full device kept
// is unknown, so that the error does not match storage.ErrNoSpace.
func (l *Log) unsynced(err error) error {
	if l.err = fmt.Errorf("wal: %w", err); errors.Is(err, storage.ErrNoSpace) {
		l.err = fmt.Errorf("wal: %v", err)
	}
	return l.err
}

// Bytes is the size of all segments on disk.
func (l *Log) Bytes() int64 {
	var sum int64
	for _, list := range [][]*segment{l.live, l.free, l.leaving} {
		for _, s := range list {
			sum += s.size
		}
	}
	return sum
}

// Close syncs what was appended, marks the end if it can do so without a new segment, closes
// all files and releases the directory. A Log that failed writes nothing more.
func (l *Log) Close() error {
	if l.closed {
		return l.err
	}
	l.closed = true
	if l.err == nil && l.began {
		if l.off+recordHeaderBytes+sealBytes <= l.current().size {
			err := l.Sync() // first, so that the mark can say that the rest is durable
			if err == nil {
				l.encode(kindMark, 0, nil)
			}
		}
		_ = l.Sync() // its error stays in l.err
	}
	err := l.err
	for _, list := range [][]*segment{l.live, l.free, l.leaving} {
		for _, s := range list {
			if e := s.file.Close(); err == nil {
				err = e
			}
		}
	}
	l.release()
	if l.err == nil {
		l.err = errors.New("wal: log is closed")
	}
	return err
}
