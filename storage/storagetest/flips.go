package storagetest

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/storage/mem"
)

// RunFlips inverts single bits all over the files of a log. Damage must be found
// (storage.ErrCorrupt) or change nothing; only the batch that was synced last, without a clean
// stop after it, may look like a torn tail.
func RunFlips(t *testing.T, s Subject) {
	t.Run("after a clean stop", func(t *testing.T) { runFlips(t, s, true) })
	t.Run("after a crash", func(t *testing.T) { runFlips(t, s, false) })
}

func runFlips(t *testing.T, s Subject, clean bool) {
	w := newWorld(s, 11)
	_, err := w.live(150, 0)
	must(t, err)
	l := s.open(t, w.fs)
	for range 5 {
		must(t, l.Append(vote(1<<20)))
		must(t, l.Sync())
	}
	if clean {
		must(t, l.Close())
	} else {
		w.fs.Crash(func(int) int { return 0 })
	}
	whole := s.open(t, w.fs)
	want, err := replay(whole)
	must(t, err)
	w.fs.Kill()
	rng := rand.New(rand.NewPCG(3, 4))
	found, tail := 0, 0
	for range 3000 {
		c := w.fs.Clone()
		name, off := flip(t, c, rng)
		l, err := s.Open(c)
		if errors.Is(err, storage.ErrCorrupt) {
			found++
			continue
		}
		if err != nil {
			t.Fatalf("%s offset %d: %v", name, off, err)
		}
		got, err := replay(l)
		must(t, err)
		if len(got) == len(want)-1 && !clean {
			tail++
		} else if len(got) != len(want) {
			t.Fatalf("%s offset %d: %d records of %d are left, and nobody noticed", name, off, len(got), len(want))
		}
		for i := range got {
			if !same(got[i], want[i]) {
				t.Fatalf("%s offset %d: record %d was changed, and nobody noticed", name, off, i)
			}
		}
	}
	if found < 100 {
		t.Fatalf("only %d of 3000 flips hit anything", found)
	}
	t.Logf("%d found, %d taken for a torn tail", found, tail)
}

// flip inverts one bit of one file.
func flip(t *testing.T, fs *mem.FS, rng *rand.Rand) (string, int64) {
	t.Helper()
	names, err := fs.List()
	must(t, err)
	name := names[rng.IntN(len(names))]
	f, err := fs.Open(name)
	must(t, err)
	size, err := f.Size()
	must(t, err)
	off := rng.Int64N(size)
	var b [1]byte
	_, err = f.ReadAt(b[:], off)
	must(t, err)
	b[0] ^= 1 << rng.IntN(8)
	_, err = f.WriteAt(b[:], off)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
	return name, off
}
