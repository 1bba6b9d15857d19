package exec

import (
	"testing"

	"github.com/themis-bft/themis/protocol"
)

// TestCoveredSlotsAfterInstall: a slot that was decided while its state was on the way comes
// after the installation and changes nothing (simulator seed 528); a real gap still panics.
func TestCoveredSlotsAfterInstall(t *testing.T) {
	a, b := newFixture(t, 8), newFixture(t, 8)
	s := a.open(1)
	a.slot(opReq(1, s, 0, 0, "x"))
	c := a.toCheckpoint()
	if _, err := b.e.Install(copyState(c), false); err != nil {
		t.Fatal(err)
	}
	for n := range c.Seq() {
		b.e.Execute(protocol.Committed{Seq: n + 1}, &b.out)
	}
	if b.e.Executed() != c.Seq() || len(b.out.Replies) != 0 {
		t.Fatalf("executed %d with %d replies, installed %d", b.e.Executed(), len(b.out.Replies), c.Seq())
	}
	b.e.Execute(protocol.Committed{Seq: c.Seq() + 1}, &b.out)
	defer func() {
		if recover() == nil {
			t.Fatal("a gap after the installed state was taken")
		}
	}()
	b.e.Execute(protocol.Committed{Seq: c.Seq() + 3}, &b.out)
}
