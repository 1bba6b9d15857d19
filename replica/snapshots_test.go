package replica

import (
	"sync/atomic"
	"testing"

	"github.com/themis-bft/themis/app/kv"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/exec"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/storage/mem"
)

// checkpoint is the first one of a replica of four.
func checkpoint(t *testing.T) (*bft.Membership, *exec.Checkpoint) {
	t.Helper()
	m := &bft.Membership{F: 1, Protocol: "pbft", Scheme: "ed25519", CheckpointEvery: 4, Window: 8, Sessions: 8, Replicas: make([]bft.Replica, 4)}
	e := exec.New(m, 0, kv.New(), func(bft.ClientID) (bool, bool) { return false, false }, nil)
	var out exec.Output
	for n := bft.SeqNum(1); n <= m.CheckpointEvery; n++ {
		e.Execute(protocol.Committed{Seq: n}, &out)
	}
	if len(out.Checkpoints) != 1 {
		t.Fatalf("%d checkpoints after %d slots", len(out.Checkpoints), m.CheckpointEvery)
	}
	return m, out.Checkpoints[0]
}

// TestSnapshotWithoutRoomIsTriedAgain: it may be the one that lets the log be cut, and a log
// without room is why no later one comes.
func TestSnapshotWithoutRoomIsTriedAgain(t *testing.T) {
	_, c := checkpoint(t)
	files := mem.New()
	files.SetCapacity(10)
	said := 0
	s := &snapshots{
		fs: files, wake: make(chan struct{}, 1), failed: func(error) { said++ },
		fatal: func(what string, err error) { t.Errorf("%s: %v", what, err) },
	}
	s.add(c)
	s.stable(protocol.Stable{Seq: c.Seq(), Digest: c.Digest()})
	for try := 1; try <= 3; try++ {
		select {
		case <-s.wake:
		default:
			t.Fatalf("nothing is to be written before try %d", try)
		}
		if try == 3 {
			files.SetCapacity(0)
		}
		s.save(s.takeNext())
		if durable := s.durable.Load(); (durable != 0) != (try == 3) {
			t.Fatalf("durable up to %d after try %d", durable, try)
		}
	}
	if said != 1 {
		t.Errorf("said %d times that there is no room", said)
	}
	if s.takeNext() != nil || len(s.wake) != 0 {
		t.Error("what was written is to be written again")
	}
	s.close()
	c.Release() // panics if a reference was given back twice
}

// TestSnapshotIsDurableBeforeTheLogIsCut: while a snapshot is being written the log may not be cut
// behind it; a power cut then would leave neither.
func TestSnapshotIsDurableBeforeTheLogIsCut(t *testing.T) {
	m, c := checkpoint(t)
	files := mem.New()
	s := &snapshots{fs: files, wake: make(chan struct{}, 1), fatal: func(what string, err error) { t.Errorf("%s: %v", what, err) }}
	var early atomic.Int32
	files.OnOp(func(mem.Op, string) error {
		if s.durable.Load() != 0 {
			early.Add(1)
		}
		return nil
	})
	s.save(c)
	if early.Load() != 0 {
		t.Fatalf("durable in front of %d operations of the file system", early.Load())
	}
	if s.durable.Load() != uint64(m.CheckpointEvery) {
		t.Fatalf("durable up to %d after the snapshot of %d", s.durable.Load(), m.CheckpointEvery)
	}
}
