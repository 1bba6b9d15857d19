package exec

import (
	"encoding/binary"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// openAt is an OPEN made at some time.
func openAt(c int, at bft.Time, random uint32) wire.Request {
	r := openReq(c, wire.OpenNonce(at, random))
	return r
}

// TestKeptOpensCloseNobody: whoever keeps the OPENs of others, whose sessions were closed since, cannot
// open sessions in their name later, and so close those that they use now. Ordering one or asking
// for it tells its client the time.
func TestKeptOpensCloseNobody(t *testing.T) {
	const sessions, clients = 8, 4
	now := bft.Time(1_700_000_000 * bft.Second)
	f := newFixture(t, sessions)
	var kept []wire.Request
	for i := range uint32(5 * sessions) {
		r := openAt(int(i%clients), now, i)
		kept = append(kept, r)
		if replies := f.slotAt(now, r); replies[0].Status != wire.StatusOK {
			t.Fatalf("OPEN %d: %+v", i, replies[0])
		}
		now += bft.Time(bft.Second)
	}
	now += bft.Time(bft.OpenSpan + 10*bft.Second)
	mine := f.slotAt(now, openAt(0, now, 77))[0]
	session := binary.LittleEndian.Uint64(mine.Result)
	opened := f.e.Counts().Opened
	for range 3 {
		for _, r := range kept {
			live := f.e.table.opened(r.Client, r.First) != nil
			reply := f.slotAt(now, r)[0]
			known, _ := f.lookup(r, true)
			switch {
			case live:
			case reply.Status != wire.StatusClosed || len(reply.Result) != 8 || !known:
				t.Fatalf("an OPEN of long ago: %+v, known %t", reply, known)
			case wire.OpenAge(binary.LittleEndian.Uint64(reply.Result), now, bft.OpenSpan) != 0:
				t.Fatalf("it is %d, the client is told %d", now, binary.LittleEndian.Uint64(reply.Result))
			}
		}
	}
	if f.e.Counts().Opened != opened || f.e.table.find(client(0), session) == nil {
		t.Fatalf("%d sessions were opened by OPENs of long ago", f.e.Counts().Opened-opened)
	}
	if r := f.slotAt(now, opReq(0, session, 1, 1, "op"))[0]; r.Status != wire.StatusOK {
		t.Fatalf("%+v", r)
	}
}

// TestOpensOfTheFuture are refused when they are ordered, for else they could be kept until then; before,
// this replica may merely be behind.
func TestOpensOfTheFuture(t *testing.T) {
	now := bft.Time(1_700_000_000 * bft.Second)
	f := newFixture(t, 8)
	f.slotAt(now, openAt(0, now, 1))
	r := openAt(1, now+bft.Time(bft.OpenSpan+5*bft.Second), 2)
	if known, _ := f.lookup(r, true); known {
		t.Fatal("an OPEN after the last slot's time is not ordered")
	}
	if reply := f.slotAt(now, r)[0]; reply.Status != wire.StatusClosed || f.e.Counts().Expired != 1 {
		t.Fatalf("%+v, %+v", reply, f.e.Counts())
	}
	if reply := f.slotAt(now+bft.Time(20*bft.Second), r)[0]; reply.Status != wire.StatusOK {
		t.Fatalf("when its time has come: %+v", reply)
	}
}

// TestOpenAge goes over the edges: nothing wraps, at no time.
func TestOpenAge(t *testing.T) {
	const bucket = 1 << 32
	for _, c := range []struct {
		nonce uint64
		now   bft.Time
		want  int
	}{
		{0, 0, 0}, {5, 7 * bucket, -1}, {1<<64 - 1, 1<<63 - 1, 1}, {1<<64 - 1, 0, 1},
		{4 * bucket, 7 * bucket, 0}, {4*bucket - 1, 7 * bucket, -1},
		{11*bucket - 1, 7 * bucket, 0}, {11 * bucket, 7 * bucket, 1},
		{1<<63 - 1, 1<<63 - 1, 0}, {0, 3 * bucket, 0},
	} {
		if got := wire.OpenAge(c.nonce, c.now, 3*bucket); got != c.want {
			t.Errorf("nonce %x at %x: %d, not %d", c.nonce, c.now, got, c.want)
		}
	}
	for _, now := range []bft.Time{0, 1, 1 << 34, 1_700_000_000_000_000_000, 1<<63 - 1} {
		if wire.OpenAge(uint64(wire.OpenHint(now)), now, bft.OpenSpan) != 0 {
			t.Errorf("the time told at %d is not good", now)
		}
	}
}
