package wal

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/storage"
)

// found is what a survey knows of one file.
type found struct {
	segment
	headed    bool   // has a valid header
	oldest    uint64 // as the header says
	first     uint32 // prev of its first entry
	last      uint32 // checksum of its last entry
	entries   int
	sealed    bool
	cut       uint64 // highest oldest generation that its cut records name
	durable   uint64 // highest position that any entry, chained or not, calls durable
	stray     uint64 // highest generation of an entry in a file without header
	torn      bool   // something behind the end claims to be an entry
	filled    bool   // bytes behind the header that are not zero
	newest    [storage.RecordKindMax + 1]placed
	damagedAt int64 // offset of damage, if the survey found it here
}

// placed is where the newest record of a kind stands.
type placed struct {
	seg *segment
	at  int64
	len int
}

// layout is what the files of a directory are.
type layout struct {
	live   []*found // the log, oldest first; the last may have a torn tail
	rest   []*found // everything else
	oldest uint64   // oldest generation in use
	last   uint32   // checksum of the last entry
	names  uint64   // highest number in a name
}

// survey reads all segments and finds the log among them. It changes nothing.
func survey(f storage.FS, tag uint32) (*layout, error) {
	all, names, err := scanAll(f, tag)
	if err != nil {
		return &layout{rest: all}, err
	}
	l := &layout{names: names}
	var headed []*found
	for _, s := range all {
		if s.headed {
			headed = append(headed, s)
		}
	}
	slices.SortFunc(headed, func(a, b *found) int { return cmp.Compare(a.gen, b.gen) })
	chain, err := l.follow(headed)
	if err == nil {
		err = strays(all, l.oldest)
	}
	for _, s := range all {
		if err == nil && slices.Contains(chain, s) && s.gen >= l.oldest {
			continue
		}
		l.rest = append(l.rest, s)
	}
	if err != nil {
		return l, err
	}
	for _, s := range chain {
		if s.gen >= l.oldest {
			l.live = append(l.live, s)
		}
	}
	return l, nil
}

// follow walks the chain through the segments with a header, ascending, up to the end of the log.
// Damage is forgiven in segments that turn out to be cut.
func (l *layout) follow(headed []*found) ([]*found, error) {
	if len(headed) == 0 {
		return nil, fmt.Errorf("wal: no segment: %w", storage.ErrCorrupt)
	}
	l.oldest = headed[len(headed)-1].oldest
	evidence := make([]uint64, len(headed)) // what this and later segments call durable
	for i, e := len(headed)-1, uint64(0); i >= 0; i-- {
		e = max(e, headed[i].durable)
		evidence[i] = e
	}
	var chain []*found
	var damage error
	ended := false
	for i, s := range headed {
		if s.gen < headed[len(headed)-1].oldest {
			continue
		}
		if len(chain) > 0 {
			p := chain[len(chain)-1]
			if s.gen != p.gen+1 {
				damage = fmt.Errorf("wal: generation %d follows %d: %w", s.gen, p.gen, storage.ErrCorrupt)
				chain = chain[:0]
			} else if s.entries > 0 && s.first != p.last {
				s.unchain()
			}
		}
		chain = append(chain, s)
		ended = false
		if s.sealed {
			continue
		}
		if mutant.On("wal-damage-is-tail") || evidence[i] <= position(s.gen, s.end) {
			ended = true
			break
		}
		s.damagedAt = s.end
		damage = fmt.Errorf("wal: %s is damaged at offset %d: %w", s.name, s.end, storage.ErrCorrupt)
		chain = chain[:0]
	}
	if !ended {
		if damage == nil {
			damage = fmt.Errorf("wal: the segment after generation %d is missing: %w",
				headed[len(headed)-1].gen, storage.ErrCorrupt)
		}
		return nil, damage
	}
	for _, s := range chain {
		l.oldest = max(l.oldest, s.cut)
	}
	if chain[0].gen > l.oldest {
		if damage == nil {
			damage = fmt.Errorf("wal: generation %d is missing, the first is %d: %w", l.oldest, chain[0].gen, storage.ErrCorrupt)
		}
		return nil, damage
	}
	l.last = tailChecksum(chain)
	return chain, nil
}

// tailChecksum is the checksum of the last entry of the chain; a new segment may have none.
func tailChecksum(chain []*found) uint32 {
	for _, s := range slices.Backward(chain) {
		if s.entries > 0 {
			return s.last
		}
	}
	return 0
}

// strays fails if a file that lost its header still holds records of the log: headers are
// synced before records, so no crash does that.
func strays(all []*found, oldest uint64) error {
	for _, s := range all {
		if !s.headed && s.stray >= oldest {
			return fmt.Errorf("wal: header of %s is damaged: %w", s.name, storage.ErrCorrupt)
		}
	}
	return nil
}

// scanAll opens and scans every segment. What it returns must be closed also on error.
func scanAll(f storage.FS, tag uint32) (all []*found, names uint64, err error) {
	list, err := f.List()
	if err != nil {
		return nil, 0, err
	}
	var buf []byte
	for _, name := range list {
		number, ok := segmentNumber(name)
		if !ok {
			continue
		}
		names = max(names, number)
		s := &found{segment: segment{name: name}, damagedAt: -1}
		if s.file, err = f.Open(name); err != nil {
			return all, names, err
		}
		all = append(all, s)
		if s.size, err = s.file.Size(); err != nil {
			return all, names, err
		}
		if s.size > segmentBytesMax {
			return all, names, fmt.Errorf("wal: %s has %d bytes: %w", name, s.size, storage.ErrCorrupt)
		}
		if buf, err = s.read(buf); err != nil {
			return all, names, err
		}
		s.scan(buf, tag)
	}
	return all, names, nil
}

// scan finds the entries in b, the contents of s.
func (s *found) scan(b []byte, tag uint32) {
	s.filled = anyNonZero(b[min(segmentHeaderBytes, s.size):])
	h, ok := parseHeader(b, tag)
	if !ok {
		s.scanStray(b, tag)
		return
	}
	s.headed, s.gen, s.oldest = true, h.gen, h.oldest
	off := int64(segmentHeaderBytes)
	for !s.sealed {
		e, size, ok := parseEntry(b[min(off, s.size):], tag, position(s.gen, off))
		if !ok || s.entries > 0 && e.prev != s.last {
			break
		}
		s.note(&e, off)
		off += size
	}
	s.end = off
	for off+recordHeaderBytes <= s.size {
		s.torn = s.torn || claimedPosition(b[off:]) == position(s.gen, off)
		e, size, ok := parseEntry(b[off:], tag, position(s.gen, off))
		if !ok {
			off += alignBytes
			continue
		}
		s.durable = max(s.durable, e.durable)
		off += size
	}
}

// scanStray finds out whether b, which has no valid header, holds entries of any generation.
func (s *found) scanStray(b []byte, tag uint32) {
	for off := int64(0); s.filled && off+recordHeaderBytes <= s.size; off += alignBytes {
		at := claimedPosition(b[off:])
		if at>>32 <= s.stray || int64(at&(1<<32-1)) != off {
			continue
		}
		if _, _, ok := parseEntry(b[off:], tag, at); ok {
			s.stray = at >> 32
		}
	}
}

// note takes an entry of the chain into account.
func (s *found) note(e *entry, off int64) {
	if s.entries == 0 {
		s.first = e.prev
	}
	s.entries++
	s.last = e.crc
	s.durable = max(s.durable, e.durable)
	switch {
	case e.kind == kindSeal:
		s.sealed = true
	case e.kind == kindCut:
		s.cut = max(s.cut, uint64(e.seq))
	case e.kind == kindMark:
	case e.kind.Latest():
		s.newest[e.kind] = placed{seg: &s.segment, at: off, len: len(e.data)}
	default:
		s.high = max(s.high, e.seq)
	}
}

// unchain takes back all entries of a segment that does not continue the one before.
func (s *found) unchain() {
	*s = found{
		segment: segment{name: s.name, file: s.file, size: s.size, gen: s.gen, end: segmentHeaderBytes},
		headed:  true, oldest: s.oldest, durable: s.durable, torn: true, filled: true, damagedAt: -1,
	}
}

func anyNonZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), zeroChunkBytes)
		if string(b[:n]) != string(zeroChunk[:n]) {
			return true
		}
		b = b[n:]
	}
	return false
}

// close closes all files, for those who only looked.
func (l *layout) close() {
	for _, s := range slices.Concat(l.live, l.rest) {
		_ = s.file.Close() // only read
	}
}
