package kv

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/themis-bft/themis/app"
)

// TestHistoryDoesNotShow (S16): pages depend on what is in the store, not on the order in which it came, on what
// was there before, or on whether it was restored; else replicas that agree would have checkpoints that
// differ (docs/regressions.md).
func TestHistoryDoesNotShow(t *testing.T) {
	const keys = 200
	key := func(i int) []byte { return fmt.Appendf(nil, "key-%d", i) }
	value := func(i int) []byte { return fmt.Appendf(nil, "value-%d", i) }
	digest := func(s *Store) string {
		shot := s.Snapshot()
		defer shot.Release()
		out := ""
		for i := range shot.Pages() {
			out += shot.Digest(i).Hex()
			if app.PageDigest(shot.Page(i)) != shot.Digest(i) {
				t.Fatalf("page %d does not have its digest", i)
			}
		}
		return out
	}
	want := ""
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := New()
		for _, i := range r.Perm(keys) {
			if seed%2 == 1 { // a richer past
				run(t, s, Put(key(i), []byte("old")))
				run(t, s, Put(key(i+keys), []byte("gone")))
			}
			run(t, s, Put(key(i), value(i)))
		}
		for _, i := range r.Perm(keys) {
			if seed%2 == 1 {
				run(t, s, Delete(key(i+keys)))
			}
		}
		if seed >= 4 { // restored, and changed and changed back after that
			shot := s.Snapshot()
			pages := make([][]byte, shot.Pages())
			for i := range pages {
				pages[i] = shot.Page(i)
			}
			s = New()
			if err := s.Restore(pages); err != nil {
				t.Fatal(err)
			}
			run(t, s, Put([]byte("one more"), nil))
			run(t, s, Delete([]byte("one more")))
		}
		if got := digest(s); want == "" {
			want = got
		} else if got != want {
			t.Fatalf("history %d shows in the pages", seed)
		}
	}
}
