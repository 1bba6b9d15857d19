package pbft

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/storage"
)

// wantedMax bounds the bodies asked for at a time: what NEW-VIEW and claims name, slot by slot.
const wantedMax = 64

// want is a body that a correct replica has and we lack.
type want struct {
	digest bft.Digest
	seq    bft.SeqNum // the slot that needs it
	next   bft.ReplicaID
}

// Body returns a body that this replica can serve. The null batch has none.
func (c *Core) Body(d bft.Digest) []byte { return c.bodies[d].bytes }

// bodyOf returns the body of d and whether it is at hand. The null batch always is.
func (c *Core) bodyOf(d bft.Digest) ([]byte, bool) {
	if d.IsNull() {
		return nil, true
	}
	b, ok := c.bodies[d]
	return b.bytes, ok
}

// keepBody stores and logs a body for slot n, once.
func (c *Core) keepBody(n bft.SeqNum, d bft.Digest, b []byte, out *protocol.Effects) {
	if d.IsNull() {
		return
	}
	old, ok := c.bodies[d]
	if ok && old.seq >= n {
		return
	}
	if ok {
		b = old.bytes
	}
	c.bodies[d] = body{bytes: b, seq: n}
	if mutant.On("pbft-body-not-logged") {
		return
	}
	out.Persist = append(out.Persist, protocol.Record{Kind: storage.RecordBody, Seq: n, Data: b})
}

// dropBodies forgets the bodies that no slot above n refers to, also those whose entry in Q was
// outranked meanwhile.
func (c *Core) dropBodies(n bft.SeqNum) {
	for d, b := range c.bodies { // order does not matter: each is only dropped
		if b.seq <= n {
			delete(c.bodies, d)
		}
	}
}

// want asks for a body, first from one of hint. Repeated calls for one digest change nothing.
func (c *Core) want(n bft.SeqNum, d bft.Digest, hint bft.ReplicaSet, out *protocol.Effects) {
	for i := range c.wanted {
		if c.wanted[i].digest == d {
			return
		}
	}
	if len(c.wanted) >= wantedMax {
		return // asked for again when a body came, or by refetch
	}
	first := c.nextReplica(c.self)
	for id := range (hint & c.others).All() {
		first = id
		break
	}
	if len(c.wanted) == 0 {
		out.Timers = append(out.Timers, protocol.TimerOp{Timer: timerFetch, After: c.cfg.Resend / 2})
	}
	c.wanted = append(c.wanted, want{digest: d, seq: n, next: c.nextReplica(first)})
	out.Fetch = append(out.Fetch, protocol.Fetch{Digest: d, From: first})
}

// refetch asks the next replica for every body that did not come.
func (c *Core) refetch(out *protocol.Effects) {
	kept := c.wanted[:0]
	for _, w := range c.wanted {
		if _, have := c.bodies[w.digest]; have || w.seq <= c.committed && w.seq <= c.stable.Seq {
			continue
		}
		out.Fetch = append(out.Fetch, protocol.Fetch{Digest: w.digest, From: w.next})
		w.next = c.nextReplica(w.next)
		kept = append(kept, w)
	}
	c.wanted = kept
	if len(c.wanted) > 0 {
		out.Timers = append(out.Timers, protocol.TimerOp{Timer: timerFetch, After: c.cfg.Resend / 2})
	}
	c.useBodies(out)
}

// useBodies goes on where a body was missing, and asks for those for which there was no room.
func (c *Core) useBodies(out *protocol.Effects) {
	c.applyNewView(out)
	c.tryNewView(out)
	c.advance(out)
}

func (c *Core) nextReplica(id bft.ReplicaID) bft.ReplicaID {
	id = bft.ReplicaID((int(id) + 1) % c.n)
	if id == c.self {
		id = bft.ReplicaID((int(id) + 1) % c.n)
	}
	return id
}

// onBody takes a body that was asked for and goes on where it was missing.
func (c *Core) onBody(d bft.Digest, b []byte, out *protocol.Effects) {
	for i := range c.wanted {
		if c.wanted[i].digest != d {
			continue
		}
		w := c.wanted[i]
		c.wanted = append(c.wanted[:i], c.wanted[i+1:]...)
		if c.slots.At(w.seq) != nil { // else a checkpoint covered the slot meanwhile
			c.keepBody(w.seq, d, b, out)
		}
		c.useBodies(out)
		return
	}
}
