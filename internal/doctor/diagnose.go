package doctor

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/themis-bft/themis/bft"
)

// diagnosis is a diagnosis in the making: the facts, and what was concluded so far.
type diagnosis struct {
	*Facts
	causes []Cause
	notes  []string
	// out are the replicas that cannot help to decide anything, and why, for a sentence.
	out map[int]string
	// told are the replicas with a cause of their own: what follows from it is not told too.
	told map[int]bool
	// lags are the replicas that do not keep up with the others, for a reason that was told.
	lags map[int]bool
	// halted says that a cause of the cluster as a whole explains why nothing moves.
	halted bool
}

// everybody stands for the cluster as a whole where the number of a replica is asked for.
const everybody = -1

// Diagnose says what follows from the facts. It is a pure function.
func Diagnose(f *Facts) Report {
	d := &diagnosis{Facts: f, out: map[int]string{}, told: map[int]bool{}, lags: map[int]bool{}}
	for i := range f.Replicas {
		d.process(i)
	}
	d.members()
	d.links()
	for i := range f.Replicas {
		if f.Replicas[i].answers() {
			d.machine(i)
		}
	}
	d.clocks()
	d.quorum()
	if !d.halted {
		d.checkpoints()
	}
	if !d.halted {
		d.views()
	}
	for i := range f.Replicas {
		if f.Replicas[i].answers() && !d.told[i] {
			d.progress(i)
		}
	}
	d.faulty()
	d.clients()
	d.versions()
	d.stalled()
	return d.report()
}

// report sorts the causes: by code, root causes first, then by replica.
func (d *diagnosis) report() Report {
	order := map[string]int{}
	for i, code := range Codes() {
		order[code] = i
	}
	slices.SortStableFunc(d.causes, func(a, b Cause) int {
		if a.Code != b.Code {
			return order[a.Code] - order[b.Code]
		}
		return number(a) - number(b)
	})
	if d.causes == nil {
		d.causes = []Cause{}
	}
	return Report{Healthy: len(d.causes) == 0, Causes: d.causes, Notes: d.notes}
}

func number(c Cause) int {
	if c.Replica == nil {
		return everybody
	}
	return *c.Replica
}

// add notes a cause of replica id, or of everybody.
func (d *diagnosis) add(code string, id int, next, format string, args ...any) {
	c := Cause{Code: code, Sentence: fmt.Sprintf(format, args...), Next: next}
	if id != everybody {
		c.Replica = &id
		d.told[id] = true
	}
	d.causes = append(d.causes, c)
}

func (d *diagnosis) note(format string, args ...any) {
	d.notes = append(d.notes, fmt.Sprintf(format, args...))
}

// has reports whether a cause with this code was found.
func (d *diagnosis) has(code string) bool {
	return slices.ContainsFunc(d.causes, func(c Cause) bool { return c.Code == code })
}

// cluster is a command of "themis cluster".
func (d *diagnosis) cluster(verb string, id int) string {
	if id == everybody {
		return fmt.Sprintf("themis cluster %s --dir %s", verb, quoted(d.Dir))
	}
	return fmt.Sprintf("themis cluster %s %d --dir %s", verb, id, quoted(d.Dir))
}

// restart ends a replica that runs and starts it again.
func (d *diagnosis) restart(id int) string {
	return d.cluster("kill", id) + " && " + d.cluster("start", id)
}

// quoted is an argument as a shell takes it.
func quoted(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("/._-+:=@%,", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// names lists replicas as a person would: "r0", "r0 and r1", "r0, r1 and r2".
func names(ids []int) string {
	all := make([]string, len(ids))
	for i, id := range ids {
		all[i] = bft.ReplicaID(id).String()
	}
	return list(all)
}

func list(all []string) string {
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	return strings.Join(all[:len(all)-1], ", ") + " and " + all[len(all)-1]
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// endings are the last words of a replica that tell why it ended. In the command DATA, KEY and
// CONFIG stand for its paths.
var endings = []struct{ text, code, sentence, next string }{
	{"key is not the one listed", CodeWrongKey, "refuses to start, because its key is not the one that its cluster file lists", "themis keygen --public KEY"},
	{"address already in use", CodePortTaken, "could not listen, because another program has its port", "ss -ltnp"},
	{"log is damaged", CodeLogDamaged, "refuses to start, because its log is damaged and it must not vote on it", "cp -a DATA DATA.damaged"},
	{"directory belongs to another replica", CodeWrongDirectory, "refuses to start, because its data belong to another replica, cluster or key", "themis config show CONFIG"},
	{"directory is in use", CodeInUse, "refuses to start, because another process holds its data directory", "fuser -v DATA/lock"},
	{"directory is not initialised", CodeNoData, "refuses to start, because its data directory is empty, and an empty log in the place of a lost one would let it vote twice", "ls -la DATA"},
	{"no space left", CodeNoSpace, "ended, because its disk was full", "df -h DATA"},
}

// process says what is wrong with a replica that does not run or does not answer.
func (d *diagnosis) process(i int) {
	s := &d.Replicas[i]
	name := bft.ReplicaID(i).String()
	switch {
	case s.Paused:
		d.out[i] = "paused"
		d.add(CodePaused, i, d.cluster("resume", i), "%s is paused: its process was stopped by a signal and does nothing", name)
	case s.Alive && !s.answers():
		d.out[i] = "silent"
		d.add(CodeNoAnswer, i, d.restart(i), "the process of %s runs but does not answer at %s (%s)", name, s.Admin, orUnknown(s.Silence))
	case s.Alive:
		if s.KeyProblem != "" && !d.refused(i) {
			d.add(CodeWrongKey, i, "themis keygen --public "+quoted(s.KeyFile), "%s runs, but could not start again: %s", name, s.KeyProblem)
		}
	default:
		d.out[i] = "down"
		d.down(i, name, s)
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "it is not known why"
	}
	return s
}

// down says why a replica does not run. One that was merely stopped is left to quorum.
func (d *diagnosis) down(i int, name string, s *Seen) {
	if s.KeyProblem != "" {
		d.add(CodeWrongKey, i, "themis keygen --public "+quoted(s.KeyFile), "%s is down and cannot start: %s", name, s.KeyProblem)
		return
	}
	for _, e := range endings {
		if !strings.Contains(s.LastWords, e.text) {
			continue
		}
		next := strings.NewReplacer("DATA", quoted(s.DataDir), "KEY", quoted(s.KeyFile), "CONFIG", quoted(s.Config))
		d.add(e.code, i, next.Replace(e.next), "%s %s (%s)", name, e.sentence, s.LastWords)
		return
	}
	switch {
	case s.Taken != "":
		d.add(CodePortTaken, i, "ss -ltnp", "%s is down, and another program listens on its address %s", name, s.Taken)
	case s.LastWords != "":
		d.add(CodeCrashed, i, d.cluster("logs", i), "%s ended with an error: %s", name, s.LastWords)
	case s.Died:
		d.add(CodeCrashed, i, d.cluster("start", i),
			"%s ended without a word: it was killed from outside, the machine restarted, or memory ran out", name)
	}
}

// quorum compares what is left with what is needed. It comes when every cause is known that
// takes a replica out.
func (d *diagnosis) quorum() {
	n, need := len(d.Replicas), d.Quorums.Quorum()
	left := n - len(d.out)
	var plain []int // down, for no reason that has been told
	for i := range d.Replicas {
		if d.out[i] == "down" && !d.told[i] {
			plain = append(plain, i)
		}
	}
	if left >= need {
		for _, i := range plain {
			d.add(CodeDown, i, d.cluster("start", i), "%s is down: %d of %d are left and %d are needed, so that %s",
				bft.ReplicaID(i), left, n, need, spare(left-need))
		}
		return
	}
	d.halted = true
	next := d.cluster("up", everybody)
	switch {
	case len(plain) > 0 && len(plain) < n:
		next = d.cluster("start", plain[0])
	case len(plain) == 0:
		next = d.causes[0].Next
	}
	d.add(CodeTooFew, everybody, next, "only %d of %d replicas take part (%s); %d are needed to decide anything",
		left, n, d.absent(), need)
	for _, i := range plain {
		d.told[i] = true
	}
}

// spare says how many more replicas can be lost.
func spare(more int) string {
	if more == 0 {
		return "none may fail any more"
	}
	return fmt.Sprintf("only %d more may fail", more)
}

// absent lists who does not take part, by the reason.
func (d *diagnosis) absent() string {
	by, order := map[string][]int{}, []string{}
	for i := range d.Replicas {
		why, ok := d.out[i]
		if !ok {
			continue
		}
		if by[why] == nil {
			order = append(order, why)
		}
		by[why] = append(by[why], i)
	}
	parts := make([]string, len(order))
	for i, why := range order {
		parts[i] = fmt.Sprintf("%s %s %s", names(by[why]), plural(len(by[why]), "is", "are"), why)
	}
	return strings.Join(parts, ", ")
}

// inside shortens a path under the cluster's directory.
func (d *diagnosis) inside(path string) string {
	if rel, err := filepath.Rel(d.Dir, path); err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return path
}
