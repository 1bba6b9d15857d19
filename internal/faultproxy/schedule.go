package faultproxy

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Step is one fault of a schedule: from At on a direction of a link has a condition, for the time
// For. With Reset its connections are ended at At, before the condition begins.
type Step struct {
	At, For   time.Duration
	Link      string
	Direction Direction
	Reset     bool
	Condition Condition
}

// Schedule is faults over time, ascending by At. Steps of one direction of a link do not overlap.
type Schedule []Step

// String writes a step as one line, as ParseSchedule reads it.
func (s Step) String() string {
	way, what := "forward", s.Condition.String()
	if s.Direction == Back {
		way = "back"
	}
	if s.Reset {
		what = "reset," + what
	}
	return fmt.Sprintf("%s %s %s %s %s", s.At, s.For, s.Link, way, what)
}

// String writes a schedule, one line for each step.
func (s Schedule) String() string {
	var b strings.Builder
	for _, step := range s {
		b.WriteString(step.String() + "\n")
	}
	return b.String()
}

// ParseSchedule reads what String writes. Empty lines and those that begin with # are skipped.
func ParseSchedule(text string) (Schedule, error) {
	var all Schedule
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		step, err := parseStep(line)
		if err != nil {
			return nil, fmt.Errorf("faultproxy: line %d of the schedule: %w", n, err)
		}
		all = append(all, step)
	}
	return all, lines.Err()
}

func parseStep(line string) (s Step, err error) {
	fields := strings.Fields(line)
	if len(fields) != 5 {
		return s, fmt.Errorf("%d fields; want: AT FOR LINK forward|back CONDITION", len(fields))
	}
	if s.At, err = time.ParseDuration(fields[0]); err != nil {
		return s, err
	}
	if s.For, err = time.ParseDuration(fields[1]); err != nil {
		return s, err
	}
	switch s.Link = fields[2]; fields[3] {
	case "forward":
	case "back":
		s.Direction = Back
	default:
		return s, fmt.Errorf("%q is no direction", fields[3])
	}
	what, reset := strings.CutPrefix(fields[4], "reset,")
	s.Reset = reset
	s.Condition, err = ParseCondition(what)
	return s, err
}

// Climate bounds what Draw may choose.
type Climate struct {
	Links []string      // that faults may hit; those of clients are told by their names
	Total time.Duration // when all faults are over
	Seed  uint64

	// Opaque leaves out what only a proxy with keys can do without breaking the link.
	Opaque bool
	// Liar is the replica ("r3") whose frames may also be falsified and replayed: it then counts
	// among the faulty. Empty: nobody.
	Liar string
}

// Draw makes a schedule. Each link has fair weather most of the time and one fault after the other
// in between; faults of many links at once come of themselves.
func Draw(c Climate) Schedule {
	r := rand.New(rand.NewPCG(c.Seed, 0x7765617468657221))
	var all Schedule
	for _, link := range c.Links {
		for at := pick(r, 2*time.Second); at < c.Total; {
			step := c.step(r, link)
			step.At, step.For = at, min(step.For, c.Total-at)
			all = append(all, step)
			at += step.For + pick(r, 6*time.Second)
		}
	}
	slices.SortStableFunc(all, func(a, b Step) int { return cmp.Compare(a.At, b.At) })
	return all
}

// pick is a time up to limit, in whole milliseconds, mostly shorter.
func pick(r *rand.Rand, limit time.Duration) time.Duration {
	return (time.Duration(r.Int64N(int64(limit)))>>r.IntN(3) + time.Millisecond).Truncate(time.Millisecond)
}

// step draws one fault for a link.
func (c *Climate) step(r *rand.Rand, link string) Step {
	s := Step{Link: link, For: pick(r, 4*time.Second)}
	if isClient(link) && r.IntN(2) == 0 {
		s.Direction = Back
	}
	few := func() float64 { return float64(1+r.IntN(30)) / 100 }
	k := &s.Condition
	kinds := 7
	switch liar := c.Liar != "" && strings.HasPrefix(link, c.Liar+">"); {
	case c.Opaque:
	case liar:
		kinds = 12
	default:
		kinds = 10
	}
	switch r.IntN(kinds) {
	case 0:
		k.Delay = pick(r, 200*time.Millisecond)
	case 1:
		k.Delay, k.Jitter = pick(r, 50*time.Millisecond), pick(r, 400*time.Millisecond)
	case 2:
		k.Rate = 1 << (11 + r.IntN(8)) // 2 KiB/s to 256 KiB/s
	case 3:
		k.Hold = true
	case 4:
		k.Cut = true
	case 5:
		k.HalfOpen = true
	case 6:
		s.Reset = true
	case 7:
		k.Drop = few()
	case 8:
		k.Duplicate, k.Reorder = few(), few()
	case 9:
		k.Drop, k.Delay = few(), pick(r, 50*time.Millisecond)
	case 10:
		k.Flip = few()
	case 11:
		k.Replay = few()
	}
	if c.Opaque && r.IntN(8) == 0 {
		s.Condition, s.Reset = Condition{Flip: 0.1}, false // TLS must notice
	}
	return s
}

func isClient(link string) bool { return strings.HasPrefix(link, "c>") }

// Run lets a schedule happen to the links of a mesh, and returns when it is over or ctx ends. It
// leaves fair weather behind. What happens is told to talk, if that is not nil. It is an error if a
// step names a link that the mesh does not have.
func (s Schedule) Run(ctx context.Context, m *Mesh, talk func(Step)) error {
	type event struct {
		at   time.Duration
		step Step
		over bool
	}
	var events []event
	for _, step := range s {
		if m.Proxy(step.Link) == nil {
			return fmt.Errorf("faultproxy: there is no link %q", step.Link)
		}
		events = append(events, event{step.At, step, false}, event{step.At + step.For, step, true})
	}
	// What ends comes before what begins at the same time, so that it cannot end the latter.
	slices.SortStableFunc(events, func(a, b event) int {
		if a.at != b.at {
			return cmp.Compare(a.at, b.at)
		}
		return map[bool]int{true: 0, false: 1}[a.over] - map[bool]int{true: 0, false: 1}[b.over]
	})
	defer m.Heal()
	begin := time.Now()
	for _, e := range events {
		if !wait(ctx, time.Until(begin.Add(e.at))) {
			return nil
		}
		p := m.Proxy(e.step.Link)
		if e.over {
			p.Set(e.step.Direction, Condition{})
			continue
		}
		if talk != nil {
			talk(e.step)
		}
		if e.step.Reset {
			p.Reset()
		}
		p.Set(e.step.Direction, e.step.Condition)
	}
	return nil
}

// wait reports whether ctx lived as long as that.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
