package replica

import (
	"errors"
	"fmt"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/catchup"
	"github.com/themis-bft/themis/exec"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/storage/snapshot"
	"github.com/themis-bft/themis/storage/wal"
)

// Init makes the data directory of replica self of cluster m. It refuses a directory in which
// anything was initialised before: an empty log in the place of a lost one would let a replica
// vote twice.
func Init(files storage.FS, m *bft.Membership, self bft.ReplicaID) error {
	if int(self) >= m.N() {
		return fmt.Errorf("replica: %s is not one of the %d members", self, m.N())
	}
	return wal.Init(files, Owner(m, self), wal.Options{})
}

// booted is what the data directory holds, ready to build a node from.
type booted struct {
	wal      storage.Log
	executor *exec.Executor
	held     *exec.Checkpoint
	boot     protocol.Boot
}

// restore opens the data directory, restores the newest snapshot into the application and
// reads the records of the log.
func restore(o *Options, late exec.Late) (*booted, error) {
	log, err := wal.Open(o.Files, Owner(o.Membership, o.Self), wal.Options{Memory: o.Unsynced})
	if err != nil {
		return nil, explain(err)
	}
	b := &booted{wal: log, executor: exec.New(o.Membership, o.Self, o.Machine, o.Auth.Admits, late)}
	if err := b.state(o); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	if err := b.records(); err != nil {
		return nil, errors.Join(explain(err), log.Close())
	}
	return b, nil
}

func (b *booted) state(o *Options) error {
	s, err := snapshot.Load(o.Files)
	switch {
	case errors.Is(err, snapshot.ErrNone):
		b.held = b.executor.Genesis()
	case err != nil:
		return fmt.Errorf("replica: load the newest snapshot: %w", err)
	default:
		if s.Refused > 0 {
			o.Log.Warn("newer snapshots are damaged; what they covered comes from peers", "damaged", s.Refused, "seq", uint64(s.Seq))
		}
		state := catchup.State{Seq: s.Seq, Digest: s.Digest, Manifest: s.Manifest, Pages: s.Pages}
		if b.held, err = b.executor.Install(&state, true); err != nil {
			return fmt.Errorf("replica: restore the snapshot of slot %d: %w", s.Seq, err)
		}
	}
	b.boot.Executed, b.boot.State = b.held.Seq(), b.held.Digest()
	return nil
}

func (b *booted) records() error {
	return b.wal.Replay(func(r storage.Record) error {
		r.Data = append([]byte(nil), r.Data...)
		b.boot.Records = append(b.boot.Records, r)
		return nil
	})
}

// explain adds what to do next to the errors that an operator can act on.
func explain(err error) error {
	switch {
	case errors.Is(err, storage.ErrEmpty):
		return fmt.Errorf("replica: %w; a replica without its log never votes: "+
			"initialise the directory once with themisd --init --config FILE", err)
	case errors.Is(err, storage.ErrOwner):
		return fmt.Errorf("replica: %w; check replica, cluster and dir in the configuration", err)
	case errors.Is(err, storage.ErrLocked):
		return fmt.Errorf("replica: %w; another process runs this replica", err)
	case errors.Is(err, storage.ErrCorrupt):
		return fmt.Errorf("replica: %w; this replica must not vote on it: keep the directory and restore the replica from its peers", err)
	}
	return fmt.Errorf("replica: open the log: %w", err)
}
