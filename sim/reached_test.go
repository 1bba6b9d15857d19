package sim

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/byz"
)

// TestMutators: a campaign of liars that change fields meets far more than the least number of
// mutators, in every scope and of every kind of message and frame that replicas exchange, with
// real and with ideal cryptography, and in both invalid tags come and are refused.
func TestMutators(t *testing.T) {
	rep := smoke(t, Options{
		Protocol: "pbft", Replicas: 4, Byzantine: 1, From: 1, To: 260, Jobs: 2,
		Strategies: []string{"mutate", "split", "name-thief", "client-forge", "client-big-mac"},
	})
	kinds, scopes := map[string]int{}, map[string]int{}
	for name, n := range rep.Mutators {
		field, scope, ok := strings.Cut(name, "/")
		kind, _, dotted := strings.Cut(field, ".")
		if !ok || !dotted {
			t.Errorf("mutator %q is not KIND.field/scope", name)
		}
		kinds[kind] += n
		scopes[scope] += n
	}
	for _, kind := range []string{
		"PRE-PREPARE", "BATCH", "PREPARE", "COMMIT", "STATUS", "CHECKPOINT", "VIEW-CHANGE", "NEW-VIEW", "DECIDED", "STABLE",
		"RELAY", "FETCH", "BODY", "STATE-WANT", "STATE-ITEM", "REPLY",
	} {
		if kinds[kind] == 0 {
			t.Errorf("no field of %s was changed: %v", kind, kinds)
		}
	}
	for _, scope := range []string{"small", "omit", "any", "future", "drop", "repeat", "swap"} {
		if scopes[scope] == 0 {
			t.Errorf("no field was changed in scope %s: %v", scope, scopes)
		}
	}
	if len(rep.Mutators) < 2*MutatorsMin {
		t.Errorf("%d distinct mutators", len(rep.Mutators))
	}
	if rep.RealCryptoSeeds*20 < rep.Seeds {
		t.Errorf("%d of %d seeds with real cryptography", rep.RealCryptoSeeds, rep.Seeds)
	}
	for mode, c := range map[string]TagCount{"ideal": rep.InvalidTags.Ideal, "real": rep.InvalidTags.Real} {
		if c.Presented == 0 || c.Refused == 0 {
			t.Errorf("%s: %d invalid tags came, %d were refused", mode, c.Presented, c.Refused)
		}
	}
}

// TestUnreached: a long campaign that never met a thing says so; a short or a chosen one need not.
func TestUnreached(t *testing.T) {
	full := func() Report {
		rep := newReport()
		rep.Seeds = UnreachedFrom
		for _, counts := range []map[string]int{rep.Sometimes, rep.Strategies, rep.Faults} {
			for name := range counts {
				counts[name] = 1
			}
		}
		for i := range MutatorsMin {
			rep.Mutators[string(rune('A'+i))] = 1
		}
		return rep
	}
	rep := full()
	if rep.close(&Options{Byzantine: -1}); len(rep.Unreached) > 0 {
		t.Errorf("all was met, and yet %v", rep.Unreached)
	}
	spoil := func(rep *Report) {
		rep.Sometimes[nullSlot.String()], rep.Strategies["rushing"], rep.Faults[faultHour.String()] = 0, 0, 0
		delete(rep.Mutators, "A")
	}
	rep = full()
	spoil(&rep)
	rep.close(&Options{Byzantine: -1})
	want := []string{"fault partition-of-an-hour", "mutators: 59 of at least 60", "sometimes null_slot", "strategy rushing"}
	if !slices.Equal(rep.Unreached, want) {
		t.Errorf("unreached %q, want %q", rep.Unreached, want)
	}
	for name, o := range map[string]Options{"liars": {Byzantine: 1}, "strategies": {Byzantine: -1, Strategies: []string{"mutate"}}} {
		rep = full()
		spoil(&rep)
		if rep.close(&o); len(rep.Unreached) > 0 {
			t.Errorf("%s were chosen, and yet %v", name, rep.Unreached)
		}
	}
	rep = full()
	rep.Sometimes["two_new_views_that_hold"] = 0
	if rep.close(&Options{Byzantine: -1, Replicas: 4}); len(rep.Unreached) > 0 {
		t.Errorf("it takes two liars, of four there is one, and yet %v", rep.Unreached)
	}
	if rep.close(&Options{Byzantine: -1, Replicas: 7}); len(rep.Unreached) != 1 {
		t.Errorf("of seven there are two liars, and %v was met", rep.Unreached)
	}
	rep = full()
	spoil(&rep)
	rep.Seeds--
	if rep.close(&Options{Byzantine: -1}); len(rep.Unreached) > 0 {
		t.Errorf("few seeds, and yet %v", rep.Unreached)
	}
}

// TestBigMAC lets a client sign for every subset of four replicas and not for the rest.
func TestBigMAC(t *testing.T) {
	for bad := range bft.ReplicaSet(1 << 4) {
		rep := smoke(t, Options{Protocol: "pbft", Replicas: 4, Byzantine: 0, From: 700 + uint64(bad), To: 700 + uint64(bad), Jobs: 1, client: byz.BigMAC(bad)})
		if bad != 0 && rep.InvalidTags.Ideal.Refused+rep.InvalidTags.Real.Refused == 0 {
			t.Errorf("no signature was refused when those for %04b did not hold", bad)
		}
	}
}

// TestHour cuts a cluster for an hour: afterwards it serves within the bound of any other run,
// and it did not count views up all the while.
func TestHour(t *testing.T) {
	seed := uint64(hourEvery + hourEvery/2)
	rep := smoke(t, Options{Protocol: "pbft", Replicas: 4, Byzantine: 0, From: seed, To: seed, Jobs: 1})
	if rep.Faults[faultHour.String()] != 1 || rep.VirtualSeconds < 3600 {
		t.Errorf("%v in %.0f s: no hour passed", rep.Faults, rep.VirtualSeconds)
	}
	if rep.ViewChanges > 100 {
		t.Errorf("%d view changes in an hour without a quorum", rep.ViewChanges)
	}
}

// TestFirstPrimariesFaulty: the primaries of the first f views lie, one after the other, and
// act as one; requests are answered all the same (B13).
func TestFirstPrimariesFaulty(t *testing.T) {
	for _, s := range []string{"silent-primary", "chosen-set", "rushing", "brink", "false-new-view"} {
		met := 0
		for seed := uint64(1); seed <= 12; seed++ {
			w, err := newWorld(Options{Protocol: "pbft", Replicas: 7, Byzantine: 2, Strategies: []string{s}}, seed, nil)
			if err != nil {
				t.Fatal(err)
			}
			if w.swarm.faulty != 0b11 {
				continue
			}
			met++
			w.run()
			for _, v := range w.result().Violations {
				t.Errorf("%s seed %d: %s %s", s, seed, v.Checker, v.Detail)
			}
		}
		if met == 0 {
			t.Errorf("%s: no seed made the first two primaries faulty", s)
		}
	}
}

// TestPresents: the count of invalid tags tells a true signature from a false one.
func TestPresents(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3, 20} {
		w, err := newWorld(Options{Protocol: "pbft", Replicas: 4, Byzantine: 1}, seed, nil)
		if err != nil {
			t.Fatal(err)
		}
		m := w.certify(2, &pbft.Checkpoint{Seq: w.swarm.membership.CheckpointEvery, Replica: 2})
		w.presents(m)
		if w.met.presented != 0 {
			t.Error("a true signature counts as invalid")
		}
		w.presents(w.certify(1, &pbft.Checkpoint{Seq: 1, Replica: 2}))
		w.presents(m.(*pbft.Checkpoint).WithSignature(nil))
		w.presents(&pbft.Checkpoint{Seq: 1, Replica: 200})
		if w.met.presented != 3 {
			t.Errorf("%d of 3 invalid tags were counted", w.met.presented)
		}
	}
}

// TestShrink takes a failing seed apart: what is left still fails by the same checker, and is less.
func TestShrink(t *testing.T) {
	o := Options{Protocol: "pbft", Replicas: 4, Byzantine: 2}
	shrunk, left := 0, 0
	for seed := uint64(1); seed <= 60 && shrunk < 3; seed++ {
		before, err := Run(o, seed)
		if err != nil {
			t.Fatal(err)
		}
		if len(before.Violations) == 0 {
			continue
		}
		shrunk++
		less, after, err := Shrink(o, seed)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Run(less, seed)
		if err != nil {
			t.Fatal(err)
		}
		left += len(less.Leave)
		if again.Hash != after.Hash || len(again.Violations) == 0 || again.Violations[0].Checker != before.Violations[0].Checker {
			t.Errorf("seed %d: %v shrank by %v to %v", seed, before.Violations, less.Leave, again.Violations)
		}
	}
	for _, id := range []string{"r0", "r1", "r2", "r3"} {
		o.Leave = append(o.Leave, id)
	}
	if rep, err := Run(o, 12); err != nil || len(rep.Violations) > 0 {
		t.Errorf("without liars: %v %v", rep.Violations, err)
	}
	if shrunk == 0 || left == 0 {
		t.Errorf("%d seeds failed with two of four faulty, and %d parts of them were not needed", shrunk, left)
	}
	if _, _, err := Shrink(Options{Protocol: "pbft", Replicas: 4, Byzantine: 0}, 1); err == nil {
		t.Error("a seed that does not fail was shrunk")
	}
}

// TestAdversaryDocument: docs/adversary.md names every strategy and fault, and no other.
func TestAdversaryDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/adversary.md")
	if err != nil {
		t.Fatal(err)
	}
	named := make(map[string]bool)
	for _, m := range regexp.MustCompile("`([a-z]+(?:-[a-z]+)*)`").FindAllStringSubmatch(string(text), -1) {
		named[m[1]] = true
	}
	for _, name := range append(Strategies(), Faults()...) {
		if !named[name] {
			t.Errorf("docs/adversary.md does not say what %s is for", name)
		}
		delete(named, name)
	}
	for name := range named {
		if name != "unreached" && name != "catchup" {
			t.Errorf("docs/adversary.md names %q, which the simulator does not know", name)
		}
	}
	for _, row := range strings.Fields("A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 B1 B2 B3 B4 B5 B6 B7 B8 B9 B10 B11 B12 B13 B14 B15 B16 B17 " +
		"C1 C2 C3 C4 C5 C6 C7 C8 C9 C10 C11 C12 D1 D2 D3 D4 D5 D6 D7 D8 D9 D10 D11 D12 D13") {
		if !strings.Contains(string(text), "\n| "+row+" | ") {
			t.Errorf("docs/adversary.md has no row %s", row)
		}
	}
}

// TestPlot: the first two primaries of seven plot against the second view: one leaves slots behind
// that a single correct replica has prepared, the other hides them, or tells two stories.
func TestPlot(t *testing.T) {
	hid, two := 0, 0
	for i := range uint64(8) {
		seed := plotEvery*i + plotEvery/2
		rep := smoke(t, Options{Protocol: "pbft", Replicas: 7, Byzantine: -1, From: seed, To: seed, Jobs: 1})
		if rep.Strategies["chosen-set"] != 1 {
			t.Errorf("seed %d: nobody plots", seed)
		}
		hid += rep.Sometimes["new_view_hides_batches"]
		two += rep.Sometimes["two_new_views_that_hold"]
	}
	if hid == 0 || two == 0 {
		t.Errorf("%d NEW-VIEWs hid a batch, %d came in two versions", hid, two)
	}
}
