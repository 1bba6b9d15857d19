package cli

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/themis-bft/themis/bench"
	"github.com/themis-bft/themis/bench/history"
	"github.com/themis-bft/themis/internal/cluster"
)

func (s *session) benchCommand() *cobra.Command {
	return s.group("bench", "Measure a running cluster", s.benchRun(), s.benchVerify())
}

// benchFlags are what "bench run" was asked for.
type benchFlags struct {
	a                         access
	o                         bench.Options
	duration, warmup, timeout span
	mix, history              string
	asJSON                    bool
}

func (s *session) benchRun() *cobra.Command {
	var b benchFlags
	cmd := &cobra.Command{
		Use: "run", Short: "Drive load and print throughput, latency, processor time and memory", Args: takes(0, 0, ""),
		Long: "Drive load and print throughput, latency, processor time and memory.\n\n" +
			"Without --rate each client has one operation outstanding. With --rate operations arrive at that rate,\n" +
			"however slow the answers are, and latency counts from the instant of arrival.",
		Example: "  themis bench run --dir D --clients 100 --payload 100 --duration 30s\n" +
			"  themis bench run --dir D --mix put=50,get=40,cas=10 --keys 1000 --history h.jsonl",
	}
	f := cmd.Flags()
	dirFlag(cmd, &b.a.dir)
	f.StringVar(&b.a.file, "cluster", "", "public `FILE` of the cluster, instead of --dir")
	jsonFlag(cmd, &b.asJSON)
	f.IntVar(&b.o.Clients, "clients", 10, "clients, each with its own identity and connections")
	f.IntVar(&b.o.Payload, "payload", 100, "bytes of an operation (bench) or of a value (kv)")
	f.IntVar(&b.o.Reply, "reply", 100, "bytes of a reply (bench)")
	spanFlag(cmd, &b.duration, "duration", 10*time.Second, "how long to measure")
	spanFlag(cmd, &b.warmup, "warmup", time.Second, "how long to warm up first")
	spanFlag(cmd, &b.timeout, "timeout", deadlineDefault, "when to give up an operation")
	f.Float64Var(&b.o.Rate, "rate", 0, "operations a second that arrive, whatever the answers do; 0: closed loop")
	f.StringVar(&b.mix, "mix", "", "operations of kv and their shares, such as put=50,get=40,cas=10")
	f.IntVar(&b.o.Keys, "keys", 1000, "keys of kv")
	f.StringVar(&b.o.Prefix, "prefix", "bench/", "what the keys of kv begin with")
	f.StringVar(&b.history, "history", "", "write every operation of kv to `FILE` as JSON lines")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return s.bench(cmd, &b) }
	return cmd
}

func (s *session) bench(cmd *cobra.Command, b *benchFlags) error {
	var err error
	o := b.o
	o.Duration, o.Warmup, o.Timeout = time.Duration(b.duration), time.Duration(b.warmup), time.Duration(b.timeout)
	if o.Clients < 1 || o.Keys < 1 || o.Duration <= 0 || o.Payload < 0 || o.Reply < 0 || o.Rate < 0 {
		return usagef(cmd, "clients, keys and duration must be positive, sizes and rate not negative")
	}
	if o.Cluster, err = b.a.public(); err != nil {
		return err
	}
	if o.Cluster.Membership.App != "kv" && (b.mix != "" || b.history != "") {
		return usagef(cmd, "--mix and --history are for kv; the cluster runs %s", o.Cluster.Membership.App)
	}
	if b.mix != "" {
		if o.Mix, err = bench.ParseMix(b.mix); err != nil {
			return usagef(cmd, "--mix: %v", err)
		}
	}
	durability := ""
	if b.a.file == "" {
		if o.Replicas, durability, err = s.processes(b.a.dir); err != nil {
			return err
		}
	}
	if b.history != "" {
		file, err := os.Create(b.history)
		if err != nil {
			return &failure{code: exitFailed, what: "writing the history", err: err, hint: "choose another file with --history"}
		}
		defer file.Close() //nolint:errcheck // flushed and checked below
		o.History = history.NewWriter(file)
	}
	o.Started = func() { s.sayf("%d clients are connected", o.Clients) }
	ctx, stop := interruptible(cmd)
	defer stop()
	report, err := bench.Run(ctx, o)
	if err != nil {
		return b.a.explain(err)
	}
	if o.History != nil {
		if err := o.History.Flush(); err != nil {
			return &failure{code: exitFailed, what: "writing the history", err: err, hint: "check that the disk has room"}
		}
	}
	if durability != "" {
		report.Config["durability"] = durability
	}
	report.Config["version"] = s.describe().Version
	if b.asJSON {
		return s.print(report)
	}
	s.benchReport(report)
	return nil
}

// processes finds the replicas that run on this machine, and how durable they are.
func (s *session) processes(dir string) (find func() []bench.Process, durability string, err error) {
	c, err := cluster.Open(dir, s.talk)
	if err != nil {
		return nil, "", err
	}
	find = func() (all []bench.Process) {
		for _, w := range c.Layout().Replicas {
			if w.PID != nil {
				all = append(all, bench.Process{ID: w.ID, PID: *w.PID})
			}
		}
		return all
	}
	return find, string(c.Replicas[0].Config.Durability), nil
}

func (s *session) benchReport(r *bench.Report) {
	s.line("%.0f requests/s (%d in %.1f s, %d errors) by %d clients", r.Throughput, r.Requests, r.Seconds, r.Errors, r.Clients)
	s.line("latency in µs: mean %.0f, p50 %d, p90 %d, p99 %d, p99.9 %d, max %d",
		r.Latency.Mean, r.Latency.P50, r.Latency.P90, r.Latency.P99, r.Latency.P999, r.Latency.Max)
	s.line("processor time per request in µs: %.1f, of which clients %.1f", r.CPU, r.ClientCPU)
	for _, x := range r.Replicas {
		s.line("  r%d  processor %.1f µs/request  memory %.1f MiB (most %.1f)", x.ID, x.CPU, float64(x.RSS)/(1<<20), float64(x.HWM)/(1<<20))
	}
}
