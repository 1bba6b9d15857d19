package doctor

import (
	"strings"

	"github.com/themis-bft/themis/bft"
)

// What transport/tcp says of a peer that is not the one it must be.
const (
	otherKey   = "another key than the one listed"
	otherHello = "hello: they are"
)

// unheardAfter is for how many seconds a peer may say nothing before it counts as not heard. A
// replica says something every resend period, which is a fraction of a second.
const unheardAfter = 3.0

// believed reports whether so many replicas said a thing that at least one of them is correct.
// When fewer than that can be asked at all, all of them must say it.
func (d *diagnosis) believed(said, asked int) bool {
	return said > 0 && said >= min(d.Quorums.Weak(), asked)
}

// refused reports whether the others refuse replica i because of its key.
func (d *diagnosis) refused(i int) bool { return len(d.refusers(i)) > 0 }

func (d *diagnosis) refusers(i int) (by []int) {
	asked := 0
	for j := range d.Replicas {
		if j == i || !d.Replicas[j].answers() {
			continue
		}
		asked++
		if l, ok := d.Replicas[j].link(i); ok && !l.Out && strings.Contains(l.LastError, otherKey) {
			by = append(by, j)
		}
	}
	if !d.believed(len(by), asked) {
		return nil
	}
	return by
}

// members finds replicas that do not belong to the same cluster as the others: by key, or by the
// cluster file.
func (d *diagnosis) members() {
	agreed := d.agreedMembership()
	for i := range d.Replicas {
		s := &d.Replicas[i]
		if !s.answers() {
			continue
		}
		name := bft.ReplicaID(i).String()
		own := s.Last.Membership != agreed
		differs := ""
		if own {
			differs = " in " + d.inside(s.ClusterFile)
			if s.Differs != "" {
				differs += " (another " + s.Differs + ")"
			}
		}
		switch by := d.refusers(i); {
		case len(by) > 0 && own:
			d.add(CodeWrongKey, i, "themis config show "+quoted(s.ClusterFile), "%s runs with another key than the one that %s know, and another cluster file%s: they refuse it",
				name, names(by), differs)
			d.out[i] = "refused"
		case len(by) > 0:
			d.add(CodeWrongKey, i, "themis keygen --public "+quoted(s.KeyFile), "%s runs with another key than the one that %s know: they refuse it", name, names(by))
			d.out[i] = "refused"
		case own:
			d.add(CodeWrongCluster, i, "themis config show "+quoted(s.ClusterFile), "%s runs with another cluster file than the others%s; %s",
				name, differs, d.apartBecause(i))
			d.out[i] = "of another cluster"
		}
	}
	if agreed != d.Membership && agreed != "" {
		d.note("the replicas run with another cluster file than %s/cluster.toml: it was changed after they started", d.Dir)
	}
}

// apartBecause says whether the others refuse the links of a replica with another cluster file.
func (d *diagnosis) apartBecause(i int) string {
	for _, l := range d.Replicas[i].Last.Links.Peers {
		if strings.HasPrefix(l.LastError, otherHello) {
			return "they refuse its links"
		}
	}
	return "its state cannot be the one of the others"
}

// agreedMembership is what most replicas that answer go by; if none stands out, the cluster file.
func (d *diagnosis) agreedMembership() string {
	count := map[string]int{}
	for i := range d.Replicas {
		if d.Replicas[i].answers() {
			count[d.Replicas[i].Last.Membership]++
		}
	}
	best := d.Membership
	for i := range d.Replicas {
		if !d.Replicas[i].answers() {
			continue
		}
		if m := d.Replicas[i].Last.Membership; count[m] > count[best] {
			best = m
		}
	}
	return best
}

// hears reports whether what a sends arrives at b, as far as the two tell.
func (d *diagnosis) hears(b, a int) bool {
	in, ok := d.Replicas[b].link(a)
	out, ok2 := d.Replicas[a].link(b)
	return !ok || !ok2 || in.In && out.Out && in.Silence >= 0 && in.Silence <= unheardAfter
}

// links finds broken links between replicas that answer and have no cause of their own.
func (d *diagnosis) links() {
	var live []int
	for i := range d.Replicas {
		if s := &d.Replicas[i]; s.answers() && !d.told[i] && !s.Last.NoSpace && !slowSync(s.Last) {
			live = append(live, i) // a full or hanging disk keeps back what is to be sent
		}
	}
	if len(live) < 2 {
		return
	}
	unheard, deaf := map[int][]int{}, map[int][]int{}
	for _, a := range live {
		for _, b := range live {
			if a != b && !d.hears(b, a) {
				unheard[a] = append(unheard[a], b)
				deaf[b] = append(deaf[b], a)
			}
		}
	}
	alone := map[int]bool{}
	if len(live) > 2 {
		for _, a := range live {
			alone[a] = d.alone(a, len(live)-1, len(unheard[a]), len(deaf[a]))
		}
	}
	for _, a := range live {
		for _, b := range unheard[a] {
			if !alone[a] && !alone[b] {
				d.link(a, b)
			}
		}
	}
}

// alone names a replica that has trouble with all others, in one direction or both.
func (d *diagnosis) alone(a, others, unheard, deaf int) bool {
	name := bft.ReplicaID(a).String()
	switch {
	case unheard == others && deaf == others:
		d.out[a] = "isolated"
		d.add(CodeIsolated, a, d.dialNext(a), "%s runs, but is linked with no other replica%s", name, d.why(a, d.firstOther(a)))
	case unheard == others:
		d.out[a] = "not heard"
		d.add(CodeOneWay, a, d.dialNext(a), "%s hears the others, but none of them hears it: what it sends is lost%s", name, d.why(a, d.firstOther(a)))
	case deaf == others:
		d.out[a] = "deaf"
		d.add(CodeOneWay, a, d.dialNext(d.firstOther(a)), "the others hear %s, but it hears none of them: what is sent to it is lost%s", name, d.why(d.firstOther(a), a))
	default:
		return false
	}
	return true
}

func (d *diagnosis) firstOther(a int) int {
	for i := range d.Replicas {
		if i != a && d.Replicas[i].answers() {
			return i
		}
	}
	return a
}

// link tells of the broken link from a to b: once, if both directions are broken.
func (d *diagnosis) link(a, b int) {
	from, to := bft.ReplicaID(a), bft.ReplicaID(b)
	switch {
	case d.hears(a, b):
		d.add(CodeOneWay, a, d.dialNext(a), "%s hears %s, but %s does not hear %s: what %s sends is lost%s", from, to, to, from, from, d.why(a, b))
	case a < b:
		d.add(CodeLinkCut, a, d.dialNext(a), "%s and %s do not reach each other%s", from, to, d.why(a, b))
		d.told[b] = true
	}
}

// why is what a says of its attempts to reach b.
func (d *diagnosis) why(a, b int) string {
	if l, ok := d.Replicas[a].link(b); ok && !l.Out && l.LastError != "" {
		return " (" + bft.ReplicaID(a).String() + " says: " + l.LastError + ")"
	}
	return ""
}

// dialNext shows where a dials the others.
func (d *diagnosis) dialNext(a int) string {
	return "themis config show " + quoted(d.Replicas[a].Config)
}
