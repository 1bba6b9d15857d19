package client

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

const ms = bft.Millisecond

// plainSigner signs with a constant: the session does not depend on the scheme.
type plainSigner struct{}

func (plainSigner) Sign(dst, _ []byte) []byte { return append(dst, "signature"...) }

func members(n, f int) *bft.Membership {
	return &bft.Membership{Protocol: "pbft", F: f, Replicas: make([]bft.Replica, n)}
}

// bench is a session with everything it sent, decoded, and everything it answered.
type bench struct {
	t       testing.TB
	s       *Session
	now     bft.Duration
	out     Output
	frames  []sent
	results map[Token]Result
	session uint64
}

type sent struct {
	to   bft.ReplicaSet
	kind wire.Kind
	req  wire.Request
}

func newBench(t testing.TB, n, f int, o Options) *bench {
	b := &bench{t: t, results: make(map[Token]Result)}
	b.s = NewSession(members(n, f), bft.ClientID{1}, plainSigner{}, o)
	return b
}

// opened returns a bench whose session is open and whose links are all up.
func opened(t testing.TB, n, f int, o Options) *bench {
	t.Helper()
	b := newBench(t, n, f, o)
	for i := range n {
		b.do(func() { b.s.LinkUp(bft.ReplicaID(i), b.now, &b.out) })
	}
	b.do(func() { b.s.Open(b.now, &b.out) })
	b.open(7)
	if !b.s.Ready() {
		t.Fatal("f+1 equal answers to the OPEN do not open the session")
	}
	return b
}

// open answers the latest OPEN by the first f+1 replicas.
func (b *bench) open(session uint64) {
	b.t.Helper()
	b.session = session
	r := b.last()
	if !r.req.IsOpen() {
		b.t.Fatalf("last frame is no OPEN: %+v", r)
	}
	for i := range b.s.q.Weak() {
		b.reply(i, wire.Reply{Number: r.req.First, Result: binary.LittleEndian.AppendUint64(nil, session)})
	}
}

// do runs one input and takes its output in.
func (b *bench) do(f func()) {
	b.t.Helper()
	b.out.Reset()
	f()
	for _, s := range b.out.Sends {
		if s.To&^b.s.up != 0 || s.To == 0 {
			b.t.Fatalf("send to %b with links %b", s.To, b.s.up)
		}
		n := binary.LittleEndian.Uint32(s.Frame)
		if int(n) != len(s.Frame)-4 {
			b.t.Fatalf("frame of %d bytes says %d", len(s.Frame), n)
		}
		req, err := wire.DecodeRequest(s.Frame[wire.FrameHeaderBytes:])
		if err != nil {
			b.t.Fatalf("sent a malformed request: %v", err)
		}
		b.frames = append(b.frames, sent{to: s.To, kind: wire.Kind(s.Frame[4]), req: req})
	}
	for _, r := range b.out.Results {
		if old, ok := b.results[r.Token]; ok {
			b.t.Fatalf("two results for token %d: %v and %v", r.Token, old, r)
		}
		if (r.Value == nil) == (r.Err == nil) {
			b.t.Fatalf("result has value %v and error %v", r.Value, r.Err)
		}
		b.results[r.Token] = r
	}
}

func (b *bench) submit(op string, wait bft.Duration) Token {
	b.t.Helper()
	token, err := b.s.Submit([]byte(op), b.now+wait)
	if err != nil {
		b.t.Fatal(err)
	}
	b.do(func() { b.s.Flush(b.now, &b.out) })
	return token
}

func (b *bench) reply(from int, r wire.Reply) {
	b.t.Helper()
	b.do(func() { b.s.Reply(bft.ReplicaID(from), r, b.now, &b.out) })
}

// answer is a reply of the open session.
func (b *bench) answer(from int, number uint64, value string) {
	b.t.Helper()
	b.reply(from, wire.Reply{Session: b.session, Number: number, Result: []byte(value)})
}

func (b *bench) pass(d bft.Duration) {
	b.t.Helper()
	for end := b.now + d; ; {
		at, ok := b.s.Deadline()
		if !ok || at > end {
			b.now = end
			return
		}
		b.now = max(b.now, at)
		b.do(func() { b.s.Tick(b.now, &b.out) })
	}
}

func (b *bench) last() sent {
	b.t.Helper()
	if len(b.frames) == 0 {
		b.t.Fatal("nothing was sent")
	}
	return b.frames[len(b.frames)-1]
}

func (b *bench) want(token Token, value string) {
	b.t.Helper()
	if r, ok := b.results[token]; !ok || r.Err != nil || string(r.Value) != value {
		b.t.Fatalf("result of %d: %q, %v (there: %t), want %q", token, r.Value, r.Err, ok, value)
	}
}

func (b *bench) wantErr(token Token, err error) {
	b.t.Helper()
	if r, ok := b.results[token]; !ok || !errors.Is(r.Err, err) {
		b.t.Fatalf("result of %d: %q, %v (there: %t), want error %v", token, r.Value, r.Err, ok, err)
	}
}

func (b *bench) wantOpen(token Token) {
	b.t.Helper()
	if r, ok := b.results[token]; ok {
		b.t.Fatalf("%d has ended with %q, %v", token, r.Value, r.Err)
	}
}

func TestAcceptsWithFPlusOneDistinctReplicas(t *testing.T) {
	b := opened(t, 4, 1, Options{})
	k := b.submit("op", 10000*ms)
	if f := b.last(); f.kind != wire.KindRequest || f.to != bft.SetOf(0) || f.req.Answer.Len() != 2 {
		t.Fatalf("first frame: kind %d to %b, answers asked of %b", f.kind, f.to, f.req.Answer)
	}
	b.answer(2, 1, "wrong")
	b.answer(2, 1, "wrong")
	b.answer(2, 1, "wrong")
	b.wantOpen(k)
	b.answer(0, 1, "right")
	b.wantOpen(k)
	b.answer(3, 1, "right")
	b.want(k, "right")
	if st := b.s.Stats(); st.Replicas[2].Deviations != 1 || st.Deviations() != 1 {
		t.Fatalf("deviations %+v", st.Replicas)
	}
	b.answer(1, 1, "late lie")
	if st := b.s.Stats(); st.Replicas[1].Deviations != 1 {
		t.Fatalf("a lie after acceptance is not counted: %+v", st.Replicas)
	}
}

func TestStatusAndViewOfReplies(t *testing.T) {
	b := opened(t, 4, 1, Options{})
	k := b.submit("op", 10000*ms)
	b.reply(0, wire.Reply{Session: 7, Number: 1, View: 5, Status: wire.StatusDropped})
	b.reply(1, wire.Reply{Session: 7, Number: 1, View: 6, Result: []byte{}})
	b.wantOpen(k) // equal bytes, another status
	b.reply(2, wire.Reply{Session: 7, Number: 1, View: 9, Status: wire.StatusDropped})
	b.wantErr(k, ErrResultDropped)
	if st := b.s.Stats(); st.Deviations() != 0 {
		t.Fatalf("a dropped result counts as a lie: %+v", st.Replicas)
	}
}

func TestAChangedAnswerCountsOnce(t *testing.T) {
	b := opened(t, 7, 2, Options{})
	k := b.submit("op", 10000*ms)
	b.answer(0, 1, "a")
	b.answer(1, 1, "a")
	b.answer(0, 1, "b") // takes "a" back
	b.answer(2, 1, "a")
	b.wantOpen(k)
	b.answer(3, 1, "a")
	b.want(k, "a")
}

func TestViewHintOfLiarsDoesNotMoveThePrimary(t *testing.T) {
	b := opened(t, 4, 1, Options{})
	for i := range uint64(5) {
		k := b.submit("op", 10000*ms)
		b.reply(3, wire.Reply{Session: 7, Number: i + 1, View: bft.View(100 + i)})
		b.answer(0, i+1, "x")
		b.answer(1, i+1, "x")
		b.want(k, "x")
		if to := b.last().to; to != bft.SetOf(0) {
			t.Fatalf("one liar moved the presumed primary: sent to %b", to)
		}
	}
	b.submit("op", 10000*ms)
	b.reply(1, wire.Reply{Session: 7, Number: 6, View: 2})
	if v := b.s.Stats().View; v != 2 {
		t.Fatalf("view %d after hints 104, 2, 0, 0", v)
	}
	if f := b.last(); f.kind != wire.KindRetry || f.to != b.s.q.All() {
		t.Fatalf("the request was left with the primary of the past: %+v", f)
	}
	b.submit("op", 10000*ms)
	if to := b.last().to; to != bft.SetOf(2) {
		t.Fatalf("the next request went to %b", to)
	}
}

// TestOneAstrayMisleadsOnce: a correct replica that left its view alone, and a liar, name a view that nobody else is
// in. The client waits for its primary once, not with each request.
func TestOneAstrayMisleadsOnce(t *testing.T) {
	b := opened(t, 4, 1, Options{})
	k := b.submit("op", 10000*ms)
	b.reply(3, wire.Reply{Session: 7, Number: 1, View: 1 << 60, Result: []byte("x")}) // the liar
	b.reply(2, wire.Reply{Session: 7, Number: 1, View: 2, Result: []byte("x")})       // out alone
	b.want(k, "x")
	for i := range uint64(3) {
		k = b.submit("op", 10000*ms)
		if to := b.last().to; i < 2 && to != bft.SetOf(2) || i == 2 && to != bft.SetOf(0) {
			t.Fatalf("request %d went to %b", i, to)
		}
		if i == 0 {
			b.pass(20 * ms) // two are on their way when the first is late
			continue
		}
		if i == 1 {
			b.pass(1000 * ms) // nobody orders them until all have them
			b.answer(0, 2, "x")
			b.answer(1, 2, "x")
		}
		b.answer(0, i+2, "x")
		b.answer(1, i+2, "x")
		b.want(k, "x")
	}
	b.submit("op", 10000*ms)
	b.reply(0, wire.Reply{Session: 7, Number: 5, View: 2})
	b.submit("op", 10000*ms) // they follow
	b.reply(1, wire.Reply{Session: 7, Number: 5, View: 3})
	if v := b.s.Stats(); v.View != 3 || v.Primary != 3 {
		t.Fatalf("%+v", v)
	}
}

// astray returns a bench of which one replica is out alone in view 2 and another lies about its view, and whose
// client has found that out. Some other requests went to the wrong primary and are not late yet.
func astray(t *testing.T, others int) (b *bench) {
	b = opened(t, 4, 1, Options{})
	k := b.submit("op", 10000*ms)
	b.reply(3, wire.Reply{Session: 7, Number: 1, View: 1 << 60, Result: []byte("x")})
	b.reply(2, wire.Reply{Session: 7, Number: 1, View: 2, Result: []byte("x")})
	b.want(k, "x")
	b.submit("op", 10000*ms)
	b.pass(120 * ms)
	for range others {
		b.submit("op", 10000*ms)
	}
	for b.s.Stats().Primary == 2 {
		b.pass(ms)
	}
	return b
}

// TestWhoServedIsNotLeft: a request is late because one of those asked to answer kept silent, as a liar may. Its
// primary did not drop it, and gets the next one as well.
func TestWhoServedIsNotLeft(t *testing.T) {
	b := astray(t, 0)
	b.submit("op", 10000*ms)
	if to := b.last().to; to != bft.SetOf(0) {
		t.Fatalf("it went to %b", to)
	}
	b.reply(0, wire.Reply{Session: 7, Number: 3, Result: []byte("x")})
	b.pass(1000 * ms)
	if p := b.s.Stats().Primary; p != 0 {
		t.Fatalf("the next one would go to %d", p)
	}
}

// TestLinkOfTheFormerPrimaryBreaks: what only a replica has got that is no longer taken for the primary goes to all
// when its link breaks.
func TestLinkOfTheFormerPrimaryBreaks(t *testing.T) {
	b := astray(t, 8)
	b.frames = nil
	b.do(func() { b.s.LinkDown(2, b.now, &b.out) })
	again := map[uint64]bool{}
	for _, f := range b.frames {
		again[f.req.First] = f.kind == wire.KindRetry
	}
	for n := uint64(3); n <= 10; n++ {
		if !again[n] {
			t.Errorf("request %d is left with a broken link", n)
		}
	}
}

func TestRetryRepeatsTheSameBytesAndDoubles(t *testing.T) {
	b := opened(t, 4, 1, Options{})
	k := b.submit("op", 60000*ms)
	first := b.last()
	if first.kind != wire.KindRequest {
		t.Fatalf("kind %d", first.kind)
	}
	sentBefore := len(b.frames)
	b.pass(149 * ms)
	if len(b.frames) != sentBefore {
		t.Fatal("retried before its time")
	}
	b.pass(51 * ms)
	if len(b.frames) != sentBefore+1 {
		t.Fatalf("%d frames after 200 ms", len(b.frames)-sentBefore)
	}
	b.pass(30000 * ms)
	retries := b.frames[sentBefore:]
	if len(retries) < 15 || len(retries) > 25 {
		t.Fatalf("%d retries in 30 s, want one in 1.5 to 2 s", len(retries))
	}
	for _, f := range retries {
		if f.kind != wire.KindRetry || f.to != b.s.q.All() || !bytes.Equal(f.req.Raw, first.req.Raw) {
			t.Fatalf("retry differs: kind %d to %b", f.kind, f.to)
		}
	}
	b.answer(0, 1, "x")
	b.answer(1, 1, "x")
	b.want(k, "x")
}

func TestBrokenLinkToPrimaryRetriesAllAtOnce(t *testing.T) {
	b := opened(t, 4, 1, Options{})
	for range 3 {
		b.submit("op", 10000*ms)
	}
	before := len(b.frames)
	b.do(func() { b.s.LinkDown(0, b.now, &b.out) })
	after := b.frames[before:]
	if len(after) != 3 {
		t.Fatalf("%d frames, want a RETRY of each of 3", len(after))
	}
	for i, f := range after {
		if f.kind != wire.KindRetry || f.to != bft.SetOf(1, 2, 3) || f.req.First != uint64(i+1) {
			t.Fatalf("%d: kind %d to %b", i, f.kind, f.to)
		}
	}
	before = len(b.frames)
	b.do(func() { b.s.LinkUp(0, b.now, &b.out) })
	for i, f := range b.frames[before:] {
		if f.kind != wire.KindRetry || f.to != bft.SetOf(0) || f.req.First != uint64(i+1) {
			t.Fatalf("on the new link: kind %d to %b", f.kind, f.to)
		}
	}
	if len(b.frames)-before != 3 {
		t.Fatal("a link that came up later does not get what was retried")
	}
}

func TestDisagreementOfThoseAskedRetriesAtOnce(t *testing.T) {
	b := opened(t, 4, 1, Options{})
	b.submit("op", 10000*ms)
	asked := b.last().req.Answer
	value := "a"
	for id := range asked.All() {
		b.answer(int(id), 1, value)
		value += "a"
	}
	if f := b.last(); f.kind != wire.KindRetry || f.to != b.s.q.All() {
		t.Fatalf("kind %d to %b", f.kind, f.to)
	}
}

func TestAnswerSetAvoidsTheSilentAndLiars(t *testing.T) {
	b := opened(t, 4, 1, Options{})
	b.submit("op", 10000*ms)
	b.answer(3, 1, "lie")
	b.answer(0, 1, "x")
	b.answer(1, 1, "x")
	asked := make(map[bft.ReplicaID]int)
	for n := uint64(2); n < 42; n++ {
		b.submit("op", 10000*ms)
		for id := range b.last().req.Answer.All() {
			asked[id]++
		}
		b.answer(0, n, "x")
		b.answer(1, n, "x")
	}
	if asked[3] != 0 || asked[0] < 20 || asked[1] < 20 || asked[2] < 20 {
		t.Fatalf("asked: %v", asked)
	}
	b.do(func() { b.s.LinkDown(2, b.now, &b.out) })
	b.do(func() { b.s.LinkDown(1, b.now, &b.out) })
	b.submit("op", 10000*ms)
	if a := b.last().req.Answer; a != b.s.q.All() {
		t.Fatalf("too few answer properly, and asked are %b", a)
	}
}

func TestDeadlineEndsAndNumberIsKept(t *testing.T) {
	b := opened(t, 4, 1, Options{})
	lost := b.submit("lost", 1000*ms)
	b.pass(1000 * ms)
	b.wantErr(lost, ErrOutcomeUnknown)
	k := b.submit("next", 10000*ms)
	if f := b.last(); f.req.Done != 1 || f.req.First != 2 {
		t.Fatalf("Done %d passes an unanswered number", f.req.Done)
	}
	b.answer(0, 2, "x")
	b.answer(1, 2, "x")
	b.want(k, "x")
	before := len(b.frames)
	b.pass(5000 * ms)
	if len(b.frames) == before || b.last().req.First != 1 {
		t.Fatal("an abandoned number is not resent")
	}
	b.answer(0, 1, "late")
	b.answer(1, 1, "late")
	b.submit("third", 10000*ms)
	if f := b.last(); f.req.Done != 3 {
		t.Fatalf("Done %d after everything below 3 was answered", f.req.Done)
	}
}

func TestWithoutLinksNothingIsSent(t *testing.T) {
	b := newBench(t, 4, 1, Options{})
	k := b.submit("op", 1000*ms)
	b.pass(1000 * ms)
	b.wantErr(k, ErrNoQuorum)
	if len(b.frames) != 0 {
		t.Fatal("sent without a link")
	}
	k = b.submit("op", 1000*ms)
	b.do(func() { b.s.LinkUp(2, b.now, &b.out) })
	if f := b.last(); !f.req.IsOpen() || f.to != bft.SetOf(2) {
		t.Fatalf("no OPEN on the first link: %+v", b.last())
	}
	b.pass(1000 * ms)
	b.wantErr(k, ErrNoQuorum) // the OPEN went, the operation did not
}

func TestClosedByLiarsIsIgnored(t *testing.T) {
	b := opened(t, 4, 1, Options{})
	k := b.submit("op", 10000*ms)
	b.reply(3, wire.Reply{Session: 7, Number: 1, Status: wire.StatusClosed})
	b.answer(0, 1, "x")
	b.answer(1, 1, "x")
	b.want(k, "x")
	if !b.s.Ready() {
		t.Fatal("one replica closed the session")
	}
}

func TestReopensAfterClosed(t *testing.T) {
	b := opened(t, 4, 1, Options{Window: 2})
	b.pass(1000 * ms)
	nonce := b.frames[0].req.First
	sentOne, sentTwo := b.submit("1", 10000*ms), b.submit("2", 10000*ms)
	waiting := b.submit("3", 10000*ms)
	b.reply(0, wire.Reply{Session: 7, Number: 2, Status: wire.StatusClosed})
	b.wantOpen(sentTwo)
	b.reply(1, wire.Reply{Session: 7, Number: 2, Status: wire.StatusClosed})
	b.wantErr(sentOne, ErrOutcomeUnknown)
	b.wantErr(sentTwo, ErrOutcomeUnknown)
	b.wantOpen(waiting)
	if f := b.last(); !f.req.IsOpen() || f.req.First == nonce {
		t.Fatalf("no OPEN with a fresh nonce: %+v", f)
	}
	b.open(19)
	if f := b.last(); f.req.Session != 19 || f.req.First != 1 || string(f.req.Ops[0]) != "3" {
		t.Fatalf("first request of the new session: %+v", f.req)
	}
	b.reply(0, wire.Reply{Session: 7, Number: 1, Result: []byte("old")})
	b.reply(1, wire.Reply{Session: 7, Number: 1, Result: []byte("old")})
	b.wantOpen(waiting)
	b.answer(2, 1, "new")
	b.answer(3, 1, "new")
	b.want(waiting, "new")
	if st := b.s.Stats(); st.Unmatched != 2 || st.Closed != 1 || st.Opens != 2 {
		t.Fatalf("%+v", st)
	}
}

func TestASessionNumberIsNeverTakenTwice(t *testing.T) {
	b := opened(t, 4, 1, Options{})
	b.pass(1000 * ms)
	b.submit("1", 10000*ms)
	for i := range 2 {
		b.reply(i, wire.Reply{Session: 7, Number: 1, Status: wire.StatusClosed})
	}
	nonce := b.last().req.First
	b.open(7) // the number of before
	if b.s.Ready() {
		t.Fatal("a session that was closed is in use again")
	}
	b.pass(1000 * ms)
	if f := b.last(); !f.req.IsOpen() || f.req.First == nonce {
		t.Fatalf("no fresh OPEN: %+v", f.req)
	}
}

// TestAWrongClockIsPutRight: f+1 replicas that refuse an OPEN because of its time say what time it is.
func TestAWrongClockIsPutRight(t *testing.T) {
	const right = bft.Time(1_700_000_000_000_000_000)
	for _, clock := range []bft.Time{0, 2 * right} {
		b := newBench(t, 4, 1, Options{Clock: clock})
		for i := range 4 {
			b.do(func() { b.s.LinkUp(bft.ReplicaID(i), b.now, &b.out) })
		}
		b.do(func() { b.s.Open(b.now, &b.out) })
		wrong := b.last().req.First
		liar, hint := uint64(right)/2, uint64(wire.OpenHint(right))
		b.reply(3, wire.Reply{Number: wrong, Status: wire.StatusClosed, Result: binary.LittleEndian.AppendUint64(nil, liar)})
		b.reply(0, wire.Reply{Number: wrong, Status: wire.StatusClosed, Result: binary.LittleEndian.AppendUint64(nil, hint)})
		b.pass(1000 * ms)
		if again := b.last().req.First; again != wrong {
			t.Fatalf("a new OPEN by the word of one replica each: %x after %x", again, wrong)
		}
		b.reply(1, wire.Reply{Number: wrong, Status: wire.StatusClosed, Result: binary.LittleEndian.AppendUint64(nil, hint)})
		b.pass(1000 * ms)
		if again := b.last().req.First; wire.OpenAge(again, right+bft.Time(bft.Second), bft.OpenSpan) != 0 {
			t.Fatalf("told the time %d the next OPEN says %d", right, again)
		}
		b.open(9)
		if !b.s.Ready() {
			t.Fatal("no session")
		}
	}
}

func TestRefused(t *testing.T) {
	b := newBench(t, 4, 1, Options{})
	b.do(func() { b.s.LinkUp(0, b.now, &b.out) })
	k := b.submit("op", 10000*ms)
	nonce := b.last().req.First
	b.reply(0, wire.Reply{Number: nonce, Status: wire.StatusRefused})
	b.wantOpen(k)
	b.reply(1, wire.Reply{Number: nonce, Status: wire.StatusRefused})
	b.wantErr(k, ErrRefused)
}

func TestBundles(t *testing.T) {
	b := opened(t, 4, 1, Options{Bundle: 4, Window: 6})
	var tokens []Token
	for i := range 7 {
		k, err := b.s.Submit(fmt.Append(nil, i), b.now+10000*ms)
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, k)
	}
	before := len(b.frames)
	b.do(func() { b.s.Flush(b.now, &b.out) })
	got := b.frames[before:]
	if len(got) != 2 || len(got[0].req.Ops) != 4 || len(got[1].req.Ops) != 2 || got[1].req.First != 5 {
		t.Fatalf("%d envelopes: %+v", len(got), got)
	}
	for n := uint64(1); n <= 4; n++ {
		b.answer(0, n, fmt.Sprint(n))
		b.answer(1, n, fmt.Sprint(n))
		b.want(tokens[n-1], fmt.Sprint(n))
	}
	if f := b.last(); f.req.First != 7 || f.req.Done != 2 {
		t.Fatalf("the window did not move on: first %d done %d", f.req.First, f.req.Done)
	}
}

func TestBounds(t *testing.T) {
	b := newBench(t, 4, 1, Options{QueueMax: 2})
	if _, err := b.s.Submit(make([]byte, bft.OpBytesMax+1), Never); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	one := b.submit("1", 10*ms)
	b.submit("2", 10*ms)
	if _, err := b.s.Submit(nil, Never); !errors.Is(err, ErrBusy) {
		t.Fatal(err)
	}
	b.do(func() { b.s.Cancel(one, &b.out) })
	b.wantErr(one, ErrNoQuorum)
	b.do(func() { b.s.End(&b.out) })
	if len(b.results) != 2 {
		t.Fatal("End left an operation")
	}
}

func TestTimeoutFollowsSlowAnswers(t *testing.T) {
	b := opened(t, 4, 1, Options{})
	for n := uint64(1); n <= 30; n++ {
		if n == 20 {
			b.frames = nil
		}
		b.submit("op", 10000*ms)
		b.pass(500 * ms)
		b.answer(0, n, "x")
		b.answer(1, n, "x")
	}
	for _, f := range b.frames {
		if f.kind == wire.KindRetry {
			t.Fatal("a cluster that answers in 500 ms is loaded with retries")
		}
	}
}
