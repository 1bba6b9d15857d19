package exec

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// ledger is an application whose state is the list of everything it executed.
type ledger struct {
	lines   []string
	futures bool // answer later
	open    []func([]byte)
	answers [][]byte
	reply   func(op []byte) []byte
}

func (l *ledger) Execute(c app.Call, op []byte) app.Future {
	l.lines = append(l.lines, fmt.Sprintf("%s:%s", c.Client, op))
	answer := fmt.Appendf(nil, "%d:%s", len(l.lines), op)
	if l.reply != nil {
		answer = l.reply(op)
	}
	if !l.futures {
		return app.Ready(answer)
	}
	f, complete := app.Promise()
	l.open, l.answers = append(l.open, complete), append(l.answers, answer)
	return f
}

func (l *ledger) Query([]byte) []byte { return nil }

func (l *ledger) Snapshot() app.Snapshot {
	var b []byte
	for _, line := range l.lines {
		b = wire.AppendBytes(b, []byte(line))
	}
	return app.Simple{Save: func() []byte { return b }}.Machine().Snapshot()
}

func (l *ledger) Restore(pages [][]byte) error {
	l.lines = nil
	for r := wire.NewReader(pages[0]); r.Len() > 0; {
		l.lines = append(l.lines, string(r.Bytes(bft.OpBytesMax)))
	}
	return nil
}

// fixture is one executor with everything around it.
type fixture struct {
	wall   bft.Time
	t      testing.TB
	e      *Executor
	app    *ledger
	out    Output
	posted []func(*Output)
}

func membership(sessions int) *bft.Membership {
	return &bft.Membership{
		Cluster: bft.ClusterID{7}, Protocol: "pbft", App: "ledger", F: 1, Scheme: "ed25519",
		Replicas: make([]bft.Replica, 4), Open: true, CheckpointEvery: 4, Window: 8, Sessions: sessions,
	}
}

// client makes an identity; those below 100 are listed, those from 200 on not admitted.
func client(i int) bft.ClientID { return bft.ClientID{byte(i)} }

func admits(c bft.ClientID) (admitted, listed bool) { return c[0] < 200, c[0] < 100 }

func newFixture(t testing.TB, sessions int) *fixture {
	f := &fixture{t: t, app: &ledger{}}
	f.e = New(membership(sessions), 0, f.app, admits, func(c func(*Output)) { f.posted = append(f.posted, c) })
	return f
}

// slot executes one slot with these requests and returns the replies.
func (f *fixture) slot(reqs ...wire.Request) []wire.Reply {
	return f.slotAt(0, reqs...)
}

func (f *fixture) slotAt(proposed bft.Time, reqs ...wire.Request) []wire.Reply {
	body := encode(proposed, reqs...)
	f.out.Replies = nil
	f.e.Execute(protocol.Committed{Seq: f.e.Executed() + 1, View: 3, Digest: wire.BodyDigest(body), Body: body}, &f.out)
	return f.out.Replies
}

func encode(proposed bft.Time, reqs ...wire.Request) []byte {
	if len(reqs) == 0 {
		return nil
	}
	raw := make([][]byte, len(reqs))
	for i := range reqs {
		raw[i] = reqs[i].Append(nil)
	}
	return wire.AppendBody(nil, proposed, raw)
}

func (f *fixture) lookup(r wire.Request, wants bool) (bool, []wire.Reply) {
	var out Output
	known := f.e.Lookup(&r, wants, f.wall, &out)
	return known, out.Replies
}

func openReq(c int, nonce uint64) wire.Request {
	return wire.Request{Client: client(c), First: nonce, Answer: bft.SetOf(0), Flags: wire.FlagOpen, Ops: [][]byte{nil}}
}

func opReq(c int, session, first, done uint64, ops ...string) wire.Request {
	r := wire.Request{Client: client(c), Session: session, First: first, Done: done, Answer: bft.SetOf(0)}
	for _, op := range ops {
		r.Ops = append(r.Ops, []byte(op))
	}
	return r
}

// open opens a session in a slot of its own.
func (f *fixture) open(c int) uint64 {
	f.t.Helper()
	replies := f.slot(openReq(c, uint64(f.e.Executed())+1000))
	if len(replies) != 1 || replies[0].Status != wire.StatusOK || len(replies[0].Result) != 8 {
		f.t.Fatalf("OPEN of client %d is answered with %+v", c, replies)
	}
	return binary.LittleEndian.Uint64(replies[0].Result)
}

func (f *fixture) want(replies []wire.Reply, want ...string) {
	f.t.Helper()
	var got []string
	for _, r := range replies {
		got = append(got, show(r))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		f.t.Fatalf("replies %q, want %q", got, want)
	}
}

func show(r wire.Reply) string {
	if r.Status == wire.StatusOK {
		return fmt.Sprintf("%d=%s", r.Number, r.Result)
	}
	return fmt.Sprintf("%d!%s", r.Number, []string{"", "closed", "dropped", "window", "refused"}[r.Status])
}

func (f *fixture) ran(n int) {
	f.t.Helper()
	if len(f.app.lines) != n {
		f.t.Fatalf("%d operations ran: %q; want %d", len(f.app.lines), f.app.lines, n)
	}
}

func TestOpenAndExecute(t *testing.T) {
	f := newFixture(t, 8)
	s := f.open(1)
	if s != 1 {
		t.Fatalf("the session's number is %d, its OPEN was in slot 1", s)
	}
	replies := f.slot(opReq(1, s, 0, 0, "a", "b"))
	f.want(replies, "0=1:a", "1=2:b")
	if r := replies[0]; r.View != 3 || r.Client != client(1) || r.Session != s {
		t.Fatalf("reply %+v", r)
	}
}

func TestRepeatIsAnsweredFromCache(t *testing.T) {
	f := newFixture(t, 8)
	s := f.open(1)
	f.slot(opReq(1, s, 0, 0, "a"))
	f.want(f.slot(opReq(1, s, 0, 0, "a")), "0=1:a")
	f.want(f.slot(opReq(1, s, 0, 0, "a"), opReq(1, s, 0, 0, "a")), "0=1:a", "0=1:a")
	known, replies := f.lookup(opReq(1, s, 0, 0, "a"), true)
	if !known {
		t.Fatal("an executed request is unknown")
	}
	f.want(replies, "0=1:a")
	if _, replies = f.lookup(opReq(1, s, 0, 0, "a"), false); len(replies) != 0 {
		t.Fatalf("nobody waits, and %+v was sent", replies)
	}
	f.ran(1)
}

func TestBundlesOverlap(t *testing.T) {
	f := newFixture(t, 8)
	s := f.open(1)
	f.slot(opReq(1, s, 1, 0, "b", "c"))
	f.want(f.slot(opReq(1, s, 0, 0, "a", "b", "c", "d")), "0=3:a", "1=1:b", "2=2:c", "3=4:d")
	f.ran(4)
}

func TestEveryNumberRuns(t *testing.T) {
	f := newFixture(t, 8)
	s := f.open(1)
	const n = 3 * bft.SessionOpsMax
	for i := uint64(0); i < n; i++ {
		f.want(f.slot(opReq(1, s, i, i, "x")), fmt.Sprintf("%d=%d:x", i, i+1))
	}
	f.ran(n)
}

func TestWindow(t *testing.T) {
	f := newFixture(t, 8)
	s := f.open(1)
	w := uint64(bft.SessionOpsMax)
	f.want(f.slot(opReq(1, s, w-1, 0, "in", "out"))) // no such envelope decodes: the batch counts as nothing
	f.want(f.slot(opReq(1, s, w-1, 0, "in")), fmt.Sprintf("%d=1:in", w-1))
	f.ran(1)
	f.want(f.slot(opReq(1, s, w, 1, "out")), fmt.Sprintf("%d=2:out", w))
	f.want(f.slot(opReq(1, s, 0, 0, "old")), "0!dropped")
	f.want(f.slot(opReq(1, s, w-1, 1, "in")), fmt.Sprintf("%d=1:in", w-1))
	f.want(f.slot(opReq(1, s, 10*w, 10*w, "far")), fmt.Sprintf("%d=3:far", 10*w))
	f.want(f.slot(opReq(1, s, w, 1, "out")), fmt.Sprintf("%d!dropped", w))
	f.ran(3)
}

func TestClosedSessionRunsNothing(t *testing.T) {
	f := newFixture(t, 8)
	s := f.open(1)
	f.want(f.slot(opReq(2, s, 0, 0, "theft")), "0!closed")
	f.want(f.slot(opReq(1, s+1, 0, 0, "never", "opened")), "0!closed", "1!closed")
	f.ran(0)
}

func TestOpenRules(t *testing.T) {
	f := newFixture(t, 8)
	f.want(f.slot(openReq(250, 5)), "5!refused")
	known, replies := f.lookup(openReq(250, 5), true)
	if !known {
		t.Fatal("an OPEN that is always refused is unknown")
	}
	f.want(replies, "5!refused")

	replies = f.slot(openReq(1, 5), openReq(1, 5), openReq(1, 6), openReq(2, 5))
	if len(replies) != 4 || string(replies[0].Result) != string(replies[1].Result) || replies[2].Status != wire.StatusClosed ||
		replies[3].Status != wire.StatusOK || f.e.Sessions() != 2 {
		t.Fatalf("%d sessions, replies %+v", f.e.Sessions(), replies)
	}
	f.slot()
	again := f.slot(openReq(1, 5))
	if string(again[0].Result) != string(replies[0].Result) || f.e.Sessions() != 2 {
		t.Fatalf("a repeated OPEN is answered %+v, first %+v", again[0], replies[0])
	}
	if known, got := f.lookup(openReq(1, 5), true); !known || string(got[0].Result) != string(replies[0].Result) {
		t.Fatalf("known %v, %+v", known, got)
	}
}

func TestEviction(t *testing.T) {
	f := newFixture(t, 3)
	a, b, c := f.open(101), f.open(102), f.open(103)
	f.slot(opReq(101, a, 0, 0, "x")) // b is now the least recently executed
	f.slot(opReq(102, b, bft.SessionOpsMax, 0, "outside"))
	d := f.open(104)
	f.want(f.slot(opReq(102, b, 0, 0, "x")), "0!closed")
	f.want(f.slot(opReq(101, a, 1, 0, "x"), opReq(103, c, 0, 0, "x"), opReq(104, d, 0, 0, "x")), "1=2:x", "0=3:x", "0=4:x")
	if known, replies := f.lookup(opReq(102, b, 0, 0, "x"), true); !known || replies[0].Status != wire.StatusClosed {
		t.Fatalf("evicted session: known %v, %+v", known, replies)
	}
	f.slot(openReq(102, 9999))
	if f.e.Sessions() != 3 || f.e.Counts().Evicted != 2 {
		t.Fatalf("%d sessions, %+v", f.e.Sessions(), f.e.Counts())
	}
}

// TestGreedyClosesItsOwn: a client that opens sessions without end takes what is free and then its
// own, listed or not, however long the others rest.
func TestGreedyClosesItsOwn(t *testing.T) {
	for _, greedy := range []int{1, 101} {
		f := newFixture(t, 6)
		quiet := []int{2, 102, 103}
		sessions := []uint64{f.open(2), f.open(102), f.open(103)}
		for range 20 {
			f.open(greedy)
		}
		for i, client := range quiet {
			f.want(f.slot(opReq(client, sessions[i], 0, 0, "x")), fmt.Sprintf("0=%d:x", 1+i))
		}
	}
}

func TestListedIsNotEvictedByUnlisted(t *testing.T) {
	f := newFixture(t, 2)
	a, b := f.open(1), f.open(2)
	f.want(f.slot(openReq(101, 5)), "5!refused")
	f.want(f.slot(opReq(1, a, 0, 0, "x"), opReq(2, b, 0, 0, "y")), "0=1:x", "0=2:y")
	f.open(3) // a listed client may
	f.want(f.slot(opReq(1, a, 1, 0, "x")), "1!closed")
}

func TestLookupOfUnknown(t *testing.T) {
	f := newFixture(t, 8)
	s := f.open(1)
	for ahead := uint64(1); ahead < 12; ahead++ { // slots that were not executed here: we may be behind
		far := opReq(1, uint64(f.e.Executed())+ahead, 0, 0, "x")
		wantKnown := ahead > uint64(membership(8).Window) // by so much we could not order it
		if known, replies := f.lookup(far, true); known != wantKnown || len(replies) != 0 {
			t.Fatalf("%d ahead: known %v, %+v", ahead, known, replies)
		}
	}
	r := opReq(1, s, 0, 0, "x", "y")
	r.Answer = bft.SetOf(1, 2)
	f.want(f.slot(opReq(1, s, 0, 0, "x")), "0=1:x")
	if known, replies := f.lookup(r, true); known || len(replies) != 0 {
		t.Fatalf("half executed: known %v, %+v", known, replies)
	}
	f.want(f.slot(r), "0=1:x", "1=2:y") // not asked to answer, but its client waits here
	f.want(f.slot(r))                   // once
	f.want(f.slot(opReq(1, s, 2, 0, "z")), "2=3:z")
}

func TestInterestIsBounded(t *testing.T) {
	var w interests
	key := func(i int) wire.RequestKey { return wire.RequestKey{First: uint64(i)} }
	for i := range 5 * interestsMax {
		w.add(key(i))
		if i%3 == 0 {
			w.take(key(i))
		}
	}
	if len(w.keys) > interestsMax || len(w.order) > interestsMax {
		t.Fatalf("%d keys in %d places", len(w.keys), len(w.order))
	}
	last := 5*interestsMax - 1
	if last%3 == 0 {
		last--
	}
	if !w.take(key(last)) || w.take(key(last)) || w.take(key(1)) {
		t.Fatal("the newest is forgotten, or the oldest is not")
	}
}

func TestCachedBytesAreBounded(t *testing.T) {
	f := newFixture(t, 8)
	s := f.open(1)
	f.app.reply = func([]byte) []byte { return make([]byte, bft.ResultBytesMax) }
	keep := uint64(bft.SessionReplyBytesMax / bft.ResultBytesMax)
	for i := range keep + 2 {
		f.slot(opReq(1, s, i, 0, "x"))
	}
	for i := range keep + 2 {
		_, replies := f.lookup(opReq(1, s, i, 0, "x"), true)
		want := wire.StatusOK
		if i < 2 {
			want = wire.StatusDropped
		}
		if len(replies) != 1 || replies[0].Status != want {
			t.Fatalf("operation %d: %d replies, status %v, want %v", i, len(replies), replies[0].Status, want)
		}
	}
	f.ran(int(keep) + 2)
}

func TestOversizedResult(t *testing.T) {
	f := newFixture(t, 8)
	s := f.open(1)
	f.app.reply = func([]byte) []byte { return make([]byte, bft.ResultBytesMax+1) }
	f.want(f.slot(opReq(1, s, 0, 0, "x")), "0!dropped")
	f.want(f.slot(opReq(1, s, 0, 0, "x")), "0!dropped")
	f.ran(1)
}

func TestClockAndSeed(t *testing.T) {
	var calls []app.Call
	machine := app.Simple{
		Do:   func(c app.Call, _ []byte) []byte { calls = append(calls, c); return nil },
		Save: func() []byte { return nil }, Load: func([]byte) error { return nil },
	}.Machine()
	f := newFixture(t, 8)
	f.e.machine = machine
	s := f.open(1)
	f.slotAt(500, opReq(1, s, 0, 0, "a", "b"))
	f.slotAt(400, opReq(1, s, 2, 0, "c"))
	f.slot()
	f.slotAt(501, opReq(1, s, 3, 0, "d"))
	var times []bft.Time
	seeds := map[bft.Digest]bool{}
	for _, c := range calls {
		times = append(times, c.Time)
		seeds[c.Seed] = true
	}
	if fmt.Sprint(times) != "[500 500 500 501]" || len(seeds) != 4 {
		t.Fatalf("times %v, %d seeds", times, len(seeds))
	}
	if calls[0].Seq != 2 || calls[0].Client != client(1) {
		t.Fatalf("call %+v", calls[0])
	}
}

func TestMalformedBodyIsNothing(t *testing.T) {
	f := newFixture(t, 8)
	f.e.Execute(protocol.Committed{Seq: 1, Body: []byte("junk")}, &f.out)
	if f.e.Executed() != 1 || f.e.Counts().Malformed != 1 || f.e.Time() != 0 {
		t.Fatalf("slot %d, %+v", f.e.Executed(), f.e.Counts())
	}
}

func TestGapPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("a gap was executed")
		}
	}()
	newFixture(t, 8).e.Execute(protocol.Committed{Seq: 2}, &Output{})
}
