package snapshot_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/alloctest"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/storage/mem"
	"github.com/themis-bft/themis/storage/snapshot"
	"github.com/themis-bft/themis/wire"
)

// checkpoint is a source whose contents follow from its slot.
type checkpoint struct{ seq bft.SeqNum }

func (c checkpoint) Seq() bft.SeqNum    { return c.seq }
func (c checkpoint) Digest() bft.Digest { return wire.DigestOf("checkpoint", c.Manifest()) }
func (c checkpoint) Manifest() []byte   { return fmt.Appendf(nil, "manifest of %d", c.seq) }
func (c checkpoint) Pages() int         { return int(c.seq % 5) }
func (c checkpoint) Page(i int) []byte {
	return bytes.Repeat([]byte{byte(c.seq), byte(i)}, i*i*i*3000) // the first is empty, the last above one chunk
}

func same(s *snapshot.Snapshot, c checkpoint) bool {
	if s.Seq != c.seq || s.Digest != c.Digest() || !bytes.Equal(s.Manifest, c.Manifest()) || len(s.Pages) != c.Pages() {
		return false
	}
	for i, p := range s.Pages {
		if !bytes.Equal(p, c.Page(i)) {
			return false
		}
	}
	return true
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantLoaded(t *testing.T, fs storage.FS, seq bft.SeqNum, refused int) {
	t.Helper()
	s, err := snapshot.Load(fs)
	must(t, err)
	if !same(s, checkpoint{seq}) || s.Refused != refused {
		t.Fatalf("loaded slot %d with %d refused, want %d as it was saved and %d", s.Seq, s.Refused, seq, refused)
	}
}

func TestNewestOfTwoIsKept(t *testing.T) {
	fs := mem.New()
	if _, err := snapshot.Load(fs); !errors.Is(err, snapshot.ErrNone) {
		t.Fatalf("Load of nothing: %v", err)
	}
	for _, seq := range []bft.SeqNum{5, 9, 14, 104} { // no pages, several pages, order by number
		must(t, snapshot.Save(fs, checkpoint{seq}))
		wantLoaded(t, fs, seq, 0)
	}
	names, err := fs.List()
	must(t, err)
	if len(names) != 2 {
		t.Fatalf("%v, want the newest two", names)
	}
	must(t, snapshot.Save(fs, checkpoint{104}))
	fs.Crash(func(int) int { return 0 })
	wantLoaded(t, fs, 104, 0)
}

// TestCrash kills the machine at every operation of a second and third Save.
func TestCrash(t *testing.T) {
	dead := errors.New("dead")
	rng := rand.New(rand.NewPCG(1, 2))
	for k := 1; ; k++ {
		fs := mem.New()
		must(t, snapshot.Save(fs, checkpoint{4}))
		ops, saved := 0, bft.SeqNum(4)
		fs.OnOp(func(mem.Op, string) error {
			if ops++; ops >= k {
				return dead
			}
			return nil
		})
		for _, seq := range []bft.SeqNum{9, 13} {
			if err := snapshot.Save(fs, checkpoint{seq}); err == nil {
				saved = seq
			} else if !errors.Is(err, dead) {
				t.Fatal(err)
			}
		}
		for variant := range 12 {
			c := fs.Clone()
			switch variant {
			case 0:
				c.Crash(func(int) int { return 0 })
			case 1:
				c.Crash(func(n int) int { return n - 1 })
			default:
				c.Crash(rng.IntN)
			}
			s, err := snapshot.Load(c)
			if err != nil {
				t.Fatalf("operation %d, variant %d: %v", k, variant, err)
			}
			if s.Seq < saved || s.Refused > 0 || !same(s, checkpoint{s.Seq}) {
				t.Fatalf("operation %d, variant %d: loaded %d with %d refused, %d was saved", k, variant, s.Seq, s.Refused, saved)
			}
			if names, err := c.List(); err != nil || slices.Contains(names, "snapshot.new") {
				t.Fatalf("Load left the interrupted save: %v %v", names, err)
			}
		}
		if ops < k {
			if k < 12 {
				t.Fatalf("only %d operations: the test tests nothing", k)
			}
			return
		}
	}
}

func damage(t *testing.T, fs storage.FS, name string, change func(b []byte) []byte) {
	t.Helper()
	f, err := fs.Open(name)
	must(t, err)
	size, err := f.Size()
	must(t, err)
	b := make([]byte, size)
	_, err = f.ReadAt(b, 0)
	must(t, err)
	b = change(b)
	must(t, f.Truncate(int64(len(b))))
	_, err = f.WriteAt(b, 0)
	must(t, err)
	must(t, f.Close())
}

func TestDamageFallsBackToTheOlder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 3))
	base := mem.New()
	must(t, snapshot.Save(base, checkpoint{8}))
	must(t, snapshot.Save(base, checkpoint{14}))
	names, err := base.List()
	must(t, err)
	for i := range 400 {
		fs := base.Clone()
		damage(t, fs, names[1], func(b []byte) []byte {
			switch i {
			case 0:
				return b[:len(b)-1]
			case 1:
				return append(b, 0)
			case 2:
				return nil
			}
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
			return b
		})
		wantLoaded(t, fs, 8, 1)
		must(t, snapshot.Save(fs, checkpoint{21}))
		wantLoaded(t, fs, 21, 0)
	}
	damage(t, base, names[0], func([]byte) []byte { return nil })
	damage(t, base, names[1], func([]byte) []byte { return nil })
	if _, err := snapshot.Load(base); !errors.Is(err, storage.ErrCorrupt) {
		t.Fatalf("all damaged: %v, want ErrCorrupt", err)
	}
}

// wrong is a source whose digest is not its manifest's.
type wrong struct{ checkpoint }

func (wrong) Digest() bft.Digest { return bft.Digest{1} }

func TestDigestOfTheManifestIsChecked(t *testing.T) {
	fs := mem.New()
	must(t, snapshot.Save(fs, checkpoint{8}))
	must(t, snapshot.Save(fs, wrong{checkpoint{9}}))
	wantLoaded(t, fs, 8, 1)
}

func TestFullDeviceKeepsTheOlder(t *testing.T) {
	fs := mem.New()
	must(t, snapshot.Save(fs, checkpoint{8}))
	fs.SetCapacity(200 << 10)
	if err := snapshot.Save(fs, checkpoint{14}); !errors.Is(err, storage.ErrNoSpace) {
		t.Fatalf("Save on a full device: %v", err)
	}
	wantLoaded(t, fs, 8, 0)
	fs.SetCapacity(0)
	must(t, snapshot.Save(fs, checkpoint{14}))
	wantLoaded(t, fs, 14, 0)
}

func FuzzLoad(f *testing.F) {
	fs := mem.New()
	if err := snapshot.Save(fs, checkpoint{7}); err != nil {
		f.Fatal(err)
	}
	file, err := fs.Open("snapshot-00000000000000000007")
	if err != nil {
		f.Fatal(err)
	}
	b := make([]byte, 400)
	n, _ := file.ReadAt(b, 0)
	f.Add(b[:n])
	huge := bytes.Clone(b[:n])
	binary.LittleEndian.PutUint32(huge[52:], 1<<31)
	f.Add(huge)
	f.Fuzz(func(t *testing.T, b []byte) {
		load := func() (*snapshot.Snapshot, error) {
			fs := mem.New()
			file, err := fs.Create("snapshot-00000000000000000007")
			must(t, err)
			_, err = file.WriteAt(b, 0)
			must(t, err)
			return snapshot.Load(fs)
		}
		alloctest.Reader(t, len(b), 1<<30, func() { load() })
		s, err := load()
		if err == nil && wire.DigestOf("checkpoint", s.Manifest) != s.Digest {
			t.Fatal("loaded a snapshot whose digest is wrong")
		}
		if err != nil && !errors.Is(err, storage.ErrCorrupt) {
			t.Fatalf("neither loaded nor damaged: %v", err)
		}
	})
}
