package lying

import (
	"time"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/wire"
)

// faults are what a replica may suffer without wanting to lie, for the tests of whoever has to
// find out why a cluster stands still.
var faults = map[string]string{
	"wrong-clock":     "has a clock that is an hour ahead",
	"stuck-app":       "has an application that never returns from an operation",
	"slow-disk":       "has a disk that takes a third of a second for every sync",
	"no-bodies":       "proposes to a quorum only, and never gives a missing batch to anybody",
	"no-view-changes": "sends neither VIEW-CHANGE nor NEW-VIEW",
	"no-new-view":     "sends no NEW-VIEW",
}

const (
	clockError  = bft.Time(time.Hour)
	syncLatency = 300 * time.Millisecond
)

// Wall wraps the time of day; nil stands for the system's.
func (p *Plan) Wall(now func() bft.Time) func() bft.Time {
	if p.how != "wrong-clock" {
		return now
	}
	if now == nil {
		now = func() bft.Time { return bft.Time(time.Now().UnixNano()) }
	}
	return func() bft.Time { return now() + clockError }
}

// Files wraps the data directory.
func (p *Plan) Files(fs storage.FS) storage.FS {
	if p.how != "slow-disk" {
		return fs
	}
	return slowFS{fs}
}

// slowFS is a directory on a slow device.
type slowFS struct{ storage.FS }

// Open opens an existing file.
func (s slowFS) Open(name string) (storage.File, error) { return slowly(s.FS.Open(name)) }

// Create makes a file.
func (s slowFS) Create(name string) (storage.File, error) { return slowly(s.FS.Create(name)) }

func slowly(f storage.File, err error) (storage.File, error) {
	if err != nil {
		return nil, err
	}
	return slowFile{f}, nil
}

type slowFile struct{ storage.File }

// Sync takes its time.
func (s slowFile) Sync() error {
	<-time.After(syncLatency)
	return s.File.Sync()
}

// stuck is an application that never returns.
type stuck struct{ app.Machine }

// Execute hangs.
func (stuck) Execute(app.Call, []byte) app.Future { select {} }

// omits reports whether a replica with a fault that is about single kinds of messages leaves this
// one out. One that keeps the contents of batches to itself sends every fourth replica no
// PRE-PREPARE, and nobody an answer to FETCH.
func (p *Plan) omits(to bft.ReplicaID, kind wire.Kind) bool {
	switch p.how {
	case "no-bodies":
		return kind == wire.KindBody || kind == pbft.KindPrePrepare && to%4 == 3
	case "no-view-changes":
		return kind == pbft.KindViewChange || kind == pbft.KindNewView
	case "no-new-view":
		return kind == pbft.KindNewView
	}
	return false
}
