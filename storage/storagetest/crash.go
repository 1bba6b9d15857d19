package storagetest

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/storage/mem"
)

// errDead is what every operation returns after the machine died.
var errDead = errors.New("the machine is dead")

// world is a log on a file system, with what is known of it. It knows the contract only.
type world struct {
	s       Subject
	fs      *mem.FS
	rng     *rand.Rand
	inited  bool             // Init returned nil once
	recs    []storage.Record // everything that the log may hold, in order of appending
	acked   int              // how many of them a Sync covered
	cut     bft.SeqNum       // highest slot that was cut, acknowledged or not
	slot    bft.SeqNum
	serial  int
	lost    int // records that a crash took, over all lives
	reopens int
}

func newWorld(s Subject, seed uint64) *world {
	return &world{s: s, fs: mem.New(), rng: rand.New(rand.NewPCG(seed, 1))}
}

func (w *world) clone(seed uint64) *world {
	c := *w
	c.fs = w.fs.Clone()
	c.rng = rand.New(rand.NewPCG(seed, 2))
	c.recs = slices.Clone(w.recs)
	return &c
}

// live starts a process, checks what it finds, runs steps and stops. At its operation dieAt, if
// that is not 0, the machine dies. It returns the number of operations begun.
func (w *world) live(steps, dieAt int) (ops int, err error) {
	w.fs.OnOp(func(mem.Op, string) error {
		ops++
		if dieAt > 0 && ops >= dieAt {
			return errDead
		}
		return nil
	})
	defer w.fs.OnOp(nil)
	err = w.run(steps)
	if errors.Is(err, errDead) && dieAt > 0 {
		err = nil
	}
	return ops, err
}

func (w *world) run(steps int) error {
	if !w.inited {
		if err := w.s.Init(w.fs); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("Init: %w", err)
		}
		w.inited = true
	}
	l, err := w.s.Open(w.fs)
	if err != nil {
		return fmt.Errorf("Open: %w", err)
	}
	got, err := replay(l)
	if err != nil {
		return fmt.Errorf("Replay: %w", err)
	}
	if err := w.check(got); err != nil {
		return err
	}
	for range steps {
		if err := w.step(l); err != nil {
			return err
		}
	}
	if err := l.Close(); err != nil {
		return err
	}
	w.acked = len(w.recs)
	return nil
}

func (w *world) step(l storage.Log) error {
	switch r := w.rng.IntN(10); {
	case r < 6:
		recs := make([]storage.Record, 1+w.rng.IntN(3))
		for i := range recs {
			recs[i] = w.record()
		}
		if err := l.Append(recs...); err != nil {
			return err
		}
		w.recs = append(w.recs, recs...)
		return nil
	case r < 9:
		if err := l.Sync(); err != nil {
			return err
		}
		w.acked = len(w.recs)
		return nil
	default:
		below := w.slot - min(w.slot, bft.SeqNum(w.rng.IntN(8)))
		w.cut = max(w.cut, below)
		return l.Cut(below)
	}
}

func (w *world) record() storage.Record {
	w.serial++
	w.slot += bft.SeqNum(w.rng.IntN(2))
	r := storage.Record{Kind: storage.RecordVote, Seq: w.slot}
	size := w.rng.IntN(200)
	switch w.rng.IntN(12) {
	case 0, 1:
		r.Kind, size = storage.RecordBody, w.rng.IntN(3000)
	case 2:
		r.Kind = storage.RecordView + storage.RecordKind(w.rng.IntN(3))
	case 3:
		if w.rng.IntN(4) == 0 {
			r.Kind, size = storage.RecordBody, 10000 // larger than a segment
		}
	}
	r.Data = fmt.Appendf(nil, "%d %s", w.serial, strings.Repeat("z", size))
	return r
}

// check holds what was replayed against what was appended, and forgets what the crash took: it
// must not come back.
func (w *world) check(got []storage.Record) error {
	index := map[string]int{}
	for i, r := range w.recs {
		index[string(r.Data)] = i
	}
	high, last := w.acked-1, -1
	present := make([]bool, len(w.recs))
	var newest [storage.RecordKindMax + 1]int
	for k := range newest {
		newest[k] = -1
	}
	for _, r := range got {
		i, ok := index[string(r.Data)]
		if !ok || !same(r, w.recs[i]) {
			return fmt.Errorf("replayed a record that was never appended, or that an earlier open had lost: kind %d, slot %d, %.8q", r.Kind, r.Seq, r.Data)
		}
		if !r.Kind.Latest() {
			if i <= last {
				return fmt.Errorf("record %d replayed after record %d", i, last)
			}
			last = i
		}
		newest[r.Kind] = i
		present[i] = true
		high = max(high, i)
	}
	var want [storage.RecordKindMax + 1]int
	for k := range want {
		want[k] = -1
	}
	for i, r := range w.recs[:high+1] {
		if r.Kind.Latest() {
			want[r.Kind] = i
		} else if r.Seq > w.cut && !present[i] {
			return fmt.Errorf("record %d of slot %d is lost: %d were acknowledged, %d replayed, cut at %d", i, r.Seq, w.acked, high+1, w.cut)
		}
	}
	for k := storage.RecordView; k <= storage.RecordKindMax; k++ {
		if newest[k] != want[k] {
			return fmt.Errorf("the newest record of kind %d is number %d, want %d", k, newest[k], want[k])
		}
	}
	w.lost += len(w.recs) - high - 1
	w.reopens++
	w.recs, w.acked = w.recs[:high+1], high+1
	return nil
}

func (w *world) crash(variant int) {
	switch variant {
	case 0:
		w.fs.Crash(func(int) int { return 0 })
	case 1:
		w.fs.Crash(func(n int) int { return n - 1 })
	case 2:
		w.fs.Kill()
	default:
		w.fs.Crash(w.rng.IntN)
	}
}

// crashVariants is lost, kept, process killed, and as many draws of torn.
const crashVariants = 3 + 6

// RunCrash kills the machine at every operation of a workload, in every variant of what is left
// of unsynced data, and checks what the next processes find; then it does the same with many
// random lives in a row, so that machines also die while they repair.
func RunCrash(t *testing.T, s Subject) {
	t.Run("every operation", func(t *testing.T) { runEveryOperation(t, s) })
	t.Run("many lives", func(t *testing.T) { runManyLives(t, s) })
	t.Run("ghost", func(t *testing.T) { runGhost(t, s) })
}

// runGhost appends two records that a crash tears so that only the second is on the disk, and
// then the first one again, byte for byte, as a restarted replica may well do: the second was
// lost, and must not follow it.
func runGhost(t *testing.T, s Subject) {
	first, second := vote(1), vote(2)
	first.Data = append(first.Data, strings.Repeat("a", 1000)...)
	second.Data = append(second.Data, strings.Repeat("b", 1000)...)
	tried := 0
	for seed := range uint64(300) {
		f := mem.New()
		l := s.make(t, f)
		must(t, l.Append(first, second))
		f.OnOp(func(op mem.Op, _ string) error {
			if op == mem.OpSync {
				return errDead
			}
			return nil
		})
		if err := l.Sync(); !errors.Is(err, errDead) {
			t.Fatalf("Sync: %v", err)
		}
		f.Crash(rand.New(rand.NewPCG(seed, 5)).IntN)
		l = s.open(t, f)
		got, err := replay(l)
		must(t, err)
		if len(got) > 0 {
			continue
		}
		tried++
		must(t, l.Append(first))
		must(t, l.Sync())
		f.Crash(func(int) int { return 0 })
		l = s.open(t, f)
		wantRecords(t, l, first)
	}
	if tried < 50 {
		t.Fatalf("only %d of 300 crashes lost both records", tried)
	}
}

func runEveryOperation(t *testing.T, s Subject) {
	const seed, steps = 7, 80
	ops, err := newWorld(s, seed).live(steps, 0)
	must(t, err)
	if ops < 60 {
		t.Fatalf("the workload has only %d operations: it tests nothing", ops)
	}
	lost := 0
	for k := 1; k <= ops; k++ {
		w := newWorld(s, seed)
		if _, err := w.live(steps, k); err != nil {
			t.Fatalf("operation %d: %v", k, err)
		}
		for v := range crashVariants {
			c := w.clone(uint64(v))
			c.crash(v)
			if _, err := c.live(6, 0); err != nil {
				t.Fatalf("died at operation %d of %d, variant %d, first life after: %v", k, ops, v, err)
			}
			c.crash(0)
			if _, err := c.live(0, 0); err != nil {
				t.Fatalf("died at operation %d of %d, variant %d, second life after: %v", k, ops, v, err)
			}
			lost += c.lost
		}
	}
	if lost == 0 {
		t.Fatal("no crash lost anything: the test tests nothing")
	}
}

func runManyLives(t *testing.T, s Subject) {
	reopens := 0
	for seed := range uint64(60) {
		w := newWorld(s, seed)
		for life := range 25 {
			if _, err := w.live(30, 1+w.rng.IntN(60)); err != nil {
				t.Fatalf("seed %d, life %d: %v", seed, life, err)
			}
			w.crash(w.rng.IntN(crashVariants))
		}
		if _, err := w.live(0, 0); err != nil {
			t.Fatalf("seed %d, last life: %v", seed, err)
		}
		reopens += w.reopens
	}
	if reopens < 500 {
		t.Fatalf("only %d lives got past Open", reopens)
	}
}
