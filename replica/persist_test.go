package replica

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/host"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/storage/mem"
	"github.com/themis-bft/themis/storage/wal"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/wire"
)

// recorder is a transport that notes what is sent, in one list with the syncs of the log.
type recorder struct {
	events []string
	sent   map[bft.ReplicaID][]byte
}

func (r *recorder) Start(transport.Handler) error { return nil }
func (r *recorder) Close(context.Context) error   { return nil }
func (r *recorder) SendPeer(to bft.ReplicaID, frames []byte) bool {
	r.sent[to] = append(r.sent[to], frames...)
	transport.Split(frames, bft.PeerFrameBytesMax, func(f transport.Frame) {
		r.events = append(r.events, fmt.Sprintf("send %d to %d", f.Kind, to))
	})
	return true
}

// newPersist is the persist stage of a replica of four, over a log in memory.
func newPersist(t *testing.T) (*persist, *recorder) {
	t.Helper()
	return newPersistOn(t, mem.New(), wal.Options{})
}

func newPersistOn(t *testing.T, files *mem.FS, o wal.Options) (*persist, *recorder) {
	t.Helper()
	m := &bft.Membership{F: 1, Protocol: "pbft", Scheme: "ed25519", CheckpointEvery: 8, Window: 16, Sessions: 8}
	for i := range 4 {
		m.Replicas = append(m.Replicas, bft.Replica{Key: []byte{byte(i)}})
	}
	if err := Init(files, m, 0); err != nil {
		t.Fatal(err)
	}
	log, err := wal.Open(files, Owner(m, 0), o)
	if err != nil {
		t.Fatal(err)
	}
	out := &recorder{sent: map[bft.ReplicaID][]byte{}}
	files.OnOp(func(op mem.Op, _ string) error {
		if op == mem.OpSync {
			out.events = append(out.events, "sync")
		}
		return nil
	})
	r := &Replica{
		clock: newClock(), stopping: make(chan struct{}),
		metrics: newMetrics(4), log: slog.New(slog.DiscardHandler),
		executing: newQueue[executable](outputsMax), persisting: newQueue[*host.Output](outputsMax),
		snapshots: &snapshots{wake: make(chan struct{}, 1)},
	}
	p := &persist{Replica: r, wal: log}
	p.send = send{Replica: r, codec: pbft.Family.Codec(m), transport: out}
	return p, out
}

// feed runs the stage over the given outputs, taken together, until it ends.
func (p *persist) feed(outs ...*host.Output) {
	for _, o := range outs {
		p.persisting.push(o)
	}
	p.persisting.close()
	p.run()
}

func vote(seq bft.SeqNum, lazy bool) storage.Record {
	return storage.Record{Kind: storage.RecordVote, Seq: seq, Data: []byte("vote"), Lazy: lazy}
}

func prepare(seq bft.SeqNum, to bft.ReplicaSet) protocol.Outgoing {
	return protocol.Outgoing{To: to, Msg: &pbft.Prepare{Seq: seq, Digest: bft.Digest{1}}}
}

// TestNothingLeavesBeforeTheSync: all outputs that wait share one sync, and what rests on their
// votes leaves behind it.
func TestNothingLeavesBeforeTheSync(t *testing.T) {
	p, out := newPersist(t)
	host1 := host.Frame{To: 3, Bytes: wire.AppendFrame(nil, wire.KindFetch, make([]byte, 32))}
	p.feed(
		&host.Output{Persist: []storage.Record{vote(1, false)}, Send: []protocol.Outgoing{prepare(1, bft.SetOf(1, 2))}},
		&host.Output{Persist: []storage.Record{vote(2, false)}, Commit: []protocol.Committed{{Seq: 1}}, Frames: []host.Frame{host1}},
	)
	kind := (&pbft.Prepare{}).Kind()
	want := []string{
		fmt.Sprintf("send %d to 3", wire.KindFetch), "sync",
		fmt.Sprintf("send %d to 1", kind), fmt.Sprintf("send %d to 2", kind),
	}
	if !slices.Equal(out.events[:min(len(out.events), len(want))], want) {
		t.Errorf("got %q, want %q first", out.events, want)
	}
	if work := p.executing.takeNow(nil); len(work) != 1 || len(work[0].out.Commit) != 1 {
		t.Errorf("%d outputs to execute", len(work))
	}
}

// TestLazyRecordsWait: nothing is synced for records that may wait, and nothing waits for them.
func TestLazyRecordsWait(t *testing.T) {
	p, out := newPersist(t)
	p.persisting.push(&host.Output{Persist: []storage.Record{vote(1, true)}, Send: []protocol.Outgoing{prepare(1, bft.SetOf(1))}})
	p.batch, _ = p.persisting.take(nil)
	if !p.durable() {
		t.Fatal("not durable")
	}
	p.release()
	if slices.Contains(out.events, "sync") || len(out.sent[1]) == 0 {
		t.Errorf("got %q", out.events)
	}
}

// TestCutsMakeRoom: a log that has filled its device goes on with the segments that it no longer
// needs, whenever that is known: nobody has to make room for it.
func TestCutsMakeRoom(t *testing.T) {
	for _, when := range []string{"cut but not synced", "not cut yet", "while it waits"} {
		t.Run(when, func(t *testing.T) {
			files := mem.New()
			p, out := newPersistOn(t, files, wal.Options{SegmentBytes: 4 << 10})
			files.SetCapacity(12<<20 + 32<<10) // what Init made takes segments of the usual size
			output := func(seq bft.SeqNum) *host.Output {
				r := vote(seq, false)
				r.Data = make([]byte, 1000)
				return &host.Output{Persist: []storage.Record{r}, Send: []protocol.Outgoing{prepare(seq, bft.SetOf(1))}}
			}
			seq := bft.SeqNum(1)
			for p.batch = []*host.Output{output(seq)}; p.durable(); p.batch, p.appended = []*host.Output{output(seq)}, 0 {
				if seq++; seq > 1<<16 {
					t.Fatal("the device is never full")
				}
			}
			if when != "while it waits" {
				p.snapshots.durable.Store(uint64(seq - 1))
			}
			if when == "cut but not synced" {
				p.cut()
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				p.feed(output(seq))
			}()
			deadline := time.After(time.Minute)
			for when == "while it waits" && !p.noSpace.Load() {
				select {
				case <-ended:
					t.Fatal("it did not wait")
				case <-deadline:
					t.Fatal("it does not say that the device is full")
				case <-time.After(time.Millisecond):
				}
			}
			p.snapshots.durable.Store(uint64(seq - 1))
			select {
			case <-ended:
			case <-deadline:
				close(p.stopping)
				<-ended
				t.Fatal("it waits for room, and nothing in its log is needed")
			}
			if len(out.sent[1]) == 0 {
				t.Error("the vote did not leave")
			}
		})
	}
}

// TestFullDeviceHoldsNoRepeats: while a replica waits for room, peers that ask again and again fill no
// memory; what it has not said yet waits.
func TestFullDeviceHoldsNoRepeats(t *testing.T) {
	p, _ := newPersist(t)
	repeat := func() *host.Output { return &host.Output{Send: []protocol.Outgoing{prepare(1, bft.SetOf(1))}} }
	first := &host.Output{Send: []protocol.Outgoing{{To: bft.AllReplicas(4), Msg: &pbft.Checkpoint{Seq: 8}, Certify: true}, prepare(1, bft.SetOf(1))}}
	voted := &host.Output{Persist: []storage.Record{vote(2, false)}, Send: []protocol.Outgoing{prepare(2, bft.SetOf(1))}}
	decided := &host.Output{Commit: []protocol.Committed{{Seq: 1}}, Send: []protocol.Outgoing{prepare(1, bft.SetOf(1))}}
	var outs []*host.Output
	for range 1000 {
		outs = append(outs, repeat())
	}
	held := p.worthHolding(append(outs, first, voted, decided))
	if len(held) != 3 || len(first.Send) != 1 || !first.Send[0].Certify || len(voted.Send) != 1 || len(decided.Send) != 0 || len(decided.Commit) != 1 {
		t.Fatalf("%d outputs are held: %+v", len(held), held)
	}
}

// TestSendCoalesces: one buffer per peer and flush, shared when all get the same, in order in
// any case.
func TestSendCoalesces(t *testing.T) {
	p, out := newPersist(t)
	s := &p.send
	for i, to := range []bft.ReplicaSet{bft.SetOf(1, 2, 3), bft.SetOf(2), bft.SetOf(1, 2, 3), bft.SetOf(0, 3)} {
		o := prepare(bft.SeqNum(i+1), to)
		s.message(&o, &p.certify)
	}
	s.flush()
	for id, want := range map[bft.ReplicaID][]bft.SeqNum{1: {1, 3}, 2: {1, 2, 3}, 3: {1, 3, 4}} {
		var frames []byte
		for _, seq := range want {
			m := &pbft.Prepare{Seq: seq, Digest: bft.Digest{1}}
			frames = wire.AppendFrame(frames, m.Kind(), s.codec.Append(nil, m))
		}
		if !bytes.Equal(out.sent[id], frames) {
			t.Errorf("replica %d got %x, want %x", id, out.sent[id], frames)
		}
	}
	if len(out.sent[0]) != 0 {
		t.Error("something was sent to the sender itself")
	}
}
