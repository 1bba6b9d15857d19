// Package bench is the load generator: clients with identities and connections of their own
// that drive a running cluster, a histogram of latencies, and the processor time and memory of
// the replicas meanwhile. The closed loop has one operation outstanding per client; the open
// loop has arrivals at a fixed rate, whose latency counts from the intended instant, so that a
// service that stalls cannot hide it by slowing its load down.
//
// A run owns its clients and goroutines and leaves none behind. Programs call Run from any
// goroutine, with a cluster that is up already. The package starts no replica and reads only
// /proc of the processes that it is told of.
package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/themis-bft/themis/bench/history"
	"github.com/themis-bft/themis/config"
)

// Options says what load a run makes.
type Options struct {
	Cluster  *config.Cluster
	Clients  int
	Payload  int // bytes: of an operation of the bench application, of a value of kv
	Reply    int // bytes of a reply of the bench application
	Duration time.Duration
	Warmup   time.Duration // before Duration; not counted
	Timeout  time.Duration // of one operation
	Rate     float64       // operations a second of all clients together; 0 is the closed loop

	Mix     Mix // of kv operations; the zero value only puts
	Keys    int // of kv
	Own     int // keys of kv that each client alone writes, besides Keys; they get half of the load
	Prefix  string
	History *history.Writer // receives every operation of kv; may be nil

	// Replicas names the processes whose processor time and memory are measured. It is asked
	// at the begin and at the end of the measurement, since replicas may die and come back; nil
	// for none.
	Replicas func() []Process
	// Started is called when all clients have a session, before the first operation; may be nil.
	Started func()
}

// Process is the process of a replica on this machine.
type Process struct {
	ID  int
	PID int
}

// Report is the outcome of a run. The JSON names are an interface.
type Report struct {
	Clients    int              `json:"clients"`
	Payload    int              `json:"payload"`
	Throughput float64          `json:"throughput_rps"`
	Errors     uint64           `json:"errors"`
	Latency    Latency          `json:"latency_us"`
	CPU        float64          `json:"cpu_us_per_request"`
	Replicas   []ReplicaFigures `json:"replicas"`
	// ClientCPU is the clients' share of CPU; the rest is that of the replicas.
	ClientCPU float64        `json:"client_cpu_us_per_request"`
	Config    map[string]any `json:"config"`
	Requests  uint64         `json:"requests"`
	Seconds   float64        `json:"seconds"`
	// Deviations counts, by replica, replies that differ from what f+1 replicas vouched for.
	Deviations []uint64 `json:"deviations"`
}

// Latency is in microseconds.
type Latency struct {
	Mean float64 `json:"mean"`
	P50  int64   `json:"p50"`
	P90  int64   `json:"p90"`
	P99  int64   `json:"p99"`
	P999 int64   `json:"p999"`
	Max  int64   `json:"max"`
}

// ReplicaFigures are those of one replica's process.
type ReplicaFigures struct {
	ID  int     `json:"id"`
	RSS uint64  `json:"rss_bytes"`
	HWM uint64  `json:"hwm_bytes"`
	CPU float64 `json:"cpu_us_per_request"`
}

// defaults fills in what was left out and refuses what cannot be run.
func (o *Options) defaults() error {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Keys == 0 {
		o.Keys = 1000
	}
	if o.Prefix == "" {
		o.Prefix = "bench/"
	}
	if o.Mix == (Mix{}) {
		o.Mix = Mix{Put: 1}
	}
	switch app := o.Cluster.Membership.App; {
	case o.Clients < 1 || o.Keys < 1 || o.Duration <= 0 || o.Warmup < 0 || o.Rate < 0:
		return fmt.Errorf("bench: clients, keys and duration must be positive: %d, %d, %s", o.Clients, o.Keys, o.Duration)
	case app != "kv" && app != "bench":
		return fmt.Errorf("bench: the cluster runs %q; there is load for kv and bench", app)
	case app != "kv" && (o.History != nil || o.Mix != Mix{Put: 1}):
		return fmt.Errorf("bench: mix and history are for kv; the cluster runs %q", app)
	}
	return nil
}

// Run connects all clients, drives the load and reports. The error wraps client.ErrNoQuorum if
// the clients cannot get sessions before Timeout; later errors of operations are counted.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	f, err := connect(ctx, &o)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if o.Started != nil {
		o.Started()
	}
	return f.run(ctx)
}
