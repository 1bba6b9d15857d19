package wal

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/storage"
)

// SegmentBytesDefault is large enough that segments change rarely, and small enough that the
// few segments of a log do not count on a small card.
const SegmentBytesDefault = 4 << 20

const segmentBytesMin = 4 << 10

// Options is how a log is kept. It may differ from one Open to the next.
type Options struct {
	// SegmentBytes is the size of a segment, 4 KiB to 64 MiB, SegmentBytesDefault if 0. A
	// record that does not fit gets a segment of its own size.
	SegmentBytes int
	// Memory turns all syncs off: what was appended survives the process, not the machine.
	Memory bool
}

func (o Options) checked() (Options, error) {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = SegmentBytesDefault
	}
	if o.SegmentBytes < segmentBytesMin || o.SegmentBytes > segmentBytesMax || o.SegmentBytes%alignBytes != 0 {
		return o, fmt.Errorf("wal: segments of %d bytes: want a multiple of %d from %d to %d",
			o.SegmentBytes, alignBytes, segmentBytesMin, segmentBytesMax)
	}
	return o, nil
}

// Init makes the directory an empty log that belongs to owner. It refuses one that belongs to
// anybody already (the error wraps io/fs.ErrExist), and one with records but without an owner
// (storage.ErrCorrupt). An Init that was interrupted can be repeated.
func Init(f storage.FS, owner storage.Owner, o Options) error {
	o, err := o.checked()
	if err != nil {
		return err
	}
	release, err := f.Lock()
	if err != nil {
		return err
	}
	defer release()
	if have, err := readOwner(f); err == nil {
		return fmt.Errorf("wal: the directory is %v's of cluster %v already: %w", have.Replica, have.Cluster, fs.ErrExist)
	} else if !errors.Is(err, storage.ErrEmpty) {
		return err
	}
	tag := ownerTag(owner)
	all, _, err := scanAll(f, tag)
	for _, s := range all {
		_ = s.file.Close() // only read
	}
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.filled { // perhaps another owner's
			return fmt.Errorf("wal: %s holds records, but file %q is gone: %w", s.name, ownerName, storage.ErrCorrupt)
		}
		if err := f.Remove(s.name); err != nil {
			return err
		}
	}
	for i := range uint64(2) { // one to write to, one in reserve for Cut
		s, err := createSegment(f, segmentName(i), int64(o.SegmentBytes), true)
		if err != nil {
			return err
		}
		if i == 0 {
			err = s.begin(tag, header{gen: 1, oldest: 1}, true)
		}
		if e := s.file.Close(); err == nil {
			err = e
		}
		if err != nil {
			return err
		}
	}
	return writeOwner(f, owner)
}

// begin writes the header of a segment's next use.
func (s *segment) begin(tag uint32, h header, durable bool) error {
	h.size = s.size
	s.gen, s.high, s.end = h.gen, 0, segmentHeaderBytes
	if _, err := s.file.WriteAt(h.encode(tag), 0); err != nil {
		return err
	}
	if durable {
		return s.file.Sync()
	}
	return nil
}

// Open takes the log of owner into use: it locks the directory, finds the end of the log and
// overwrites a torn tail. It returns storage.ErrLocked, ErrEmpty, ErrOwner, ErrCorrupt, or the
// error of the device.
func Open(f storage.FS, owner storage.Owner, o Options) (*Log, error) {
	o, err := o.checked()
	if err != nil {
		return nil, err
	}
	release, err := f.Lock()
	if err != nil {
		return nil, err
	}
	l, err := open(f, owner, o)
	if err != nil {
		release()
		return nil, err
	}
	l.release = release
	return l, nil
}

func open(f storage.FS, owner storage.Owner, o Options) (*Log, error) {
	have, err := readOwner(f)
	if err != nil {
		return nil, err
	}
	if have != owner {
		return nil, fmt.Errorf("wal: the directory is %v's of cluster %v, epoch %d: %w",
			have.Replica, have.Cluster, have.Epoch, storage.ErrOwner)
	}
	tag := ownerTag(owner)
	lay, err := survey(f, tag)
	if err != nil {
		lay.close()
		return nil, err
	}
	l := &Log{fs: f, o: o, tag: tag, oldest: lay.oldest, nextOldest: lay.oldest, prev: lay.last, names: lay.names}
	if err := l.take(lay); err != nil {
		lay.close()
		return nil, err
	}
	return l, nil
}

// take repairs what a crash left and takes the segments over. All of it is synced before the
// log counts as durable: after the death of a process the system may still hold it in memory.
func (l *Log) take(lay *layout) error {
	last := lay.live[len(lay.live)-1]
	if last.torn && !mutant.On("wal-tail-not-cleared") {
		if err := last.zero(last.end, last.size); err != nil {
			return err
		}
	}
	for _, s := range lay.live {
		l.live = append(l.live, &s.segment)
		for k, p := range s.newest {
			if p.seg != nil {
				l.newest[k] = p
			}
		}
		if !l.o.Memory && !mutant.On("wal-open-not-synced") {
			if err := s.file.Sync(); err != nil {
				return err
			}
		}
	}
	l.off = last.end
	l.durable = position(last.gen, last.end)
	for _, s := range lay.rest {
		if err := l.reclaim(s); err != nil {
			return err
		}
	}
	if !l.o.Memory {
		if err := l.fs.SyncDir(); err != nil {
			return err
		}
	}
	if len(l.free) == 0 {
		s, err := l.create(int64(l.o.SegmentBytes))
		switch {
		case err == nil:
			l.free = append(l.free, s)
		case !errors.Is(err, storage.ErrNoSpace):
			return err
		}
	}
	return nil
}

// reclaim frees a file that is no part of the log. One that holds anything newer than the end
// of the log loses it, records first: a header is never gone before its records.
func (l *Log) reclaim(s *found) error {
	if s.size != int64(l.o.SegmentBytes) || len(l.free) >= freeSegmentsMax {
		_ = s.file.Close() // only read
		return l.fs.Remove(s.name)
	}
	if !s.headed && s.filled || s.headed && s.gen >= l.oldest {
		if err := s.zero(segmentHeaderBytes, s.size); err != nil {
			return err
		}
		if err := s.file.Sync(); err != nil {
			return err
		}
		if err := s.wipeHeader(); err != nil {
			return err
		}
	}
	l.free = append(l.free, &s.segment)
	return nil
}

func (s *segment) wipeHeader() error {
	if err := s.zero(0, segmentHeaderBytes); err != nil {
		return err
	}
	return s.file.Sync()
}

// Replay calls f with every record of the log, in order, except that a record carried forward
// by Cut comes again, or only, where it was carried to.
func (l *Log) Replay(f func(storage.Record) error) error {
	if l.err != nil {
		return l.err
	}
	if l.began {
		return errors.New("wal: Replay after Append")
	}
	var buf []byte
	for _, s := range l.live {
		var err error
		if buf, err = s.read(buf); err != nil {
			return err
		}
		if err := s.each(buf, l.tag, func(e *entry) error {
			if e.kind > storage.RecordKindMax {
				return nil
			}
			return f(storage.Record{Kind: e.kind, Seq: e.seq, Data: e.data})
		}); err != nil {
			return err
		}
	}
	return nil
}

// each calls f with every entry of b, the contents of s, up to its end.
func (s *segment) each(b []byte, tag uint32, f func(*entry) error) error {
	for off := int64(segmentHeaderBytes); off < s.end; {
		e, size, ok := parseEntry(b[off:], tag, position(s.gen, off))
		if !ok {
			return fmt.Errorf("wal: %s changed at offset %d since it was opened: %w", s.name, off, storage.ErrCorrupt)
		}
		if err := f(&e); err != nil {
			return err
		}
		off += size
	}
	return nil
}
