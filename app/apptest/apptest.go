// Package apptest is the conformance suite of app.Machine: what every replicated application
// has to keep for replicas to stay equal. A test of an application calls Run; the suite owns
// nothing else and runs on the test's goroutine, with one more to read snapshots meanwhile.
package apptest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/bft"
)

// Op makes a random operation of the application; it should reach every kind of operation and
// meet the same parts of the state again and again.
type Op func(r *rand.Rand) []byte

// Run holds the machines that fresh makes, each in its initial state, against the contract of
// app.Machine.
func Run(t *testing.T, fresh func() app.Machine, op Op) {
	for seed := range uint64(4) {
		s := suite{fresh: fresh, op: op, seed: seed}
		t.Run(fmt.Sprintf("Deterministic/seed=%d", seed), s.deterministic)
		t.Run(fmt.Sprintf("SnapshotRestores/seed=%d", seed), s.restores)
		t.Run(fmt.Sprintf("SnapshotImmutable/seed=%d", seed), s.immutable)
		t.Run(fmt.Sprintf("ForeignPagesRefused/seed=%d", seed), s.foreign)
	}
}

type suite struct {
	fresh func() app.Machine
	op    Op
	seed  uint64
}

// script is a list of operations: mostly sensible, some cut short or random.
func (s suite) script(salt uint64, n int) [][]byte {
	r := rand.New(rand.NewPCG(s.seed, salt))
	ops := make([][]byte, n)
	for i := range ops {
		b := bytes.Clone(s.op(r))
		switch r.IntN(12) {
		case 0:
			b = b[:r.IntN(len(b)+1)]
		case 1:
			if len(b) > 0 {
				b[r.IntN(len(b))] ^= byte(1 << r.IntN(8))
			}
		}
		ops[i] = b
	}
	return ops
}

// play executes ops in slots from first on and returns the responses. The buffer that held an
// operation is overwritten as soon as Execute returns: op is valid during the call alone.
func play(t *testing.T, m app.Machine, first bft.SeqNum, ops [][]byte) [][]byte {
	t.Helper()
	responses := make([][]byte, len(ops))
	for i, op := range ops {
		buffer := bytes.Clone(op)
		call := app.Call{
			Client: bft.ClientID{byte(i % 3)}, Seq: first + bft.SeqNum(i),
			Time: bft.Time(first)*1000 + bft.Time(i), Seed: bft.Digest{byte(i), byte(i >> 8)},
		}
		done := make(chan []byte, 1)
		m.Execute(call, buffer).Then(func(b []byte) { done <- b })
		for j := range buffer {
			buffer[j] ^= 0xA5
		}
		responses[i] = <-done
	}
	return responses
}

// pages reads a whole snapshot and holds it against the limits and its digests.
func pages(t *testing.T, s app.Snapshot) [][]byte {
	t.Helper()
	if n := s.Pages(); n < 0 || n > bft.StatePagesMax/2 {
		t.Fatalf("a snapshot has %d pages; at most %d are allowed", n, bft.StatePagesMax/2)
	}
	list := make([][]byte, s.Pages())
	for i := range list {
		list[i] = bytes.Clone(s.Page(i))
		if len(list[i]) > bft.StateItemBytesMax {
			t.Fatalf("page %d has %d bytes; at most %d are allowed", i, len(list[i]), bft.StateItemBytesMax)
		}
		if s.Digest(i) != app.PageDigest(list[i]) {
			t.Fatalf("Digest(%d) is not app.PageDigest of the page: a replica that fetches it would call this one a liar", i)
		}
	}
	return list
}

func equal(t *testing.T, what string, a, b [][]byte, rule string) {
	t.Helper()
	if len(a) != len(b) {
		t.Fatalf("%s: %d and %d; %s", what, len(a), len(b), rule)
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			t.Fatalf("%s %d differ:\n%.80x\n%.80x\n%s", what, i, a[i], b[i], rule)
		}
	}
}

func snap(t *testing.T, m app.Machine) [][]byte {
	t.Helper()
	s := m.Snapshot()
	defer s.Release()
	return pages(t, s)
}

func (s suite) deterministic(t *testing.T) {
	a, b := s.fresh(), s.fresh()
	equal(t, "initial pages", snap(t, a), snap(t, b), "the initial state MUST be the same everywhere")
	changed := false
	for round := range 4 {
		before := snap(t, a)
		ops := s.script(uint64(round), 200)
		first := bft.SeqNum(1 + 200*round)
		ra := play(t, a, first, ops)
		kept := cloneAll(ra)
		rb := play(t, b, first, ops)
		equal(t, "responses", ra, rb, "a response MUST depend on the ordered operations alone")
		after := snap(t, a)
		equal(t, "pages", after, snap(t, b), "equal state MUST give equal pages")
		equal(t, "responses", kept, ra, "a response MUST NOT change after it was given")
		changed = changed || len(before) != len(after) || !equalAll(before, after)
	}
	if !changed {
		t.Fatal("no operation changed the state: the suite was given nothing to test")
	}
}

func (s suite) restores(t *testing.T) {
	a, b := s.fresh(), s.fresh()
	play(t, a, 1, s.script(1, 300))
	play(t, b, 1, s.script(2, 100)) // what was there before MUST be gone
	state := snap(t, a)
	handed := cloneAll(state)
	if err := b.Restore(handed); err != nil {
		t.Fatalf("Restore refuses the pages of a snapshot: %v", err)
	}
	for _, p := range handed {
		clear(p) // the pages belong to the caller again
	}
	equal(t, "pages", state, snap(t, b), "a restored state MUST give the pages it was restored from")
	more := s.script(3, 300)
	equal(t, "responses", play(t, a, 301, more), play(t, b, 301, more), "a restored machine MUST go on as the other one")
	equal(t, "pages", snap(t, a), snap(t, b), "a restored machine MUST go on as the other one")
}

func (s suite) immutable(t *testing.T) {
	m := s.fresh()
	play(t, m, 1, s.script(1, 300))
	reference := s.fresh()
	play(t, reference, 1, s.script(1, 300))
	want := snap(t, reference)

	shot := m.Snapshot()
	read := make(chan [][]byte)
	go func() { // read while operations run: the methods are safe from any goroutine
		list := make([][]byte, shot.Pages())
		for i := range list {
			list[i] = bytes.Clone(shot.Page(i))
			shot.Digest(i)
		}
		read <- list
	}()
	play(t, m, 301, s.script(2, 300))
	equal(t, "pages", want, <-read, "operations that follow MUST NOT change what a snapshot shows")
	equal(t, "pages", want, pages(t, shot), "operations that follow MUST NOT change what a snapshot shows")
	second := m.Snapshot()
	shot.Release()
	play(t, reference, 301, s.script(2, 300))
	equal(t, "pages", snap(t, reference), pages(t, second), "releasing one snapshot MUST NOT change another")
	second.Release()
}

func (s suite) foreign(t *testing.T) {
	m := s.fresh()
	play(t, m, 1, s.script(1, 100))
	good := snap(t, m)
	cases := map[string][][]byte{
		"no pages":      nil,
		"one too few":   good[:max(len(good)-1, 0)],
		"one too many":  append(cloneAll(good), []byte{1}),
		"bytes missing": cloneAll(good),
	}
	for i, p := range cases["bytes missing"] {
		if len(p) > 0 {
			cases["bytes missing"][i] = p[:len(p)-1]
		}
	}
	for name, list := range cases {
		if equalAll(list, good) {
			continue
		}
		if err := s.fresh().Restore(list); err == nil {
			t.Errorf("%s: Restore accepts pages that no snapshot of this application has", name)
		}
	}
}

func cloneAll(list [][]byte) [][]byte {
	c := make([][]byte, len(list))
	for i := range list {
		c[i] = bytes.Clone(list[i])
	}
	return c
}

func equalAll(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}
