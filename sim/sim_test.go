package sim

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "replay this seed and print its chart")
	countFlag = flag.Int("seeds", 0, "run so many seeds")
	nFlag     = flag.Int("n", 4, "replicas of -seed and -seeds")
	byzFlag   = flag.Int("byz", -1, "faulty replicas of -seed and -seeds")
	liesFlag  = flag.String("strategies", "", "comma-separated strategies of -seed and -seeds, instead of all")
)

func lies() []string {
	if *liesFlag == "" {
		return nil
	}
	return strings.Split(*liesFlag, ",")
}

// TestSeed replays one seed: go test ./sim -run TestSeed -seed 17 -v.
func TestSeed(t *testing.T) {
	if *seedFlag == 0 {
		t.Skip("no -seed was given")
	}
	o := Options{Protocol: "pbft", Replicas: *nFlag, Byzantine: *byzFlag, Strategies: lies()}
	res, err := Replay(os.Stdout, o, *seedFlag)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range res.Violations {
		t.Errorf("%s: %s", v.Checker, v.Detail)
	}
}

// TestSeeds runs many seeds: go test ./sim -run TestSeeds -seeds 1000 -v.
func TestSeeds(t *testing.T) {
	if *countFlag == 0 {
		t.Skip("no -seeds was given")
	}
	from := max(*seedFlag, 1)
	rep, err := Campaign(Options{
		Protocol: "pbft", Replicas: *nFlag, Byzantine: *byzFlag, From: from, To: from + uint64(*countFlag) - 1, Jobs: 1,
		Strategies: lies(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range rep.Violations {
		if i < 60 {
			t.Errorf("seed %d %s: %.400s", v.Seed, v.Checker, v.Detail)
		}
	}
	t.Logf("%+v", rep.Sometimes)
	t.Logf("violations %d events %d virtual %.0fs commits %d views %d transfers %d operations %d hash %s",
		len(rep.Violations), rep.Events, rep.VirtualSeconds, rep.Commits, rep.ViewChanges, rep.StateTransfers, rep.Operations, rep.TraceHash)
}
