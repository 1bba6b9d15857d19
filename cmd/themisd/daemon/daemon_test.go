package daemon_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
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
	"github.com/themis-bft/themis/keys"
)

// TestMain lets the test binary be the program: with THEMISD_ARGS set it runs as themisd.
func TestMain(m *testing.M) {
	if args := os.Getenv("THEMISD_ARGS"); args != "" {
		os.Exit(daemon.Main(daemon.Program{Name: "themisd"}, strings.Fields(args)))
	}
	os.Exit(m.Run())
}

// themisd is the program with these arguments.
func themisd(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "THEMISD_ARGS="+strings.Join(args, " "))
	return cmd
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// address finds a port nobody listens on.
func address(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// files writes the configuration of a cluster of four and returns it.
func files(t *testing.T, dir string) (paths []string, all []*config.Config) {
	m := bft.Membership{Cluster: bft.ClusterID{7}, App: "counter", F: 1, Open: true}
	config.SetDefaults(&m)
	cluster := &config.Cluster{}
	for i := range 4 {
		k, err := keys.Generate("ed25519")
		must(t, err)
		must(t, k.Save(filepath.Join(dir, fmt.Sprintf("key%d", i))))
		m.Replicas = append(m.Replicas, bft.Replica{Key: k.PublicDER()})
		cluster.ClientAddrs = append(cluster.ClientAddrs, address(t))
	}
	cluster.Membership = m
	must(t, config.WriteCluster(filepath.Join(dir, "cluster.toml"), cluster))
	peers := []string{address(t), address(t), address(t), address(t)}
	for i := range 4 {
		c := &config.Config{
			Replica: bft.ReplicaID(i), ClusterFile: "cluster.toml", KeyFile: fmt.Sprintf("key%d", i),
			Dir: fmt.Sprintf("data%d", i), Durability: config.Sync, MemoryLimit: 256 << 20,
			Listen:   config.Listen{Peer: peers[i], Client: cluster.ClientAddrs[i], Admin: address(t)},
			Timeouts: config.DefaultTimeouts(), Log: config.Log{Level: "info", Format: "json"},
		}
		for j := range 4 {
			if j != i {
				c.Peers = append(c.Peers, config.Peer{ID: bft.ReplicaID(j), Dial: peers[j]})
			}
		}
		path := filepath.Join(dir, fmt.Sprintf("themis%d.toml", i))
		must(t, config.Write(path, c))
		loaded, err := config.Load(path)
		must(t, err)
		paths, all = append(paths, path), append(all, loaded)
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
		cmd := themisd(c.args)
		out, _ := cmd.CombinedOutput() // the exit code is what counts
		if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.says) {
			t.Errorf("themisd %s: exit code %d, want %d; said %q", c.args, code, c.code, out)
		}
	}
}

// TestRunsAndStops initialises four replicas, has a request ordered and stops them.
func TestRunsAndStops(t *testing.T) {
	paths, all := files(t, t.TempDir())
	out, err := themisd("--config", paths[0]).CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("--init")) {
		t.Fatalf("without a directory: %v, %s", err, out)
	}
	var running []*exec.Cmd
	var logs [4]bytes.Buffer
	for i, path := range paths {
		if out, err := themisd("--init", "--config", path).CombinedOutput(); err != nil {
			t.Fatalf("init: %v, %s", err, out)
		}
		cmd := themisd("--config", path)
		cmd.Stderr = &logs[i]
		must(t, cmd.Start())
		running = append(running, cmd)
	}
	stopped := false
	defer func() {
		if !stopped {
			for _, cmd := range running {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}
		}
	}()
	if out, err := themisd("--init", "--config", paths[0]).CombinedOutput(); err == nil {
		t.Errorf("initialised twice: %s", out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
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
	ready, err := http.Get("http://" + all[0].Listen.Admin + "/readyz")
	must(t, err)
	must(t, ready.Body.Close())
	if ready.StatusCode != http.StatusOK {
		t.Errorf("/readyz says %d after a request was ordered", ready.StatusCode)
	}
	begin := time.Now()
	for _, cmd := range running {
		must(t, cmd.Process.Signal(syscall.SIGTERM))
	}
	stopped = true
	for i, cmd := range running {
		if err := cmd.Wait(); err != nil {
			t.Errorf("replica %d: %v\n%s", i, err, logs[i].String())
		}
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
}
