package app

import (
	"errors"
	"testing"
)

func TestFutureReady(t *testing.T) {
	b, ok := Ready([]byte("x")).Bytes()
	if !ok || string(b) != "x" {
		t.Fatalf("%q, %v", b, ok)
	}
	if b, ok := (Future{}).Bytes(); !ok || len(b) != 0 {
		t.Fatalf("the zero Future: %q, %v", b, ok)
	}
}

func TestPromise(t *testing.T) {
	for _, before := range []bool{true, false} {
		f, complete := Promise()
		if _, ok := f.Bytes(); ok {
			t.Fatal("a response before it was given")
		}
		got := make(chan string, 2)
		if before {
			f.Then(func(b []byte) { got <- string(b) })
		}
		complete([]byte("x"))
		if !before {
			f.Then(func(b []byte) { got <- string(b) })
		}
		if b, ok := f.Bytes(); !ok || string(b) != "x" || <-got != "x" || len(got) != 0 {
			t.Fatalf("%q, %v, %d more calls", b, ok, len(got))
		}
	}
}

func TestPromiseOnce(t *testing.T) {
	_, complete := Promise()
	complete(nil)
	defer func() {
		if recover() == nil {
			t.Fatal("a promise was completed twice")
		}
	}()
	complete(nil)
}

func TestSimpleRestore(t *testing.T) {
	state, refused := "", errors.New("refused")
	m := Simple{
		Do:   func(Call, []byte) []byte { return nil },
		Save: func() []byte { return []byte(state) },
		Load: func(b []byte) error {
			if state = string(b); state == "bad" {
				return refused
			}
			return nil
		},
	}.Machine()
	for _, pages := range [][][]byte{nil, {[]byte("a"), []byte("b")}} {
		if m.Restore(pages) == nil || state != "" {
			t.Fatalf("%d pages are accepted", len(pages))
		}
	}
	if err := m.Restore([][]byte{[]byte("good")}); err != nil || state != "good" {
		t.Fatal(err)
	}
	if err := m.Restore([][]byte{[]byte("bad")}); !errors.Is(err, refused) {
		t.Fatal(err)
	}
}
