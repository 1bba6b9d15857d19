package pbft

import (
	"fmt"

	"github.com/themis-bft/themis/bft"
)

// CheckInvariants holds the state against I2 to I8 of doc.go. Tests and the simulator call it
// after every step; what it finds is our own mistake, never a peer's.
func (c *Core) CheckInvariants() error {
	if c.active && c.view > 0 && (c.newView == nil || c.newView.View != c.view) {
		return fmt.Errorf("I7: active in view %d without its NEW-VIEW", c.view)
	}
	if !c.active && (c.own == nil || c.own.View != c.view) {
		return fmt.Errorf("I7: view %d was asked for without a VIEW-CHANGE", c.view)
	}
	for n := c.slots.Low() + 1; n <= c.slots.High(); n++ {
		if err := c.checkSlot(n, c.slots.At(n)); err != nil {
			return fmt.Errorf("slot %d: %w", n, err)
		}
	}
	if s := c.slots.At(c.committed + 1); s != nil && s.decided && !c.diverged {
		if _, ok := c.bodyOf(s.decidedDigest); ok {
			return fmt.Errorf("I6: slot %d is decided, its body is here, and it was not committed", c.committed+1)
		}
	}
	for d, b := range c.bodies {
		if b.seq <= c.slots.Low() {
			return fmt.Errorf("I5: the body of %s is kept for slot %d, the slots up to %d are gone", d, b.seq, c.slots.Low())
		}
	}
	if limit := int(c.slots.High()-c.slots.Low()) * (bft.QEntriesMax + 2); len(c.bodies) > limit {
		return fmt.Errorf("I5: %d bodies in a window for %d", len(c.bodies), limit)
	}
	return nil
}

func (c *Core) checkSlot(n bft.SeqNum, s *slot) error {
	if s.accepted && s.view > c.view {
		return fmt.Errorf("I2: accepted in view %d, but the view is %d", s.view, c.view)
	}
	if own := s.prepares[c.self]; s.accepted && own.cast && own.view == s.view && own.digest != s.digest {
		return fmt.Errorf("I2: PREPARE for %s, accepted %s", own.digest, s.digest)
	}
	if s.prepared && (!s.hasP || s.p.View != s.view || s.p.Digest != s.digest) {
		return fmt.Errorf("I3: prepared %s in view %d, P is %v", s.digest, s.view, s.p)
	}
	if n <= c.stable.Seq {
		return nil // claims below the stable checkpoint are history
	}
	for _, q := range s.q {
		if s.hasP && q.View < s.p.View {
			return fmt.Errorf("I4: Q holds view %d below P's view %d", q.View, s.p.View)
		}
		if _, ok := c.bodyOf(q.Digest); !ok {
			return fmt.Errorf("I5: no body for %s of Q", q.Digest)
		}
	}
	if s.accepted && len(s.q) == 0 {
		return fmt.Errorf("I4: accepted %s and Q is empty", s.digest)
	}
	if s.decided && n > c.loaded && n <= c.committed && !c.diverged {
		if _, ok := c.bodyOf(s.decidedDigest); !ok {
			return fmt.Errorf("I5: no body for %s, which was committed", s.decidedDigest)
		}
	}
	return nil
}
