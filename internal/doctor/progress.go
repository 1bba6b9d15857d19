package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/replica"
)

// waitsLong is for how many seconds a request may wait before the doctor asks why.
const waitsLong = 1.0

// able are the replicas that answer and can take part.
func (d *diagnosis) able() (ids []int) {
	for i := range d.Replicas {
		if d.Replicas[i].answers() && d.out[i] == "" {
			ids = append(ids, i)
		}
	}
	return ids
}

// views looks for the view in which a quorum is active, and for those who are not in it.
func (d *diagnosis) views() {
	able := d.able()
	view, found := d.activeView(able)
	if !found {
		d.split(able)
		return
	}
	for _, i := range able {
		s := &d.Replicas[i]
		in := func(at *replica.Status) bool { return at.Active && at.View == view }
		if in(s.Last) || in(s.First) || s.Last.CatchUp.Target > 0 || d.told[i] {
			continue
		}
		d.lags[i] = true
		d.add(CodeViewApart, i, d.cluster("status", everybody), "%s is %s, the others are active in view %d: it executes what they decide, but does not vote",
			bft.ReplicaID(i), where(s.Last), view)
	}
}

// activeView is the view in which a quorum is active, at either look.
func (d *diagnosis) activeView(able []int) (bft.View, bool) {
	for _, look := range []func(*Seen) *replica.Status{func(s *Seen) *replica.Status { return s.Last }, func(s *Seen) *replica.Status { return s.First }} {
		count := map[bft.View]int{}
		for _, i := range able {
			if s := look(&d.Replicas[i]); s.Active {
				if count[s.View]++; count[s.View] >= d.Quorums.Quorum() {
					return s.View, true
				}
			}
		}
	}
	return 0, false
}

// split tells of a cluster in which no view has a quorum.
func (d *diagnosis) split(able []int) {
	d.halted = true
	moved, causes := 0, map[string]uint64{}
	var decided, before bft.SeqNum
	parts := make([]string, 0, len(able))
	for _, i := range able {
		s := &d.Replicas[i]
		if s.Last.View > s.First.View {
			moved++
		}
		for cause, n := range s.Last.ViewChanges {
			causes[cause] += n
		}
		decided, before = max(decided, s.Last.Committed), max(before, s.First.Committed)
		parts = append(parts, bft.ReplicaID(i).String()+" is "+where(s.Last))
	}
	if moved >= d.Quorums.Weak() && decided == before {
		d.add(CodeViewChanges, everybody, d.cluster("logs", everybody), "view follows view and nothing is decided after slot %d (counted since the start: %s); %s",
			decided, counts(causes), list(parts))
		return
	}
	d.add(CodeSplitViews, everybody, d.cluster("logs", everybody), "no view has the %d active replicas that it needs: %s", d.Quorums.Quorum(), list(parts))
}

// where says in which view a replica is, and what it waits for there.
func where(s *replica.Status) string {
	if s.Active {
		return fmt.Sprintf("active in view %d", s.View)
	}
	of := ""
	if len(s.Waiting) > 0 {
		of = " of " + names(s.Waiting)
	}
	return fmt.Sprintf("in view %d without its NEW-VIEW (waits for the %s%s)", s.View, strings.ToUpper(s.Missing), of)
}

func counts(m map[string]uint64) string {
	var parts []string
	for _, k := range sorted(m) {
		if m[k] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
		}
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// checkpoints tells of a window that is full because no checkpoint becomes stable.
func (d *diagnosis) checkpoints() {
	var full []int
	for _, i := range d.able() {
		a, b := d.Replicas[i].First, d.Replicas[i].Last
		if b.Committed > 0 && b.Committed == b.Window.High && a.Committed == b.Committed && a.Stable == b.Stable {
			full = append(full, i)
		}
	}
	if len(full) < d.Quorums.Weak() {
		return
	}
	d.halted = true
	s := d.Replicas[full[0]].Last
	d.add(CodeCheckpoint, everybody, d.cluster("logs", everybody),
		"no checkpoint becomes stable after slot %d, because no %d replicas have the same state: %s used the whole window, up to slot %d, and wait",
		s.Stable, d.Quorums.Quorum(), names(full), s.Window.High)
}

// progress says whether a replica that takes part keeps up.
func (d *diagnosis) progress(i int) {
	a, b := d.Replicas[i].First, d.Replicas[i].Last
	name := bft.ReplicaID(i).String()
	if a.Missing == "body" && b.Missing == "body" && a.Committed == b.Committed && b.CatchUp.Target == 0 {
		d.lags[i] = true
		d.add(CodeBody, i, d.cluster("logs", i), "%s knows that slot %d is decided, but lacks the batch itself, and nobody serves it", name, b.Committed+1)
		return
	}
	goal := d.goal()
	if b.Executed+d.Every >= goal {
		return
	}
	if a.Executed != b.Executed || a.CatchUp != b.CatchUp {
		d.note("%s is %d slots behind and catches up", name, goal-b.Executed)
		return
	}
	how := "and fetches nothing"
	if b.CatchUp.Target > 0 {
		how = fmt.Sprintf("and gets nothing of the %d missing parts of checkpoint %d", b.CatchUp.Missing, b.CatchUp.Target)
	}
	d.lags[i] = true
	d.add(CodeBehind, i, d.restart(i), "%s executed up to slot %d, the others up to %d; it does not come closer %s", name, b.Executed, goal, how)
}

// goal is what at least one correct replica has executed.
func (d *diagnosis) goal() bft.SeqNum {
	var all []bft.SeqNum
	for i := range d.Replicas {
		if d.Replicas[i].answers() {
			all = append(all, d.Replicas[i].Last.Executed)
		}
	}
	if len(all) <= d.Quorums.F {
		return 0
	}
	slices.Sort(all)
	return all[len(all)-1-d.Quorums.F]
}

// limitReasons are why a replica turns connections of clients away that are no fault of theirs.
var limitReasons = []string{"pending", "address", "total", "client-links"}

// clients tells of clients that are turned away while the doctor looks.
func (d *diagnosis) clients() {
	for i := range d.Replicas {
		s := &d.Replicas[i]
		if !s.answers() {
			continue
		}
		for _, reason := range limitReasons {
			if n := s.Last.Links.Refused[reason] - s.First.Links.Refused[reason]; s.Last.Links.Refused[reason] > s.First.Links.Refused[reason] {
				d.add(CodeClients, i, "ss -tn state established '( sport = "+port(s.Client)+" )'",
					"%s turns clients away: %d in %s because of its limit %q, with %d links of clients",
					bft.ReplicaID(i), n, s.Between, reason, s.Last.Links.Clients)
				break
			}
		}
	}
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':'):] }

// versions notes which builds run.
func (d *diagnosis) versions() {
	by := map[string][]int{}
	for i := range d.Replicas {
		if d.Replicas[i].answers() {
			v := d.Replicas[i].Last.Version
			by[v] = append(by[v], i)
		}
	}
	if len(by) < 2 {
		return
	}
	var parts []string
	for _, v := range sorted(by) {
		parts = append(parts, names(by[v])+" run "+v)
	}
	d.note("the replicas are not of one build: %s", list(parts))
}

// stalled says honestly that work waits and no rule knows why.
func (d *diagnosis) stalled() {
	if d.halted || d.has(CodeAppStuck) && len(d.able()) < d.Quorums.Quorum() {
		return
	}
	var waits []string
	oldest, at := 0.0, bft.SeqNum(0)
	var who int
	for _, i := range d.able() {
		a, b := d.Replicas[i].First, d.Replicas[i].Last
		if a.Committed != b.Committed {
			return
		}
		at = max(at, b.Committed)
		if d.lags[i] { // what waits there alone has been explained
			continue
		}
		if b.Pool.Oldest > oldest {
			oldest, who = b.Pool.Oldest, i
		}
		if b.Missing != "" && a.Missing == b.Missing {
			waits = append(waits, fmt.Sprintf("%s waits for the %s of %s", bft.ReplicaID(i), strings.ToUpper(b.Missing), orNobody(b.Waiting)))
		}
	}
	if oldest < waitsLong && len(waits) < d.Quorums.Weak() {
		return
	}
	if len(waits) == 0 {
		waits = []string{"no replica waits for a vote"}
	}
	d.add(CodeStalled, everybody, "curl -s http://"+d.Replicas[who].Admin+"/statusz",
		"nothing was decided after slot %d while the doctor looked, requests wait for up to %.1f s, and it is not known why: %s", at, oldest, list(waits))
}

func orNobody(ids []int) string {
	if len(ids) == 0 {
		return "nobody in particular"
	}
	return names(ids)
}
