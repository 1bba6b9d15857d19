package wal

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/storage"
)

// Cut frees the oldest segments whose votes and bodies are all of slots ≤ below. The newest
// record of each kind of which only the newest counts is appended again if it stands in one of
// them. The segments are free once the next Sync has made that durable; before that a crash
// finds them still in use. A cut that would write more than half of what it frees is put off.
func (l *Log) Cut(below bft.SeqNum) error {
	if l.err != nil {
		return l.err
	}
	n := l.cuttable(below)
	if n == 0 {
		return nil
	}
	carried, bytes := l.carried(n)
	var freed int64
	for _, s := range l.live[:n] {
		freed += s.size
	}
	if 2*bytes > freed {
		return nil
	}
	l.began = true
	saved := l.save()
	for _, k := range carried {
		if err := l.carry(k); err != nil {
			l.restore(saved)
			return err
		}
	}
	oldest := l.live[n].gen
	if err := l.add(kindCut, bft.SeqNum(oldest), nil, 0); err != nil {
		l.restore(saved)
		return err
	}
	if mutant.On("wal-reuse-before-sync") {
		l.free = append(l.free, l.live[:n]...)
	} else {
		l.leaving = append(l.leaving, l.live[:n]...)
	}
	l.live = slices.Delete(l.live, 0, n)
	l.nextOldest = oldest
	return nil
}

// cuttable is the number of leading segments without anything above below. Segments that wait
// for a sync and the last one stay.
func (l *Log) cuttable(below bft.SeqNum) int {
	pending := l.current()
	if len(l.chunks) > 0 {
		pending = l.chunks[0].seg
	}
	n := 0
	for l.live[n] != pending && l.live[n].high <= below {
		n++
	}
	return n
}

// carried is which kinds must be carried forward from the first n segments, in the order of
// their records, and what that takes.
func (l *Log) carried(n int) (kinds []storage.RecordKind, bytes int64) {
	if mutant.On("wal-cut-drops-latest") {
		return nil, 0
	}
	for k, p := range l.newest {
		if p.seg != nil && slices.Contains(l.live[:n], p.seg) {
			kinds = append(kinds, storage.RecordKind(k))
			bytes += footprint(p.len)
		}
	}
	slices.SortFunc(kinds, func(a, b storage.RecordKind) int {
		p, q := l.newest[a], l.newest[b]
		return cmp.Compare(position(p.seg.gen, p.at), position(q.seg.gen, q.at))
	})
	return kinds, bytes
}

// carry appends the newest record of kind k again.
func (l *Log) carry(k storage.RecordKind) error {
	p := l.newest[k]
	b := make([]byte, footprint(p.len))
	if n, err := p.seg.file.ReadAt(b, p.at); n < len(b) {
		return l.failed(err)
	}
	e, _, ok := parseEntry(b, l.tag, position(p.seg.gen, p.at))
	if !ok || e.kind != k {
		l.err = fmt.Errorf("wal: %s changed at offset %d while in use: %w", p.seg.name, p.at, storage.ErrCorrupt)
		return l.err
	}
	return l.add(k, e.seq, e.data, 0)
}
