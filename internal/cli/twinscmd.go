package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/sim/twins"
)

// twinsFlags are what the command line of sim twins says beside the options of a campaign.
type twinsFlags struct {
	twin, part, schedule string
	asJSON               bool
}

func (s *session) simTwins() *cobra.Command {
	var o twins.Options
	var f twinsFlags
	cmd := &cobra.Command{
		Use: "twins", Short: "Run honest code twice under one identity in every partition; exit code 1 if a checker complained", Args: takes(0, 0, ""),
		Example: "  themis sim twins --replicas 4 --twin 0\n  themis sim twins --replicas 7 --twins 2 --samples 10000 --seed 1",
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Replicas, "replicas", 4, "number of replicas")
	flags.IntVar(&o.Rounds, "rounds", 3, "views with a partition of their own before everything heals")
	flags.StringVar(&f.twin, "twin", "all", "identity that runs twice, several as 0+1, or each in turn: all")
	flags.IntVar(&o.Draw, "twins", 1, "with --samples and --twin all: how many identities run twice, drawn per sample")
	flags.Uint64Var(&o.Samples, "samples", 0, "draw that many schedules; 0: run every one")
	flags.Uint64Var(&o.Seed, "seed", 1, "seed of the samples")
	flags.StringVar(&f.part, "part", "1/1", "run one of several equal parts, such as 3/8")
	flags.StringVar(&f.schedule, "schedule", "", "run one schedule and print its message chart")
	flags.IntVar(&o.Jobs, "jobs", runtime.GOMAXPROCS(0), "runs at once")
	jsonFlag(cmd, &f.asJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.schedule != "" {
			return s.twinsReplay(cmd, &f)
		}
		if err := f.into(&o); err != nil {
			return usagef(cmd, "%v", err)
		}
		return s.twinsRun(cmd, &o, &f)
	}
	return cmd
}

// into enters the flags that are texts into the options.
func (f *twinsFlags) into(o *twins.Options) error {
	if f.twin != "all" {
		for name := range strings.SplitSeq(f.twin, "+") {
			id, err := strconv.ParseUint(name, 10, 16)
			if err != nil {
				return fmt.Errorf("--twin %q is no replica; write 0, 0+1 or all", f.twin)
			}
			o.Twins = append(o.Twins, bft.ReplicaID(id))
		}
	}
	part, parts, _ := strings.Cut(f.part, "/")
	var err1, err2 error
	o.Part, err1 = strconv.ParseUint(part, 10, 16)
	o.Parts, err2 = strconv.ParseUint(parts, 10, 16)
	if err1 != nil || err2 != nil || o.Part < 1 || o.Part > o.Parts {
		return fmt.Errorf("--part %q is no part; write 3/8", f.part)
	}
	return nil
}

func (s *session) twinsRun(cmd *cobra.Command, o *twins.Options, f *twinsFlags) error {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // many short runs: a third of the time is collecting otherwise
	r, err := twins.Campaign(*o)
	if err != nil {
		return usagef(cmd, "%v", err)
	}
	if f.asJSON {
		if err := s.print(r); err != nil {
			return err
		}
	} else {
		s.twinsReport(&r)
	}
	if r.Violations == 0 {
		return nil
	}
	first := r.Failures[0]
	return &failure{
		code: exitFailed, what: fmt.Sprintf("%d violations; one is %s: %s", r.Violations, first.Checker, first.Detail),
		hint: "watch it with: themis sim twins --schedule " + first.Schedule,
	}
}

func (s *session) twinsReport(r *twins.Report) {
	s.line("%d schedules (%d of them repeat another and were not run), %d violations, %d events, trace %s",
		r.Schedules, r.Repeated, r.Violations, r.Events, r.Hash)
	s.line("%d slots executed before the healing, %d views entered, %d state transfers, %d messages lost", r.Commits, r.Entered, r.Transfers, r.Lost)
	for v, n := range r.Views {
		if n > 0 {
			s.line("  %-44s %d", fmt.Sprintf("schedules that decided in view %d", v), n)
		}
	}
	s.line("  %-44s %d", "schedules that decided nothing until healed", r.Idle)
	s.line("  %-44s %d", "schedules with conflicting proposals", r.Conflicting)
	s.line("  %-44s %d", "schedules where equivocation was noticed", r.Equivocations)
	s.line("  %-44s %d rounds, %d views", "at most, from healing to a fresh batch", r.HealRounds, r.HealViews)
	for _, f := range r.Failures {
		s.line("VIOLATION %s, %s: %s", f.Schedule, f.Checker, f.Detail)
	}
}

// twinsReplay runs one schedule with its chart.
func (s *session) twinsReplay(cmd *cobra.Command, f *twinsFlags) error {
	schedule, err := twins.ParseSchedule(f.schedule)
	if err != nil {
		return usagef(cmd, "--schedule: %v", err)
	}
	chart := s.out
	if f.asJSON {
		chart = io.Discard
	}
	out, err := twins.Run(schedule, chart)
	if err != nil {
		return usagef(cmd, "--schedule: %v", err)
	}
	if f.asJSON {
		found := []twins.Failure{}
		for _, v := range out.Violations {
			found = append(found, twins.Failure{Schedule: f.schedule, Checker: v.Checker, Detail: v.Detail})
		}
		if err := s.print(map[string]any{"schedule": f.schedule, "failures": found, "events": out.Events, "trace_hash": fmt.Sprintf("%016x", out.Hash)}); err != nil {
			return err
		}
	}
	if len(out.Violations) > 0 {
		v := out.Violations[0]
		return &failure{code: exitFailed, what: fmt.Sprintf("%s: %s", v.Checker, v.Detail), hint: "read the chart above from its end"}
	}
	return nil
}
