package replica

import (
	"cmp"
	"maps"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/host"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// Status is what a replica shows of itself at /statusz. The JSON names are stable: tools and
// dashboards rely on them. Slots and counters start at 0; sets of replicas are ascending lists.
//
//	replica, pid, version, protocol, app, cluster, epoch, durability, uptime_seconds
//	membership                digest of what all must agree on, as this replica read it
//	clock_unix_ms             the time of day as this replica sees it
//	view, primary, active     the view, its primary, and whether its NEW-VIEW is known
//	ready                     links to a quorum, and active or following
//	committed, executed       highest slot decided, and executed
//	stable, state_digest      last stable checkpoint and its digest in hexadecimal
//	snapshot                  slot of the newest snapshot on disk
//	diverged                  the own state differed from a certified one
//	window                    {low, high, slots, assigned}
//	missing, waiting          while ordering stands still: which quorum is incomplete
//	                          ("pre-prepare", "prepare", "commit", "body", "view-change",
//	                          "new-view" or ""), and which replicas it waits for
//	view_changes              count by cause; view_changes_held: whose VIEW-CHANGE is held
//	equivocations             contradictions seen; evidence: [{peer, count}] by who made them
//	rejections                [{peer, reason, faulty, count}]; client_rejections: count by reason
//	queues                    length by name: receive, verify, order, persist, execute; client_bytes
//	pool                      {requests, bytes, sessions, oldest_seconds, patience_seconds}
//	links                     {peers: [{id, linked, dropped, in, out, last_error,
//	                          silence_seconds}], clients, refused: count by reason}
//	executing                 {slot, seconds}: what the application is at, and for how long
//	log_sync                  {count, last_seconds, median_seconds, running_seconds}
//	memory                    {rss_bytes, hwm_bytes, heap_bytes, limit_bytes, bound_bytes}
//	goroutines, log_bytes, no_space
//	catch_up                  {target, missing, bytes, completed, lies}: the state being fetched
type Status struct {
	Replica    bft.ReplicaID `json:"replica"`
	PID        int           `json:"pid"`
	Version    string        `json:"version"`
	Protocol   string        `json:"protocol"`
	App        string        `json:"app"`
	Cluster    string        `json:"cluster"`
	Epoch      uint64        `json:"epoch"`
	Durability string        `json:"durability"`
	Uptime     float64       `json:"uptime_seconds"`
	Membership string        `json:"membership"`
	Clock      int64         `json:"clock_unix_ms"`

	View        bft.View      `json:"view"`
	Primary     bft.ReplicaID `json:"primary"`
	Active      bool          `json:"active"`
	Ready       bool          `json:"ready"`
	Committed   bft.SeqNum    `json:"committed"`
	Executed    bft.SeqNum    `json:"executed"`
	Stable      bft.SeqNum    `json:"stable"`
	StateDigest string        `json:"state_digest"`
	Snapshot    bft.SeqNum    `json:"snapshot"`
	Diverged    bool          `json:"diverged"`
	Window      WindowStatus  `json:"window"`
	Missing     string        `json:"missing"`
	Waiting     []int         `json:"waiting"`

	ViewChanges      map[string]uint64 `json:"view_changes"`
	ViewChangesHeld  []int             `json:"view_changes_held"`
	Equivocations    uint64            `json:"equivocations"`
	Evidence         []PeerCount       `json:"evidence"`
	Rejections       []RejectionStatus `json:"rejections"`
	ClientRejections map[string]uint64 `json:"client_rejections"`

	Queues     map[string]int `json:"queues"`
	Links      LinkStatus     `json:"links"`
	Memory     MemoryStatus   `json:"memory"`
	Goroutines int            `json:"goroutines"`
	LogBytes   int64          `json:"log_bytes"`
	NoSpace    bool           `json:"no_space"`
	Pool       PoolStatus     `json:"pool"`
	CatchUp    CatchUpStatus  `json:"catch_up"`

	Executing ExecutingStatus `json:"executing"`
	LogSync   SyncStatus      `json:"log_sync"`
}

// PoolStatus is what waits to be ordered, and for how long the primary may let it wait; a
// patience of 0 means that it is not suspected now.
type PoolStatus struct {
	Requests int     `json:"requests"`
	Bytes    int     `json:"bytes"`
	Sessions int     `json:"sessions"`
	Oldest   float64 `json:"oldest_seconds"`
	Patience float64 `json:"patience_seconds"`
}

// CatchUpStatus is the state that is being fetched: its slot, 0 if none, and how many of its
// parts are still to come; and since the start: bytes and states fetched, parts that lied.
type CatchUpStatus struct {
	Target    bft.SeqNum `json:"target"`
	Missing   int        `json:"missing"`
	Bytes     uint64     `json:"bytes"`
	Completed uint64     `json:"completed"`
	Lies      uint64     `json:"lies"`
}

// WindowStatus is the part of the slots that may be in use.
type WindowStatus struct {
	Low      bft.SeqNum `json:"low"`
	High     bft.SeqNum `json:"high"`
	Slots    int        `json:"slots"`
	Assigned bft.SeqNum `json:"assigned"`
}

// RejectionStatus counts what one peer sent and was refused for one reason. Faulty says that no
// correct replica is ever refused for it.
type RejectionStatus struct {
	Peer   bft.ReplicaID `json:"peer"`
	Reason string        `json:"reason"`
	Faulty bool          `json:"faulty"`
	Count  uint64        `json:"count"`
}

// PeerCount counts how often one peer contradicted itself.
type PeerCount struct {
	Peer  bft.ReplicaID `json:"peer"`
	Count uint64        `json:"count"`
}

// LinkStatus says who is linked.
type LinkStatus struct {
	Peers   []PeerLink `json:"peers"`
	Clients int        `json:"clients"`
	// Refused counts refused and ended connections by reason, as the transport tells.
	Refused map[string]uint64 `json:"refused"`
}

// PeerLink is one peer: whether there is a live link with it, and how many buffers for it were
// dropped because it does not keep up. In and Out tell the two directions apart, LastError says
// why the peer is not reached; they are empty if the transport does not tell.
type PeerLink struct {
	ID        bft.ReplicaID `json:"id"`
	Linked    bool          `json:"linked"`
	Dropped   uint64        `json:"dropped"`
	In        bool          `json:"in"`
	Out       bool          `json:"out"`
	LastError string        `json:"last_error"`
	Silence   float64       `json:"silence_seconds"` // since its last frame; negative if none ever came
}

// MemoryStatus is the memory of the process in bytes; Limit is 0 if there is none.
type MemoryStatus struct {
	RSS   uint64 `json:"rss_bytes"`
	High  uint64 `json:"hwm_bytes"`
	Heap  uint64 `json:"heap_bytes"`
	Limit int64  `json:"limit_bytes"`
	// Bound is the sum of the memory table: what the process may hold at most, application apart.
	Bound int64 `json:"bound_bytes"`
}

// statusPatience is how long the order stage may take to answer before it counts as stuck.
const statusPatience = 2 * time.Second

// Status asks every stage for its state. ok is false if the order stage does not answer.
func (r *Replica) Status() (s Status, ok bool) {
	h, ok := r.ask(statusPatience)
	if !ok {
		return s, false
	}
	m := r.options.Membership
	s = Status{
		Replica: r.self, PID: os.Getpid(), Version: r.options.Version, Protocol: m.Protocol, App: m.App,
		Cluster: m.Cluster.String(), Epoch: m.Epoch, Durability: "sync",
		Uptime:   time.Since(r.clock.start).Seconds(),
		Executed: bft.SeqNum(r.executed.Load()), Snapshot: bft.SeqNum(r.snapshots.durable.Load()),
		Goroutines: runtime.NumGoroutine(), LogBytes: r.metrics.logBytes.Load(), NoSpace: r.noSpace.Load(),
	}
	if r.options.Unsynced {
		s.Durability = "memory"
	}
	s.Membership = wire.MembershipDigest(m).Hex()
	s.Clock = int64(r.options.Wall()) / 1e6
	s.Executing, s.LogSync = r.vitals.status(r.clock.sinceStart())
	s.fromProtocol(&h.Protocol)
	s.fromHost(&h)
	s.Links, s.Ready = r.linkStatus(&s)
	s.Queues = r.queueLengths()
	s.Memory.RSS, s.Memory.High = rss()
	s.Memory.Heap, s.Memory.Limit = heap(), r.options.MemoryLimit
	s.Memory.Bound = Total(MemoryTable(m, r.options.LinkBytes))
	s.ClientRejections = map[string]uint64{}
	for reason, c := range r.metrics.clientRejected {
		if n := c.Get(); n > 0 {
			s.ClientRejections[protocol.Reason(reason).String()] = n
		}
	}
	if n := r.metrics.clientBarred.Get(); n > 0 {
		s.ClientRejections["barred"] = n
	}
	return s, true
}

func (s *Status) fromProtocol(p *protocol.Status) {
	s.View, s.Primary, s.Active = p.View, p.Primary, p.Active
	s.Committed, s.Stable, s.StateDigest = p.Committed, p.Stable, p.StateDigest.Hex()
	s.Diverged, s.Equivocations = p.Diverged, p.Equivocations
	s.Window = WindowStatus{Low: p.Stable, High: p.High, Slots: p.Slots, Assigned: p.Assigned}
	s.Missing, s.Waiting, s.ViewChangesHeld = p.Missing, ids(p.Waiting), ids(p.ViewChangesHeld)
	s.ViewChanges = map[string]uint64{}
	for c := protocol.CauseNone + 1; c < protocol.CauseCount; c++ {
		s.ViewChanges[c.String()] = p.ViewChanges[c]
	}
}

// linkStatus lists the links, and says whether the replica is ready: linked with a quorum, and
// active in its view or following by state transfer.
func (r *Replica) linkStatus(s *Status) (l LinkStatus, ready bool) {
	peers, clients := r.links.linked()
	l = LinkStatus{Peers: []PeerLink{}, Clients: clients, Refused: map[string]uint64{}}
	if r.options.Refused != nil {
		l.Refused = r.options.Refused()
	}
	told, now := make([]Link, r.options.Membership.N()), r.clock.sinceStart()
	if r.options.Links != nil {
		copy(told, r.options.Links())
	}
	for id := range bft.AllReplicas(r.options.Membership.N()).Without(r.self).All() {
		l.Peers = append(l.Peers, PeerLink{
			ID: id, Linked: peers.Has(id), Dropped: r.metrics.dropped[id].Get(),
			In: told[id].In, Out: told[id].Out, LastError: told[id].LastError, Silence: r.vitals.silence(id, now),
		})
	}
	linked := peers.With(r.self).Len() >= r.options.Membership.Quorums().Quorum()
	return l, linked && (s.Active || s.CatchUp.Target > 0)
}

func (s *Status) fromHost(h *host.Status) {
	s.Rejections = []RejectionStatus{}
	for peer := range h.Rejections {
		for reason, n := range h.Rejections[peer] {
			if n == 0 {
				continue
			}
			why := protocol.Reason(reason)
			s.Rejections = append(s.Rejections, RejectionStatus{
				Peer: bft.ReplicaID(peer), Reason: why.String(), Faulty: why.Faulty(), Count: n,
			})
		}
	}
	s.Evidence = []PeerCount{}
	for peer, n := range h.Evidence {
		if n > 0 {
			s.Evidence = append(s.Evidence, PeerCount{Peer: bft.ReplicaID(peer), Count: n})
		}
	}
	s.Pool = PoolStatus{
		Requests: h.Pending, Bytes: h.Bytes, Sessions: h.Sessions,
		Oldest: float64(h.OldestFor) / 1e9, Patience: float64(h.Patience) / 1e9,
	}
	s.CatchUp = CatchUpStatus{
		Target: h.CatchUp.Target, Missing: h.CatchUp.Fetch.Missing, Bytes: h.CatchUp.Fetch.Bytes,
		Completed: h.CatchUp.Fetch.Completed, Lies: h.CatchUp.Fetch.Lies,
	}
}

func (r *Replica) queueLengths() map[string]int {
	n := r.intake.lengths()
	return map[string]int{
		"receive": n.pending, "verify": n.verifying, "order": n.ready, "client_bytes": n.clientBytes,
		"persist": r.persisting.len(), "execute": r.executing.len(),
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
