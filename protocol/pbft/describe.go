package pbft

import (
	"fmt"
	"strings"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
)

// Describe prints a message on one line, for charts and golden conversations.
func Describe(m protocol.Message) string {
	switch m := m.(type) {
	case *PrePrepare:
		return fmt.Sprintf("PRE-PREPARE v%d n%d %s", m.View, m.Seq, digestName(m.Digest))
	case *Prepare:
		return fmt.Sprintf("PREPARE v%d n%d %s", m.View, m.Seq, digestName(m.Digest))
	case *Commit:
		return fmt.Sprintf("COMMIT v%d n%d %s", m.View, m.Seq, digestName(m.Digest))
	case *Status:
		return fmt.Sprintf("STATUS v%d active=%t h=%d committed=%d", m.View, m.Active, m.Stable, m.Committed)
	case *Checkpoint:
		return fmt.Sprintf("CHECKPOINT n%d %s", m.Seq, digestName(m.Digest))
	case *ViewChange:
		return fmt.Sprintf("VIEW-CHANGE v%d h=%d P[%s] Q[%s]", m.View, m.Base.Seq, claimNames(m.P), claimNames(m.Q))
	case *NewView:
		return describeNewView(m)
	case *Decided:
		names := make([]string, len(m.Digests))
		for i, d := range m.Digests {
			names[i] = digestName(d)
		}
		return fmt.Sprintf("DECIDED n%d… %s", m.First, strings.Join(names, " "))
	case *Stable:
		return fmt.Sprintf("STABLE n%d %s by %d", m.Seq, digestName(m.Digest), len(m.Endorse))
	}
	return fmt.Sprintf("%T", m)
}

func describeNewView(m *NewView) string {
	var set bft.ReplicaSet
	for _, vc := range m.Set {
		set = set.With(vc.Replica)
	}
	names := make([]string, len(m.Choices))
	for i, c := range m.Choices {
		names[i] = fmt.Sprintf("n%d=%s", c.Seq, digestName(c.Digest))
	}
	return fmt.Sprintf("NEW-VIEW v%d from %s start=%d [%s]", m.View, setName(set), m.Start, strings.Join(names, " "))
}

func digestName(d bft.Digest) string {
	if d.IsNull() {
		return "null"
	}
	return d.String()
}

func claimNames(claims []Claim) string {
	names := make([]string, len(claims))
	for i, c := range claims {
		names[i] = fmt.Sprintf("n%d=%s@v%d", c.Seq, digestName(c.Digest), c.View)
	}
	return strings.Join(names, " ")
}

func setName(s bft.ReplicaSet) string {
	var names []string
	for id := range s.All() {
		names = append(names, id.String())
	}
	return strings.Join(names, ",")
}
