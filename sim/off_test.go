package sim

import (
	"errors"
	"slices"
	"testing"

	"github.com/themis-bft/themis/client"
)

// broken is a protocol that finds its own state broken.
type broken struct{}

func (broken) CheckInvariants() error { return errors.New("the canary sings") }

// TestCanaries: the complaints that begin in this package come, are the only ones, and stay away
// when their checker is switched off. The canaries of all others are in package check.
func TestCanaries(t *testing.T) {
	for checker, spoil := range map[string]func(w *world){
		"I":      func(w *world) { w.replicas[1].invariants = broken{} },
		"client": func(w *world) { w.clients[0].finish(client.Result{Token: 1 << 40}) },
	} {
		for _, off := range [][]string{nil, {checker}} {
			w, err := newWorld(Options{Replicas: 4, Without: off}, 1, nil)
			if err != nil {
				t.Fatal(err)
			}
			spoil(w)
			w.run()
			var got []string
			for _, v := range w.result().Violations {
				got = append(got, v.Checker)
			}
			want := []string{checker}
			if off != nil {
				want = nil
			}
			if !slices.Equal(got, want) {
				t.Errorf("without %v: complaints %v, want %v", off, got, want)
			}
		}
	}
}
