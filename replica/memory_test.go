package replica

import (
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/exec"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/wire"
)

func tableOf(edit func(*bft.Membership)) (m *bft.Membership, by map[string]int64, sum int64) {
	m = &bft.Membership{
		F: 1, Replicas: make([]bft.Replica, 4), Clients: make([]bft.ClientKey, 8),
		CheckpointEvery: 64, Window: 256, BatchCount: 256, BatchBytes: 128 << 10, Sessions: 1024,
	}
	edit(m)
	by = map[string]int64{}
	table := MemoryTable(m, 1<<20)
	for _, n := range table {
		by[n.What] = n.Bytes
	}
	return m, by, Total(table)
}

// TestMemoryTable: every limit that lets others fill memory is in the table, with at least what
// it lets them fill, and the sum grows with every size of the membership.
func TestMemoryTable(t *testing.T) {
	m, by, sum := tableOf(func(*bft.Membership) {})
	n := int64(m.N())
	for what, least := range map[string]int64{
		"pool":                   bft.PoolBytesMax,
		"pool, own places":       int64(2*m.Sessions+bft.OpensPendingMax) * bft.RequestBytesMax,
		"bodies":                 int64(m.Window+2*m.CheckpointEvery) * int64(m.BatchBytes),
		"bodies of failed views": int64(m.Window) * (bft.QEntriesMax - 1) * int64(m.BatchBytes),
		"votes":                  int64(m.Window) * 3 * n * 48,
		"view change":            2 * n * int64(m.Window) * (1 + bft.QEntriesMax) * 48,
		"receive, clients":       clientsBytesMax + clientsReserveBytes,
		"receive, replicas":      (n - 1) * peerBytesMax,
		"replies":                int64(m.Sessions) * int64(m.SessionReplyBytes()),
		"replies in checkpoints": 6 * int64(m.Sessions) * int64(m.SessionReplyBytes()),
		"state transfer":         int64(m.Sessions)*int64(m.SessionReplyBytes()) + 16*bft.StateItemBytesMax,
		"verified requests":      bft.VerifiedRequestsMax * 32,
		"outputs":                (n - 1) * bft.ServeBurstBytes,
		"remembered clients":     (barredMax + repeatersMax) * 32,
		"links":                  1 << 20,
		"collector":              sum * gcPercent / (100 + gcPercent) * 9 / 10,
	} {
		if by[what] < least {
			t.Errorf("%s: %d bytes, at least %d can be filled", what, by[what], least)
		}
		delete(by, what)
	}
	for what := range by {
		t.Errorf("%s: held against nothing", what)
	}
	for what, edit := range map[string]func(*bft.Membership){
		"window":      func(m *bft.Membership) { m.Window *= 2 },
		"interval":    func(m *bft.Membership) { m.CheckpointEvery *= 2 },
		"replicas":    func(m *bft.Membership) { m.Replicas = make([]bft.Replica, 7) },
		"batch bytes": func(m *bft.Membership) { m.BatchBytes *= 2 },
		"sessions":    func(m *bft.Membership) { m.Sessions *= 2 },
		"clients":     func(m *bft.Membership) { m.Clients = make([]bft.ClientKey, 4000) },
	} {
		if _, _, more := tableOf(edit); what != "interval" && more <= sum || more <= 0 {
			t.Errorf("with more %s: %d bytes, before %d", what, more, sum)
		}
	}
}

// TestSessionsFitTheTable: a table full of sessions, each of another client, has no more than it says.
func TestSessionsFitTheTable(t *testing.T) {
	const sessions = 60_000 // where its maps have just grown
	m, _, _ := tableOf(func(m *bft.Membership) { m.Sessions, m.CheckpointEvery = sessions, bft.SessionsMax })
	admits := func(bft.ClientID) (admitted, listed bool) { return true, false }
	heapNow := func() uint64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heapNow()
	e := exec.New(m, 0, app.Simple{}.Machine(), admits, func(func(*exec.Output)) {})
	var out exec.Output
	for e.Sessions() < sessions {
		var raw [][]byte
		for i := range bft.BatchRequestsMax {
			r := wire.Request{Flags: wire.FlagOpen, First: 1, Ops: [][]byte{nil}}
			binary.LittleEndian.PutUint32(r.Client[:], uint32(e.Sessions()+i))
			raw = append(raw, r.Append(nil))
		}
		body := wire.AppendBody(nil, 0, raw)
		e.Execute(protocol.Committed{Seq: e.Executed() + 1, Digest: wire.BodyDigest(body), Body: body}, &out)
		out.Reset()
	}
	out = exec.Output{}
	each := int64(heapNow()-before) / sessions
	if each > sessionBytes {
		t.Errorf("a session has %d bytes, the table counts %d", each, sessionBytes)
	}
	runtime.KeepAlive(e)
}

// TestEmptyFramesAreNotFree: a flood of frames without payload fills no more than one of large
// ones: what holds them counts too.
func TestEmptyFramesAreNotFree(t *testing.T) {
	r := &Replica{log: discard, clock: newClock(), links: newLinks(1), metrics: newMetrics(1), barred: newBarred()}
	r.intake = newIntake(1, 1, r.clock, func() {})
	for i := range 10 {
		l := &testLink{id: bft.ClientID{byte(i)}}
		receive{r}.ClientUp(l)
		receive{r}.ClientFrame(l, transport.Frame{})
	}
	if n := r.intake.lengths().clientBytes; n != 10*arrivalBytes {
		t.Errorf("ten empty frames count for %d bytes", n)
	}
}
