package mem_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/storage/mem"
	"github.com/themis-bft/themis/storage/storagetest"
)

func TestFS(t *testing.T) {
	storagetest.RunFS(t, func(*testing.T) storage.FS { return mem.New() })
}

func none(int) int  { return 0 }
func all(n int) int { return n - 1 }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, f storage.File, off int64, s string) {
	t.Helper()
	_, err := f.WriteAt([]byte(s), off)
	must(t, err)
}

// read is the contents of a file, or "-" if there is none.
func read(t *testing.T, fs *mem.FS, name string) string {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		return "-"
	}
	size, err := f.Size()
	must(t, err)
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return string(b)
}

// durableFile makes a file whose name and contents survive.
func durableFile(t *testing.T, fs *mem.FS, name, contents string) storage.File {
	t.Helper()
	f, err := fs.Create(name)
	must(t, err)
	write(t, f, 0, contents)
	must(t, f.Sync())
	must(t, fs.SyncDir())
	return f
}

func TestCrashLosesWhatWasNotSynced(t *testing.T) {
	fs := mem.New()
	f := durableFile(t, fs, "a", "old contents")
	write(t, f, 0, "NEW")
	must(t, f.Truncate(5))
	_, err := fs.Create("b")
	must(t, err)
	must(t, fs.Rename("a", "c"))
	kept := fs.Clone()
	fs.Crash(none)
	if a, b, c := read(t, fs, "a"), read(t, fs, "b"), read(t, fs, "c"); a != "old contents" || b != "-" || c != "-" {
		t.Errorf("none kept: a %q b %q c %q", a, b, c)
	}
	kept.Crash(all)
	if a, b, c := read(t, kept, "a"), read(t, kept, "b"), read(t, kept, "c"); a != "-" || b != "" || c != "NEW c" {
		t.Errorf("all kept: a %q b %q c %q", a, b, c)
	}
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	fs := mem.New()
	f := durableFile(t, fs, "a", "1")
	for i := range 100 {
		write(t, f, int64(i*97), strings.Repeat("x", 50))
	}
	must(t, f.Sync())
	want := read(t, fs, "a")
	write(t, f, 10, strings.Repeat("y", 5000))
	fs.Crash(none)
	if read(t, fs, "a") != want {
		t.Fatal("synced contents changed")
	}
}

func TestCrashEndsFilesAndLock(t *testing.T) {
	for _, end := range []func(*mem.FS){func(fs *mem.FS) { fs.Crash(none) }, (*mem.FS).Kill} {
		fs := mem.New()
		f := durableFile(t, fs, "a", "1")
		release, err := fs.Lock()
		must(t, err)
		end(fs)
		if err := f.Sync(); !errors.Is(err, mem.ErrCrashed) {
			t.Errorf("a file of the time before still works: %v", err)
		}
		if _, err := fs.Lock(); err != nil {
			t.Errorf("the lock survived: %v", err)
		}
		release() // of the dead holder: must not unlock the new one
		if _, err := fs.Lock(); !errors.Is(err, storage.ErrLocked) {
			t.Errorf("a dead holder released the lock of the next: %v", err)
		}
	}
}

func TestKillLosesNothingAndSyncsNothing(t *testing.T) {
	fs := mem.New()
	f := durableFile(t, fs, "a", "old")
	write(t, f, 0, "new")
	fs.Kill()
	if got := read(t, fs, "a"); got != "new" {
		t.Fatalf("%q after the death of the process", got)
	}
	fs.Crash(none)
	if got := read(t, fs, "a"); got != "old" {
		t.Fatalf("%q after the power cut that followed", got)
	}
}

// TestTornWrites draws many crashes and wants to see each shape of one.
func TestTornWrites(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	shapes := map[string]int{}
	for range 2000 {
		fs := mem.New()
		f := durableFile(t, fs, "a", strings.Repeat("-", 1536))
		write(t, f, 0, strings.Repeat("A", 1024))
		write(t, f, 1024, strings.Repeat("B", 512))
		fs.Crash(rng.IntN)
		got := []byte(read(t, fs, "a"))
		a, b := bytes.Count(got, []byte("A")), bytes.Count(got, []byte("B"))
		switch {
		case a+b == 0:
			shapes["nothing"]++
		case a == 1024 && b == 512:
			shapes["everything"]++
		case a < 1024 && b == 0 && got[0] == 'A' && a%512 != 0:
			shapes["torn at a byte"]++
		case a < 1024 && b == 512:
			shapes["reordered"]++
		case a == 512 && got[0] == '-':
			shapes["second sector alone"]++
		}
	}
	for _, s := range []string{"nothing", "everything", "torn at a byte", "reordered", "second sector alone"} {
		if shapes[s] == 0 {
			t.Errorf("no crash left %s: %v", s, shapes)
		}
	}
}

func TestCrashIsAFunctionOfItsDraws(t *testing.T) {
	run := func() string {
		fs := mem.New()
		rng := rand.New(rand.NewPCG(5, 5))
		for i := range 10 {
			f, err := fs.Create(fmt.Sprint("f", i))
			must(t, err)
			if i%3 == 0 {
				must(t, fs.SyncDir())
			}
			write(t, f, 0, strings.Repeat("x", 3000))
		}
		fs.Crash(rng.IntN)
		names, err := fs.List()
		must(t, err)
		s := fmt.Sprint(names)
		for _, n := range names {
			s += read(t, fs, n)
		}
		return s
	}
	want := run()
	for range 20 {
		if run() != want {
			t.Fatal("the same draws left something else")
		}
	}
}

func TestFaults(t *testing.T) {
	fs := mem.New()
	f := durableFile(t, fs, "a", "old")
	broken := errors.New("broken")
	fs.OnOp(func(op mem.Op, name string) error {
		if op == mem.OpWrite && name == "a" {
			return broken
		}
		return nil
	})
	if _, err := f.WriteAt([]byte("new"), 0); !errors.Is(err, broken) {
		t.Fatalf("write: %v", err)
	}
	must(t, f.Sync())
	fs.OnOp(nil)
	if got := read(t, fs, "a"); got != "old" {
		t.Fatalf("a failed write left %q", got)
	}
	fs.SetCapacity(5)
	if _, err := f.WriteAt([]byte("longer"), 0); !errors.Is(err, storage.ErrNoSpace) {
		t.Fatalf("write beyond the capacity: %v", err)
	}
	write(t, f, 0, "fives")
}

func TestZerosTakeNoMemory(t *testing.T) {
	zeros := make([]byte, 1<<20)
	got := testing.AllocsPerRun(10, func() {
		fs := mem.New()
		f, err := fs.Create("a")
		must(t, err)
		_, err = f.WriteAt(zeros, 0)
		must(t, err)
		must(t, f.Sync())
	})
	if got > 30 {
		t.Fatalf("a mebibyte of zeros took %v allocations", got)
	}
}
