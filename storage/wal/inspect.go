package wal

import (
	"github.com/themis-bft/themis/storage"
)

// Report is what Inspect found.
type Report struct {
	Owner    storage.Owner
	Segments []SegmentReport // those of the log first, oldest first
	Records  int
	ByKind   [storage.RecordKindMax + 1]int
	Torn     bool // bytes behind the end that no sync covered; Open will drop them
}

// SegmentReport is one file of the log.
type SegmentReport struct {
	Name       string
	Bytes      int64
	Generation uint64 // 0 without a valid header
	Live       bool   // part of the log
	Used       int64  // bytes up to the end of its records
	Records    int    // entries of the chain, those of the log itself included
	DamagedAt  int64  // offset, -1 if there is no damage
}

// Inspect walks a log without changing anything: it calls visit, unless that is nil, with
// every record of the log and where it stands. It does not lock the directory; beside a running
// replica it may see a tail that is just being written. With an error the report still says
// what could be read: storage.ErrCorrupt names the damage.
func Inspect(f storage.FS, visit func(segment string, offset int64, r storage.Record) error) (Report, error) {
	var r Report
	owner, err := readOwner(f)
	if err != nil {
		return r, err
	}
	r.Owner = owner
	tag := ownerTag(owner)
	lay, err := survey(f, tag)
	defer lay.close()
	r.list(lay)
	if err != nil {
		return r, err
	}
	r.Torn = lay.live[len(lay.live)-1].torn
	var buf []byte
	for _, s := range lay.live {
		if buf, err = s.read(buf); err != nil {
			return r, err
		}
		if err := s.each(buf, tag, func(e *entry) error {
			if e.kind > storage.RecordKindMax {
				return nil
			}
			r.Records++
			r.ByKind[e.kind]++
			if visit == nil {
				return nil
			}
			return visit(s.name, int64(e.at&(1<<32-1)), storage.Record{Kind: e.kind, Seq: e.seq, Data: e.data})
		}); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (r *Report) list(lay *layout) {
	for i, list := range [][]*found{lay.live, lay.rest} {
		for _, s := range list {
			r.Segments = append(r.Segments, SegmentReport{
				Name: s.name, Bytes: s.size, Generation: s.gen, Live: i == 0,
				Used: s.end, Records: s.entries, DamagedAt: s.damagedAt,
			})
		}
	}
}
