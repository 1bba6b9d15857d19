// Package cluster lays out clusters on disk and runs the replicas of a local one as processes.
// It owns one directory D: D/cluster.toml, and for each replica R the folder D/rR with
// themis.toml, key.pem, data, log and pid.
//
// The command line calls it, one command at a time per directory (a file lock sees to that).
// The processes it starts outlive the command. Nothing is assumed about a process number in a
// pid file: only a process that was started at the noted instant of the noted boot is ours, so
// that a stale file is no error and no stranger is ever killed. The package never reads a
// replica's data and decides nothing about the protocol.
package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/config"
)

// Error is a failure that says what to do next.
type Error struct {
	What string
	Hint string
	Err  error // may be nil
}

// Error is what went wrong, without the hint.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.What
	}
	return e.What + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Advice is what to do next.
func (e *Error) Advice() string { return e.Hint }

// Times that a command waits for a process.
const (
	readyTime = 60 * time.Second // to listen, or to be ready: long enough for a loaded machine
	stopTime  = 15 * time.Second // to end after SIGTERM, before SIGKILL
	lockTime  = 90 * time.Second // for another command on the same directory
	pollTime  = 10 * time.Millisecond
)

// Cluster is a local cluster under one directory.
type Cluster struct {
	Dir      string // absolute
	Public   *config.Cluster
	Replicas []*Replica
	Binaries string    // folder of themisd; empty: beside this program, then $PATH
	Talk     io.Writer // what is being done, for a person; never nil
}

// Replica is one replica of a local cluster and its process, if it has one.
type Replica struct {
	ID     bft.ReplicaID
	Dir    string // D/rR
	Config *config.Config
}

// Open reads the cluster of a directory.
func Open(dir string, talk io.Writer) (*Cluster, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if !Exists(abs) {
		return nil, &Error{What: fmt.Sprintf("%s holds no cluster", dir), Hint: fmt.Sprintf("make one with: themis cluster up --dir %s", dir)}
	}
	public, err := config.LoadCluster(filepath.Join(abs, clusterFile))
	if err != nil {
		return nil, err
	}
	c := &Cluster{Dir: abs, Public: public, Talk: talk}
	for i := range public.Membership.N() {
		r := &Replica{ID: bft.ReplicaID(i), Dir: filepath.Join(abs, bft.ReplicaID(i).String())}
		if r.Config, err = config.Load(filepath.Join(r.Dir, replicaFile)); err != nil {
			return nil, err
		}
		c.Replicas = append(c.Replicas, r)
	}
	return c, nil
}

// Exists reports whether dir holds a cluster.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, clusterFile))
	return err == nil
}

// Replica returns replica id.
func (c *Cluster) Replica(id int) (*Replica, error) {
	if id < 0 || id >= len(c.Replicas) {
		return nil, &Error{
			What: fmt.Sprintf("there is no replica %d", id),
			Hint: fmt.Sprintf("replicas are 0 to %d; see: themis cluster status --dir %s", len(c.Replicas)-1, c.Dir),
		}
	}
	return c.Replicas[id], nil
}

// each runs f for all replicas at once and joins the errors.
func (c *Cluster) each(f func(*Replica) error) error {
	done := make(chan error)
	for _, r := range c.Replicas {
		go func() { done <- f(r) }()
	}
	var all []error
	for range c.Replicas {
		all = append(all, <-done)
	}
	return errors.Join(all...)
}
