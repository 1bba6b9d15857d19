package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Kill ends replica id as a crash does, without warning.
func (c *Cluster) Kill(id int) error {
	r, err := c.Replica(id)
	if err != nil {
		return err
	}
	p := r.process()
	sent, err := p.signal(syscall.SIGKILL)
	if err != nil {
		return err
	}
	if !sent {
		fmt.Fprintf(c.Talk, "%s does not run\n", r.ID)
	} else if !p.gone(stopTime) {
		return &Error{What: fmt.Sprintf("process %d of %s does not end", p.PID, r.ID), Hint: "it waits for its disk; see: ps -o pid,stat,wchan"}
	}
	r.forget()
	return nil
}

// Pause stops the clock of replica id: it keeps its links and does nothing.
func (c *Cluster) Pause(id int) error {
	if err := c.mustSignal(id, syscall.SIGSTOP); err != nil {
		return err
	}
	p := c.Replicas[id].process()
	if !poll(stopTime, func() bool { s, ok := p.alive(); return !ok || s.State == 'T' }) {
		return &Error{What: fmt.Sprintf("process %d does not stop", p.PID), Hint: "it waits for its disk; see: ps -o pid,stat,wchan"}
	}
	return nil
}

// Resume lets a paused replica go on.
func (c *Cluster) Resume(id int) error { return c.mustSignal(id, syscall.SIGCONT) }

func (c *Cluster) mustSignal(id int, s syscall.Signal) error {
	r, err := c.Replica(id)
	if err != nil {
		return err
	}
	sent, err := r.process().signal(s)
	if err == nil && !sent {
		return &Error{What: fmt.Sprintf("%s does not run", r.ID), Hint: fmt.Sprintf("start it with: themis cluster start %d --dir %s", id, c.Dir)}
	}
	return err
}

// Down ends all replicas, gently first, and returns when none is left.
func (c *Cluster) Down() error {
	return c.each(func(r *Replica) error { return r.stop(c) })
}

// stop ends r gently, then without asking.
func (r *Replica) stop(c *Cluster) error {
	p := r.process()
	sent, err := p.signal(syscall.SIGTERM)
	if err != nil {
		return err
	}
	if !sent {
		r.forget()
		return nil
	}
	// A paused process hears nothing before it goes on.
	if _, err := p.signal(syscall.SIGCONT); err != nil {
		return err
	}
	if !p.gone(stopTime) {
		fmt.Fprintf(c.Talk, "%s does not end by itself: killed\n", r.ID)
		if _, err := p.signal(syscall.SIGKILL); err != nil {
			return err
		}
		if !p.gone(stopTime) {
			return &Error{What: fmt.Sprintf("process %d of %s does not end", p.PID, r.ID), Hint: "it waits for its disk; see: ps -o pid,stat,wchan"}
		}
	}
	r.forget()
	return nil
}

// Purge removes what Create made, and the directory if nothing else is in it. It goes by what
// Create makes, not by reading the files, so that a layout that is damaged can be removed too.
func (c *Cluster) Purge() error {
	all := []error{os.Remove(filepath.Join(c.Dir, clusterFile))}
	for _, r := range c.Replicas {
		all = append(all, os.RemoveAll(r.Dir))
	}
	if err := os.Remove(filepath.Join(c.Dir, lockFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		all = append(all, err)
	}
	if err := errors.Join(all...); err != nil {
		return &Error{What: "removing " + c.Dir, Err: err, Hint: "remove it by hand"}
	}
	_ = os.Remove(c.Dir) // other files keep it, and that is right
	return nil
}

// Lock takes the directory for one command; others wait.
func Lock(dir string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, &Error{What: "making the cluster's directory", Err: err, Hint: "choose another with --dir"}
	}
	path := filepath.Join(dir, lockFile)
	end := time.Now().Add(lockTime)
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return nil, &Error{What: "locking " + dir, Err: err, Hint: "choose another directory with --dir"}
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && current(f, path) {
			return func() { _ = f.Close() }, nil // closing unlocks
		}
		_ = f.Close() // never locked, or the lock of a directory that was purged meanwhile
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &Error{What: "locking " + dir, Err: err, Hint: "the file system must support locks; choose another directory with --dir"}
		}
		if time.Now().After(end) {
			return nil, &Error{What: "another command has worked on " + dir + " for " + lockTime.String(), Hint: "wait for it or end it, then try again"}
		}
		time.Sleep(pollTime)
	}
}

// current reports whether path still names f.
func current(f *os.File, path string) bool {
	a, err1 := f.Stat()
	b, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}
