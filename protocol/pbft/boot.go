package pbft

import (
	"fmt"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/window"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/wire"
)

// The votes in the log. Decided is no promise, only a shortcut for the restart, so it waits
// for another record's sync.
const (
	votePrePrepared uint8 = 1
	votePrepared    uint8 = 2
	voteDecided     uint8 = 3
)

func (c *Core) persistVote(tag uint8, n bft.SeqNum, v bft.View, d bft.Digest, out *protocol.Effects) {
	if tag == votePrepared && mutant.On("pbft-prepared-not-logged") {
		return
	}
	out.Persist = append(out.Persist, protocol.Record{
		Kind: storage.RecordVote, Seq: n, Data: appendVote([]byte{tag}, v, n, d), Lazy: tag == voteDecided || mutant.On("pbft-vote-not-awaited"),
	})
}

// persistView logs, in one record so that no crash tears it, the view, whether it is active,
// and its NEW-VIEW or else the own VIEW-CHANGE: a restart inside a view change goes on with the
// very same message (B9).
func (c *Core) persistView(out *protocol.Effects) {
	b := wire.AppendBool(wire.AppendU64(nil, uint64(c.view)), c.active)
	if c.active {
		b = c.codec.Append(b, c.newView)
	} else {
		b = c.own.append(b)
	}
	c.viewBytes = len(b)
	out.Persist = append(out.Persist, protocol.Record{Kind: storage.RecordView, Data: b})
}

// boot restores what the log holds and starts.
func (c *Core) boot(b protocol.Boot, out *protocol.Effects) {
	c.committed, c.loaded = b.Executed, b.Executed
	c.bootCheckpoint(b)
	low := bft.SeqNum(0)
	if c.stable.Seq > c.every {
		low = c.stable.Seq - c.every
	}
	c.slots = window.New(low, int(c.window+2*c.every), c.resetSlot)
	c.bootView(b)
	decided := map[bft.SeqNum]bft.Digest{}
	for _, r := range b.Records {
		switch r.Kind {
		case storage.RecordBody:
			d, data := wire.BodyDigest(r.Data), r.Data
			if old, ok := c.bodies[d]; !ok || old.seq < r.Seq {
				c.bodies[d] = body{bytes: append([]byte(nil), data...), seq: r.Seq}
			}
		case storage.RecordVote:
			c.bootVote(r.Data, decided)
		}
	}
	c.replay(decided, out)
	c.fillBudgets()
	out.Timers = append(out.Timers, protocol.TimerOp{Timer: timerStatus, After: c.cfg.Resend})
	c.resume(b, out)
}

// bootCheckpoint takes the last proof. A proof above the restored state is kept as the window
// all the same: the votes below it are gone.
func (c *Core) bootCheckpoint(b protocol.Boot) {
	for _, r := range b.Records {
		if r.Kind != storage.RecordCheckpoint {
			continue
		}
		m := c.mustDecode(KindStable, r.Data).(*Stable)
		if m.Seq >= c.stable.Seq {
			c.stable, c.stableState = *m, m.Digest
		}
	}
}

// bootView takes the last view. A NEW-VIEW record is one that we made as primary and had not
// entered yet.
func (c *Core) bootView(b protocol.Boot) {
	for _, r := range b.Records {
		switch r.Kind {
		case storage.RecordView:
			if mutant.On("pbft-view-goes-down-on-restart") {
				continue
			}
			rd := wire.NewReader(r.Data)
			c.viewBytes = len(r.Data)
			c.view, c.active, c.own, c.newView = bft.View(rd.U64()), rd.Bool(), nil, nil
			if c.active {
				c.newView = c.mustDecode(KindNewView, rd.Rest()).(*NewView)
			} else {
				c.own = c.mustDecode(KindViewChange, rd.Rest()).(*ViewChange)
			}
		case storage.RecordNewView:
			if mutant.On("pbft-new-view-forgotten") {
				continue
			}
			c.unsent = c.mustDecode(KindNewView, r.Data).(*NewView)
		}
	}
	if c.active && c.newView != nil {
		c.enterView(c.newView)
	}
}

// mustDecode parses what we wrote ourselves; the log has verified its checksum.
func (c *Core) mustDecode(k wire.Kind, b []byte) protocol.Message {
	m, err := c.codec.Decode(k, append([]byte(nil), b...))
	if err != nil {
		panic(fmt.Sprintf("pbft: a record of kind %d in our own log: %v", k, err))
	}
	return m
}

// bootVote restores one vote into its slot.
func (c *Core) bootVote(data []byte, decided map[bft.SeqNum]bft.Digest) {
	r := wire.NewReader(data)
	tag := r.U8()
	v, n, d := readVote(r)
	if err := r.Close(); err != nil {
		panic(fmt.Sprintf("pbft: a vote of %d bytes in our own log", len(data)))
	}
	if tag == voteDecided {
		decided[n] = d
	}
	s := c.slots.At(n)
	if s == nil || mutant.On("pbft-votes-forgotten") && tag != voteDecided {
		return
	}
	switch tag {
	case votePrePrepared:
		s.noteQ(Claim{Seq: n, Digest: d, View: v})
		if v == c.view && !c.active {
			break // of a NEW-VIEW of ours: accepted when it lets us in
		}
		s.accepted, s.prepared, s.view, s.digest = true, false, v, d
		if c.q.Primary(v) != c.self {
			s.prepares[c.self] = vote{cast: true, view: v, digest: d}
		}
		if c.active && v == c.view {
			c.assigned = max(c.assigned, n)
		}
	case votePrepared:
		s.prepared = s.acceptedIn(v)
		s.noteP(Claim{Seq: n, Digest: d, View: v})
		s.commits[c.self] = vote{cast: true, view: v, digest: d}
	case voteDecided:
		s.decided, s.decidedDigest, s.decidedView = true, d, v
	default:
		panic(fmt.Sprintf("pbft: vote tag %d in our own log", tag))
	}
}

// replay executes again what was decided above the restored snapshot.
func (c *Core) replay(decided map[bft.SeqNum]bft.Digest, out *protocol.Effects) {
	for {
		n := c.committed + 1
		d, ok := decided[n]
		b, have := c.bodyOf(d)
		if !ok || !have {
			break
		}
		out.Commit = append(out.Commit, protocol.Committed{Seq: n, View: c.view, Digest: d, Body: b})
		c.committed = n
	}
	c.dropBodies(c.slots.Low())
	c.assigned = max(c.assigned, c.committed)
	c.advance(out) // asks for the body of the next slot, if only that is missing
}

// resume goes on in the view of the log: with the view change, or with its slots.
func (c *Core) resume(b protocol.Boot, out *protocol.Effects) {
	if b.Executed > 0 && b.Executed == c.stable.Seq && b.State != c.stable.Digest {
		c.diverge(c.stable, out)
	} else if c.stable.Seq > c.committed+c.every {
		c.catchUp(c.stable, out)
	}
	if c.active {
		c.setPatience(out)
		c.watchFlight(out)
		c.applyNewView(out)
		c.askBatch(out)
	} else {
		if mutant.On("pbft-view-change-made-again") {
			c.own = c.makeViewChange(c.view)
		}
		c.failed = 1
		c.causes[protocol.CauseRestart]++
		c.certify(c.own, out)
		c.resumeNewView(out)
	}
	c.sendStatus(c.others, out)
}

// resumeNewView sends again the NEW-VIEW that was logged before the restart and not entered.
func (c *Core) resumeNewView(out *protocol.Effects) {
	if nv := c.unsent; nv != nil && nv.View == c.view {
		c.sentView = c.view
		c.certify(nv, out)
	}
	c.unsent = nil
}
