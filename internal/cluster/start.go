package cluster

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/themis-bft/themis/bft"
)

// The programs that run a replica.
const (
	honest = "themisd"
	liar   = "themisd-byz"
)

// Up starts every replica that does not run and returns when all are ready.
func (c *Cluster) Up() error {
	for _, r := range c.Replicas {
		if err := c.spawn(r, ""); err != nil {
			return err
		}
	}
	return c.each(func(r *Replica) error { return r.await("/readyz") })
}

// Start starts replica id if it does not run and returns when it listens.
func (c *Cluster) Start(id int) error {
	r, err := c.Replica(id)
	if err != nil {
		return err
	}
	if p := r.process(); p != nil && p.How != "" {
		if _, ok := p.alive(); ok {
			return &Error{What: fmt.Sprintf("%s runs, and lies (%s)", r.ID, p.How), Hint: fmt.Sprintf("stop it first with: themis cluster kill %d --dir %s", id, c.Dir)}
		}
	}
	if err := c.spawn(r, ""); err != nil {
		return err
	}
	return r.listens()
}

// Lie stops replica id and starts in its place, with its key and its data, one that lies.
func (c *Cluster) Lie(id int, how string) error {
	r, err := c.Replica(id)
	if err != nil {
		return err
	}
	if _, err := program(c.Binaries, liar); err != nil {
		return err
	}
	if err := r.stop(c); err != nil {
		return err
	}
	if err := c.spawn(r, how); err != nil {
		return err
	}
	return r.listens()
}

// program finds the binary of a name: in folder, or beside this program and in $PATH.
func program(folder, name string) (string, error) {
	if folder == "" {
		if self, err := os.Executable(); err == nil {
			folder = filepath.Dir(self)
		}
	}
	path := filepath.Join(folder, name)
	if s, err := os.Stat(path); err == nil && !s.IsDir() {
		return path, nil
	}
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	return "", &Error{What: fmt.Sprintf("%s is neither in %s nor in $PATH", name, folder), Hint: "build it with: make build"}
}

// spawn starts the process of r, detached from this one, unless it runs already.
func (c *Cluster) spawn(r *Replica, how string) error {
	if _, ok := r.process().alive(); ok {
		return nil
	}
	name, args := honest, []string{"--config", r.Config.Path}
	if how != "" {
		name, args = liar, append(args, "--how", how)
	}
	path, err := program(c.Binaries, name)
	if err != nil {
		return err
	}
	if err := r.portsFree(); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(r.Dir, logFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening the log of %s: %w", r.ID, err)
	}
	defer log.Close() //nolint:errcheck // the child has its own descriptor
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.Dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return &Error{What: "starting " + path, Err: err, Hint: "build it again with: make build"}
	}
	// Until somebody waits for it the process keeps its number, even if it ends at once.
	s, err := StatOf(cmd.Process.Pid)
	go func() { _ = cmd.Wait() }() // what it said is in its log
	if err != nil {
		return fmt.Errorf("finding process %d of %s: %w", cmd.Process.Pid, r.ID, err)
	}
	fmt.Fprintf(c.Talk, "%s started as process %d (%s)\n", r.ID, cmd.Process.Pid, name)
	return r.remember(&process{PID: cmd.Process.Pid, Started: s.Started, Boot: bootID(), How: how})
}

// listens waits until r answers on all its addresses.
func (r *Replica) listens() error {
	if err := r.await("/livez"); err != nil {
		return err
	}
	for _, addr := range []string{r.Config.Listen.Peer, r.Config.Listen.Client} {
		err := r.wait("to listen on "+addr, func() bool {
			conn, err := net.DialTimeout("tcp", addr, time.Second)
			if err == nil {
				_ = conn.Close() // nothing was sent
			}
			return err == nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// await waits until the admin endpoint answers path with success.
func (r *Replica) await(path string) error {
	return r.wait("for "+path, func() bool { _, err := r.ask(path, time.Second); return err == nil })
}

// wait polls, and gives up early when the process ends.
func (r *Replica) wait(what string, done func() bool) error {
	p := r.process()
	dead := false
	ok := poll(readyTime, func() bool {
		if done() {
			dead = false
			return true
		}
		_, alive := p.alive()
		dead = !alive
		return dead
	})
	if ok && !dead {
		return nil
	}
	hint := fmt.Sprintf("read %s; see: themis cluster status --dir %s", filepath.Join(r.Dir, logFile), filepath.Dir(r.Dir))
	if dead {
		return &Error{What: fmt.Sprintf("%s ended at start; its log says:\n%s", r.ID, r.tail()), Hint: hint}
	}
	return &Error{What: fmt.Sprintf("%s did not get ready in %s (waited %s)", r.ID, readyTime, what), Hint: hint}
}

// tail is the end of the log, indented.
func (r *Replica) tail() string {
	b, err := os.ReadFile(filepath.Join(r.Dir, logFile))
	if err != nil {
		return "    (no log)"
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	lines = lines[max(0, len(lines)-4):]
	return "    " + strings.Join(lines, "\n    ")
}

// LogPath is the log of replica id.
func (c *Cluster) LogPath(id bft.ReplicaID) string { return filepath.Join(c.Replicas[id].Dir, logFile) }
