package cluster

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/config"
)

// sleeper starts a process that does nothing and returns what a pid file would say of it.
func sleeper(t *testing.T) *process {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be dead already
		<-ended
	})
	s, err := StatOf(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return &process{PID: cmd.Process.Pid, Started: s.Started, Boot: bootID()}
}

// TestStrangersAreSpared: a number alone does not make a process ours.
func TestStrangersAreSpared(t *testing.T) {
	p := sleeper(t)
	for name, stale := range map[string]*process{
		"none":          nil,
		"earlier start": {PID: p.PID, Started: p.Started - 1, Boot: p.Boot},
		"earlier boot":  {PID: p.PID, Started: p.Started, Boot: "another"},
		"no process":    {PID: 1 << 22, Started: p.Started, Boot: p.Boot},
	} {
		if sent, err := stale.signal(syscall.SIGKILL); sent || err != nil {
			t.Errorf("%s: sent = %t, %v", name, sent, err)
		}
		if _, ok := stale.alive(); ok {
			t.Errorf("%s: is taken for alive", name)
		}
	}
	if _, ok := p.alive(); !ok {
		t.Fatal("the process that was started is not alive any more")
	}
	if sent, err := p.signal(syscall.SIGKILL); !sent || err != nil {
		t.Fatalf("the own process was not killed: %t, %v", sent, err)
	}
	if !p.gone(10 * time.Second) {
		t.Error("it is not gone")
	}
}

func TestPidFile(t *testing.T) {
	r := &Replica{Dir: t.TempDir()}
	want := process{PID: 77, Started: 5, Boot: "b", How: "silent"}
	if r.process() != nil {
		t.Error("no file, and a process")
	}
	if err := r.remember(&want); err != nil {
		t.Fatal(err)
	}
	if got := r.process(); got == nil || *got != want {
		t.Errorf("noted %+v, read %+v", want, got)
	}
	for _, nonsense := range []string{"", "77", "{", `{"pid":1}`, `{"pid":-5}`} {
		if err := os.WriteFile(filepath.Join(r.Dir, pidFile), []byte(nonsense), 0o600); err != nil {
			t.Fatal(err)
		}
		if p := r.process(); p != nil {
			t.Errorf("%q was read as %+v", nonsense, p)
		}
	}
}

// TestStatOf reads this process, and one whose name tries to confuse.
func TestStatOf(t *testing.T) {
	s, err := StatOf(os.Getpid())
	if err != nil || s.Started == 0 || !strings.ContainsRune("RS", rune(s.State)) {
		t.Errorf("%+v, %v", s, err)
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	evil := filepath.Join(t.TempDir(), ") Z 1 2")
	if err := os.Symlink(sleep, evil); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(evil, "600")
	cmd.Args[0] = "sleep"
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if s, err := StatOf(cmd.Process.Pid); err != nil || s.State == 'Z' || s.Started == 0 {
		t.Errorf("the name %q is taken for fields: %+v, %v", evil, s, err)
	}
	rss, high, err := MemoryOf(os.Getpid())
	if err != nil || rss == 0 || high < rss {
		t.Errorf("memory %d, most %d, %v", rss, high, err)
	}
}

// TestEnded: the first thread of a killed process is a zombie while others still hold its ports.
func TestEnded(t *testing.T) {
	for _, c := range []struct {
		stat Stat
		want bool
	}{
		{Stat{State: 'S', Threads: 9}, false},
		{Stat{State: 'T', Threads: 9}, false},
		{Stat{State: 'Z', Threads: 2}, false},
		{Stat{State: 'Z', Threads: 1}, true},
		{Stat{State: 'X', Threads: 1}, true},
	} {
		if c.stat.ended() != c.want {
			t.Errorf("%c with %d threads: ended = %t", c.stat.State, c.stat.Threads, !c.want)
		}
	}
}

// TestLockIsExclusive: two commands on one directory run one after the other.
func TestLockIsExclusive(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "D")
	release, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	inside := make(chan struct{})
	go func() {
		r, err := Lock(dir)
		if err == nil {
			close(inside)
			r()
		}
		second <- err
	}()
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // read only
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("the lock can be had twice: %v", err)
	}
	select {
	case <-inside:
		t.Error("the second command is inside")
	default:
	}
	release()
	if err := <-second; err != nil {
		t.Error(err)
	}
}

// TestLockSurvivesPurge: who waited for a directory that is removed meanwhile makes it anew.
func TestLockSurvivesPurge(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "D")
	release, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	old, err := os.Open(filepath.Join(dir, lockFile))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close() //nolint:errcheck // read only
	if err := os.Remove(filepath.Join(dir, lockFile)); err != nil {
		t.Fatal(err)
	}
	release()
	if current(old, filepath.Join(dir, lockFile)) {
		t.Error("a removed file is taken for the lock")
	}
	again, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestPorts(t *testing.T) {
	all, err := loopback(4)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, a := range all {
		for _, addr := range []string{a.listen.Peer, a.listen.Client, a.listen.Admin} {
			_, port, err := net.SplitHostPort(addr)
			n, perr := strconv.Atoi(port)
			if err != nil || perr != nil || seen[addr] || n < portFirst || n >= ephemeralFirst() && ephemeralFirst() > portFirst+1000 {
				t.Errorf("%s: taken twice, or out of range (%v, %v)", addr, err, perr)
			}
			seen[addr] = true
		}
	}
	r := &Replica{ID: 2, Config: &config.Config{Path: "P", Listen: all[2].listen}}
	if err := r.portsFree(); err != nil {
		t.Error(err)
	}
	l, err := net.Listen("tcp", all[2].listen.Client)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // the end of the test
	if err := r.portsFree(); err == nil || !strings.Contains(err.Error(), "r2 cannot listen on "+all[2].listen.Client) {
		t.Errorf("a port is taken, and: %v", err)
	}
}

// pools are two of them over the same few blocks, as two processes have them, at an address of
// loopback where no other process looks.
func pools(t *testing.T, blocks int) (a, b *pool) {
	n := os.Getpid()
	a = &pool{host: fmt.Sprintf("127.%d.%d.%d", 1+n>>16&0x7f, n>>8&0xff, n&0xff), first: portFirst, last: portFirst + blocks*blockPorts - 1}
	b = &pool{host: a.host, first: a.first, last: a.last}
	t.Cleanup(func() { a.end(); b.end() })
	return a, b
}

// end is what the system does when a process ends.
func (p *pool) end() {
	for _, g := range p.guards {
		_ = g.Close() // it never accepted anything
	}
	p.guards = nil
}

// TestPortsAreOnesOwn: nobody listens on the ports of a cluster before it starts, and yet nobody
// else may get them: neither another cluster of this process nor one of another process.
func TestPortsAreOnesOwn(t *testing.T) {
	mine, theirs := pools(t, 6)
	seen := map[string]bool{}
	for range 10 {
		for _, p := range []*pool{mine, theirs} {
			addrs, err := p.take(12)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range addrs {
				if seen[a] {
					t.Fatalf("%s was given twice", a)
				}
				seen[a] = true
			}
		}
	}
}

// TestPortsOfARunningCluster: the process that made a cluster has ended, and one of its replicas
// runs. The ports of the other replicas are still the cluster's.
func TestPortsOfARunningCluster(t *testing.T) {
	gone, later := pools(t, 2)
	addrs, err := gone.take(12)
	if err != nil {
		t.Fatal(err)
	}
	running, err := net.Listen("tcp", addrs[4])
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close() //nolint:errcheck // the end of the test
	gone.end()
	for range 2 * blockPorts / 12 { // more than the block that is left has: they come again
		more, err := later.take(12)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range more {
			if slices.Contains(addrs, a) {
				t.Fatalf("%s belongs to a cluster that runs, and was given away", a)
			}
		}
	}
}

// TestCreateWithoutProgram leaves nothing behind that a second attempt would stumble over.
func TestCreateWithoutProgram(t *testing.T) {
	t.Setenv("PATH", "")
	dir := filepath.Join(t.TempDir(), "D")
	err := Create(Plan{Dir: dir, Replicas: 4, F: -1})
	var advised *Error
	if !errors.As(err, &advised) || advised.Hint != "build it with: make build" {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory was made")
	}
}

// TestCreateThatFails removes what it made, and nothing else.
func TestCreateThatFails(t *testing.T) {
	broken, dir := t.TempDir(), t.TempDir()
	// A real program that refuses its arguments, as a themisd of another version would.
	no, err := exec.LookPath("false")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(no, filepath.Join(broken, honest)); err != nil {
		t.Fatal(err)
	}
	keep := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(keep, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Create(Plan{Dir: dir, Replicas: 4, F: -1, Binaries: broken}); err == nil {
		t.Fatal("the data were initialised by a program that does nothing")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "notes.txt" {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestHosts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "D")
	p := Plan{Dir: dir, Replicas: 4, F: -1, Hosts: []string{"a", "b", "a", "::1"}, Port: 7000}
	if err := Create(p); err != nil {
		t.Fatal(err)
	}
	c, err := Open(dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.Public.ClientAddrs); got != "[a:7001 b:7001 a:7004 [::1]:7001]" {
		t.Errorf("clients dial %s", got)
	}
	if l := c.Replicas[2].Config.Listen; l != (config.Listen{Peer: ":7003", Client: ":7004", Admin: "127.0.0.1:7005"}) {
		t.Errorf("the second replica of a host listens on %+v", l)
	}
	if addr, _ := c.Replicas[0].Config.Dial(3); addr != "[::1]:7000" {
		t.Errorf("r0 dials r3 at %s", addr)
	}
	if _, err := os.Stat(filepath.Join(dir, "r1", "cluster.toml")); err != nil {
		t.Errorf("a folder cannot be carried alone: %v", err)
	}
	s, err := os.Stat(filepath.Join(dir, "r1", keyFile))
	if err != nil || s.Mode().Perm() != 0o600 {
		t.Errorf("a private key that others may read: %v, %v", s, err)
	}
	if c.Public.Membership.F != 1 || c.Public.Membership.Cluster == (bft.ClusterID{}) {
		t.Errorf("f = %d, cluster %s", c.Public.Membership.F, c.Public.Membership.Cluster)
	}
}
