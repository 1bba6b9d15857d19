package daemon_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/client"
	"github.com/themis-bft/themis/cmd/themisd/daemon"
	"github.com/themis-bft/themis/config"
	"github.com/themis-bft/themis/internal/cluster"
	"github.com/themis-bft/themis/keys"
)

// TestMain lets the test binary be the program: called themisd it runs as themisd.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "themisd" {
		os.Exit(daemon.Main(daemon.Program{Name: "themisd"}, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// themisd is the program with these arguments.
func themisd(t *testing.T, args ...string) *exec.Cmd {
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self, args...)
	cmd.Args[0] = "themisd"
	return cmd
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// files lays out a cluster of four, whose data directories are missing, and returns its
// configuration. Its ports are from the range that no connection and no other test takes.
func files(t *testing.T) (paths []string, all []*config.Config) {
	self, err := os.Executable()
	must(t, err)
	programs, dir := t.TempDir(), t.TempDir()
	must(t, os.Symlink(self, filepath.Join(programs, "themisd")))
	must(t, cluster.Create(cluster.Plan{
		Dir: dir, Replicas: 4, F: 1, Membership: bft.Membership{App: "counter"}, Binaries: programs,
	}))
	c, err := cluster.Open(dir, io.Discard)
	must(t, err)
	for _, r := range c.Replicas {
		must(t, os.RemoveAll(r.Config.Dir))
		paths, all = append(paths, r.Config.Path), append(all, r.Config)
	}
	return paths, all
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"--version", 0, "themisd"},
		{"--help", 0, "exit codes"},
		{"--no-such-flag", 2, "no-such-flag"},
		{"--config", 2, "config"},
		{"--init", 2, "--config FILE"},
		{"--config no-such-file.toml", 1, "no-such-file.toml"},
	} {
		cmd := themisd(t, strings.Fields(c.args)...)
		out, _ := cmd.CombinedOutput() // the exit code is what counts
		if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.says) {
			t.Errorf("themisd %s: exit code %d, want %d; said %q", c.args, code, c.code, out)
		}
	}
}

// start initialises the replicas and starts them.
func start(t *testing.T, paths []string, logs []bytes.Buffer) (running []*exec.Cmd) {
	t.Cleanup(func() {
		for _, cmd := range running {
			if cmd.ProcessState == nil { // the test ended early
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}
		}
	})
	for i, path := range paths {
		if out, err := themisd(t, "--init", "--config", path).CombinedOutput(); err != nil {
			t.Fatalf("init: %v, %s", err, out)
		}
		cmd := themisd(t, "--config", path)
		cmd.Stderr = &logs[i]
		must(t, cmd.Start())
		running = append(running, cmd)
	}
	return running
}

// awaitReady waits until the replica with this admin endpoint says that it is ready.
func awaitReady(ctx context.Context, t *testing.T, admin string) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", nil)
		must(t, err)
		ready, err := http.DefaultClient.Do(q)
		must(t, err)
		must(t, ready.Body.Close())
		if ready.StatusCode == http.StatusOK {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("/readyz says %d after a request was ordered", ready.StatusCode)
		}
	}
}

// TestRunsAndStops initialises four replicas, has a request ordered and stops them.
func TestRunsAndStops(t *testing.T) {
	paths, all := files(t)
	out, err := themisd(t, "--config", paths[0]).CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("--init")) {
		t.Fatalf("without a directory: %v, %s", err, out)
	}
	logs := make([]bytes.Buffer, 4)
	running := start(t, paths, logs)
	if out, err := themisd(t, "--init", "--config", paths[0]).CombinedOutput(); err == nil {
		t.Errorf("initialised twice: %s", out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	key, err := keys.Generate("ed25519")
	must(t, err)
	cl, err := client.Open(ctx, client.Config{
		Membership: &all[0].Cluster.Membership, Replicas: all[0].Cluster.ClientAddrs, Key: key,
	})
	must(t, err)
	_, err = cl.Invoke(ctx, []byte("anything"))
	must(t, err)
	cl.Close()
	awaitReady(ctx, t, all[0].Listen.Admin)
	for _, cmd := range running {
		must(t, cmd.Process.Signal(syscall.SIGTERM))
	}
	for i, cmd := range running {
		limit := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() }) // Wait has no end of its own
		if err := cmd.Wait(); err != nil {
			t.Errorf("replica %d: %v\n%s", i, err, logs[i].String())
		}
		limit.Stop()
	}
}
