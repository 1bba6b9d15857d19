package host

import (
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

const testPatience = 800 * bft.Millisecond

// waitWorld is a pool of a backup whose patience runs.
type waitWorld struct {
	t   *testing.T
	p   *pool
	now bft.Duration
}

func newWaitWorld(t *testing.T) *waitWorld {
	w := &waitWorld{t: t, p: newPool(testMembership(64)), now: bft.Second}
	w.p.setPatience(w.now, testPatience, 0)
	return w
}

// add pools a request that the execute stage does not know and the primary was told of.
func (w *waitWorld) add(client int, first uint64) {
	r := testRequest(client, 1, first, 1, 8)
	w.p.add(w.now, &r, entryFlags{asked: true, confirmed: true, told: true, toldAt: w.now})
}

func (w *waitWorld) commit(client int, first uint64) {
	w.p.commit(w.now, decided{reqs: []wire.Request{testRequest(client, 1, first, 1, 8)}})
}

// pass lets time pass in small steps, calls each before each, and returns the first suspicion.
func (w *waitWorld) pass(d bft.Duration, each func()) protocol.Cause {
	for end := w.now + d; w.now < end; {
		w.now += 20 * bft.Millisecond
		if each != nil {
			each()
		}
		if err := w.p.checkLinks(); err != nil {
			w.t.Fatal(err)
		}
		if at, ok := w.p.deadline(); ok && at <= w.now {
			if u := w.p.look(w.now); u.cause != protocol.CauseNone {
				return u.cause
			}
		}
	}
	return protocol.CauseNone
}

func (w *waitWorld) expect(got, want protocol.Cause, why string) {
	w.t.Helper()
	if got != want {
		w.t.Fatalf("%s: cause %v, want %v", why, got, want)
	}
}

func TestSilence(t *testing.T) {
	w := newWaitWorld(t)
	w.expect(w.pass(5*testPatience, nil), protocol.CauseNone, "nothing is pending")
	w.add(0, 0)
	start := w.now
	w.expect(w.pass(3*testPatience, nil), protocol.CauseSilence, "a request was pending for T")
	if waited := w.now - start; waited < testPatience || waited > testPatience+testPatience/4 {
		t.Fatalf("suspected after %d ms of %d", waited/bft.Millisecond, testPatience/bft.Millisecond)
	}
	start = w.now
	w.expect(w.pass(3*testPatience, nil), protocol.CauseSilence, "the core did nothing")
	if waited := w.now - start; waited < testPatience {
		t.Fatalf("suspected again after %d ms", waited/bft.Millisecond)
	}
}

func TestSilenceEndsWithProgress(t *testing.T) {
	w := newWaitWorld(t)
	w.add(0, 0)
	next := uint64(1)
	cause := w.pass(6*testPatience, func() {
		if w.now%(200*bft.Millisecond) == 0 {
			w.commit(1, next) // a little, of a session that is not known here
			next++
		}
	})
	w.expect(cause, protocol.CauseNone, "something is executed all the time")
}

// A primary that orders what was executed already does not work.
func TestRepeatsAreNoProgress(t *testing.T) {
	w := newWaitWorld(t)
	w.commit(1, 0)
	w.add(0, 0)
	cause := w.pass(3*testPatience, func() { w.commit(1, 0) })
	w.expect(cause, protocol.CauseSilence, "only repeats are executed")
}

func TestSuspensionAndRestart(t *testing.T) {
	w := newWaitWorld(t)
	w.add(0, 0)
	w.expect(w.pass(testPatience/2, nil), protocol.CauseNone, "half of T")
	w.p.setPatience(w.now, 0, 0)
	w.expect(w.pass(3*testPatience, nil), protocol.CauseNone, "suspended")
	w.p.setPatience(w.now, testPatience, 1)
	start := w.now
	cause := w.pass(3*testPatience, nil)
	w.expect(cause, protocol.CauseSilence, "the new primary is silent")
	if waited := w.now - start; waited < testPatience {
		t.Fatalf("suspected the new primary after %d ms", waited/bft.Millisecond)
	}
}

func TestUnfairness(t *testing.T) {
	w := newWaitWorld(t)
	w.add(0, 0)
	next := uint64(0)
	cause := w.pass(4*testPatience, func() {
		for c := 1; c <= 2; c++ {
			w.add(c, next)
			w.commit(c, next)
		}
		next++
	})
	w.expect(cause, protocol.CauseUnfairness, "everybody else is served")
}

// A session's own later requests do not count: its client may have shown them to the primary first.
func TestOwnRequestsDoNotOvertake(t *testing.T) {
	w := newWaitWorld(t)
	w.add(0, 0)
	next := uint64(1)
	cause := w.pass(3*testPatience, func() {
		if next < 200 {
			w.add(0, next)
			w.commit(0, next)
			next++
		}
	})
	w.expect(cause, protocol.CauseNone, "only its own requests passed it")
}

// A round of many sessions that wait at the primary alone: each is served once before ours, and
// shows up here only when it is proposed.
func TestOneRoundOfOthersIsFair(t *testing.T) {
	w := newWaitWorld(t)
	w.add(0, 0)
	c := 0
	cause := w.pass(4*testPatience, func() {
		if c++; c < 60 {
			w.add(c, 0)
			w.commit(c, 0)
		} else {
			w.commit(0, 0)
		}
	})
	w.expect(cause, protocol.CauseNone, "every session had one turn")
}

// A client that shows the primary many requests and the others one more, which waits behind
// them, does not get a fair primary suspected.
func TestSessionThatIsServedIsNotStarved(t *testing.T) {
	w := newWaitWorld(t)
	w.add(0, 0)
	next := uint64(1)
	cause := w.pass(6*testPatience, func() {
		for c := range 5 {
			w.add(c, next)
			w.commit(c, next)
		}
		next++
	})
	w.expect(cause, protocol.CauseNone, "its session has its turns")
}

// Overload: far more arrives than is served, everybody waits for many T, and a primary that
// takes sessions in turn is not suspected.
func TestOverloadIsNoFault(t *testing.T) {
	w := newWaitWorld(t)
	primary := newPool(testMembership(64))
	next := make([]uint64, 50)
	served := 0
	cause := w.pass(40*testPatience, func() {
		for c := range next {
			if next[c] >= 200 {
				continue
			}
			r := testRequest(c, 1, next[c], 1, 8)
			if primary.add(w.now, &r, entryFlags{}) == addedNew {
				next[c]++
				w.add(c, r.First)
			}
		}
		for _, raw := range primary.batch(nil, 4, 1<<20) {
			r, _ := wire.DecodeRequest(raw)
			primary.commit(w.now, decided{reqs: []wire.Request{r}})
			w.commit(int(r.Client[0])-1, r.First)
			served++
		}
	})
	w.expect(cause, protocol.CauseNone, "a fair primary under overload")
	if oldest := w.p.oldest; oldest == nil || w.now-oldest.since < 2*testPatience || served < 1000 {
		t.Fatalf("this was no overload: %d served", served)
	}
}

// What was only seen in a proposal is looked up before anybody is suspected, and goes if the
// execute stage knows it.
func TestSeenInProposalIsLookedUp(t *testing.T) {
	w := newWaitWorld(t)
	r := testRequest(0, 1, 0, 1, 8)
	w.p.add(w.now, &r, entryFlags{told: true, toldAt: w.now})
	w.now += testPatience / 2
	if u := w.p.look(w.now); len(u.lookup) != 1 || u.cause != protocol.CauseNone {
		t.Fatalf("looks up %d of 1", len(u.lookup))
	}
	w.expect(w.pass(3*testPatience, nil), protocol.CauseNone, "the execute stage knows it")
	if len(w.p.byKey) != 0 {
		t.Fatal("a request that the execute stage knows is still pending")
	}
	w.p.add(w.now, &r, entryFlags{told: true, toldAt: w.now})
	w.p.add(w.now, &r, entryFlags{confirmed: true})
	w.expect(w.pass(3*testPatience, nil), protocol.CauseSilence, "it is not executed")
}

// A request that only this replica was shown is told to the primary before it is suspected.
func TestPrimaryIsToldBeforeSuspected(t *testing.T) {
	w := newWaitWorld(t)
	r := testRequest(0, 1, 0, 1, 8)
	w.p.add(w.now, &r, entryFlags{confirmed: true})
	start := w.now
	for {
		w.now += 20 * bft.Millisecond
		u := w.p.look(w.now)
		if len(u.tell) == 1 {
			break
		}
		if u.cause != protocol.CauseNone || w.now-start > testPatience {
			t.Fatalf("cause %v before the primary was told", u.cause)
		}
	}
	told := w.now
	w.expect(w.pass(3*testPatience, nil), protocol.CauseSilence, "told and silent")
	if w.now-told < testPatience/2 {
		t.Fatalf("the primary had %d ms", (w.now-told)/bft.Millisecond)
	}
}

// A primary that dropped what it was told of is told again, of one request per look, and gains no
// time by it (simulator seed 20116599).
func TestPrimaryIsReminded(t *testing.T) {
	w := newWaitWorld(t)
	for c := range 3 {
		w.add(c, 0)
		w.add(c, 1)
	}
	w.commit(0, 0) // its session was served last
	start, reminded := w.now, 0
	for cause := protocol.CauseNone; cause == protocol.CauseNone; {
		w.now += testPatience / looksPerPatience
		u := w.p.look(w.now)
		for _, e := range u.tell {
			if e.key.First != 0 || e.key.Client == w.client(0) {
				t.Fatalf("the primary is reminded of request %d of %x, which is not the one that waits longest", e.key.First, e.key.Client)
			}
			e.relayedAt = w.now
		}
		if cause = u.cause; len(u.tell) > 1 || w.now-start > testPatience+testPatience/4 {
			t.Fatalf("%d reminders at once, cause %v after %d ms", len(u.tell), cause, (w.now-start)/bft.Millisecond)
		}
		reminded += len(u.tell)
	}
	if reminded < 2 {
		t.Fatalf("the primary was reminded %d times before it was suspected", reminded)
	}
}

func (w *waitWorld) client(i int) bft.ClientID {
	r := testRequest(i, 1, 0, 1, 8)
	return r.Client
}

// One look relays a bounded number of requests; the next ones do the rest.
func TestRelaysAreBounded(t *testing.T) {
	w := newWaitWorld(t)
	for c := range 40 {
		for i := range uint64(5) {
			w.add(c, i)
		}
	}
	w.p.setPatience(w.now, testPatience, 1)
	told := 0
	for range looksPerPatience / 2 {
		u := w.p.look(w.now)
		n := len(u.tell) + len(u.spread) + len(u.lookup)
		if n > bft.RelaysMax {
			t.Fatalf("%d at one look", n)
		}
		told += len(u.tell)
		w.now += testPatience / looksPerPatience
	}
	if told != 200 {
		t.Fatalf("the new primary was told of %d of 200 requests", told)
	}
}

// When the link to the primary was made anew, what was told may be lost: it is told again, and
// has half of T from then on.
func TestToldAgainAfterNewLink(t *testing.T) {
	w := newWaitWorld(t)
	w.add(0, 0)
	w.expect(w.pass(testPatience*9/10, nil), protocol.CauseNone, "not yet T")
	w.p.untell()
	start := w.now
	w.expect(w.pass(2*testPatience, nil), protocol.CauseSilence, "told again and silent")
	if w.now-start < testPatience/2 {
		t.Fatalf("the primary had %d ms", (w.now-start)/bft.Millisecond)
	}
}

// A primary whose link breaks again and again gains nothing by it.
func TestBrokenLinksGainNoTime(t *testing.T) {
	w := newWaitWorld(t)
	w.add(0, 0)
	start, last := w.now, w.now
	cause := w.pass(5*testPatience, func() {
		if w.now-last >= 100*bft.Millisecond {
			w.p.untell()
			last = w.now
		}
	})
	w.expect(cause, protocol.CauseSilence, "the primary is silent behind its broken links")
	if w.now-start > 2*testPatience {
		t.Fatalf("suspected after %d ms", (w.now-start)/bft.Millisecond)
	}
}

// A request that was pooled while its session was not known here is asked about again, and goes
// when the execute stage says that the session is another's (simulator seed 203243).
func TestDoubtIsAskedAbout(t *testing.T) {
	w := newWaitWorld(t)
	r := testRequest(0, 1, 0, 1, 8)
	w.p.add(w.now, &r, entryFlags{told: true, toldAt: w.now, confirmed: true})
	w.now += testPatience/2 + testPatience/looksPerPatience
	u := w.p.look(w.now)
	if len(u.doubt) != 1 {
		t.Fatalf("asks about %d of 1 that is pending for T/2", len(u.doubt))
	}
	n := &Node{pool: w.p}
	n.known(Known{Key: r.Key()})
	w.expect(w.pass(3*testPatience, nil), protocol.CauseNone, "the execute stage knows it")
}
