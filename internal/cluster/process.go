package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is what a pid file says: a number, and what tells its bearer from a later process
// with the same number.
type process struct {
	PID     int    `json:"pid"`
	Started uint64 `json:"started"` // clock ticks since boot
	Boot    string `json:"boot"`
	How     string `json:"lies,omitempty"` // how it lies, if it is themisd-byz
}

// Stat is what the system knows of a process.
type Stat struct {
	State   byte
	Threads uint64        // those of a process that ends go one by one
	Started uint64        // clock ticks since boot
	CPU     time.Duration // user and system time, of all its threads
}

// tick is the unit of times in /proc: USER_HZ, which is 100 on every architecture of Linux that
// this project runs on.
const tick = 10 * time.Millisecond

// StatOf reads what the system knows of a process.
func StatOf(pid int) (Stat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Stat{}, err
	}
	// The second field is the name in parentheses, which may hold anything: fields are
	// counted from the last parenthesis on. See proc(5).
	_, rest, ok := bytes.Cut(b[max(bytes.LastIndexByte(b, ')'), 0):], []byte(" "))
	fields := strings.Fields(string(rest))
	if !ok || len(fields) < 20 {
		return Stat{}, fmt.Errorf("process %d: no statistics", pid)
	}
	var s Stat
	s.State = fields[0][0]
	user, err1 := strconv.ParseUint(fields[11], 10, 64)
	system, err2 := strconv.ParseUint(fields[12], 10, 64)
	threads, err3 := strconv.ParseUint(fields[17], 10, 64)
	started, err4 := strconv.ParseUint(fields[19], 10, 64)
	s.Threads, s.Started, s.CPU = threads, started, time.Duration(user+system)*tick
	return s, errors.Join(err1, err2, err3, err4)
}

// ended reports whether nothing of the process runs or holds a file or a port any more. The
// first thread is a zombie already while others still end.
func (s Stat) ended() bool { return s.State == 'X' || s.State == 'Z' && s.Threads <= 1 }

// alive reports whether p is still the process that was started.
func (p *process) alive() (Stat, bool) {
	if p == nil || p.Boot != bootID() {
		return Stat{}, false
	}
	s, err := StatOf(p.PID)
	return s, err == nil && s.Started == p.Started && !s.ended()
}

// signal sends s to p, or reports that p is gone. The handle is taken before the process is
// recognised, so that the number cannot change its bearer in between.
func (p *process) signal(s syscall.Signal) (sent bool, err error) {
	if p == nil {
		return false, nil
	}
	handle, err := os.FindProcess(p.PID)
	if err != nil {
		return false, nil // an error means that there is no such process
	}
	defer handle.Release() //nolint:errcheck // gives a descriptor back
	if _, ok := p.alive(); !ok {
		return false, nil
	}
	if err := handle.Signal(s); errors.Is(err, os.ErrProcessDone) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("signalling process %d: %w", p.PID, err)
	}
	return true, nil
}

// gone waits until p has ended.
func (p *process) gone(limit time.Duration) bool {
	return poll(limit, func() bool { _, ok := p.alive(); return !ok })
}

// poll asks until done, or until limit has passed; it returns whether it was done.
func poll(limit time.Duration, done func() bool) bool {
	for end := time.Now().Add(limit); ; time.Sleep(pollTime) {
		if done() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// process reads the pid file; nil if there is none that makes sense.
func (r *Replica) process() *process {
	b, err := os.ReadFile(filepath.Join(r.Dir, pidFile))
	if err != nil {
		return nil
	}
	var p process
	if json.Unmarshal(b, &p) != nil || p.PID <= 1 {
		return nil
	}
	return &p
}

func (r *Replica) remember(p *process) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	path := filepath.Join(r.Dir, pidFile)
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("noting the process: %w", err)
	}
	return os.Rename(path+".new", path)
}

func (r *Replica) forget() {
	_ = os.Remove(filepath.Join(r.Dir, pidFile)) // a stale pid file is no error either
}
