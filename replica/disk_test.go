package replica_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/replica"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/storage/mem"
)

// onFaultyDisk gives replica 1 a disk in memory whose operations of one kind fail with the
// returned error while it is not nil.
func onFaultyDisk(t *testing.T, c *cluster, op mem.Op) (fail *atomic.Pointer[error]) {
	t.Helper()
	fail = &atomic.Pointer[error]{}
	files := mem.New()
	must(t, replica.Init(files, c.m, bft.ReplicaID(1)))
	files.OnOp(func(o mem.Op, _ string) error {
		if err := fail.Load(); err != nil && o == op {
			return *err
		}
		return nil
	})
	c.wrap = func(i int, o *replica.Options) {
		if i == 1 {
			o.Files = files
		}
	}
	return fail
}

// TestSyncErrorEndsTheReplica: what a failed sync left behind is unknown, so the replica must
// not say anything any more. That holds for a sync that found no room, too: waiting for room
// would be for ever, because the log never goes on after it.
func TestSyncErrorEndsTheReplica(t *testing.T) {
	for _, broken := range []error{errors.New("input/output error"), storage.ErrNoSpace} {
		t.Run(broken.Error(), func(t *testing.T) { syncFails(t, broken) })
	}
}

func syncFails(t *testing.T, broken error) {
	c := newCluster(t, 4, 1)
	fail := onFaultyDisk(t, c, mem.OpSync)
	c.startAll()
	cl := c.client()
	add(t, cl, 1)
	fail.Store(&broken)
	for i := uint64(2); i <= 60; i++ {
		if got := add(t, cl, 1); got != i {
			t.Fatalf("sum %d after %d operations", got, i)
		}
	}
	eventually(t, "the replica exits", func() bool { return c.exits.Load() > 0 })
	fail.Store(nil)
	before := c.status(1).Executed
	for range 40 {
		add(t, cl, 1)
	}
	if s := c.status(1); s.Executed != before {
		t.Errorf("executed up to %d after its disk failed at %d", s.Executed, before)
	}
	if c.exits.Load() != 1 {
		t.Errorf("exited %d times", c.exits.Load())
	}
}

// TestFullDiskStopsVoting: a full device stops the votes of a replica and nothing else, and the
// replica comes back by itself.
func TestFullDiskStopsVoting(t *testing.T) {
	c := newCluster(t, 4, 1)
	fail := onFaultyDisk(t, c, mem.OpWrite)
	c.startAll()
	cl := c.client()
	add(t, cl, 1)
	full := storage.ErrNoSpace
	fail.Store(&full)
	for i := uint64(2); i <= 60; i++ {
		if got := add(t, cl, 1); got != i {
			t.Fatalf("sum %d after %d operations", got, i)
		}
	}
	eventually(t, "the replica says that its disk is full", func() bool { return c.status(1).NoSpace })
	if c.exits.Load() != 0 {
		t.Fatal("a full disk ended the replica")
	}
	stopped := c.status(1).Executed
	if c.status(2).Executed <= stopped {
		t.Errorf("executed up to %d without voting", stopped)
	}
	fail.Store(nil)
	eventually(t, "the replica goes on when there is room", func() bool {
		s := c.status(1)
		return !s.NoSpace && s.Executed >= 60
	})
}
