package host

import (
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

func testMembership(sessions int, listed ...bft.ClientID) *bft.Membership {
	m := &bft.Membership{
		Protocol: "script", F: 1, Replicas: make([]bft.Replica, 4), Open: true, CheckpointEvery: 4, Window: 8,
		InFlight: 2, BatchCount: 8, BatchBytes: 64 << 10, Sessions: sessions, TimeSkew: 10 * bft.Second,
	}
	for _, c := range listed {
		m.Clients = append(m.Clients, bft.ClientKey{ID: c})
	}
	return m
}

func testClient(i int) (c bft.ClientID) {
	binary.LittleEndian.PutUint32(c[:], uint32(i)+1)
	return c
}

// testRequest is a decoded request with one operation of the given size per number.
func testRequest(client int, session, first uint64, ops int, size int) wire.Request {
	r := wire.Request{Client: testClient(client), Session: session, First: first, Sig: []byte("s")}
	if top := first + uint64(ops); top > bft.SessionOpsMax && session != 0 {
		r.Done = min(first, top-bft.SessionOpsMax) // the smallest that the window allows
	}
	if session == 0 {
		r.Flags, ops = wire.FlagOpen, 1
	}
	for range ops {
		r.Ops = append(r.Ops, make([]byte, size))
	}
	d, err := wire.DecodeRequest(r.Append(nil))
	if err != nil {
		panic(fmt.Sprintf("test request: %v", err))
	}
	return d
}

// checkLinks holds every link and every count of the pool against one another.
func (p *pool) checkLinks() error {
	count, bytes, own, unproposed := 0, 0, 0, 0
	for e := p.oldest; e != nil; e = e.newer {
		count++
		bytes += len(e.raw)
		if !e.proposed {
			unproposed++
		}
		if e.prev == nil {
			own += len(e.raw)
		}
		if p.byKey[e.key] != e || e.newer != nil && e.newer.since < e.since {
			return fmt.Errorf("%v is lost or out of order", e.key)
		}
	}
	if count != len(p.byKey) || bytes != p.bytes || own != p.own || unproposed != p.unproposed {
		return fmt.Errorf("counts %d %d %d %d, kept %d %d %d %d",
			count, bytes, own, unproposed, len(p.byKey), p.bytes, p.own, p.unproposed)
	}
	ringed := map[*queue]bool{}
	for q := p.turn; q != nil && !ringed[q]; q = q.after {
		ringed[q] = true
	}
	clients := map[bft.ClientID]int{}
	for k, q := range p.queues {
		clients[k.client]++
		n, first := 0, (*pending)(nil)
		for e := q.head; e != nil; e = e.next {
			n++
			if e.proposed && first != nil {
				return fmt.Errorf("queue %v: a proposed request behind one that is not", k)
			}
			if !e.proposed && first == nil {
				first = e
			}
		}
		if n == 0 || n != q.len || first != q.first || ringed[q] != (first != nil) {
			return fmt.Errorf("queue %v: %d of %d, ringed %t", k, n, q.len, ringed[q])
		}
	}
	for c, n := range clients {
		if p.clients[c] != n {
			return fmt.Errorf("client %v has %d queues, not %d", c, n, p.clients[c])
		}
	}
	return nil
}

func (p *pool) checkBounds() error {
	common := len(p.byKey) - len(p.queues)
	if common > bft.PoolRequestsMax || p.bytes-p.own > bft.PoolBytesMax || len(p.queues) > p.seats.seatsMax() {
		return fmt.Errorf("%d shared requests, %d bytes, %d queues of %d",
			common, p.bytes-p.own, len(p.queues), p.seats.seatsMax())
	}
	for k, q := range p.queues {
		if q.len > bft.RequestsPerSessionMax {
			return fmt.Errorf("queue %v holds %d", k, q.len)
		}
	}
	if len(p.executed.sessions) > p.executed.limit {
		return fmt.Errorf("%d sessions in the filter", len(p.executed.sessions))
	}
	return nil
}

// offer adds a drawn request and holds the pool's answer against what is held.
func offer(t *rapid.T, p *pool, now bft.Duration, held map[wire.RequestKey]wire.Request) {
	r := testRequest(rapid.IntRange(0, 5).Draw(t, "client"), uint64(rapid.IntRange(0, 3).Draw(t, "session")),
		uint64(rapid.IntRange(0, 40).Draw(t, "first")), rapid.IntRange(1, 3).Draw(t, "ops"), 8)
	switch a := p.add(now, &r, entryFlags{}); a {
	case addedNew:
		held[r.Key()] = r
	case addedKnown, addedConflict:
		if _, there := held[r.Key()]; !there {
			t.Fatalf("%v was not pending, result %d", r.Key(), a)
		}
	case addedFull:
		if len(p.queues) < p.seats.shared {
			t.Fatalf("full with %d of %d sessions", len(p.queues), p.seats.shared)
		}
	}
}

// Whatever is offered, proposed, decided and reset in whatever order: links and bounds hold,
// what was taken stays until it is decided, and taking turns proposes all of it.
func TestPoolLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPool(testMembership(4, testClient(0)))
		held := map[wire.RequestKey]wire.Request{}
		var now bft.Duration
		check := func() {
			if err := p.checkLinks(); err != nil {
				t.Fatal(err)
			}
			if err := p.checkBounds(); err != nil {
				t.Fatal(err)
			}
			if len(held) != len(p.byKey) {
				t.Fatalf("holds %d requests, %d were taken and not decided", len(p.byKey), len(held))
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				now++
				offer(t, p, now, held)
			},
			"propose": func(t *rapid.T) {
				p.batch(nil, rapid.IntRange(1, 5).Draw(t, "count"), 1<<20)
			},
			"commit": func(t *rapid.T) {
				if p.oldest == nil {
					return
				}
				e := p.oldest
				for range rapid.IntRange(0, len(p.byKey)-1).Draw(t, "which") {
					e = e.newer
				}
				r, _ := e.request()
				p.commit(now, decided{reqs: []wire.Request{r}})
				for k, h := range held {
					if p.executed.has(&h) && p.byKey[k] == nil {
						delete(held, k)
					}
				}
				if p.byKey[r.Key()] != nil {
					t.Fatalf("%v is pending after it was decided", r.Key())
				}
				delete(held, r.Key())
			},
			"new view": func(*rapid.T) { p.resetProposed() },
			"":         func(*rapid.T) { check() },
		})
		p.resetProposed()
		proposed := map[string]bool{}
		for p.unproposed > 0 {
			for _, raw := range p.batch(nil, 3, 1<<20) {
				proposed[string(raw)] = true
			}
		}
		for k, r := range held {
			if !proposed[string(r.Raw)] {
				t.Fatalf("%v was never proposed", k)
			}
		}
	})
}

// Sessions take turns: between two requests of one session at most one of each other is
// proposed, however much one of them has queued.
func TestPoolTakesTurns(t *testing.T) {
	p := newPool(testMembership(16))
	for i := range uint64(100) {
		r := testRequest(0, 1, i, 1, 8)
		p.add(0, &r, entryFlags{})
	}
	for c := 1; c <= 3; c++ {
		r := testRequest(c, 1, 0, 1, 8)
		p.add(0, &r, entryFlags{})
	}
	got := p.batch(nil, 4, 1<<20)
	seen := map[string]bool{}
	for _, raw := range got {
		seen[string(raw[:32])] = true
	}
	if len(seen) != 4 {
		t.Fatalf("the first 4 places went to %d sessions of 4", len(seen))
	}
	late := testRequest(9, 1, 0, 1, 8)
	p.add(0, &late, entryFlags{})
	got = p.batch(nil, 2, 1<<20)
	if string(got[0][:32]) != string(late.Raw[:32]) && string(got[1][:32]) != string(late.Raw[:32]) {
		t.Fatal("the only request of a session waited for more than one turn of the other")
	}
}

// A new view forgets what was proposed in an older one and proposes it again.
func TestPoolProposesAgainInNewView(t *testing.T) {
	p := newPool(testMembership(16))
	for i := range uint64(5) {
		r := testRequest(0, 1, i, 1, 8)
		p.add(0, &r, entryFlags{})
	}
	p.batch(nil, 3, 1<<20)
	p.resetProposed()
	if got := p.batch(nil, 10, 1<<20); len(got) != 5 {
		t.Fatalf("proposes %d of 5 pending requests in the new view", len(got))
	}
}

func TestPoolBatchBytes(t *testing.T) {
	p := newPool(testMembership(16))
	for c := range 4 {
		r := testRequest(c, 1, 0, 1, 1000)
		p.add(0, &r, entryFlags{})
	}
	one := len(p.oldest.raw)
	if got := p.batch(nil, 10, 12+2*(4+one)); len(got) != 2 {
		t.Fatalf("%d requests in a batch with room for 2", len(got))
	}
	if got := p.batch(nil, 10, 1); len(got) != 1 {
		t.Fatalf("%d requests in a batch that is smaller than any", len(got))
	}
	if got := p.batch(nil, 10, 1<<20); len(got) != 1 {
		t.Fatalf("%d requests in the last batch of 4 in all", len(got))
	}
}

// However full the pool is, the oldest request of another session has a place.
func TestPoolKeepsReservedPlaces(t *testing.T) {
	p := newPool(testMembership(64))
	refused := false
	for c := 0; !refused; c++ {
		for i := range uint64(bft.RequestsPerSessionMax) {
			r := testRequest(c, 1, i, 1, 60000)
			refused = p.add(0, &r, entryFlags{}) == addedFull
			if refused {
				break
			}
		}
	}
	if err := p.checkBounds(); err != nil {
		t.Fatal(err)
	}
	for c := 1000; c < 1050; c++ {
		r := testRequest(c, 1, 0, 1, 60000)
		if a := p.add(0, &r, entryFlags{}); a != addedNew {
			t.Fatalf("the oldest request of client %d got no place: %d", c, a)
		}
		r = testRequest(c, 1, 1, 1, 60000)
		if a := p.add(0, &r, entryFlags{}); a != addedFull {
			t.Fatalf("the second request of client %d went beyond the bound: %d", c, a)
		}
	}
}

// Strangers that invent sessions fill the shared seats only.
func TestPoolKeepsSeatsOfListedClients(t *testing.T) {
	p := newPool(testMembership(8, testClient(0), testClient(1)))
	for i := range 2000 {
		r := testRequest(10+i%7, uint64(1+i), 0, 1, 8)
		p.add(0, &r, entryFlags{})
	}
	if err := p.checkBounds(); err != nil {
		t.Fatal(err)
	}
	for c := range 2 {
		for s := range uint64(4) {
			r := testRequest(c, 1+s, 0, 1, 8)
			if a := p.add(0, &r, entryFlags{}); a != addedNew {
				t.Fatalf("session %d of listed client %d got no place: %d", s, c, a)
			}
		}
		r := testRequest(c, 99, 0, 1, 8)
		if a := p.add(0, &r, entryFlags{}); a != addedFull {
			t.Fatalf("listed client %d took more than its seats: %d", c, a)
		}
	}
}

func TestPoolKeepsFirstOfConflicting(t *testing.T) {
	p := newPool(testMembership(8))
	first, other := testRequest(0, 1, 5, 1, 8), testRequest(0, 1, 5, 1, 9)
	p.add(0, &first, entryFlags{})
	if a := p.add(0, &other, entryFlags{}); a != addedConflict {
		t.Fatalf("other bytes under the same name: %d", a)
	}
	if got := p.batch(nil, 5, 1<<20); len(got) != 1 || string(got[0]) != string(first.Raw) {
		t.Fatalf("proposes %d requests, not the one seen first", len(got))
	}
}

// What was decided is not taken again, in whatever bundle it comes.
func TestPoolRefusesExecuted(t *testing.T) {
	p := newPool(testMembership(8))
	bundle := testRequest(0, 1, 5, 3, 8)
	p.add(0, &bundle, entryFlags{})
	for i := uint64(5); i < 8; i++ {
		r := testRequest(0, 1, i, 1, 8)
		if !p.commit(0, decided{reqs: []wire.Request{r}}) {
			t.Fatalf("operation %d was new", i)
		}
		if p.commit(0, decided{reqs: []wire.Request{r}}) {
			t.Fatalf("operation %d was decided before", i)
		}
	}
	if len(p.byKey) != 0 {
		t.Fatal("a bundle whose operations were all decided is pending")
	}
	if a := p.add(0, &bundle, entryFlags{}); a != addedExecuted {
		t.Fatalf("a late copy: %d", a)
	}
	open := testRequest(0, 0, 77, 1, 0)
	p.commit(0, decided{reqs: []wire.Request{open}})
	if a := p.add(0, &open, entryFlags{}); a != addedExecuted {
		t.Fatalf("a late copy of an OPEN: %d", a)
	}
}

// The filter agrees with a set of numbers for everything a correct client may send, and never
// takes for executed what was neither decided nor declared done.
func TestExecutedFilter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newExecutedFilter(2)
		set, done := map[uint64]bool{}, uint64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			done += uint64(rapid.SampledFrom([]int{0, 0, 1, 5, 63, 64, 255, 256, 300}).Draw(t, "done"))
			first := done + uint64(rapid.IntRange(0, 400).Draw(t, "ahead"))
			r := testRequest(0, 1, first, rapid.IntRange(1, 4).Draw(t, "ops"), 1)
			r.Done = done
			f.mark(&r, 0)
			for i := first; i <= lastNumber(&r); i++ {
				set[i] = set[i] || i < done+bft.SessionOpsMax
			}
			for i := range done + 800 {
				got := f.covers(wire.RequestKey{Client: r.Client, Session: 1, First: i}, i)
				if want := i < done || set[i]; got != want {
					t.Fatalf("number %d with done %d: executed %t, is %t", i, done, got, want)
				}
			}
		}
	})
}

// TestOpenOfAClosedSession: an OPEN that was decided is taken again once the execute stage says that it
// knows it no more, since its session was closed; else a replica that is asked for it waits alone
// (simulator seeds 20055870 and 20091996).
func TestOpenOfAClosedSession(t *testing.T) {
	p := newPool(testMembership(16))
	var opens []wire.Request
	for nonce := range uint64(opensKept + 1) {
		r := wire.Request{Client: bft.ClientID{1}, First: 100 + nonce, Flags: wire.FlagOpen, Ops: [][]byte{{}}, Sig: []byte{1}}
		r.Raw = r.Append(nil)
		opens = append(opens, r)
	}
	p.commit(0, decided{reqs: opens})
	newest, oldest := &opens[opensKept], &opens[0]
	if got := p.add(1, newest, entryFlags{told: true}); got != addedExecuted {
		t.Fatalf("a copy of an OPEN in a proposal: %d", got)
	}
	if got := p.add(1, newest, entryFlags{confirmed: true}); got != addedNew {
		t.Fatalf("an OPEN that is not executed any more: %d", got)
	}
	p.sweep(queueOf(newest.Key()), 1)
	if p.byKey[newest.Key()] == nil {
		t.Fatal("it was swept away as executed")
	}
	if got := p.add(1, &opens[opensKept-1], entryFlags{}); got != addedExecuted {
		t.Fatalf("the one before it: %d", got)
	}
	if got := p.add(1, oldest, entryFlags{}); got != addedNew {
		t.Fatalf("one OPEN more than are remembered: %d", got)
	}
}
