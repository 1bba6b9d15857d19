package exec

import (
	"encoding/binary"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// openAt is an OPEN made at some time.
func openAt(c int, at bft.Time, random uint64) wire.Request {
	return openReq(c, wire.OpenNonce(at, random))
}

// TestKeptOpensCloseNobody: whoever keeps the OPENs of others, whose sessions were closed since, cannot
// open sessions in their name later, and so close those that they use now. Ordering one or asking
// for it tells its client the time.
func TestKeptOpensCloseNobody(t *testing.T) {
	const sessions, clients = 8, 4
	now := bft.Time(1_700_000_000 * bft.Second)
	f := newFixture(t, sessions)
	var kept []wire.Request
	for i := range uint64(5 * sessions) {
		r := openAt(int(i%clients), now, i)
		kept = append(kept, r)
		if replies := f.slotAt(now, r); replies[0].Status != wire.StatusOK {
			t.Fatalf("OPEN %d: %+v", i, replies[0])
		}
		now += bft.Time(bft.Second)
	}
	now += bft.Time(bft.OpenSpan + 80*bft.Second) // a nonce is coarse
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
			case wire.OpenAge(wire.OpenNonce(bft.Time(binary.LittleEndian.Uint64(reply.Result)), 1), now, bft.OpenSpan) != 0:
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
	r := openAt(1, now+bft.Time(bft.OpenSpan+75*bft.Second), 2)
	f.wall = now
	if known, replies := f.lookup(r, true); !known || len(replies) != 1 || replies[0].Status != wire.StatusClosed || len(replies[0].Result) != 8 {
		t.Fatalf("known %t, %+v: its client is told the time at once", known, replies)
	}
	f.wall = now + bft.Time(80*bft.Second)
	if known, _ := f.lookup(r, true); known {
		t.Fatal("nothing was executed for some time: the OPEN is not ordered")
	}
	if reply := f.slotAt(now, r)[0]; reply.Status != wire.StatusClosed || f.e.Counts().Expired != 1 {
		t.Fatalf("%+v, %+v", reply, f.e.Counts())
	}
	if reply := f.slotAt(now+bft.Time(80*bft.Second), r)[0]; reply.Status != wire.StatusOK {
		t.Fatalf("when its time has come: %+v", reply)
	}
}

// TestOpenAge goes over the edges: nothing wraps, at no time.
func TestOpenAge(t *testing.T) {
	const unit, one = 1 << 36, 1 << wire.OpenRandomBits // of time, and of nonces
	for _, c := range []struct {
		nonce uint64
		now   bft.Time
		want  int
	}{
		{0, 0, 0}, {5, 7 * unit, -1}, {1<<64 - 1, 1<<63 - 1, 0}, {1<<64 - 1, 0, 1},
		{4 * one, 7 * unit, 0}, {4*one - 1, 7 * unit, -1},
		{11*one - 1, 7 * unit, 0}, {11 * one, 7 * unit, 1}, {0, 3 * unit, 0},
	} {
		if got := wire.OpenAge(c.nonce, c.now, 3*unit); got != c.want {
			t.Errorf("nonce %x at %x: %d, not %d", c.nonce, c.now, got, c.want)
		}
	}
	for _, now := range []bft.Time{0, 1, 1 << 34, 1_700_000_000_000_000_000, 1<<63 - 1} {
		if wire.OpenAge(wire.OpenNonce(wire.OpenHint(now), 1), now, bft.OpenSpan) != 0 {
			t.Errorf("the time told at %d is not good", now)
		}
	}
}
