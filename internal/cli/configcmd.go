package cli

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/themis-bft/themis/config"
	"github.com/themis-bft/themis/internal/cluster"
)

func (s *session) configCommand() *cobra.Command {
	return s.group("config", "Check and show configuration files", s.configValidate(), s.configShow())
}

func (s *session) configValidate() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "validate [FILE]…", Short: "Check themis.toml and cluster.toml files, or all of a directory", Args: takes(0, -1, "files"),
	}
	dirFlag(cmd, &dir)
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(_ *cobra.Command, files []string) error {
		err := s.validate(dir, files)
		var problems config.Problems
		if !asJSON || err != nil && !errors.As(err, &problems) {
			return err
		}
		found := make([]map[string]any, 0, len(problems))
		for _, p := range problems {
			found = append(found, map[string]any{"file": p.File, "line": p.Line, "what": p.What, "hint": p.Hint})
		}
		return errors.Join(s.print(map[string]any{"ok": err == nil, "problems": found}), err)
	}
	return cmd
}

// validate checks files, or the whole directory if none is named.
func (s *session) validate(dir string, files []string) error {
	if len(files) == 0 {
		c, err := cluster.Open(dir, s.talk)
		if err == nil {
			s.sayf("%s and %d replicas are well", c.Public.Path, len(c.Replicas))
		}
		return err
	}
	for _, f := range files {
		if _, _, err := load(f); err != nil {
			return err
		}
		s.sayf("%s is well", f)
	}
	return nil
}

// load reads a file of either kind, which its contents tell: a replica's names a replica.
func load(path string) (*config.Config, *config.Cluster, error) {
	b, err := os.ReadFile(path)
	if err == nil && isCluster(path, b) {
		c, err := config.LoadCluster(path)
		return nil, c, err
	}
	c, err := config.Load(path)
	return c, nil, err
}

func isCluster(path string, b []byte) bool {
	return filepath.Base(path) == "cluster.toml" || bytes.Contains(b, []byte("[[replicas]]"))
}

func (s *session) configShow() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "show FILE", Short: "Print a file with every default filled in", Args: takes(1, 1, "FILE")}
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		replica, public, err := load(args[0])
		switch {
		case err != nil:
			return err
		case replica != nil && asJSON:
			return s.print(showReplica(replica))
		case replica != nil:
			s.line("%s", bytes.TrimRight(config.Render(replica), "\n"))
		case asJSON:
			return s.print(showCluster(public))
		default:
			s.line("%s", bytes.TrimRight(config.RenderCluster(public), "\n"))
		}
		return nil
	}
	return cmd
}

// showReplica is a replica's file with the names that the file has.
func showReplica(c *config.Config) map[string]any {
	peers := make([]map[string]any, 0, len(c.Peers))
	for _, p := range c.Peers {
		peers = append(peers, map[string]any{"id": p.ID, "dial": p.Dial})
	}
	return map[string]any{
		"replica": c.Replica, "cluster": c.ClusterFile, "key": c.KeyFile, "dir": c.Dir,
		"durability": c.Durability, "memory_limit": c.MemoryLimit,
		"listen": map[string]string{"peer": c.Listen.Peer, "client": c.Listen.Client, "admin": c.Listen.Admin},
		"timeouts": map[string]string{
			"patience": c.Timeouts.Patience.String(), "new_view": c.Timeouts.NewView.String(),
			"patience_max": c.Timeouts.PatienceMax.String(), "resend": c.Timeouts.Resend.String(),
		},
		"log": map[string]string{"level": c.Log.Level, "format": c.Log.Format}, "peers": peers,
	}
}

// showCluster is the public file with the names that the file has.
func showCluster(c *config.Cluster) map[string]any {
	m := &c.Membership
	replicas, clients := []map[string]any{}, []map[string]any{}
	for i, r := range m.Replicas {
		replicas = append(replicas, map[string]any{"id": i, "key": base64.StdEncoding.EncodeToString(r.Key), "client": c.ClientAddrs[i]})
	}
	for _, k := range m.Clients {
		clients = append(clients, map[string]any{"key": base64.StdEncoding.EncodeToString(k.Key)})
	}
	return map[string]any{
		"cluster": m.Cluster.String(), "epoch": m.Epoch, "protocol": m.Protocol, "app": m.App, "f": m.F, "scheme": m.Scheme, "open": m.Open,
		"parameters": map[string]any{
			"checkpoint_every": m.CheckpointEvery, "window": m.Window, "in_flight": m.InFlight, "batch_count": m.BatchCount,
			"batch_bytes": m.BatchBytes, "sessions": m.Sessions, "time_skew_ns": m.TimeSkew,
		},
		"replicas": replicas, "clients": clients,
	}
}
