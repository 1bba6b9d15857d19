package host

import (
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// slots lets a primary decide a batch every 100 ms while the only request of client 0 waits, and returns
// after how many of them it is suspected of unfairness: at most 100. What is served was pending here first.
func (w *waitWorld) slots(batch func(n uint64) (served, repeats []wire.Request)) (n uint64) {
	w.add(0, 0)
	last := w.now
	cause := w.pass(100*100*bft.Millisecond, func() {
		if w.now-last < 100*bft.Millisecond {
			return
		}
		last = w.now
		n++
		served, repeats := batch(n)
		for i := range served {
			w.p.add(w.now, &served[i], entryFlags{told: true, toldAt: w.now})
		}
		w.p.commit(w.now, decided{slot: bft.SeqNum(n), offered: true, reqs: append(served, repeats...)})
	})
	if cause == protocol.CauseSilence {
		w.t.Fatal("suspected of silence")
	}
	return n
}

// each is request n of every one of so many clients.
func each(clients int, n uint64) (all []wire.Request) {
	for c := range clients {
		all = append(all, testRequest(1+c, 1, n, 1, 8))
	}
	return all
}

// TestPaddingHidesNoUnfairness: what a primary adds to its batches, repeats of one request or of many sessions, or
// now and then a large batch between small ones, gives it no more time to starve a session.
func TestPaddingHidesNoUnfairness(t *testing.T) {
	old := each(300, 0)
	for name, c := range map[string]struct {
		most  uint64
		batch func(n uint64) (served, repeats []wire.Request)
	}{
		"nothing":                  {14, func(n uint64) (_, _ []wire.Request) { return each(40, n), nil }},
		"repeats of one session":   {14, func(n uint64) (s, r []wire.Request) { return each(40, n), many(200, old[0]) }},
		"repeats of many sessions": {14, func(n uint64) (s, r []wire.Request) { return each(40, n), old[40:] }},
		"large batches": {14, func(n uint64) (served, _ []wire.Request) {
			if n == 2 {
				for i := range uint64(200) {
					served = append(served, testRequest(50, 1, i, 1, 8))
				}
				return served, nil
			}
			return each(1, n), nil
		}},
	} {
		w := newWaitWorld(t)
		m := testMembership(1024)
		m.InFlight = 4
		w.p = newPool(m)
		w.p.setPatience(w.now, testPatience, 0)
		w.p.commit(w.now, decided{reqs: old[:100]})
		w.p.commit(w.now, decided{reqs: old[100:200]})
		w.p.commit(w.now, decided{reqs: old[200:]})
		for range 2*batchGroup + 1 { // they are no longer the largest
			w.p.commit(w.now, decided{})
		}
		if n := w.slots(c.batch); n > c.most {
			t.Errorf("with %s suspected only after %d slots", name, n)
		}
	}
}

func many(n int, r wire.Request) (all []wire.Request) {
	for range n {
		all = append(all, r)
	}
	return all
}

// TestTurnsInSlotsOfOneAreFair: a primary that serves one session per slot, each in its turn, is as fair as
// one that serves all of them in one slot.
func TestTurnsInSlotsOfOneAreFair(t *testing.T) {
	w := newWaitWorld(t)
	n := w.slots(func(n uint64) (served, _ []wire.Request) {
		if n%50 == 0 {
			w.add(0, n) // it is served, and waits again
			return []wire.Request{testRequest(0, 1, n-50, 1, 8)}, nil
		}
		return []wire.Request{testRequest(int(n%50), 1, n, 1, 8)}, nil
	})
	if n < 99 {
		t.Fatalf("suspected after %d slots", n)
	}
}

// TestRefusedRequestsOvertake: what the pool does not hold when it is decided was served before what waits here, if it
// came here as a proposal; if it came by claims alone it was progress, and nobody is to blame.
func TestRefusedRequestsOvertake(t *testing.T) {
	for _, offered := range []bool{true, false} {
		w := newWaitWorld(t)
		w.add(0, 0)
		n := uint64(0)
		cause := w.pass(6*testPatience, func() {
			n++
			w.p.commit(w.now, decided{offered: offered, reqs: []wire.Request{testRequest(1, 0, n%(opensKept+1), 1, 0)}})
		})
		want := protocol.CauseNone
		if offered {
			want = protocol.CauseUnfairness
		}
		w.expect(cause, want, "OPENs that were executed long ago")
	}
}

// TestRepeatEndsNoWait: a repeat of what its session had executed is no service for what the session waits for.
func TestRepeatEndsNoWait(t *testing.T) {
	w := newWaitWorld(t)
	w.add(0, 0)
	w.commit(0, 0)
	n := uint64(0)
	w.add(0, 1)
	cause := w.pass(6*testPatience, func() {
		n++
		w.add(1, n)
		w.commit(1, n)
		w.commit(0, 0)
	})
	w.expect(cause, protocol.CauseUnfairness, "a session is starved between repeats")
}

// unfair counts the suspicions of unfairness that reached the core.
func (w *world) unfair() (n int) {
	for _, ev := range w.core.events {
		if o, ok := ev.(protocol.Overdue); ok && o.Cause == protocol.CauseUnfairness {
			n++
		}
	}
	return n
}

// TestServiceIsWhatWasProposedHere: slots that came by claims alone, or whose proposal came from somebody else, blame nobody. Those that the
// primary proposed do, also when a proposal comes so late that it decides its slot at once.
func TestServiceIsWhatWasProposedHere(t *testing.T) {
	for _, c := range []struct {
		name string
		from bft.ReplicaID
		want bool
	}{{"claims", 1, false}, {"a proposal of a backup", 2, false}, {"a late proposal", 0, true}} {
		w := newWorld(t)
		w.become(0, 0)
		w.handle(Unexecuted{Request: w.decoded(0, 1, 0)})
		for slot := bft.SeqNum(1); slot < 30; slot++ {
			body := w.body(w.at.Wall, w.request(1, 1, uint64(slot)))
			w.core.status.High = slot + 1
			decide := func(out *protocol.Effects) {
				out.Commit = append(out.Commit, protocol.Committed{Seq: slot, Digest: wire.BodyDigest(body), Body: body})
				w.core.status.Committed = slot
			}
			if c.from == 1 {
				w.effects(decide)
			} else {
				w.core.react = func(ev protocol.Event, out *protocol.Effects) {
					if _, ok := ev.(protocol.Received); ok {
						decide(out)
					}
				}
				w.handle(w.message(c.from, &proposal{slot: slot - 1, digest: wire.BodyDigest(body), body: body}))
				w.core.react = nil
			}
			w.run(testPatience / 4)
		}
		if got := w.unfair() > 0; got != c.want {
			t.Errorf("%s: suspected %t", c.name, got)
		}
	}
}

// TestProposalsFitTheWindow: notes of older views and of slots outside the window do not count, and take nobody's place.
func TestProposalsFitTheWindow(t *testing.T) {
	p := newProposals(testMembership(16)) // a window of 8
	s := protocol.Status{Active: true, View: 3, Primary: 3, Committed: 10, High: 18}
	for slot := bft.SeqNum(0); slot < 100; slot++ {
		p.note(slot, 3, &s)
	}
	p.note(12, 2, &s)
	for slot := bft.SeqNum(0); slot < 100; slot++ {
		if got, want := p.had(slot, 3), slot > 10 && slot <= 18; got != want {
			t.Errorf("slot %d: noted %t", slot, got)
		}
	}
	if p.had(12, 4) {
		t.Error("a proposal of an older view counts")
	}
	s.View = 4
	p.note(13, 3, &s)
	if p.had(12, 4) || p.had(12, 3) || !p.had(13, 4) {
		t.Error("the notes of an older view are not gone")
	}
}

// TestEarlyRequestsAreReopened: requests that were decided before the slot after which their session is named are taken again when
// the execute stage says that it does not know them, if it was past their slots when it looked.
func TestEarlyRequestsAreReopened(t *testing.T) {
	request := func(first, done uint64) *wire.Request {
		r := testRequest(0, 9, first, 1, 8)
		r.Done = done
		return &r
	}
	p := newPool(testMembership(16))
	p.commit(0, decided{slot: 4, reqs: []wire.Request{*request(2, 2), *request(3, 2)}})
	p.commit(0, decided{slot: 5, reqs: []wire.Request{*request(4, 2)}})
	p.commit(0, decided{slot: 6, reqs: []wire.Request{*request(4, 2)}}) // a repeat delays nothing
	expect := func(want added, r *wire.Request, f entryFlags, what string) {
		t.Helper()
		if got := p.add(1, r, f); got != want {
			t.Fatalf("%s: %d, want %d", what, got, want)
		}
	}
	expect(addedExecuted, request(3, 2), entryFlags{told: true}, "a copy in a proposal")
	expect(addedExecuted, request(3, 2), entryFlags{confirmed: true, executed: 4}, "looked up before slot 5")
	expect(addedNew, request(3, 2), entryFlags{confirmed: true, executed: 5}, "looked up after slot 5")
	expect(addedExecuted, request(4, 2), entryFlags{}, "another one")
	p.sweep(queueOf(request(3, 2).Key()), 1)
	if p.byKey[request(3, 2).Key()] == nil {
		t.Fatal("it was swept away as executed")
	}
	expect(addedNew, request(0, 0), entryFlags{confirmed: true, executed: 5}, "one that was said to be done")
	expect(addedNew, request(1, 0), entryFlags{}, "what was said to be done with it")
	if err := p.checkLinks(); err != nil {
		t.Fatal(err)
	}
	open := testRequest(0, 0, 77, 1, 0)
	p.commit(0, decided{slot: 8, reqs: []wire.Request{open}})
	expect(addedExecuted, &open, entryFlags{confirmed: true, executed: 7}, "an OPEN that was looked up before its slot")
	expect(addedNew, &open, entryFlags{confirmed: true, executed: 8}, "an OPEN that is not known after its slot")
}

// TestWorkAfterAQuietTimeIsSeen: nothing was executed for long because nobody asked for anything. The 2 T that the
// execute stage may find nothing new begin with the waiting: a primary that works again is not silent.
func TestWorkAfterAQuietTimeIsSeen(t *testing.T) {
	w := newWaitWorld(t)
	w.now += 5 * testPatience
	w.add(0, 0)
	begin, next := w.now, uint64(0)
	q := sessionKey{w.p.oldest.key.Client, w.p.oldest.key.Session}
	w.p.heard(w.now, q, Word{})
	asked := false
	cause := w.pass(3*testPatience/2, func() {
		if !asked && w.now-begin >= testPatience/2 {
			asked = true
			w.p.heard(w.now, q, Word{})
		}
		if w.now-begin >= testPatience*6/10 { // it was slow, and now serves one after the other
			next++
			r := testRequest(100+int(next), 1, 0, 1, 8)
			w.p.commit(w.now, decided{slot: bft.SeqNum(next), offered: true, reqs: []wire.Request{r}})
		}
	})
	if cause != protocol.CauseNone {
		t.Fatalf("suspected of %v after %d ms, %d slots after it began to work", cause, (w.now-begin)/bft.Millisecond, next)
	}
}
