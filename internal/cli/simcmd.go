package cli

import (
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/themis-bft/themis/assembly"
	"github.com/themis-bft/themis/sim"
	"github.com/themis-bft/themis/sim/check"
)

func (s *session) simCommand() *cobra.Command {
	return s.group("sim", "Run whole clusters in a simulated world, from a seed", s.simRun(), s.simReplay(), s.simShrink(), s.simTwins(), s.simList())
}

// simFlags are the flags that a run and its replay share.
func simFlags(cmd *cobra.Command, o *sim.Options) {
	f := cmd.Flags()
	f.StringVar(&o.Protocol, "protocol", "pbft", "protocol: "+strings.Join(assembly.Protocols(), ", "))
	f.IntVar(&o.Replicas, "replicas", 4, "number of replicas")
	f.IntVar(&o.Byzantine, "byzantine", -1, "faulty replicas; -1: 0 to f, drawn per seed")
	f.StringSliceVar(&o.Without, "without", nil, "checkers that are switched off: "+strings.Join(check.Names(), ", "))
	f.StringSliceVar(&o.Strategies, "strategy", nil, "what faulty replicas do (themis sim list); none: drawn per seed")
	f.StringSliceVar(&o.Leave, "leave", nil, "switch off parts of the seed: a fault, a liar (r0), clients (themis sim shrink finds them)")
	choices(cmd, "protocol", assembly.Protocols()...)
}

func checkSim(cmd *cobra.Command, o *sim.Options) error {
	family, err := assembly.Protocol(o.Protocol)
	if err != nil {
		return usagef(cmd, "%v", err)
	}
	if err := family.Replicas(o.Replicas, 1); err != nil {
		return usagef(cmd, "--replicas: %v", err)
	}
	if o.Byzantine < -1 || o.Byzantine > o.Replicas {
		return usagef(cmd, "--byzantine is -1 to %d, not %d", o.Replicas, o.Byzantine)
	}
	for _, name := range o.Without {
		if !slices.Contains(check.Names(), name) {
			return usagef(cmd, "--without %q is not known; known: %s", name, strings.Join(check.Names(), ", "))
		}
	}
	for _, name := range o.Strategies {
		if !slices.Contains(sim.Strategies(), name) {
			return usagef(cmd, "--strategy %q is not known; known: %s", name, strings.Join(sim.Strategies(), ", "))
		}
	}
	for _, name := range o.Leave {
		if !slices.Contains(sim.Parts(o.Replicas), name) {
			return usagef(cmd, "--leave %q is not known; known: %s", name, strings.Join(sim.Parts(o.Replicas), ", "))
		}
	}
	return nil
}

func (s *session) simRun() *cobra.Command {
	var o sim.Options
	var seeds string
	var limit time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use: "run", Short: "Run many seeds under all checkers; exit code 1 if one complained", Args: takes(0, 0, ""),
		Example: "  themis sim run --protocol pbft --replicas 4 --seeds 1-2000",
	}
	simFlags(cmd, &o)
	cmd.Flags().StringVar(&seeds, "seeds", "1-100", "seeds, both ends included")
	cmd.Flags().IntVar(&o.Jobs, "jobs", runtime.GOMAXPROCS(0), "runs at once")
	cmd.Flags().BoolVar(&o.First, "first", false, "stop at the first seed that fails")
	cmd.Flags().DurationVar(&limit, "for", 0, "stop after this time, however many seeds are left; 0: run all")
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if o.From, o.To, err = seedRange(seeds); err != nil {
			return usagef(cmd, "--seeds: %v", err)
		}
		if err := checkSim(cmd, &o); err != nil {
			return err
		}
		if end := time.Now().Add(limit); limit > 0 {
			o.Enough = func() bool { return time.Now().After(end) }
		}
		report, err := sim.Campaign(o)
		if err != nil {
			return &failure{code: exitFailed, err: err, hint: "see: themis sim run --help"}
		}
		if asJSON {
			err = s.print(report)
		} else {
			s.simReport(&report)
		}
		if err == nil && len(report.Violations) > 0 {
			return &failure{
				code: exitFailed, what: fmt.Sprintf("%d violations; the first with seed %d: %s", len(report.Violations), report.Violations[0].Seed, report.Violations[0].Checker),
				hint: "watch it with: " + replayLine(&o, report.Violations[0].Seed),
			}
		}
		if err == nil && len(report.Unreached) > 0 {
			return &failure{
				code: exitFailed, what: fmt.Sprintf("%d seeds never met: %s", report.Seeds, strings.Join(report.Unreached, ", ")),
				hint: "a campaign that never met a thing shows nothing about it; run more seeds, or mend what keeps them from it",
			}
		}
		return err
	}
	return cmd
}

// replayLine is the command that shows one seed.
func replayLine(o *sim.Options, seed uint64) string {
	line := fmt.Sprintf("themis sim replay %d --protocol %s --replicas %d", seed, o.Protocol, o.Replicas)
	if o.Byzantine >= 0 {
		line += fmt.Sprintf(" --byzantine %d", o.Byzantine)
	}
	for _, name := range o.Strategies {
		line += " --strategy " + name
	}
	for _, name := range o.Leave {
		line += " --leave " + name
	}
	return line
}

func seedRange(text string) (from, to uint64, err error) {
	first, last, ok := strings.Cut(text, "-")
	if !ok {
		last = first
	}
	from, err1 := strconv.ParseUint(first, 10, 64)
	to, err2 := strconv.ParseUint(last, 10, 64)
	if err1 != nil || err2 != nil || to < from {
		return 0, 0, fmt.Errorf("%q is no range; write 1-2000", text)
	}
	return from, to, nil
}

func (s *session) simReport(r *sim.Report) {
	s.line("%d seeds, %d violations, %d events, %.0f virtual seconds", r.Seeds, len(r.Violations), r.Events, r.VirtualSeconds)
	s.line("%d commits, %d operations, %d view changes, %d state transfers, trace %s",
		r.Commits, r.Operations, r.ViewChanges, r.StateTransfers, r.TraceHash)
	for _, name := range slices.Sorted(maps.Keys(r.Sometimes)) {
		s.line("  %-40s %d", name, r.Sometimes[name])
	}
	s.simReached(r)
	for _, v := range r.Violations {
		s.line("VIOLATION seed %d, %s: %s", v.Seed, v.Checker, v.Detail)
	}
}

// simReached prints what the adversary did in a campaign.
func (s *session) simReached(r *sim.Report) {
	for _, g := range []struct {
		title  string
		counts map[string]int
	}{{"strategies, seeds each", r.Strategies}, {"faults, seeds each", r.Faults}} {
		reached := 0
		for _, n := range g.counts {
			if n > 0 {
				reached++
			}
		}
		s.line("%s: %d of %d reached", g.title, reached, len(g.counts))
		for _, name := range slices.Sorted(maps.Keys(g.counts)) {
			s.line("  %-40s %d", name, g.counts[name])
		}
	}
	total := 0
	for _, n := range r.Mutators {
		total += n
	}
	s.line("mutators: %d distinct, %d mutations (all names: --json)", len(r.Mutators), total)
	s.line("real cryptography in %d of %d seeds; invalid tags presented/refused: ideal %d/%d, real %d/%d", r.RealCryptoSeeds, r.Seeds,
		r.InvalidTags.Ideal.Presented, r.InvalidTags.Ideal.Refused, r.InvalidTags.Real.Presented, r.InvalidTags.Real.Refused)
}

func (s *session) simReplay() *cobra.Command {
	var o sim.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use: "replay SEED", Short: "Run one seed and print what happened as a message chart", Args: takes(1, 1, "a SEED"),
	}
	simFlags(cmd, &o)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one line of JSON instead of the chart")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		seed, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil {
			return usagef(cmd, "%q is no seed", args[0])
		}
		if err := checkSim(cmd, &o); err != nil {
			return err
		}
		o.From, o.To, o.Jobs = seed, seed, 1
		chart := s.out
		if asJSON {
			chart = io.Discard
		}
		result, err := sim.Replay(chart, o, seed)
		if err != nil {
			return &failure{code: exitFailed, err: err, hint: "see: themis sim replay --help"}
		}
		if asJSON {
			violations := append([]sim.Failure{}, result.Violations...)
			if err := s.print(map[string]any{"seed": seed, "violations": violations, "events": result.Events, "trace_hash": fmt.Sprintf("%016x", result.Hash)}); err != nil {
				return err
			}
		}
		if len(result.Violations) > 0 {
			v := result.Violations[0]
			return &failure{code: exitFailed, what: fmt.Sprintf("seed %d: %s: %s", seed, v.Checker, v.Detail), hint: "read the chart above from its end"}
		}
		return nil
	}
	return cmd
}

func (s *session) simList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "list", Short: "List faults and strategies that a seed may draw", Args: takes(0, 0, "")}
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(*cobra.Command, []string) error {
		if asJSON {
			return s.print(map[string]any{"protocols": assembly.Protocols(), "faults": sim.Faults(), "strategies": sim.Strategies()})
		}
		for _, g := range []struct {
			title string
			names []string
		}{{"protocols", assembly.Protocols()}, {"faults", sim.Faults()}, {"strategies", sim.Strategies()}} {
			s.line("%s:\n  %s", g.title, strings.Join(g.names, "\n  "))
		}
		return nil
	}
	return cmd
}
