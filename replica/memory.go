package replica

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"strconv"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/catchup"
)

// gcPercent makes the collector run when the heap has grown by three quarters: a replica's live heap is
// a few megabytes and short-lived garbage is most of what it makes, so that collecting often
// is cheap, and the default would double the resident memory for little.
const gcPercent = 75

// SetCollector sets the garbage collector of this process for a replica. Programs call it once
// before Start; limit is Options.MemoryLimit.
func SetCollector(limit int64) {
	debug.SetGCPercent(gcPercent)
	if limit > 0 {
		debug.SetMemoryLimit(limit)
	}
}

// Need is one line of the memory table: what a part of the replica may hold at most.
type Need struct {
	What  string
	Bytes int64
	Why   string
}

// What the lines of the memory table count for one of a kind, rounded up from the sizes of the
// structures on 64 bits and the maps that hold them.
const (
	voteBytes    = 56      // pbft: of one sender, one phase
	claimBytes   = 64      // an entry of P or Q, decoded
	entryBytes   = 640     // a pending request without its envelope, its queue, its lookups
	sessionBytes = 768     // a session without its replies, the only one of its client
	resultBytes  = 64      // a cached reply without its result
	ballotBytes  = 64 + 64 // a CHECKPOINT of one sender without its signature
	// runtimeBytes is what a process has that holds nothing: code, runtime, metrics, idle pools.
	runtimeBytes = 40 << 20
)

// MemoryTable adds up what the limits allow a replica of cluster m to hold, application state
// apart; links is the part of its transport. What a healthy replica holds is far less: the table
// is what clients and replicas that do nothing but harm can make it hold, all at once.
func MemoryTable(m *bft.Membership, links int64) []Need {
	n := int64(m.N())
	slots := int64(m.Window) + 2*int64(m.CheckpointEvery)
	intervals := int64(m.Window)/max(int64(m.CheckpointEvery), 1) + 2
	listed := int64(len(m.Clients))
	seats := int64(m.Sessions+bft.OpensPendingMax) + listed*max(1, int64(m.Sessions)/max(1, listed))
	claims := min(bft.PeerFrameBytesMax/n, int64(m.Window)*(1+bft.QEntriesMax)*claimBytes+2*bft.SignatureBytesMax*n)
	replies := int64(m.Sessions) * (sessionBytes + bft.SessionOpsMax*resultBytes + int64(m.SessionReplyBytes()) + bft.ResultBytesMax)
	held := max(4, intervals) // checkpoints that are served, catchup.Server
	table := []Need{
		{"pool", bft.PoolBytesMax + bft.PoolRequestsMax*entryBytes, "pending requests that have no place of their own"},
		{"pool, own places", seats * (bft.RequestBytesMax + entryBytes), "the oldest request of every session that may wait"},
		{"bodies", slots * int64(m.BatchBytes), "one full batch in every slot of the window and one interval on either side"},
		{"bodies of failed views", slots * int64(m.BatchBytes) * (bft.QEntriesMax - 1), "others that were proposed for the same slots, view after view"},
		{"votes", slots*(3*n*voteBytes+(1+bft.QEntriesMax)*claimBytes) + intervals*n*(ballotBytes+bft.SignatureBytesMax), "of every member and slot, claims, checkpoints"},
		{"view change", 3 * n * claims, "VIEW-CHANGEs held, NEW-VIEW, and the one that is built or verified"},
		{"receive, clients", clientsBytesMax + clientsReserveBytes + bft.ClientFrameBytesMax, "between links and order stage"},
		{"receive, replicas", (n - 1) * (peerBytesMax + bft.PeerFrameBytesMax), "between links and order stage"},
		{"replies", replies, "cached results of all sessions"},
		{"replies in checkpoints", held * replies, "pages of sessions that changed since"},
		{"state transfer", replies + catchup.HeldBytesMax, "verified pages, and items of which a part has come"},
		{"verified requests", bft.VerifiedRequestsMax * 32, "digests of requests whose signature was checked"},
		{"outputs", 2*outputsMax*1024 + 2*(n-1)*(bft.ServeBurstBytes+flushBytes), "between order, persist, execute and links"},
		{"remembered clients", barredMax*128 + repeatersMax*128, "who was barred, who drew repeats"},
		{"links", links, "handshakes, buffers, frames being read, queues to be sent"},
	}
	return append(table, Need{"collector", Total(table)*gcPercent/100 + runtimeBytes, "garbage before it is collected, the process itself"})
}

// Total is the sum of a memory table.
func Total(table []Need) (sum int64) {
	for _, n := range table {
		sum += n.Bytes
	}
	return sum
}

// rss is the resident memory of this process now and at its highest, 0 where the system does
// not tell.
func rss() (now, high uint64) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0
	}
	return field(b, "VmRSS:"), field(b, "VmHWM:")
}

func field(status []byte, name string) uint64 {
	_, rest, ok := bytes.Cut(status, []byte("\n"+name))
	if !ok {
		return 0
	}
	words := bytes.Fields(rest[:min(len(rest), 64)])
	if len(words) == 0 {
		return 0
	}
	kib, err := strconv.ParseUint(string(words[0]), 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}

// heap is the memory of live and not yet collected objects, read without stopping the world.
func heap() uint64 {
	sample := []runtimemetrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	runtimemetrics.Read(sample)
	if sample[0].Value.Kind() != runtimemetrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}

// logMemory prints the memory table.
func (r *Replica) logMemory() {
	table := MemoryTable(r.options.Membership, r.options.LinkBytes)
	sum, limit := Total(table), r.options.MemoryLimit
	var parts []any
	for _, n := range table {
		parts = append(parts, slog.String(n.What, mebibytes(n.Bytes)))
	}
	r.log.Info("memory, at most, application apart, if all that can do harm does", slog.Group("parts", parts...),
		"sum", mebibytes(sum), "limit", mebibytes(limit))
	if limit > 0 && sum > limit {
		r.log.Info("the sum exceeds memory_limit: window, batch_bytes and sessions lower it; "+
			"until then the process may grow beyond the limit under attack", "sum", mebibytes(sum), "limit", mebibytes(limit))
	}
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
