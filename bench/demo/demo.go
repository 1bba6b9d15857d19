// Package demo is the demonstration: a cluster of replica processes under load, whose primary
// is killed and brought back, and of which another replica then lies; and the verdict on what
// the clients saw. It owns the cluster's directory and processes while Run runs, and removes
// both before it returns. It is called by the command line, once; it judges only by what
// clients saw and by what correct replicas report, never by reading a replica's data.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/themis-bft/themis/bench"
	"github.com/themis-bft/themis/bench/history"
	"github.com/themis-bft/themis/config"
	"github.com/themis-bft/themis/internal/cluster"
)

// Options says how large the demonstration is; zero values get defaults.
type Options struct {
	Dir      string // empty: a new temporary one. It is removed at the end
	Replicas int
	Clients  int
	Phase    time.Duration // how long each phase is watched
	Binaries string        // folder of themisd and themisd-byz; empty: beside this program
	Talk     io.Writer     // what is happening
}

// Report is the outcome. The JSON names are an interface.
type Report struct {
	OK           bool    `json:"ok"`
	Replicas     int     `json:"replicas"`
	Requests     uint64  `json:"requests"`
	Throughput   float64 `json:"throughput_rps"`
	ViewChanges  uint64  `json:"view_changes"`
	Lies         uint64  `json:"lies_detected"`
	Lost         int     `json:"lost"`
	Duplicated   int     `json:"duplicated"`
	Linearizable bool    `json:"linearizable"`
	Seconds      float64 `json:"seconds"`

	// What people want to know besides.
	Acknowledged int           `json:"-"` // writes that were audited
	Unknown      int           `json:"-"` // operations whose outcome the client never learnt
	Outage       time.Duration `json:"-"` // from the death of the primary to the next execution
	Equal        bool          `json:"-"` // correct replicas had equal states at the end
	Complaints   []string      `json:"-"`
}

// Sizes of the demonstration.
const (
	sharedKeys = 24 // written by all clients: they meet often enough to be interesting
	ownKeys    = 4  // of each client, for the audit
	patience   = 20 * time.Second
	searchTime = 10 * time.Second // for the linearization of one key
)

// demo is a demonstration under way.
type demo struct {
	o       Options
	cluster *cluster.Cluster
	events  *history.Writer
	report  *Report
	liar    int
	base    uint64 // rejections of the liar before it lied
}

// Run makes the whole demonstration. The error says that it could not be made; what it showed
// is in the report.
func Run(ctx context.Context, o Options) (r *Report, err error) {
	o = o.withDefaults()
	start := time.Now()
	d := &demo{o: o, events: history.Keep(), report: &Report{Replicas: o.Replicas}}
	if err := d.build(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.remove()) }()
	if err := d.cluster.Up(); err != nil {
		return nil, err
	}
	load, err := d.load(ctx)
	if err != nil {
		return nil, err
	}
	script := d.script(ctx)
	measured, err := load()
	if err := errors.Join(script, err); err != nil {
		return nil, err
	}
	if err := d.judge(ctx, measured); err != nil {
		return nil, err
	}
	d.report.Seconds = time.Since(start).Seconds()
	return d.report, nil
}

func (o Options) withDefaults() Options {
	if o.Replicas == 0 {
		o.Replicas = 4
	}
	if o.Clients == 0 {
		o.Clients = 8
	}
	if o.Phase == 0 {
		o.Phase = 3 * time.Second
	}
	if o.Talk == nil {
		o.Talk = io.Discard
	}
	return o
}

func (d *demo) sayf(format string, args ...any) { fmt.Fprintf(d.o.Talk, format+"\n", args...) }

// build lays the cluster out.
func (d *demo) build() error {
	dir, err := d.o.Dir, error(nil)
	if dir == "" {
		if dir, err = os.MkdirTemp("", "themis-demo-"); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	}
	plan := cluster.Plan{Dir: dir, Replicas: d.o.Replicas, F: -1, Durability: config.Sync, Binaries: d.o.Binaries}
	if err := cluster.Create(plan); err != nil {
		_ = os.Remove(dir) // only if it is empty
		return err
	}
	if d.cluster, err = cluster.Open(dir, io.Discard); err != nil {
		return err
	}
	d.cluster.Binaries = d.o.Binaries
	m := &d.cluster.Public.Membership
	d.sayf("%d replicas in %s, each with its own key, process and log; %d of them may fail in any way", m.N(), dir, m.F)
	return nil
}

// remove ends the processes and deletes the directory.
func (d *demo) remove() error {
	if err := d.cluster.Down(); err != nil {
		return err
	}
	return d.cluster.Purge()
}

// load starts the clients and returns when they are connected; the function it returns ends
// them and gives their figures.
func (d *demo) load(ctx context.Context) (func() (*bench.Report, error), error) {
	running, stop := context.WithCancel(ctx)
	connected, done := make(chan struct{}), make(chan struct{})
	var report *bench.Report
	var err error
	go func() {
		defer close(done)
		report, err = bench.Run(running, bench.Options{
			Cluster: d.cluster.Public, Clients: d.o.Clients, Payload: 100, Duration: time.Hour,
			Mix: bench.Mix{Put: 45, Get: 40, CAS: 12, Del: 3}, Keys: sharedKeys, Own: ownKeys, Prefix: "demo/",
			History: d.events, Started: func() { close(connected) },
		})
	}()
	end := func() (*bench.Report, error) {
		stop()
		<-done
		return report, err
	}
	select {
	case <-connected:
		d.sayf("%d clients are connected over mutual TLS and put, get, compare-and-swap and delete", d.o.Clients)
		return end, nil
	case <-done:
		_, err := end()
		return nil, err
	}
}
