// Package storagetest is the conformance suite of package storage: Run for logs, RunFS for file
// systems, RunCrash for what a log keeps when the machine dies at any operation, RunFlips for
// damage. An implementer starts with it red.
//
// The package owns nothing; every test makes its own file system. Called from tests only.
package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/storage/mem"
)

// Subject is a log under test. Init and Open are as in storage/wal, for one fixed owner and
// small segments: of 8 KiB at most, so that the suite reaches their ends.
type Subject struct {
	Init func(storage.FS) error
	Open func(storage.FS) (storage.Log, error)
}

func (s Subject) make(t *testing.T, fs storage.FS) storage.Log {
	t.Helper()
	if err := s.Init(fs); err != nil {
		t.Fatalf("Init: %v", err)
	}
	return s.open(t, fs)
}

func (s Subject) open(t *testing.T, fs storage.FS) storage.Log {
	t.Helper()
	l, err := s.Open(fs)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// replay returns copies of all records of l.
func replay(l storage.Log) ([]storage.Record, error) {
	var all []storage.Record
	err := l.Replay(func(r storage.Record) error {
		r.Data = bytes.Clone(r.Data)
		all = append(all, r)
		return nil
	})
	return all, err
}

func vote(i int) storage.Record {
	return storage.Record{Kind: storage.RecordVote, Seq: bft.SeqNum(i), Data: fmt.Appendf(nil, "vote %d", i)}
}

func same(a, b storage.Record) bool {
	return a.Kind == b.Kind && a.Seq == b.Seq && bytes.Equal(a.Data, b.Data)
}

// wantRecords fails unless l replays exactly want.
func wantRecords(t *testing.T, l storage.Log, want ...storage.Record) {
	t.Helper()
	got, err := replay(l)
	must(t, err)
	if len(got) != len(want) {
		t.Fatalf("replayed %d records, want %d", len(got), len(want))
	}
	for i := range got {
		if !same(got[i], want[i]) {
			t.Fatalf("record %d is %v, want %v", i, got[i], want[i])
		}
	}
}

// Run checks the contract of storage.Log.
func Run(t *testing.T, s Subject) {
	t.Run("empty", func(t *testing.T) {
		if _, err := s.Open(mem.New()); !errors.Is(err, storage.ErrEmpty) {
			t.Fatalf("a directory never initialised must be refused with ErrEmpty, got %v", err)
		}
	})
	t.Run("init twice", func(t *testing.T) {
		fs := mem.New()
		must(t, s.make(t, fs).Close())
		if s.Init(fs) == nil {
			t.Fatal("a second Init must be refused: it would forget votes")
		}
	})
	t.Run("locked", func(t *testing.T) {
		fs := mem.New()
		l := s.make(t, fs)
		if _, err := s.Open(fs); !errors.Is(err, storage.ErrLocked) {
			t.Fatalf("a directory in use must be refused with ErrLocked, got %v", err)
		}
		must(t, l.Close())
		must(t, s.open(t, fs).Close())
	})
	t.Run("order", func(t *testing.T) { runOrder(t, s) })
	t.Run("copies", func(t *testing.T) { runCopies(t, s) })
	t.Run("large", func(t *testing.T) { runLarge(t, s) })
	t.Run("cut", func(t *testing.T) { runCut(t, s) })
	t.Run("group commit", func(t *testing.T) { runGroupCommit(t, s) })
	t.Run("sync error sticks", func(t *testing.T) { runSyncError(t, s) })
	t.Run("full device", func(t *testing.T) { runNoSpace(t, s) })
}

func runOrder(t *testing.T, s Subject) {
	fs := mem.New()
	l := s.make(t, fs)
	var want []storage.Record
	for i := range 1000 {
		r := vote(i)
		r.Kind = storage.RecordKind(1 + i%int(storage.RecordKindMax))
		r.Data = bytes.Repeat(r.Data, i%7) // empty ones too
		want = append(want, r)
		must(t, l.Append(r))
		if i%10 == 9 {
			must(t, l.Sync())
		}
	}
	must(t, l.Sync())
	fs.Crash(func(int) int { return 0 })
	l = s.open(t, fs)
	wantRecords(t, l, want...)
	must(t, l.Append(vote(1000)))
	must(t, l.Sync())
	must(t, l.Close())
	l = s.open(t, fs)
	wantRecords(t, l, append(want, vote(1000))...)
	must(t, l.Close())
}

func runCopies(t *testing.T, s Subject) {
	fs := mem.New()
	l := s.make(t, fs)
	r := vote(1)
	must(t, l.Append(r))
	clear(r.Data)
	must(t, l.Close()) // Close syncs nothing less than Sync does
	l = s.open(t, fs)
	wantRecords(t, l, vote(1))
	must(t, l.Close())
}

// runLarge appends records that are larger than any segment.
func runLarge(t *testing.T, s Subject) {
	fs := mem.New()
	l := s.make(t, fs)
	var want []storage.Record
	for i, n := range []int{10, 9 << 20, 3, 1 << 20, 1 << 20, 8000, 8190, 8192, 1} {
		r := storage.Record{Kind: storage.RecordBody, Seq: bft.SeqNum(i), Data: bytes.Repeat([]byte{byte(i + 1)}, n)}
		want = append(want, r)
		must(t, l.Append(r))
		if i%3 == 0 {
			must(t, l.Sync())
		}
	}
	must(t, l.Sync())
	fs.Crash(func(int) int { return 0 })
	l = s.open(t, fs)
	wantRecords(t, l, want...)
	must(t, l.Append(vote(100)))
	must(t, l.Cut(50))
	must(t, l.Sync())
	if l.Bytes() > 1<<20 {
		t.Fatalf("after the cut the log has %d bytes: large segments must go", l.Bytes())
	}
	must(t, l.Close())
}

// runCut checks that a log that is cut stays small and keeps what only the newest counts of.
func runCut(t *testing.T, s Subject) {
	fs := mem.New()
	l := s.make(t, fs)
	latest := map[storage.RecordKind]storage.Record{}
	for k := storage.RecordView; k <= storage.RecordKindMax; k++ {
		for i := range 2 { // the older one must not come back
			latest[k] = storage.Record{Kind: k, Seq: bft.SeqNum(i), Data: fmt.Appendf(nil, "%d of kind %d", i, k)}
			must(t, l.Append(latest[k]))
		}
	}
	const slots, keep = 5000, 20
	var most int64
	for i := 1; i <= slots; i++ {
		must(t, l.Append(vote(i)))
		if i > keep {
			must(t, l.Cut(bft.SeqNum(i-keep)))
		}
		must(t, l.Sync())
		most = max(most, l.Bytes())
	}
	if most > 256<<10 {
		t.Fatalf("a log cut all the time grew to %d bytes: segments must be used again", most)
	}
	fs.Crash(func(int) int { return 0 })
	l = s.open(t, fs)
	got, err := replay(l)
	must(t, err)
	next := slots - keep + 1
	for _, r := range got {
		if r.Kind.Latest() {
			if !same(r, latest[r.Kind]) && string(r.Data[:1]) == "1" {
				t.Fatalf("record %v, want %v", r, latest[r.Kind])
			}
			if same(r, latest[r.Kind]) {
				delete(latest, r.Kind)
			}
		} else if r.Seq == bft.SeqNum(next) {
			next++
		}
	}
	if next != slots+1 {
		t.Fatalf("a vote above the cut is lost: %d", next)
	}
	if len(latest) > 0 {
		t.Fatalf("the newest records of these kinds were lost by cuts: %v", latest)
	}
	must(t, l.Close())
}

func runGroupCommit(t *testing.T, s Subject) {
	fs := mem.New()
	l := s.make(t, fs)
	writes, syncs := fs.Count(mem.OpWrite), fs.Count(mem.OpSync)
	for i := range 20 {
		must(t, l.Append(vote(i)))
	}
	must(t, l.Sync())
	must(t, l.Sync())
	if w, y := fs.Count(mem.OpWrite)-writes, fs.Count(mem.OpSync)-syncs; w != 1 || y != 1 {
		t.Fatalf("20 records took %d writes and %d syncs, want one of each", w, y)
	}
	must(t, l.Close())
}

var errDevice = errors.New("device failed")

func runSyncError(t *testing.T, s Subject) {
	fs := mem.New()
	l := s.make(t, fs)
	failed := false
	fs.OnOp(func(op mem.Op, _ string) error {
		if op == mem.OpSync && !failed {
			failed = true
			return errDevice
		}
		return nil
	})
	must(t, l.Append(vote(1)))
	for range 2 {
		if err := l.Sync(); !errors.Is(err, errDevice) {
			t.Fatalf("Sync after a failed sync returned %v: what the device kept is unknown, so nothing may count", err)
		}
	}
	if err := l.Append(vote(2)); !errors.Is(err, errDevice) {
		t.Fatalf("Append after a failed sync returned %v", err)
	}
	if err := l.Cut(1); !errors.Is(err, errDevice) {
		t.Fatalf("Cut after a failed sync returned %v", err)
	}
	if err := l.Close(); !errors.Is(err, errDevice) {
		t.Fatalf("Close after a failed sync returned %v", err)
	}
}

// runNoSpace fills the device, and checks that nothing is lost and that a cut helps.
func runNoSpace(t *testing.T, s Subject) {
	fs := mem.New()
	l := s.make(t, fs)
	fs.SetCapacity(128 << 10)
	data := strings.Repeat("x", 1000)
	n := 0
	for ; n < 1000; n++ {
		r := storage.Record{Kind: storage.RecordVote, Seq: bft.SeqNum(n), Data: []byte(data)}
		err := l.Append(r, r)
		if errors.Is(err, storage.ErrNoSpace) {
			break
		}
		must(t, err)
		must(t, l.Sync())
	}
	if n == 1000 || n == 0 {
		t.Fatalf("appended %d times 2000 bytes to a device of 128 KiB", n)
	}
	must(t, l.Sync())
	twin := fs.Clone()
	l2 := s.open(t, twin)
	got, err := replay(l2)
	must(t, err)
	if len(got) != 2*n {
		t.Fatalf("%d records on the full device, want %d: an Append is whole or nothing", len(got), 2*n)
	}
	must(t, l.Cut(bft.SeqNum(n)))
	must(t, l.Sync())
	must(t, l.Append(vote(n)))
	must(t, l.Sync())
	fs.Crash(func(int) int { return 0 })
	l = s.open(t, fs)
	got, err = replay(l)
	must(t, err)
	if !same(got[len(got)-1], vote(n)) {
		t.Fatalf("the record after the cut is lost; the last is %v", got[len(got)-1])
	}
	must(t, l.Close())
}
