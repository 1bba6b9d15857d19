package client

import (
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// FuzzVotes lets every replica answer as the bytes say, three to a reply: sender and status,
// session and number, result and view. Whatever comes, a value is accepted only if f+1 replicas
// gave it for that number, and no operation ends twice (bench checks that).
func FuzzVotes(f *testing.F) {
	f.Add([]byte{0, 0, 1, 1, 0, 1, 2, 1, 5, 3, 1, 5})             // two numbers are answered
	f.Add([]byte{0, 0, 1, 0, 0, 1, 0, 0, 2, 1, 0, 2, 2, 0, 1})    // one repeats itself, two disagree
	f.Add([]byte{4, 0, 1, 5, 0, 1, 6, 0, 1, 8, 1, 1, 9, 1, 1})    // the session was closed, a result dropped
	f.Add([]byte{0, 9, 1, 1, 9, 1, 0, 17, 1, 1, 17, 1, 12, 2, 0}) // of other sessions
	f.Fuzz(func(t *testing.T, said []byte) {
		if len(said) > 3000 {
			return
		}
		b := opened(t, 4, 1, Options{Window: 4})
		for range 6 {
			b.submit("op", 10000*ms)
		}
		type answer struct{ number, value byte }
		gave := map[answer]bft.ReplicaSet{}
		accepted := map[byte]bool{}
		for ; len(said) >= 3; said = said[3:] {
			from, status := bft.ReplicaID(said[0]%4), wire.Status(said[0]/4%5)
			a := answer{number: 1 + said[1]%8, value: said[2] % 4}
			r := wire.Reply{
				Session: 7 - uint64(said[1]/8%3), Number: uint64(a.number), View: bft.View(said[2] / 4),
				Status: status, Result: []byte{a.number, a.value},
			}
			if r.Session == 7 && status == wire.StatusOK {
				gave[a] = gave[a].With(from)
			}
			before := len(b.results)
			b.reply(int(from), r)
			if len(b.results) == before {
				continue
			}
			for _, got := range b.out.Results {
				if got.Err != nil {
					continue
				}
				if len(got.Value) != 2 || gave[answer{got.Value[0], got.Value[1]}].Len() < 2 || accepted[got.Value[0]] {
					t.Fatalf("%x was accepted; it was given by %b", got.Value, gave[answer{got.Value[0], got.Value[1]}])
				}
				accepted[got.Value[0]] = true
			}
		}
		if n := b.s.Stats(); len(b.results) > 6 {
			t.Fatalf("%d results of 6 operations: %+v", len(b.results), n)
		}
	})
}
