package foreign

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/themis-bft/themis/app/kv"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/client"
	"github.com/themis-bft/themis/internal/cluster"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/replica"
)

const (
	top     = "../.."
	scripts = top + "/clients/python"
	// callTime ends every call; it is generous because machines are busy.
	callTime = 30 * time.Second
	// rogueTime is how long a rogue may take to link with everybody, or to end.
	rogueTime = time.Minute
)

// python returns the interpreter to use.
func python(t *testing.T) string {
	t.Helper()
	// Reading the files tells go test that its result depends on them.
	err := filepath.WalkDir(scripts, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".py") {
			_, err = os.ReadFile(path)
		}
		return err
	})
	must(t, err)
	cmd := exec.Command(top+"/scripts/need-python", "--find")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err == nil {
		return strings.TrimSpace(string(out))
	}
	if os.Geteuid() == 0 {
		t.Fatalf("%v: %s", err, said.String())
	}
	t.Skipf("%s", said.String())
	return ""
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// binaries builds the replicas once.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "themis-foreign")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", dir+"/", top+"/cmd/themisd", top+"/cmd/themisd-byz")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("building the replicas: %w\n%s", err, out)
	}
	return dir, nil
})

// built is the folder that binaries made, if it was called.
var built string

func TestMain(m *testing.M) {
	_ = os.Setenv("PYTHONDONTWRITEBYTECODE", "1") // nothing stays behind in the source folders
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built) // a temporary folder
	}
	os.Exit(code)
}

// rig is a cluster of processes with clients of both languages.
type rig struct {
	*cluster.Cluster
	t      *testing.T
	python string
}

// up starts an open cluster of four. Its processes end with the test.
func up(t *testing.T) *rig {
	t.Helper()
	return upAs(t, bft.Membership{Open: true})
}

// upAs starts a cluster of four with the scheme and the clients of m, which checkpoints often.
func upAs(t *testing.T, m bft.Membership) *rig {
	t.Helper()
	if testing.Short() {
		t.Skip("starts processes; run without -short")
	}
	r := &rig{t: t, python: python(t)}
	dir, err := binaries()
	built = dir
	must(t, err)
	plan := cluster.Plan{Dir: filepath.Join(t.TempDir(), "cluster"), Replicas: 4, F: -1, Binaries: dir}
	m.Protocol, m.App, m.CheckpointEvery, m.Window = "pbft", "kv", 8, 16
	plan.Membership = m
	must(t, cluster.Create(plan))
	r.Cluster, err = cluster.Open(plan.Dir, io.Discard)
	must(t, err)
	r.Binaries = dir
	t.Cleanup(func() {
		for i := range r.Replicas {
			if err := r.Kill(i); err != nil {
				t.Errorf("ending replica %d: %v", i, err)
			}
		}
		if t.Failed() {
			r.explain()
		}
	})
	must(t, r.Up())
	return r
}

// explain shows the end of every log.
func (r *rig) explain() {
	for i := range r.Replicas {
		b, err := os.ReadFile(r.LogPath(bft.ReplicaID(i)))
		r.t.Logf("log of replica %d (%v): …%s", i, err, b[max(0, len(b)-1500):])
	}
}

// run is the Python client with these arguments: what it printed and its exit code.
func (r *rig) run(args ...string) (out, talk string, code int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*callTime)
	defer cancel()
	all := append([]string{scripts + "/themis_kv.py", "--dir", r.Dir, "--timeout", fmt.Sprint(callTime.Seconds())}, args...)
	cmd := exec.CommandContext(ctx, r.python, all...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) || ctx.Err() != nil {
		r.t.Fatalf("themis_kv.py %v: %v %v\n%s", args, err, ctx.Err(), stderr.String())
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// want runs the Python client and holds what it prints and its exit code against what is right.
func (r *rig) want(out string, code int, args ...string) {
	r.t.Helper()
	have, talk, ended := r.run(args...)
	if have != out || ended != code {
		r.t.Fatalf("themis_kv.py %v prints %q and ends with %d, not %q and %d\n%s", args, have, ended, out, code, talk)
	}
}

// roundTrip writes, changes and reads a key by the Python client in one session.
func (r *rig) roundTrip(key string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*callTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.python, "-m", "tests.round_trip", r.Dir, key)
	cmd.Dir = scripts
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("%s: %v\n%s", key, err, out)
	}
}

// goes writes by the Go client and reads by it what the Python client wrote under another key.
func (r *rig) goes(key string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	c := r.open(ctx)
	defer c.Close()
	for _, step := range []struct {
		op   []byte
		want string
	}{{kv.Get([]byte(key)), "two"}, {kv.Put([]byte(key), []byte("from Go")), ""}, {kv.Get([]byte(key)), "from Go"}} {
		b, err := c.Invoke(ctx, step.op)
		must(r.t, err)
		if got, err := kv.ParseResult(b); err != nil || string(got.Value) != step.want {
			r.t.Fatalf("%s: the Go client reads %q, not %q: %v", key, got.Value, step.want, err)
		}
	}
}

// open opens a session by the Go client.
func (r *rig) open(ctx context.Context) *client.Client {
	r.t.Helper()
	identity, err := keys.Generate("ed25519")
	must(r.t, err)
	c, err := client.Open(ctx, client.Config{Membership: &r.Public.Membership, Replicas: r.Public.ClientAddrs, Key: identity})
	must(r.t, err)
	return c
}

// hears reads by the Go client until it has noticed a lie: somebody does lie, and it is heard.
func (r *rig) hears() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	c := r.open(ctx)
	defer c.Close()
	for lies := uint64(0); lies == 0; {
		_, err := c.Invoke(ctx, kv.Get([]byte("a key")))
		must(r.t, err)
		s := c.Stats()
		lies = s.Deviations()
	}
}

// status asks replica id; ok is false if it does not answer.
func (r *rig) status(id int) (s replica.Status, ok bool) {
	b, err := r.Ask(id, "/statusz")
	return s, err == nil && json.Unmarshal(b, &s) == nil
}

// primary is the primary of the highest view that an active replica is in.
func (r *rig) primary() int {
	r.t.Helper()
	var best replica.Status
	r.eventually("an active replica", func() bool {
		found := false
		for i := range r.Replicas {
			if s, ok := r.status(i); ok && s.Active && s.View >= best.View {
				best, found = s, true
			}
		}
		return found
	})
	return int(best.Primary)
}

func (r *rig) eventually(what string, done func() bool) {
	r.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(callTime); !done(); <-tick.C {
		if time.Now().After(end) {
			r.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// back starts replica id and waits until it has executed what the others have.
func (r *rig) back(id int) {
	r.t.Helper()
	must(r.t, r.Start(id))
	r.eventually(fmt.Sprintf("replica %d to catch up", id), func() bool {
		var executed []bft.SeqNum
		for i := range r.Replicas {
			s, ok := r.status(i)
			if !ok {
				return false
			}
			executed = append(executed, s.Executed)
		}
		return slices.Max(executed) == executed[id]
	})
}

// rogue takes the place of replica id until the returned function is called.
func (r *rig) rogue(id int, how string) (end func()) {
	r.t.Helper()
	must(r.t, r.Kill(id))
	cmd := exec.Command(r.python, scripts+"/rogue.py", "--dir", r.Dir, "--replica", fmt.Sprint(id), "--how", how)
	out, err := cmd.StdoutPipe()
	must(r.t, err)
	var said bytes.Buffer
	cmd.Stderr = &said
	must(r.t, cmd.Start())
	hung := func() { _ = cmd.Process.Kill() } // Wait says so
	over := sync.OnceFunc(func() {
		defer time.AfterFunc(rogueTime, hung).Stop()
		_ = cmd.Process.Signal(syscall.SIGTERM) // if it has ended, Wait says how
		if err := cmd.Wait(); err != nil {
			r.t.Errorf("rogue %s: %v\n%s", how, err, said.String())
		}
	})
	r.t.Cleanup(over)
	defer time.AfterFunc(rogueTime, hung).Stop()
	lines := bufio.NewScanner(out)
	for range len(r.Replicas) - 1 {
		if !lines.Scan() {
			over()
			r.t.Fatalf("rogue %s did not link with everybody", how)
		}
	}
	return over
}

// held is what the others hold against replica id.
type held struct {
	rejections map[string]uint64
	evidence   uint64
}

// against sums up what the others count against replica id.
func (r *rig) against(id int) held {
	h := held{rejections: map[string]uint64{}}
	for i := range r.Replicas {
		s, ok := r.status(i)
		if i == id || !ok {
			continue
		}
		for _, x := range s.Rejections {
			if int(x.Peer) == id {
				h.rejections[x.Reason] += x.Count
			}
		}
		for _, e := range s.Evidence {
			if int(e.Peer) == id {
				h.evidence += e.Count
			}
		}
	}
	return h
}
