package replica

import (
	"fmt"
	"io"
	"sync/atomic"

	vm "github.com/VictoriaMetrics/metrics"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
)

// metrics are the counters that the stages raise. Their names are fixed: dashboards rely on
// them. What the order stage alone knows is read from its status when somebody asks
// (writeStatus), so that counting costs the step thread nothing.
type metrics struct {
	set            *vm.Set
	peerFrames     *vm.Counter
	clientFrames   *vm.Counter
	stepped        *vm.Counter
	records        *vm.Counter
	sentMessages   *vm.Counter
	sentBytes      *vm.Counter
	replies        *vm.Counter
	requests       *vm.Counter
	syncSeconds    *vm.Histogram
	dropped        []*vm.Counter // by peer: buffers the transport did not take
	clientRejected [protocol.ReasonCount]*vm.Counter
	clientBarred   *vm.Counter // links ended at once
	logBytes       atomic.Int64
}

func newMetrics(n int) *metrics {
	s := vm.NewSet()
	m := &metrics{
		set:          s,
		peerFrames:   s.NewCounter(`themis_received_frames_total{from="replica"}`),
		clientFrames: s.NewCounter(`themis_received_frames_total{from="client"}`),
		stepped:      s.NewCounter(`themis_stepped_inputs_total`),
		records:      s.NewCounter(`themis_log_records_total`),
		sentMessages: s.NewCounter(`themis_sent_messages_total`),
		sentBytes:    s.NewCounter(`themis_sent_bytes_total`),
		replies:      s.NewCounter(`themis_replies_total`),
		requests:     s.NewCounter(`themis_executed_operations_total`),
		syncSeconds:  s.NewHistogram(`themis_log_sync_seconds`),
	}
	for id := range n {
		m.dropped = append(m.dropped, s.NewCounter(fmt.Sprintf(`themis_dropped_buffers_total{peer="%d"}`, id)))
	}
	for r := range m.clientRejected {
		m.clientRejected[r] = s.NewCounter(fmt.Sprintf(`themis_client_rejections_total{reason=%q}`, protocol.Reason(r)))
	}
	m.clientBarred = s.NewCounter(`themis_client_rejections_total{reason="barred"}`)
	return m
}

// write appends every metric in the text format of Prometheus.
func (m *metrics) write(w io.Writer, s *Status) {
	m.set.WritePrometheus(w)
	gauge := func(name string, v uint64) { vm.WriteGaugeUint64(w, name, v) }
	counter := func(name string, v uint64) { vm.WriteCounterUint64(w, name, v) }
	gauge("themis_view", uint64(s.View))
	gauge("themis_primary", uint64(s.Primary))
	gauge("themis_active", boolean(s.Active))
	gauge("themis_ready", boolean(s.Ready))
	gauge("themis_committed_slot", uint64(s.Committed))
	gauge("themis_executed_slot", uint64(s.Executed))
	gauge("themis_stable_slot", uint64(s.Stable))
	gauge("themis_snapshot_slot", uint64(s.Snapshot))
	gauge("themis_window_slots", uint64(s.Window.Slots))
	for _, cause := range sortedKeys(s.ViewChanges) {
		counter(fmt.Sprintf("themis_view_changes_total{cause=%q}", cause), s.ViewChanges[cause])
	}
	for _, r := range s.Rejections {
		counter(fmt.Sprintf(`themis_rejections_total{peer="%d",reason=%q}`, r.Peer, r.Reason), r.Count)
	}
	counter("themis_equivocations_total", s.Equivocations)
	for _, name := range sortedKeys(s.Queues) {
		gauge(fmt.Sprintf("themis_queue_length{queue=%q}", name), uint64(s.Queues[name]))
	}
	for _, p := range s.Links.Peers {
		gauge(fmt.Sprintf(`themis_peer_linked{peer="%d"}`, p.ID), boolean(p.Linked))
	}
	gauge("themis_client_links", uint64(s.Links.Clients))
	gauge("themis_memory_rss_bytes", s.Memory.RSS)
	gauge("themis_memory_heap_bytes", s.Memory.Heap)
	gauge("themis_memory_bound_bytes", uint64(s.Memory.Bound))
	gauge("themis_goroutines", uint64(s.Goroutines))
	gauge("themis_log_bytes", uint64(s.LogBytes))
	gauge("themis_no_space", boolean(s.NoSpace))
}

func boolean(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// ids lists the members of a set, never nil, so that JSON shows an empty list.
func ids(s bft.ReplicaSet) []int {
	list := make([]int, 0, s.Len())
	for id := range s.All() {
		list = append(list, int(id))
	}
	return list
}
