package twins

import (
	"strings"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/sim/rng"
)

// must runs a campaign that has to be clean.
func must(t *testing.T, o Options) Report {
	t.Helper()
	o.Jobs = 2
	r, err := Campaign(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Failures {
		t.Errorf("%s: %s\n\tthemis sim twins --schedule %s", f.Checker, f.Detail, f.Schedule)
	}
	if r.Violations > 0 {
		t.Fatalf("%d violations", r.Violations)
	}
	return r
}

// TestEveryPartition runs all splits of three views whose epochs begin with their round; in short
// mode a part of them. Everything that Twins is about has to happen in it.
func TestEveryPartition(t *testing.T) {
	at := PrePrepare
	o := Options{Replicas: 4, Rounds: 3, Twins: []bft.ReplicaID{0}, Only: &at, Part: 1, Parts: 1}
	if testing.Short() {
		o.Parts = 4
	}
	r := must(t, o)
	if got := r.Schedules - r.Repeated; got != 4096/o.Parts {
		t.Errorf("ran %d schedules, not %d", got, 4096/o.Parts)
	}
	for v := range 3 {
		if r.Views[v] == 0 {
			t.Errorf("no schedule decided anything in view %d", v)
		}
	}
	for what, n := range map[string]uint64{
		"messages were lost": r.Lost, "slots were executed": r.Commits, "views were entered": r.Entered,
		"schedules had conflicting proposals": r.Conflicting, "schedules had equivocation noticed": r.Equivocations,
		"schedules decided nothing before the healing": r.Idle, "state was transferred": r.Transfers,
	} {
		if n == 0 && (!testing.Short() || what != "state was transferred") { // too rare for a quarter
			t.Errorf("it never happened that %s", what)
		}
	}
}

// TestSamplesOfSeven draws schedules of seven replicas, two of which are there twice.
func TestSamplesOfSeven(t *testing.T) {
	r := must(t, Options{Replicas: 7, Rounds: 3, Draw: 2, Samples: 200, Seed: 1})
	if r.Commits == 0 || r.Conflicting == 0 || r.Entered == 0 {
		t.Errorf("nothing happened: %+v", r)
	}
}

// TestTooManyTwins is the negative control: with more twins than faults are allowed the oracle
// must find disagreement. A checker that finds nothing here finds nothing anywhere.
func TestTooManyTwins(t *testing.T) {
	r, err := Campaign(Options{Replicas: 4, Rounds: 3, Draw: 2, Samples: 200, Seed: 1, Jobs: 2})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range r.Failures {
		found[f.Checker] = true
		s, err := ParseSchedule(f.Schedule)
		if err != nil {
			t.Fatal(err)
		}
		var chart strings.Builder
		out, err := Run(s, &chart)
		if err != nil || len(out.Violations) == 0 || !strings.Contains(chart.String(), "executes slot 1") {
			t.Fatalf("%s does not show its violation again: %v, %v", f.Schedule, out.Violations, err)
		}
	}
	if r.Violations < 20 || !found["S1"] {
		t.Fatalf("two of four replicas are twins and only %d violations were found: %v", r.Violations, found)
	}
}

// TestSameRunTwice: a campaign is a function of its options alone.
func TestSameRunTwice(t *testing.T) {
	o := Options{Replicas: 4, Rounds: 3, Draw: 1, Samples: 100, Seed: 7, Jobs: 1}
	a, err := Campaign(o)
	if err != nil {
		t.Fatal(err)
	}
	o.Jobs = 3
	b, _ := Campaign(o)
	o.Seed = 8
	c, _ := Campaign(o)
	if a.Hash != b.Hash || a.Events != b.Events {
		t.Errorf("one seed, two traces: %s and %s", a.Hash, b.Hash)
	}
	if a.Hash == c.Hash {
		t.Errorf("two seeds, one trace: %s", a.Hash)
	}
}

// TestRepeatsAreRepeats: what an enumeration leaves out is the same run as one that it keeps.
func TestRepeatsAreRepeats(t *testing.T) {
	left, r := 0, rng.New(3)
	sp := space{replicas: 4, twins: []bft.ReplicaID{1}, rounds: 3}
	for left < 40 {
		s := sp.at(r.Below(512_000))
		if !s.repeats() {
			continue
		}
		left++
		kept := s
		kept.Epochs = nil
		before := uint32(0)
		for _, e := range s.Epochs {
			if e.Sides == before {
				e.From = 0
			}
			before = e.Sides
			kept.Epochs = append(kept.Epochs, e)
		}
		if kept.repeats() {
			t.Fatalf("%s is left out too", kept.String())
		}
		if a, b := run(&s, nil), run(&kept, nil); a.Hash != b.Hash || a.Events != b.Events {
			t.Fatalf("%s and %s are not the same run", s.String(), kept.String())
		}
	}
	kept := 0
	for i := range uint64(512_000) {
		if s := sp.at(i); !s.repeats() {
			kept++
		}
	}
	if kept != 76*76*76 {
		t.Errorf("%d schedules of 512,000 are kept, not 76³", kept)
	}
}

func TestScheduleText(t *testing.T) {
	for range 2 {
		s := sample(7, 2, 3, rng.New(9))
		back, err := ParseSchedule(s.String())
		if err != nil || back.String() != s.String() {
			t.Fatalf("%s became %s: %v", s.String(), back.String(), err)
		}
	}
	for _, bad := range []string{
		"", "4", "4:0", "4:0:", "x:0:AAAAA@commit", "4:9:AAAAA@commit", "4:0:AAAA@commit", "4:0:AAAAAA@commit",
		"4:0:BAAAA@commit", "4:0:AACAA@commit", "4:0:AAAAA@never", "4:0:AAAAA", "3:0:AAAA@commit", "4:1+0:AAAAAA@commit",
		"4:1+1:AAAAAA@commit", "-1:0:AAAAA@commit", "99999999999999999999:0:A@commit", "4:-1:AAAAA@commit", "-1:0:@commit",
	} {
		if s, err := ParseSchedule(bad); err == nil {
			t.Errorf("%q is taken as %s", bad, s.String())
		}
	}
}

func TestOptionsThatCannotRun(t *testing.T) {
	for _, o := range []Options{
		{}, {Replicas: 4}, {Replicas: 3, Rounds: 1}, {Replicas: 4, Rounds: 40}, {Replicas: 7, Rounds: 3}, {Replicas: 16, Rounds: 3},
		{Replicas: 4, Rounds: 3, Part: 3, Parts: 2}, {Replicas: 4, Rounds: 3, Samples: 1}, {Replicas: 4, Rounds: 3, Samples: 1, Draw: 5},
		{Replicas: 4, Rounds: 3, Twins: []bft.ReplicaID{7}}, {Replicas: 4, Rounds: -1, Samples: 1, Draw: 1},
	} {
		if _, err := Campaign(o); err == nil {
			t.Errorf("%+v ran", o)
		}
	}
}
