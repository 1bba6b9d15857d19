package replica

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/themis-bft/themis/bft"
)

// Link is what the transport tells of the two one-way connections with one peer.
type Link struct {
	In, Out   bool   // the one it dialled, and the one that this replica dialled
	LastError string // why this replica does not reach it; empty while Out
}

// ExecutingStatus is the slot that the application is executing at this moment, 0 if none, and
// for how long it has been at it.
type ExecutingStatus struct {
	Slot    bft.SeqNum `json:"slot"`
	Seconds float64    `json:"seconds"`
}

// SyncStatus is how long the device takes to make the log durable: the last time, the median of
// the recent times, and how long the sync under way has taken, 0 if there is none.
type SyncStatus struct {
	Count   uint64  `json:"count"`
	Last    float64 `json:"last_seconds"`
	Median  float64 `json:"median_seconds"`
	Running float64 `json:"running_seconds"`
}

// syncsKept is how many syncs count as recent.
const syncsKept = 16

// vitals note what a stage is busy with, for status: a stage that hangs cannot be asked. The
// persist and the execute stage write, anybody reads.
type vitals struct {
	mu             sync.Mutex
	slot           bft.SeqNum
	executingSince bft.Duration
	syncing        bool
	syncingSince   bft.Duration
	syncs          [syncsKept]bft.Duration // a ring
	syncsCount     uint64

	heard []atomic.Int64 // by peer: when its last frame came, sinceStart; 0 if none came
}

// hears notes that a frame of a peer came.
func (v *vitals) hears(from bft.ReplicaID, now bft.Duration) { v.heard[from].Store(max(int64(now), 1)) }

// silence is for how long nothing came from a peer, negative if nothing ever did.
func (v *vitals) silence(of bft.ReplicaID, now bft.Duration) float64 {
	at := v.heard[of].Load()
	if at == 0 {
		return -1
	}
	return seconds(now - bft.Duration(at))
}

func (v *vitals) executing(slot bft.SeqNum, now bft.Duration) {
	v.mu.Lock()
	v.slot, v.executingSince = slot, now
	v.mu.Unlock()
}

func (v *vitals) executed() { v.executing(0, 0) }

func (v *vitals) syncBegins(now bft.Duration) {
	v.mu.Lock()
	v.syncing, v.syncingSince = true, now
	v.mu.Unlock()
}

func (v *vitals) syncEnds(now bft.Duration) {
	v.mu.Lock()
	v.syncs[v.syncsCount%syncsKept] = now - v.syncingSince
	v.syncing = false
	v.syncsCount++
	v.mu.Unlock()
}

// status returns both as of now.
func (v *vitals) status(now bft.Duration) (e ExecutingStatus, s SyncStatus) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.slot > 0 {
		e = ExecutingStatus{Slot: v.slot, Seconds: seconds(now - v.executingSince)}
	}
	s.Count = v.syncsCount
	if v.syncing {
		s.Running = seconds(now - v.syncingSince)
	}
	if n := min(v.syncsCount, syncsKept); n > 0 {
		s.Last = seconds(v.syncs[(v.syncsCount-1)%syncsKept])
		sorted := slices.Sorted(slices.Values(v.syncs[:n]))
		s.Median = seconds(sorted[n/2])
	}
	return e, s
}

func seconds(d bft.Duration) float64 { return max(0, float64(d)/1e9) }
