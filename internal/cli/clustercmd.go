package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/themis-bft/themis/internal/cluster"
	"github.com/themis-bft/themis/internal/lying"
)

func (s *session) clusterCommand() *cobra.Command {
	return s.group("cluster", "Run a cluster on this machine",
		s.clusterUp(), s.clusterStatus(), s.clusterLogs(),
		s.clusterVerb("kill", "End a replica as a crash does (kill -9)", (*cluster.Cluster).Kill),
		s.clusterVerb("start", "Start a replica; returns when it listens", (*cluster.Cluster).Start),
		s.clusterVerb("pause", "Freeze a replica (SIGSTOP)", (*cluster.Cluster).Pause),
		s.clusterVerb("resume", "Let a frozen replica go on (SIGCONT)", (*cluster.Cluster).Resume),
		s.clusterLie(), s.clusterDown())
}

// with opens the cluster of a directory under its lock and closes both behind f.
func (s *session) with(dir string, f func(*cluster.Cluster) error) error {
	if !cluster.Exists(dir) {
		_, err := cluster.Open(dir, s.talk) // which says what to do
		return err
	}
	release, err := cluster.Lock(dir)
	if err != nil {
		return err
	}
	defer release()
	c, err := cluster.Open(dir, s.talk)
	if err != nil {
		return err
	}
	return f(c)
}

func (s *session) clusterUp() *cobra.Command {
	var p cluster.Plan
	var asJSON bool
	cmd := &cobra.Command{
		Use: "up", Short: "Start a cluster, laying it out first if there is none; returns when all replicas are ready", Args: takes(0, 0, ""),
		Example: "  themis cluster up --dir D --replicas 4 --protocol pbft --app kv",
	}
	dirFlag(cmd, &p.Dir)
	planFlags(cmd, &p)
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkPlan(cmd, &p); err != nil {
			return err
		}
		release, err := cluster.Lock(p.Dir)
		if err != nil {
			return err
		}
		defer release()
		if !cluster.Exists(p.Dir) {
			if err := cluster.Create(p); err != nil {
				return err
			}
		}
		c, err := cluster.Open(p.Dir, s.talk)
		if err != nil {
			return err
		}
		if err := resumes(cmd, c, &p); err != nil {
			return err
		}
		if err := c.Up(); err != nil {
			return err
		}
		if asJSON {
			return s.print(c.Layout())
		}
		for _, w := range c.Layout().Replicas {
			s.line("r%d  process %d  peers %s  clients %s  admin %s", w.ID, *w.PID, w.PeerAddr, w.ClientAddr, w.AdminAddr)
		}
		return nil
	}
	return cmd
}

// resumes checks that what was asked for explicitly is what the directory holds.
func resumes(cmd *cobra.Command, c *cluster.Cluster, p *cluster.Plan) error {
	m := &c.Public.Membership
	for _, f := range []struct{ flag, have, want string }{
		{"replicas", strconv.Itoa(m.N()), strconv.Itoa(p.Replicas)},
		{"f", strconv.Itoa(m.F), strconv.Itoa(p.F)},
		{"protocol", m.Protocol, p.Membership.Protocol},
		{"app", m.App, p.Membership.App},
		{"scheme", m.Scheme, p.Membership.Scheme},
		{"durability", string(c.Replicas[0].Config.Durability), string(p.Durability)},
	} {
		if cmd.Flags().Changed(f.flag) && f.have != f.want && (f.flag != "f" || p.F >= 0) {
			return &failure{
				code: exitFailed, what: fmt.Sprintf("%s holds a cluster with %s = %s, not %s", c.Dir, f.flag, f.have, f.want),
				hint: fmt.Sprintf("resume it with: themis cluster up --dir %s, or choose another --dir", p.Dir),
			}
		}
	}
	return nil
}

func (s *session) clusterStatus() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{Use: "status", Short: "Show processes and what each replica says of itself", Args: takes(0, 0, "")}
	dirFlag(cmd, &dir)
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(*cobra.Command, []string) error {
		c, err := cluster.Open(dir, s.talk)
		if err != nil {
			return err
		}
		status := c.Status()
		if asJSON {
			return s.print(status)
		}
		t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "replica\tprocess\tstate\tview\tprimary\texecuted\tstable\tdigest\tmemory")
		for _, r := range status.Replicas {
			digest := "-"
			if r.StateDigest != nil {
				digest = (*r.StateDigest)[:min(12, len(*r.StateDigest))]
			}
			memory := "-"
			if r.RSS != nil {
				memory = fmt.Sprintf("%.1f MiB", float64(*r.RSS)/(1<<20))
			}
			fmt.Fprintf(t, "r%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, known(r.PID), state(&r),
				known(r.View), known(r.Primary), known(r.Executed), known(r.Stable), digest, memory)
		}
		return t.Flush()
	}
	return cmd
}

// known prints a value that may not be known.
func known[T any](v *T) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprint(*v)
}

func state(r *cluster.Condition) string {
	switch {
	case !r.Alive:
		return "down"
	case r.Paused:
		return "paused"
	case r.Lies != nil:
		return "lies (" + *r.Lies + ")"
	case r.Ready != nil && *r.Ready:
		return "ready"
	}
	return "not ready"
}

func (s *session) clusterLogs() *cobra.Command {
	var dir string
	var lines int
	var asJSON bool
	cmd := &cobra.Command{Use: "logs [R]…", Short: "Print the end of the replicas' logs", Args: takes(0, -1, "replicas")}
	dirFlag(cmd, &dir)
	jsonFlag(cmd, &asJSON)
	cmd.Flags().IntVar(&lines, "lines", 20, "how many lines of each")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := cluster.Open(dir, s.talk)
		if err != nil {
			return err
		}
		for _, r := range c.Replicas {
			if len(args) > 0 && !slices.ContainsFunc(args, func(a string) bool { return strings.TrimPrefix(a, "r") == strconv.Itoa(int(r.ID)) }) {
				continue
			}
			last, err := tail(c.LogPath(r.ID), lines)
			if err != nil {
				return &failure{code: exitFailed, what: "reading the log", err: err, hint: "a replica that never ran has none; see: themis cluster status --dir " + dir}
			}
			for _, text := range last {
				if !asJSON {
					s.line("%s  %s", r.ID, text)
				} else if err := s.print(map[string]any{"id": r.ID, "line": text}); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return cmd
}

// logTailBytes is how much of a log is read for its last lines.
const logTailBytes = 1 << 20

// tail returns the last lines of a file.
func tail(path string, lines int) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return nil, err
	}
	b := make([]byte, min(size, logTailBytes))
	if _, err := f.ReadAt(b, size-int64(len(b))); err != nil {
		return nil, err
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return all[max(0, len(all)-max(lines, 0)):], nil
}

// clusterVerb is a command that does one thing to one replica.
func (s *session) clusterVerb(name, short string, do func(*cluster.Cluster, int) error) *cobra.Command {
	var dir string
	cmd := &cobra.Command{Use: name + " R", Short: short, Args: takes(1, 1, "the number of a replica")}
	dirFlag(cmd, &dir)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := replicaNumber(cmd, args[0])
		if err != nil {
			return err
		}
		return s.with(dir, func(c *cluster.Cluster) error { return do(c, id) })
	}
	return cmd
}

func replicaNumber(cmd *cobra.Command, text string) (int, error) {
	id, err := strconv.Atoi(strings.TrimPrefix(text, "r"))
	if err != nil {
		return 0, usagef(cmd, "%q is no replica; write 0 for r0", text)
	}
	return id, nil
}

func (s *session) clusterLie() *cobra.Command {
	var dir, how string
	var ways strings.Builder
	for _, w := range lying.All() {
		fmt.Fprintf(&ways, "\n  %-18s %s", w, lying.Explain(w))
	}
	cmd := &cobra.Command{
		Use: "lie R", Short: "Replace a replica by one that lies", Args: takes(1, 1, "the number of a replica"),
		Long: "Replace a replica by one that lies, with its key and its data.\n\nWays to lie (--how):" + ways.String(),
	}
	dirFlag(cmd, &dir)
	cmd.Flags().StringVar(&how, "how", "wrong-replies", "way to lie")
	choices(cmd, "how", lying.All()...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := replicaNumber(cmd, args[0])
		if err != nil {
			return err
		}
		if !slices.Contains(lying.All(), how) {
			return usagef(cmd, "--how %q is not known; known: %s", how, strings.Join(lying.All(), ", "))
		}
		return s.with(dir, func(c *cluster.Cluster) error { return c.Lie(id, how) })
	}
	return cmd
}

func (s *session) clusterDown() *cobra.Command {
	var dir string
	var purge bool
	cmd := &cobra.Command{Use: "down", Short: "Stop all replicas; their data stays", Args: takes(0, 0, "")}
	dirFlag(cmd, &dir)
	cmd.Flags().BoolVar(&purge, "purge", false, "remove the cluster's directory too")
	cmd.RunE = func(*cobra.Command, []string) error {
		return s.with(dir, func(c *cluster.Cluster) error {
			if err := c.Down(); err != nil {
				return err
			}
			if !purge {
				s.sayf("stopped; start again with: themis cluster up --dir %s", dir)
				return nil
			}
			return c.Purge()
		})
	}
	return cmd
}
