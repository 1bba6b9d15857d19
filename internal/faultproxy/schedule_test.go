package faultproxy

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/themis-bft/themis/wire"
)

var someLinks = []string{"c>r0", "c>r1", "r0>r1", "r0>r2", "r1>r0", "r3>r0"}

// TestScheduleText: what is printed is read back, and one seed gives one schedule.
func TestScheduleText(t *testing.T) {
	flips, replays, kinds := 0, 0, map[string]bool{}
	for seed := range uint64(200) {
		c := Climate{Links: someLinks, Total: 20 * time.Second, Seed: seed, Liar: "r3", Opaque: seed%4 == 3}
		s := Draw(c)
		back, err := ParseSchedule("# a comment\n\n" + s.String())
		must(t, err)
		if !reflect.DeepEqual(s, back) || !reflect.DeepEqual(s, Draw(c)) {
			t.Fatalf("seed %d: drawn\n%sread\n%s", seed, s, back)
		}
		free := map[string]time.Duration{}
		for i, step := range s {
			if step.At < free[step.Link] || step.At+step.For > c.Total || i > 0 && step.At < s[i-1].At {
				t.Fatalf("seed %d: step %d is out of order or overlaps another: %s", seed, i, step)
			}
			free[step.Link] = step.At + step.For
			if k := step.Condition; !c.Opaque && (k.Flip > 0 || k.Replay > 0) {
				if !strings.HasPrefix(step.Link, "r3>") {
					t.Fatalf("seed %d: %s lies and is not the liar", seed, step.Link)
				}
				if k.Flip > 0 {
					flips++
				} else {
					replays++
				}
			}
			for part := range strings.SplitSeq(step.Condition.String(), ",") {
				name, _, _ := strings.Cut(part, "=")
				kinds[name] = true
			}
		}
	}
	if flips == 0 || replays == 0 || len(kinds) < 12 {
		t.Errorf("%d flips, %d replays, conditions %v: Draw leaves something out", flips, replays, kinds)
	}
}

// TestConditionText: every field stands in the text.
func TestConditionText(t *testing.T) {
	full := Condition{
		Delay: time.Second, Jitter: 3 * time.Millisecond, Rate: 7, Drop: 0.25, Duplicate: 1, Reorder: 0.5, Flip: 1e-9, Replay: 0.125,
		Kinds: []wire.Kind{1, 33}, Hold: true, Cut: true, HalfOpen: true,
	}
	v := reflect.ValueOf(full)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Fatalf("the test does not set %s", v.Type().Field(i).Name)
		}
	}
	back, err := ParseCondition(full.String())
	must(t, err)
	if !reflect.DeepEqual(full, back) {
		t.Errorf("%s became %s", full, back)
	}
	for _, bad := range []string{"", "drop", "drop=2", "drop=-1", "drop=NaN", "delay=5", "kind=256", "hold=1", "storm"} {
		if c, err := ParseCondition(bad); err == nil {
			t.Errorf("%q was read as %s", bad, c)
		}
	}
	for _, bad := range []string{"1s 2s r0>r1 forward", "x 2s r0>r1 forward cut", "1s x r0>r1 forward cut", "1s 2s r0>r1 sideways cut", "1s 2s r0>r1 back nothing"} {
		if _, err := ParseSchedule(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// TestScheduleRun: what a schedule says happens, and the weather is fair afterwards.
func TestScheduleRun(t *testing.T) {
	p := start(t, Options{Name: "r0>r1", Target: target(t, echo)})
	m := &Mesh{proxies: map[string]*Proxy{"r0>r1": p}}
	s, err := ParseSchedule("10ms 10ms r0>r1 back reset,fair\n20ms 30ms r0>r1 back hold\n100ms 1h r0>r1 forward drop=0.5")
	must(t, err)
	conn := dial(t, p.Addr())
	say(t, conn, "one")
	hear(t, conn, "one")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seen []Step
	must(t, s.Run(ctx, m, func(step Step) {
		if seen = append(seen, step); len(seen) == 3 {
			cancel()
		}
	}))
	if !reflect.DeepEqual(Schedule(seen), s) {
		t.Errorf("happened: %v", seen)
	}
	over(t, conn)
	if f, b := p.Condition(Forward), p.Condition(Back); !f.fair() || !b.fair() {
		t.Errorf("left behind: %s, %s", f, b)
	}
	if err := (Schedule{{Link: "r9>r8"}}).Run(t.Context(), m, nil); err == nil {
		t.Error("a link that does not exist was accepted")
	}
}
