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

// MemoryTable adds up what the limits allow a replica of cluster m to hold, application state
// apart. What a healthy replica really holds is far less: the table is what a Byzantine
// environment can make it hold.
func MemoryTable(m *bft.Membership) []Need {
	n := int64(m.N())
	window := int64(m.Window + m.CheckpointEvery)
	return []Need{
		{"request pool", bft.PoolBytesMax + int64(m.Sessions)*bft.RequestBytesMax/16, "pending requests, and the oldest of every session"},
		{"bodies", window * int64(m.BatchBytes), "window and one interval below it, full batches"},
		{"votes", window * n * 256, "two phases of every member per slot"},
		{"receive, clients", clientsBytesMax + clientsReserveBytes, "between links and order stage"},
		{"receive, replicas", (n - 1) * peerBytesMax, "between links and order stage"},
		{"reply cache", int64(m.Sessions) * 1024, "small replies; at most " + strconv.Itoa(bft.SessionReplyBytesMax) + " bytes per session"},
		{"verified requests", bft.VerifiedRequestsMax * 32, "digests of requests whose signature was checked"},
		{"outputs", 2 * outputsMax * 1024, "between order, persist and execute"},
	}
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

// logMemory prints the memory table and warns if the limit does not hold it.
func (r *Replica) logMemory() {
	table := MemoryTable(r.options.Membership)
	sum, limit := Total(table), r.options.MemoryLimit
	var parts []any
	for _, n := range table {
		parts = append(parts, slog.String(n.What, mebibytes(n.Bytes)))
	}
	r.log.Info("memory, at most, application apart", slog.Group("parts", parts...),
		"sum", mebibytes(sum), "limit", mebibytes(limit))
	if limit > 0 && sum > limit {
		r.log.Warn("the limits allow more than memory_limit: lower window, batch bytes or sessions, or raise it",
			"at_most", mebibytes(sum), "limit", mebibytes(limit))
	}
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
