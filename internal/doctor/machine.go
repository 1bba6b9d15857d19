package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/replica"
	"github.com/themis-bft/themis/storage/wal"
)

const (
	// slowSyncMedian is far above what a disk takes, also one that turns: votes wait for it twice
	// per slot, so that such a replica is late with everything.
	slowSyncMedian = 0.1
	// slowSyncRunning is how long one sync may be under way.
	slowSyncRunning = 1.0
	// slowSyncsMin keeps a first sync, which makes a file, from deciding.
	slowSyncsMin = 4
	// stuckAfter is for how long the application may be at one slot: ordering waits behind it.
	stuckAfter = 1.0
	// memoryShare is the part of its limit at which the collector does little else than run.
	memoryShare = 0.95
)

func slowSync(s *replica.Status) bool {
	return s.LogSync.Running >= slowSyncRunning || s.LogSync.Count >= slowSyncsMin && s.LogSync.Median >= slowSyncMedian
}

// machine says what is wrong with the machine of a replica that answers, or with its state.
func (d *diagnosis) machine(i int) {
	s := &d.Replicas[i]
	name := bft.ReplicaID(i).String()
	if s.Last.NoSpace {
		d.out[i] = "without space"
		room := ""
		if s.FreeKnown {
			room = fmt.Sprintf(" (%.1f MiB free)", float64(s.Free)/(1<<20))
		}
		d.add(CodeNoSpace, i, "df -h "+quoted(s.DataDir), "the disk of %s is full%s: it votes for nothing until there is room in %s for the log, at least %d MiB",
			name, room, d.inside(s.DataDir), wal.SegmentBytesDefault>>20)
	} else if slowSync(s.Last) {
		now := fmt.Sprintf("recently %.0f ms for each sync", s.Last.LogSync.Median*1e3)
		if s.Last.LogSync.Running >= slowSyncRunning {
			now = fmt.Sprintf("%.1f s for the sync under way", s.Last.LogSync.Running)
		}
		d.add(CodeSlowDisk, i, "df "+quoted(s.DataDir)+" && vmstat 1 5", "the disk of %s is slow: %s, and every vote waits for one", name, now)
	}
	if a, b := s.First.Executing, s.Last.Executing; a.Slot > 0 && a.Slot == b.Slot && b.Seconds >= stuckAfter {
		d.add(CodeAppStuck, i, stacks(s), "the application of %s has been at slot %d for %.1f s and does not return: it executed up to %d of %d committed slots",
			name, b.Slot, b.Seconds, s.Last.Executed, s.Last.Committed)
	}
	if s.First.Diverged && s.Last.Diverged {
		d.add(CodeDiverged, i, d.cluster("logs", i), "the state of %s differs from the one that the others certified; it fetches theirs", name)
	}
	if m := s.Last.Memory; m.Limit > 0 && float64(m.Heap) >= memoryShare*float64(m.Limit) {
		d.add(CodeMemory, i, "themis config show "+quoted(s.Config), "%s uses %d of the %d MiB of its memory_limit and is busy freeing memory",
			name, m.Heap>>20, m.Limit>>20)
	}
}

// stacks is the command that shows where a process hangs.
func stacks(s *Seen) string { return "curl -s 'http://" + s.Admin + "/debug/pprof/goroutine?debug=1'" }

// clocks compares the clocks of the replicas with each other and with the doctor's.
func (d *diagnosis) clocks() {
	offs := []time.Duration{0} // the doctor's own
	for i := range d.Replicas {
		if d.Replicas[i].answers() {
			offs = append(offs, d.Replicas[i].ClockOff)
		}
	}
	slices.Sort(offs)
	middle := offs[(len(offs)-1)/2]
	for i := range d.Replicas {
		s := &d.Replicas[i]
		off := s.ClockOff - middle
		if !s.answers() || max(off, -off) <= d.Skew {
			continue
		}
		side := "ahead of"
		if off < 0 {
			side = "behind"
		}
		refusals := ""
		if n := d.rejections(i, protocol.ReasonBadTime.String()); n > 0 {
			refusals = fmt.Sprintf("; %d proposals were refused for it", n)
		}
		if d.out[i] == "" {
			d.out[i] = "at another time"
		}
		d.add(CodeClock, i, "timedatectl status", "the clock of %s is %s %s the others; %s are allowed%s",
			bft.ReplicaID(i), max(off, -off).Round(100*time.Millisecond), side, d.Skew, refusals)
	}
}

// rejections counts what i sent or refused for a reason.
func (d *diagnosis) rejections(i int, reason string) (n uint64) {
	for j := range d.Replicas {
		if !d.Replicas[j].answers() {
			continue
		}
		for _, r := range d.Replicas[j].Last.Rejections {
			if r.Reason == reason && (j == i || int(r.Peer) == i) {
				n += r.Count
			}
		}
	}
	return n
}

// faulty finds replicas of which f+1 others refuse things, while the doctor looks, that no correct
// replica sends; and those that were made to lie.
func (d *diagnosis) faulty() {
	for i := range d.Replicas {
		var by []int
		reasons := map[string]bool{}
		for j := range d.Replicas {
			w := &d.Replicas[j]
			if j == i || !w.answers() {
				continue
			}
			now, seen := faults(w.Last, i), false
			for reason, n := range now {
				if n > faults(w.First, i)[reason] && (reason != protocol.ReasonBadTime.String() || !d.has(CodeClock)) {
					reasons[reason], seen = true, true
				}
			}
			if seen {
				by = append(by, j)
			} else if len(now) > 0 {
				d.note("%s refused things of %s earlier: %s", bft.ReplicaID(j), bft.ReplicaID(i), strings.Join(sorted(now), ", "))
			}
		}
		if len(by) >= d.Quorums.Weak() && d.out[i] == "" {
			d.add(CodeFaulty, i, d.cluster("kill", i), "%s sends what no correct replica sends: %s refuse it (%s)",
				bft.ReplicaID(i), names(by), strings.Join(sorted(reasons), ", "))
		}
		if s := &d.Replicas[i]; s.Lies != "" && !d.told[i] {
			d.add(CodeLiar, i, d.restart(i), "%s was made to lie on purpose (%s): it is one of the %d that may be faulty at most",
				bft.ReplicaID(i), s.Lies, d.Quorums.F)
		}
	}
}

// faults are the counts of what a replica refused of a peer, by reasons that accuse the peer.
func faults(s *replica.Status, peer int) map[string]uint64 {
	n := map[string]uint64{}
	for _, r := range s.Rejections {
		if r.Faulty && int(r.Peer) == peer {
			n[r.Reason] += r.Count
		}
	}
	for _, e := range s.Evidence {
		if int(e.Peer) == peer {
			n["contradiction"] += e.Count
		}
	}
	return n
}

func sorted[V any](m map[string]V) []string {
	all := make([]string, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}
