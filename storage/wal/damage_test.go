package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/alloctest"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/storage/disk"
	"github.com/themis-bft/themis/storage/mem"
	"github.com/themis-bft/themis/storage/wal"
)

var small = wal.Options{SegmentBytes: 4 << 10}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func vote(i int) storage.Record {
	return storage.Record{Kind: storage.RecordVote, Seq: bft.SeqNum(i), Data: fmt.Appendf(nil, "vote %d", i)}
}

// written returns a log of n votes, each synced, with everything up to cut cut.
func written(t testing.TB, n, cut int) *mem.FS {
	t.Helper()
	f := mem.New()
	must(t, wal.Init(f, owner, small))
	l, err := wal.Open(f, owner, small)
	must(t, err)
	for i := range n {
		must(t, l.Append(vote(i)))
		must(t, l.Sync())
		if i == cut {
			must(t, l.Cut(bft.SeqNum(cut)))
		}
	}
	f.Crash(func(int) int { return 0 })
	return f
}

func count(t testing.TB, f storage.FS, o wal.Options) int {
	t.Helper()
	l, err := wal.Open(f, owner, o)
	must(t, err)
	n := 0
	must(t, l.Replay(func(storage.Record) error { n++; return nil }))
	must(t, l.Close())
	return n
}

func overwrite(t testing.TB, f storage.FS, name string, off int64, b []byte) {
	t.Helper()
	file, err := f.Open(name)
	must(t, err)
	_, err = file.WriteAt(b, off)
	must(t, err)
	must(t, file.Sync())
	must(t, file.Close())
}

// TestDamagedFiles damages whole sectors and files of each segment of a log.
func TestDamagedFiles(t *testing.T) {
	const n = 400
	base := written(t, n, -1)
	if got := count(t, base.Clone(), small); got != n {
		t.Fatalf("%d records before any damage", got)
	}
	report, err := wal.Inspect(base, nil)
	must(t, err)
	var live []wal.SegmentReport
	for _, s := range report.Segments {
		if s.Live {
			live = append(live, s)
		}
	}
	if len(live) < 4 {
		t.Fatalf("%d segments, want at least 4", len(live))
	}
	for i, s := range live[:len(live)-1] {
		other := live[(i+1)%(len(live)-1)]
		for what, harm := range map[string]func(f *mem.FS){
			"removed":   func(f *mem.FS) { must(t, f.Remove(s.Name)) },
			"emptied":   func(f *mem.FS) { overwrite(t, f, s.Name, 0, make([]byte, s.Bytes)) },
			"header":    func(f *mem.FS) { overwrite(t, f, s.Name, 0, make([]byte, 64)) },
			"sector":    func(f *mem.FS) { overwrite(t, f, s.Name, 1024, make([]byte, 512)) },
			"end":       func(f *mem.FS) { overwrite(t, f, s.Name, s.Used-40, make([]byte, 40)) },
			"swapped":   func(f *mem.FS) { must(t, f.Rename(s.Name, "x")); must(t, f.Rename(other.Name, s.Name)) },
			"duplicate": func(f *mem.FS) { overwrite(t, f, other.Name, 0, contents(t, f, s.Name)) },
			"shortened": func(f *mem.FS) {
				file, err := f.Open(s.Name)
				must(t, err)
				must(t, file.Truncate(s.Bytes/2))
			},
		} {
			f := base.Clone()
			harm(f)
			if _, err := wal.Open(f, owner, small); !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("segment %d of %d, %s: Open returned %v, want ErrCorrupt", i, len(live), what, err)
			}
			if _, err := wal.Inspect(f, nil); !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("segment %d of %d, %s: Inspect returned %v, want ErrCorrupt", i, len(live), what, err)
			}
		}
	}
	f := base.Clone()
	last := live[len(live)-1]
	overwrite(t, f, last.Name, 0, make([]byte, 64))
	if _, err := wal.Open(f, owner, small); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("header of the last segment: %v, want ErrCorrupt: it was synced before its records", err)
	}
}

func contents(t testing.TB, f storage.FS, name string) []byte {
	t.Helper()
	file, err := f.Open(name)
	must(t, err)
	size, err := file.Size()
	must(t, err)
	b := make([]byte, size)
	_, err = file.ReadAt(b, 0)
	must(t, err)
	return b
}

// TestDamageInCutSegmentsIsHarmless damages what nobody needs any more.
func TestDamageInCutSegmentsIsHarmless(t *testing.T) {
	f := written(t, 400, 300)
	report, err := wal.Inspect(f, nil)
	must(t, err)
	free := 0
	for _, s := range report.Segments {
		if !s.Live {
			free++
			overwrite(t, f, s.Name, 0, bytes.Repeat([]byte{0xA5}, int(s.Bytes)))
		}
	}
	if free == 0 {
		t.Fatal("no segment was cut")
	}
	if got := count(t, f, small); got != report.Records {
		t.Fatalf("%d records, want %d", got, report.Records)
	}
}

func TestOwner(t *testing.T) {
	f := written(t, 3, -1)
	for _, change := range []func(*storage.Owner){
		func(o *storage.Owner) { o.Cluster[0]++ }, func(o *storage.Owner) { o.Epoch++ },
		func(o *storage.Owner) { o.Replica++ }, func(o *storage.Owner) { o.Key[31]++ },
	} {
		o := owner
		change(&o)
		if _, err := wal.Open(f, o, small); !errors.Is(err, storage.ErrOwner) {
			t.Errorf("%+v may open the log of %+v: %v", o, owner, err)
		}
		if err := wal.Init(f, o, small); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%+v may take the directory of %+v: %v", o, owner, err)
		}
	}
	must(t, f.Remove("owner"))
	for _, o := range []storage.Owner{owner, {Replica: 7}} {
		if err := wal.Init(f, o, small); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("Init over records without an owner: %v, want ErrCorrupt", err)
		}
	}
}

func TestOtherOptions(t *testing.T) {
	f := written(t, 400, 300)
	big := wal.Options{SegmentBytes: 16 << 10}
	want := count(t, f, small)
	if got := count(t, f, big); got != want {
		t.Fatalf("%d records with larger segments, want %d", got, want)
	}
	for _, bad := range []int{-1, 100, 4097, 1 << 30} {
		if _, err := wal.Open(f, owner, wal.Options{SegmentBytes: bad}); err == nil {
			t.Errorf("segments of %d bytes were accepted", bad)
		}
	}
}

// TestMemory checks that the mode never syncs after the start and survives the process.
func TestMemory(t *testing.T) {
	f := mem.New()
	must(t, wal.Init(f, owner, small))
	o := wal.Options{SegmentBytes: small.SegmentBytes, Memory: true}
	before := f.Count(mem.OpSync)
	l, err := wal.Open(f, owner, o)
	must(t, err)
	for i := range 500 {
		must(t, l.Append(vote(i)))
		must(t, l.Sync())
	}
	if got := f.Count(mem.OpSync) - before; got != 0 {
		t.Errorf("%d syncs in the mode without", got)
	}
	f.Kill()
	if got := count(t, f, o); got != 500 {
		t.Errorf("%d of 500 records survived the process", got)
	}
}

// TestOnDisk runs the log on a real directory.
func TestOnDisk(t *testing.T) {
	f, err := disk.Open(t.TempDir())
	must(t, err)
	must(t, wal.Init(f, owner, small))
	l, err := wal.Open(f, owner, small)
	must(t, err)
	if _, err := wal.Open(f, owner, small); !errors.Is(err, storage.ErrLocked) {
		t.Fatalf("second Open: %v", err)
	}
	for i := range 400 {
		must(t, l.Append(vote(i)))
		if i%40 == 0 {
			must(t, l.Sync())
			must(t, l.Cut(bft.SeqNum(i-200+max(0, 200-i))))
		}
	}
	must(t, l.Close())
	if n := count(t, f, small); n < 199 || n > 400 {
		t.Fatalf("%d records", n)
	}
}

// TestSteadyStateAllocates checks that a vote costs no garbage.
func TestSteadyStateAllocates(t *testing.T) {
	f, err := disk.Open(t.TempDir())
	must(t, err)
	o := wal.Options{SegmentBytes: 1 << 20}
	must(t, wal.Init(f, owner, o))
	l, err := wal.Open(f, owner, o)
	must(t, err)
	r := vote(1)
	if got := testing.AllocsPerRun(200, func() {
		must(t, l.Append(r))
		must(t, l.Sync())
	}); got > 1 {
		t.Errorf("a vote takes %v allocations", got)
	}
	must(t, l.Close())
}

// FuzzOpen opens arbitrary bytes as segments. Whatever opens must then work as a log.
func FuzzOpen(f *testing.F) {
	for _, fs := range []*mem.FS{written(f, 5, -1), written(f, 150, -1), written(f, 400, 300)} {
		names, err := fs.List()
		must(f, err)
		f.Add(contents(f, fs, names[1]), contents(f, fs, names[2]))
		f.Add(contents(f, fs, names[len(names)-1]), contents(f, fs, names[1]))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		fs := mem.New()
		must(t, wal.Init(fs, owner, small))
		for name, contents := range map[string][]byte{"seg-00000000": a, "seg-00000001": b} {
			file, err := fs.Create(name)
			must(t, err)
			_, err = file.WriteAt(contents, 0)
			must(t, err)
			must(t, file.Close())
		}
		alloctest.Reader(t, len(a)+len(b), 1<<20, func() { wal.Inspect(fs, func(string, int64, storage.Record) error { return nil }) })
		_, inspected := wal.Inspect(fs, func(string, int64, storage.Record) error { return nil })
		l, err := wal.Open(fs, owner, small)
		if (err == nil) != (inspected == nil) {
			t.Fatalf("Open: %v, Inspect: %v", err, inspected)
		}
		if err != nil {
			if !errors.Is(err, storage.ErrCorrupt) {
				t.Fatalf("neither open nor damaged: %v", err)
			}
			return
		}
		n := 0
		must(t, l.Replay(func(storage.Record) error { n++; return nil }))
		must(t, l.Append(vote(1), vote(2)))
		must(t, l.Close())
		if got := count(t, fs, small); got != n+2 {
			t.Fatalf("%d records, then 2 more, then %d", n, got)
		}
	})
}

// TestSyncWithoutRoomIsFinal: a sync that fails is no lack of room to wait for, whatever the device says:
// nobody knows what it kept.
func TestSyncWithoutRoomIsFinal(t *testing.T) {
	f := written(t, 3, -1)
	l, err := wal.Open(f, owner, small)
	must(t, err)
	must(t, l.Replay(func(storage.Record) error { return nil }))
	full := true
	f.OnOp(func(op mem.Op, _ string) error {
		if op == mem.OpSync && full {
			return storage.ErrNoSpace
		}
		return nil
	})
	must(t, l.Append(vote(9)))
	first := l.Sync()
	full = false
	if again := l.Sync(); first == nil || errors.Is(first, storage.ErrNoSpace) || again != first {
		t.Fatalf("first %v, then %v", first, again)
	}
}
