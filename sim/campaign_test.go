package sim

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func smoke(t *testing.T, o Options) Report {
	t.Helper()
	rep, err := Campaign(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range rep.Violations {
		t.Errorf("n=%d seed %d %s: %s\n\tgo test ./sim -run 'TestSeed$' -n %d -seed %d -v", o.Replicas, v.Seed, v.Checker, v.Detail, o.Replicas, v.Seed)
	}
	return rep
}

// TestSmoke runs a few fresh clusters of four and of seven.
func TestSmoke(t *testing.T) {
	rep := smoke(t, Options{Protocol: "pbft", Replicas: 4, Byzantine: -1, From: 1, To: 150, Jobs: 2})
	if rep.Seeds != 150 || rep.Commits < 1000 || rep.Operations < 1000 {
		t.Errorf("%d seeds made %d commits and %d operations: this shows nothing", rep.Seeds, rep.Commits, rep.Operations)
	}
	for s := range sometimesCount {
		if s >= firstDeed {
			continue // of strategies that 150 seeds need not draw
		}
		if rare := s == viewChangeDuringTransfer || s == diverged || s == nullSlot || s == invalidTagReal || s == divergedHealed || s == transferRetargeted; !rare && rep.Sometimes[s.String()] == 0 {
			t.Errorf("%v was never met in 150 seeds", s)
		}
	}
	smoke(t, Options{Protocol: "pbft", Replicas: 7, Byzantine: -1, From: 1, To: 10, Jobs: 2})
}

// TestStrategies runs every strategy of faulty replicas alone: none may break a cluster.
func TestStrategies(t *testing.T) {
	for i, s := range Strategies() {
		from := 1000 + 10*uint64(i)
		t.Run(s, func(t *testing.T) {
			smoke(t, Options{Protocol: "pbft", Replicas: 4, Byzantine: 1, From: from, To: from + 3, Jobs: 2, Strategies: []string{s}})
		})
	}
}

// TestCheckersCanSee is the negative control: with two of four faulty the promise is void, and
// the checkers must notice.
func TestCheckersCanSee(t *testing.T) {
	for _, tt := range []struct {
		strategies []string
		checker    string
	}{
		{nil, ""},
		{[]string{"lying-replies"}, "S5"},
		{[]string{"equivocate", "two-faced"}, "S1"},
	} {
		rep, err := Campaign(Options{Protocol: "pbft", Replicas: 4, Byzantine: 2, From: 1, To: 60, Jobs: 2, Strategies: tt.strategies})
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, v := range rep.Violations {
			found = found || tt.checker == "" || v.Checker == tt.checker || tt.checker == "S1" && strings.HasPrefix(v.Checker, "S7")
		}
		if !found {
			t.Errorf("two faulty replicas of four (%v): no violation of %q in 60 seeds, only %v", tt.strategies, tt.checker, rep.Violations)
		}
	}
}

// hashSeeds is what TestDeterminism compares: some seeds of each size.
func hashSeeds(t *testing.T, jobs int) string {
	t.Helper()
	var all []string
	for n, to := range map[int]uint64{4: 30, 7: 3} {
		rep, err := Campaign(Options{Protocol: "pbft", Replicas: n, Byzantine: -1, From: 1, To: to, Jobs: jobs})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%d:%s:%d:%v", n, rep.TraceHash, rep.Events, rep.Sometimes))
	}
	if all[0] > all[1] {
		all[0], all[1] = all[1], all[0]
	}
	return strings.Join(all, " ")
}

// childVariable makes TestDeterminism print its hash instead of comparing it.
const childVariable = "THEMIS_SIM_DETERMINISM_CHILD"

// TestDeterminism compares the trace of the same seeds in this process, twice, and in two
// other processes with one and two processors.
func TestDeterminism(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		fmt.Printf("HASH %s\n", hashSeeds(t, 2))
		return
	}
	want := hashSeeds(t, 1)
	if got := hashSeeds(t, 2); got != want {
		t.Fatalf("the same seeds on two goroutines:\n%s\n%s", want, got)
	}
	for _, procs := range []string{"1", "2"} {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestDeterminism$")
		cmd.Env = append(os.Environ(), childVariable+"=1", "GOMAXPROCS="+procs)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("the other process: %v\n%s", err, out)
		}
		if !strings.Contains(string(out), "HASH "+want+"\n") {
			t.Fatalf("with GOMAXPROCS=%s:\n%s\nwant %s", procs, out, want)
		}
	}
}

// TestReplayPrintsTheRun: the chart of a seed belongs to the same run as the campaign's.
func TestReplayPrintsTheRun(t *testing.T) {
	o := Options{Protocol: "pbft", Replicas: 4, Byzantine: -1}
	var chart strings.Builder
	shown, err := Replay(&chart, o, 3)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := Run(o, 3)
	if err != nil {
		t.Fatal(err)
	}
	if shown.Hash != plain.Hash || shown.Events != plain.Events {
		t.Fatalf("printing changes the run: %x after %d events, %x after %d", shown.Hash, shown.Events, plain.Hash, plain.Events)
	}
	for _, want := range []string{"PRE-PREPARE v0 n1", "r0 -> r1", "executes slot 1", "phase: storm", "REQUEST", "REPLY"} {
		if !strings.Contains(chart.String(), want) {
			t.Errorf("the chart does not show %q", want)
		}
	}
}

func TestCampaignRefusesNonsense(t *testing.T) {
	for name, o := range map[string]Options{
		"protocol": {Protocol: "paxos", Replicas: 4, From: 1, To: 1},
		"seeds":    {Protocol: "pbft", Replicas: 4, From: 2, To: 1},
		"replicas": {Protocol: "pbft", Replicas: 3, From: 1, To: 1},
	} {
		if _, err := Campaign(o); err == nil {
			t.Errorf("%s: no error for %+v", name, o)
		}
	}
}
