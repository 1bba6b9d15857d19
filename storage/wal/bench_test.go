package wal_test

import (
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/storage/disk"
	"github.com/themis-bft/themis/storage/mem"
	"github.com/themis-bft/themis/storage/wal"
)

func benchmarkLog(b *testing.B, f storage.FS, o wal.Options) {
	must(b, wal.Init(f, owner, o))
	l, err := wal.Open(f, owner, o)
	must(b, err)
	r := storage.Record{Kind: storage.RecordVote, Data: make([]byte, 100)}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		r.Seq = bft.SeqNum(i)
		must(b, l.Append(r, r, r))
		must(b, l.Sync())
		if i%100 == 0 {
			must(b, l.Cut(bft.SeqNum(max(0, i-200))))
		}
	}
	must(b, l.Close())
}

// BenchmarkDisk is one group commit of three votes on the disk of the temporary directory.
func BenchmarkDisk(b *testing.B) {
	f, err := disk.Open(b.TempDir())
	must(b, err)
	benchmarkLog(b, f, wal.Options{})
}

// BenchmarkMem is the same for the simulator.
func BenchmarkMem(b *testing.B) { benchmarkLog(b, mem.New(), wal.Options{SegmentBytes: 64 << 10}) }

// BenchmarkMemStart is what each replica of a simulated cluster costs before it does anything.
func BenchmarkMemStart(b *testing.B) {
	o := wal.Options{SegmentBytes: 64 << 10}
	b.ReportAllocs()
	for b.Loop() {
		f := mem.New()
		must(b, wal.Init(f, owner, o))
		l, err := wal.Open(f, owner, o)
		must(b, err)
		must(b, l.Close())
	}
}
