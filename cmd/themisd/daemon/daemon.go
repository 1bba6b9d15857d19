// Package daemon is the program around a replica: it reads the configuration, builds
// replica.Options from it, runs the replica until the process is told to stop, and turns the
// outcome into an exit code. themisd calls Main; themisd-byz calls it with a Wrap that makes the
// replica lie. It runs on the main goroutine and owns the process: its signals, its standard
// output and its exit code.
package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/themis-bft/themis/assembly"
	"github.com/themis-bft/themis/auth/sig"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/config"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/replica"
	"github.com/themis-bft/themis/storage/disk"
	"github.com/themis-bft/themis/transport/tcp"
)

// The exit codes of a replica's program.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// stopPatience is how long a stopping replica may take to write and send what it has.
const stopPatience = 5 * time.Second

// Program is what differs between the programs that run a replica.
type Program struct {
	Name  string
	Flags func(*flag.FlagSet) // adds flags of its own; may be nil
	// Wrap may change the options of the replica before it starts; may be nil.
	Wrap func(*replica.Options) error
}

// Main runs the program with the given arguments and returns its exit code.
func Main(p Program, args []string) int {
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	file := flags.String("config", "", "configuration `FILE` of this replica (themis.toml)")
	version := flags.Bool("version", false, "print the version and exit")
	initialise := flags.Bool("init", false, "initialise the data directory of this replica once, and exit")
	if p.Flags != nil {
		p.Flags(flags)
	}
	flags.Usage = func() { usage(flags) }
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		return exitUsage
	}
	switch {
	case *version:
		fmt.Println(p.Name, Version())
		return exitOK
	case *file == "" || flags.NArg() > 0:
		fmt.Fprintf(os.Stderr, "%s: give the configuration with --config FILE, and nothing else\n", p.Name)
		return exitUsage
	}
	c, err := config.Load(*file)
	if err != nil {
		return report(p.Name, err)
	}
	if *initialise {
		return report(p.Name, initDir(c))
	}
	return report(p.Name, run(p, c))
}

func usage(flags *flag.FlagSet) {
	w := flags.Output()
	fmt.Fprintf(w, "%s runs one replica of a cluster until it gets SIGTERM or SIGINT.\n\n", flags.Name())
	flags.PrintDefaults()
	fmt.Fprintln(w, "\nexit codes: 0 stopped as told, 1 failed, 2 usage")
}

func report(name string, err error) int {
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	return exitFailed
}

// Version is the version of this build: the module's, or the revision it was built from.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version, dirty := info.Main.Version, ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && (version == "" || version == "(devel)"):
			version = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if version == "" {
		version = "(devel)"
	}
	return version + dirty
}

func initDir(c *config.Config) error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	files, err := disk.Open(c.Dir)
	if err != nil {
		return err
	}
	return replica.Init(files, &c.Cluster.Membership, c.Replica)
}

// run starts the replica and waits until the process is told to stop.
func run(p Program, c *config.Config) error {
	replica.SetCollector(c.MemoryLimit)
	o, err := options(c, logger(os.Stderr, c.Log))
	if err != nil {
		return err
	}
	if p.Wrap != nil {
		if err := p.Wrap(&o); err != nil {
			return err
		}
	}
	told, forget := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer forget()
	r, err := replica.Start(o)
	if err != nil {
		return err
	}
	<-told.Done()
	o.Log.Info("stopping", "replica", int(c.Replica))
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	return r.Close(ctx)
}

// options builds what the replica needs from its configuration.
func options(c *config.Config, log *slog.Logger) (replica.Options, error) {
	m := &c.Cluster.Membership
	var o replica.Options
	key, err := keys.Load(c.KeyFile)
	if err != nil {
		return o, err
	}
	family, err := assembly.Protocol(m.Protocol)
	if err != nil {
		return o, err
	}
	if err := family.Replicas(m.N(), m.F); err != nil {
		return o, err
	}
	machine, err := assembly.App(m.App)
	if err != nil {
		return o, err
	}
	verifier, err := sig.New(m)
	if err != nil {
		return o, err
	}
	files, err := disk.Open(c.Dir)
	if err != nil {
		return o, fmt.Errorf("%w (initialise the directory once with: themisd --init --config %s)", err, c.Path)
	}
	limits := linkLimits(m.N(), log)
	links, err := tcp.New(tcp.Options{
		Self: c.Replica, Membership: m, Key: key, ListenPeer: c.Listen.Peer, ListenClient: c.Listen.Client,
		Dial: dials(c), Log: log, Limits: limits,
	})
	if err != nil {
		return o, err
	}
	return replica.Options{
		Self: c.Replica, Membership: m, Family: family, Auth: verifier, Signer: key.Signer(),
		Machine: machine, Transport: links, Files: files, Unsynced: c.Durability == config.Memory,
		Patience: bft.Duration(c.Timeouts.Patience), NewViewPatience: bft.Duration(c.Timeouts.NewView),
		PatienceMax: bft.Duration(c.Timeouts.PatienceMax), Resend: bft.Duration(c.Timeouts.Resend),
		Admin: c.Listen.Admin, MemoryLimit: c.MemoryLimit, LinkBytes: limits.MemoryMax(m.N()),
		Version: Version(), Log: log,
		Refused: func() map[string]uint64 { return links.Stats().Refused },
		Links:   func() []replica.Link { return directions(links.Stats().Peers) },
	}, nil
}

// directions is what the transport tells of the links with the other replicas.
func directions(peers []tcp.PeerStats) []replica.Link {
	list := make([]replica.Link, len(peers))
	for i, p := range peers {
		list[i] = replica.Link{In: p.In, Out: p.Out, LastError: p.LastError}
	}
	return list
}

func dials(c *config.Config) []string {
	list := make([]string, c.Cluster.Membership.N())
	for _, p := range c.Peers {
		list[p.ID] = p.Dial
	}
	return list
}

func logger(w io.Writer, l config.Log) *slog.Logger {
	var level slog.Level
	if level.UnmarshalText([]byte(l.Level)) != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
