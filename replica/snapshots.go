package replica

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/exec"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/storage/snapshot"
)

const (
	// snapshotPauseMin is the least time between two snapshots on disk; snapshotPauseTimes is
	// the share of it: a snapshot that took long to write is followed by a longer pause, so that
	// a large state costs a bounded part of the disk.
	snapshotPauseMin   = 2 * time.Second
	snapshotPauseTimes = 10
	// checkpointsHeldMax bounds the own checkpoints that wait to become stable; a window holds
	// no more of them when it is as small as it may be.
	checkpointsHeldMax = 4
)

// snapshots writes stable checkpoints to disk in the background. Only a checkpoint that is
// certified is written, so that a restart never begins from a state the cluster does not have.
// The execute stage adds own checkpoints, the persist stage says which became stable and cuts
// the log behind what is durable.
type snapshots struct {
	fs      storage.FS
	fatal   func(what string, err error)
	failed  func(err error) // no room: tried again, or the next one is; said once for each
	durable atomic.Uint64   // slot of the newest snapshot on disk
	wake    chan struct{}

	mu     sync.Mutex
	held   []*exec.Checkpoint // own, ascending, each with a reference of ours
	newest protocol.Stable
	next   *exec.Checkpoint // stable and not written yet
	full   bft.SeqNum       // there was no room for this one
}

// add takes note of an own checkpoint; the caller keeps its own reference.
func (s *snapshots) add(c *exec.Checkpoint) {
	c.Retain()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = append(s.held, c)
	if len(s.held) > checkpointsHeldMax {
		s.held[0].Release()
		s.held = append(s.held[:0], s.held[1:]...)
	}
	s.match()
}

// stable takes note of a stable checkpoint.
func (s *snapshots) stable(at protocol.Stable) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.Seq > s.newest.Seq {
		s.newest = at
	}
	s.match()
}

// match moves the own checkpoint that is the stable one to be written, and drops older ones.
func (s *snapshots) match() {
	keep := s.held[:0]
	for _, c := range s.held {
		switch {
		case c.Seq() > s.newest.Seq:
			keep = append(keep, c)
		case c.Seq() == s.newest.Seq && c.Digest() == s.newest.Digest && c.Seq() > 0:
			if s.next != nil {
				s.next.Release()
			}
			s.next = c
			select {
			case s.wake <- struct{}{}:
			default:
			}
		default:
			c.Release()
		}
	}
	clear(s.held[len(keep):])
	s.held = keep
}

func (s *snapshots) takeNext() *exec.Checkpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.next
	s.next = nil
	return c
}

// run writes until stop is closed.
func (s *snapshots) run(stop <-chan struct{}) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-stop:
			return
		case <-s.wake:
		}
		select {
		case <-stop:
			return
		case <-pause.C:
		}
		begin := time.Now()
		if c := s.takeNext(); c != nil {
			s.save(c)
		}
		pause.Reset(max(snapshotPauseMin, snapshotPauseTimes*time.Since(begin)))
	}
}

func (s *snapshots) save(c *exec.Checkpoint) {
	defer c.Release()
	if mutant.On("replica-cut-before-snapshot") {
		s.durable.Store(uint64(c.Seq()))
	}
	err := snapshot.Save(s.fs, c)
	switch {
	case err == nil:
		s.durable.Store(uint64(c.Seq()))
	case errors.Is(err, storage.ErrNoSpace):
		if s.again(c) {
			s.failed(err)
		}
	default:
		s.fatal("write a snapshot", err)
	}
}

// again has c written after the pause, unless a newer one is to be. It must not wait for that
// one: a log without room for votes lets no checkpoint become stable, and the log is cut, and
// has room, behind this one. It reports whether c failed for the first time.
func (s *snapshots) again(c *exec.Checkpoint) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, s.full = s.full != c.Seq(), c.Seq()
	if s.next == nil {
		c.Retain()
		s.next = c
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return first
}

// close releases what was never written.
func (s *snapshots) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.held {
		c.Release()
	}
	s.held = nil
	if s.next != nil {
		s.next.Release()
		s.next = nil
	}
}
