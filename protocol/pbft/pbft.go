package pbft

import (
	"fmt"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/window"
)

// The timers of the protocol's own.
const (
	timerStatus  = protocol.TimerProtocol + iota // periodic STATUS
	timerNewView                                 // NEW-VIEW is late
	timerFetch                                   // bodies asked for did not come
	timerStalled                                 // as primary: slots in flight do not commit
)

// Family is PBFT as assembly knows it.
var Family = protocol.Family{
	Name:  "pbft",
	New:   New,
	Codec: func(m *bft.Membership) protocol.Codec { return NewCodec(m) },
	Replicas: func(n, f int) error {
		if f < 0 || n < 3*f+1 || n < 4 {
			return fmt.Errorf("pbft needs n ≥ 3f+1 and n ≥ 4: for f = %d at least %d replicas, not %d", f, max(4, 3*f+1), n)
		}
		return nil
	},
}

// Core is one replica's PBFT. See doc.go for the invariants I1 to I8.
type Core struct {
	cfg    protocol.Config
	codec  *Codec
	q      bft.Quorums
	n      int
	self   bft.ReplicaID
	others bft.ReplicaSet
	every  bft.SeqNum // K
	window bft.SeqNum // L

	view   bft.View
	active bool

	slots     *window.Ring[slot] // (stable-K, stable+L+K]; votes count up to stable+L
	committed bft.SeqNum         // highest slot handed to execution
	loaded    bft.SeqNum         // came as a state, from the disk or from peers: nothing up to it was executed from here
	assigned  bft.SeqNum         // as primary: highest slot in use
	asked     bool               // a Propose is outstanding
	flying    bool               // the timer of slots in flight runs
	excused   bft.SeqNum         // progress of others that last excused a suspicion
	pardons   int                // how often unfairness was excused in this view
	pardonEnd bft.SeqNum         // it is not before this slot is committed
	propose   protocol.Propose

	bodies map[bft.Digest]body
	wanted []want // bodies asked for, oldest first

	stable      Stable // proof of the last stable checkpoint; zero at the start
	stableState bft.Digest
	proofs      []Stable // proven checkpoints above stable, ascending
	ckpts       map[bft.SeqNum]*ballot
	target      bft.SeqNum // last CatchUp
	stoodAt     bft.SeqNum // committed at the last periodic STATUS
	stoodFor    int        // periods in which it did not move below a proven checkpoint
	targetProof Stable
	diverged    bool

	changes []*ViewChange // newest per sender
	own     *ViewChange   // our VIEW-CHANGE for view while inactive, unsigned
	newView *NewView      // of view, once it is known; nil in view 0
	// viewBytes is about the size of newView, or of own while inactive.
	viewBytes int
	bound     bft.SeqNum // slots up to here were fixed by the NEW-VIEW of boundView
	boundView bft.View   // last view entered since the start
	sentView  bft.View   // last view we sent NEW-VIEW for
	unsent    *NewView   // from the log: made before a restart, not entered
	waiting   bool       // the NEW-VIEW timer runs
	failed    uint       // views that failed in a row
	causes    [protocol.CauseCount]uint64

	peers    []peer
	above    bool // votes or proposals above the window were refused since it moved
	gap      bool // the primary was asked for a proposal that did not come, since the last periodic STATUS
	ahead    bool // somebody spoke of slots or views beyond ours since the last periodic STATUS
	conflict uint64
}

// body is a batch and the highest slot that refers to it.
type body struct {
	bytes []byte
	seq   bft.SeqNum
}

// peer is what the last STATUS of a peer said, and what it may still ask for.
type peer struct {
	committed bft.SeqNum
	budget    int // answers
	bytes     int // of large messages in them
}

var _ protocol.Protocol = (*Core)(nil)

// New builds a core from a configuration and what a restart left; see boot.go.
func New(cfg protocol.Config, boot protocol.Boot, out *protocol.Effects) protocol.Protocol {
	m := cfg.Membership
	c := &Core{
		cfg: cfg, codec: NewCodec(m), q: m.Quorums(), n: m.N(), self: cfg.Self,
		others: bft.AllReplicas(m.N()).Without(cfg.Self),
		every:  m.CheckpointEvery, window: m.Window,
		active: true, bodies: map[bft.Digest]body{}, ckpts: map[bft.SeqNum]*ballot{},
		changes: make([]*ViewChange, m.N()), peers: make([]peer, m.N()),
		stableState: boot.State,
	}
	c.boot(boot, out)
	return c
}

// Step applies one event. The switch is the table of contents of the protocol.
func (c *Core) Step(ev protocol.Event, out *protocol.Effects) {
	switch ev := ev.(type) {
	case protocol.Received:
		c.receive(ev.Verified.From(), ev.Verified.Message(), out)
	case protocol.Proposed:
		c.onProposed(ev, out)
	case protocol.BodyArrived:
		c.onBody(ev.Digest, ev.Body, out)
	case protocol.BodyRefused:
		c.onBodyRefused(ev, out)
	case protocol.Overdue:
		c.onOverdue(ev, out)
	case protocol.TimerFired:
		c.onTimer(ev.Timer, out)
	case protocol.Executed:
		c.onExecuted(ev.Seq, ev.Digest, out)
	case protocol.Certified:
		c.onCertified(ev.Msg, out)
	case protocol.Installed:
		c.onInstalled(ev.Seq, ev.Digest, out)
	case protocol.LinkUp:
		c.sendStatus(bft.SetOf(ev.Peer)&c.others, out)
	default:
		panic(fmt.Sprintf("pbft: unknown event %T", ev))
	}
}

func (c *Core) receive(from bft.ReplicaID, m protocol.Message, out *protocol.Effects) {
	reason := protocol.ReasonNone
	switch m := m.(type) {
	case *PrePrepare:
		reason = c.onPrePrepare(from, m, out)
	case *Prepare:
		reason = c.onPrepare(from, m, out)
	case *Commit:
		reason = c.onCommit(from, m, out)
	case *Checkpoint:
		reason = c.onCheckpoint(m, out)
	case *ViewChange:
		reason = c.onViewChange(m, out)
	case *NewView:
		reason = c.onNewView(m, out)
	case *Status:
		reason = c.onStatus(from, m, out)
	case *Decided:
		reason = c.onDecided(from, m, out)
	case *Stable:
		reason = c.onStable(*m, out)
	default:
		panic(fmt.Sprintf("pbft: no handler for %T", m))
	}
	if reason != protocol.ReasonNone {
		out.Reject = append(out.Reject, protocol.Rejection{From: from, Kind: m.Kind(), Reason: reason})
	}
}

func (c *Core) onTimer(t protocol.Timer, out *protocol.Effects) {
	switch t {
	case timerStatus:
		c.fillBudgets()
		c.sendStatus(c.others, out)
		c.ahead, c.gap = false, false
		c.watchClaims(out)
		out.Timers = append(out.Timers, protocol.TimerOp{Timer: timerStatus, After: c.cfg.Resend})
	case timerNewView:
		c.waiting = false
		if !c.active {
			c.leaveView(c.view+1, protocol.CauseNewView, out)
		}
	case timerFetch:
		c.refetch(out)
	case timerStalled:
		c.onStalled(out)
	default:
		panic(fmt.Sprintf("pbft: timer %d was never set", t))
	}
}

// onCertified takes back what we signed.
func (c *Core) onCertified(m protocol.Message, out *protocol.Effects) {
	switch m := m.(type) {
	case *Checkpoint:
		c.onCheckpoint(m, out)
	case *ViewChange:
		c.onViewChange(m, out)
	case *NewView:
		c.onNewView(m, out)
	default:
		panic(fmt.Sprintf("pbft: %T is never certified", m))
	}
}

// primary is the replica that proposes in the current view.
func (c *Core) primary() bft.ReplicaID { return c.q.Primary(c.view) }

// leads reports whether this replica may propose.
func (c *Core) leads() bool { return c.active && c.primary() == c.self }

// high is the last slot in which votes count.
func (c *Core) high() bft.SeqNum { return c.stable.Seq + c.window }

// send appends a message to peers. A set without members sends nothing.
func (c *Core) send(to bft.ReplicaSet, m protocol.Message, out *protocol.Effects) {
	if to &= c.others; to != 0 {
		out.Send = append(out.Send, protocol.Outgoing{To: to, Msg: m})
	}
}

// certify appends a message of our own to sign, send to all, and bring back.
func (c *Core) certify(m protocol.Signed, out *protocol.Effects) {
	out.Send = append(out.Send, protocol.Outgoing{To: c.others, Msg: m, Certify: true})
}
