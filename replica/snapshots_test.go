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

// TestSnapshotIsDurableBeforeTheLogIsCut: while a snapshot is being written the log may not be cut
// behind it; a power cut then would leave neither.
func TestSnapshotIsDurableBeforeTheLogIsCut(t *testing.T) {
	m := &bft.Membership{F: 1, Protocol: "pbft", Scheme: "ed25519", CheckpointEvery: 4, Window: 8, Sessions: 8, Replicas: make([]bft.Replica, 4)}
	e := exec.New(m, 0, kv.New(), func(bft.ClientID) (bool, bool) { return false, false }, nil)
	var out exec.Output
	for n := bft.SeqNum(1); n <= m.CheckpointEvery; n++ {
		e.Execute(protocol.Committed{Seq: n}, &out)
	}
	if len(out.Checkpoints) != 1 {
		t.Fatalf("%d checkpoints after %d slots", len(out.Checkpoints), m.CheckpointEvery)
	}
	files := mem.New()
	s := &snapshots{fs: files, wake: make(chan struct{}, 1), fatal: func(what string, err error) { t.Errorf("%s: %v", what, err) }}
	var early atomic.Int32
	files.OnOp(func(mem.Op, string) error {
		if s.durable.Load() != 0 {
			early.Add(1)
		}
		return nil
	})
	s.save(out.Checkpoints[0])
	if early.Load() != 0 {
		t.Fatalf("durable in front of %d operations of the file system", early.Load())
	}
	if s.durable.Load() != uint64(m.CheckpointEvery) {
		t.Fatalf("durable up to %d after the snapshot of %d", s.durable.Load(), m.CheckpointEvery)
	}
}
