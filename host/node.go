package host

import (
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// Instant is what the clocks say while one input is handled. Mono is the running time of this
// process, from any origin: it never goes back, and the driver leaves out of it the time in
// which the process did not run (it was stopped, or the machine slept), so that no peer is
// blamed for our own absence. Wall is the wall clock; it is only proposed to others, and may jump.
type Instant struct {
	Mono bft.Duration
	Wall bft.Time
}

// Node is one replica between verify and persist. The driver hands it every verified input in
// order of arrival with Handle, and calls Tick after each group of inputs and when Deadline is
// reached: inputs that arrived before a timer is due are handled before it fires.
type Node struct {
	self       bft.ReplicaID
	membership *bft.Membership
	quorums    bft.Quorums
	core       protocol.Protocol
	effects    protocol.Effects
	now        bft.Duration

	pool         *pool
	timers       timers
	duties       duties
	fetches      fetches
	peers        []peer
	transfer     transfer
	propose      *protocol.Propose // outstanding
	proposeView  bft.View          // of the newest Propose
	proposedTime bft.Time
	proposals    proposals
	raws         [][]byte
	arena        []byte

	status     protocol.Status
	statusKept bool
	counts     Counts
}

// peer is what the node keeps about one replica.
type peer struct {
	linked   bool
	upDue    bft.Duration // when the next LinkUp may be passed on
	upWaits  bool         // one waits for that
	budget   budget
	rejected [protocol.ReasonCount]uint64
	evidence uint64
}

// linkUpEvery is the least time between two LinkUp events of one peer: a peer that connects
// again and again must not have everything resent every time.
const linkUpEvery = 100 * bft.Millisecond

// New builds the protocol of o from what a restart left, and appends to out what the start
// requires.
func New(o Options, out *Output) *Node {
	m := o.Protocol.Membership
	n := &Node{
		self: o.Protocol.Self, membership: m, quorums: m.Quorums(), now: o.Now,
		pool: newPool(m), peers: make([]peer, m.N()), proposedTime: max(o.Wall, 0),
		duties:  duties{committed: o.Boot.Executed, self: o.Protocol.Self, all: m.Quorums().All()},
		fetches: newFetches(), proposals: newProposals(m),
		transfer: newTransfer(o, m),
	}
	for i := range n.peers {
		n.peers[i].budget = newBudget(o.Now)
	}
	n.core = o.New(o.Protocol, o.Boot, &n.effects)
	n.absorb(out)
	return n
}

// Handle steps one input and appends what follows from it to out. It neither fires timers nor
// proposes; Tick does.
func (n *Node) Handle(at Instant, in Input, out *Output) {
	n.now = max(n.now, at.Mono)
	switch in := in.(type) {
	case PeerMessage:
		n.peerMessage(in, out)
	case PeerBodyRefused:
		n.reject(protocol.Rejection{From: in.From, Kind: wire.KindBody, Reason: in.Reason})
		n.step(protocol.BodyRefused{From: in.From, Digest: in.Digest, Reason: in.Reason}, out)
	case PeerRelay:
		out.Lookup = append(out.Lookup, Lookup{Request: in.Request, Relay: true})
	case PeerFetch:
		n.serveBody(in, out)
	case PeerBody:
		n.bodyArrived(in, out)
	case PeerStateWant:
		n.serveState(in, out)
	case PeerStateFragment:
		n.stateFragment(in, out)
	case PeerUp:
		n.peerUp(in.Peer, out)
	case PeerDown:
		n.peerDown(in.Peer, out)
	case Rejected:
		n.reject(in.Rejection)
	case ClientRequest:
		n.clientRequest(in, out)
	case Unexecuted:
		n.unexecuted(in, out)
	case Known:
		n.known(in)
	case Checkpoint:
		n.checkpoint(in, out)
	case Installed:
		n.installed(in, out)
	case Certified:
		n.step(protocol.Certified{Msg: in.Msg}, out)
	}
}

// Tick fires every timer that is due, looks over the pool if that is due, and answers an
// outstanding Propose if requests are pending.
func (n *Node) Tick(at Instant, out *Output) {
	n.now = max(n.now, at.Mono)
	for t, ok := n.timers.due(n.now); ok; t, ok = n.timers.due(n.now) {
		n.step(protocol.TimerFired{Timer: t}, out)
	}
	n.linksUp(out)
	n.transferTick(out)
	n.upkeep(out)
	for n.mayPropose() {
		body := n.proposal(at.Wall)
		view := n.propose.View
		n.propose = nil
		n.counts.BatchesProposed++
		n.step(protocol.Proposed{View: view, Digest: wire.BodyDigest(body), Body: body}, out)
	}
}

func (n *Node) mayPropose() bool { return n.propose != nil && n.pool.unproposed > 0 }

// Deadline is the running time at which Tick must be called next, if there is any. It lies in
// the past when Tick has something to do now.
func (n *Node) Deadline() (bft.Duration, bool) {
	if n.mayPropose() {
		return n.now, true
	}
	at, ok := n.timers.next()
	earlier := func(d bft.Duration, there bool) {
		if there && (!ok || d < at) {
			at, ok = d, true
		}
	}
	earlier(n.pool.deadline())
	earlier(n.transferDeadline())
	for i := range n.peers {
		earlier(n.peers[i].upDue, n.peers[i].upWaits)
	}
	return at, ok
}

// step applies one event to the protocol and meets or passes on what follows.
func (n *Node) step(ev protocol.Event, out *Output) {
	n.effects.Reset()
	n.statusKept = false
	n.core.Step(ev, &n.effects)
	n.absorb(out)
}

// view is the protocol's status, asked for once per step at most.
func (n *Node) view() *protocol.Status {
	if !n.statusKept {
		n.status = n.core.Status()
		n.statusKept = true
	}
	return &n.status
}

// leads reports whether this replica is the primary of an active view.
func (n *Node) leads() bool {
	s := n.view()
	return s.Active && s.Primary == n.self
}

// absorb turns the effects of a step into output and own state. What must outlive the effects
// is copied.
func (n *Node) absorb(out *Output) {
	e := &n.effects
	n.duties.check(e)
	for _, r := range e.Persist {
		// A body is shared and immutable; everything else is the core's until it is reset.
		if r.Data != nil && !bodyRecord(r) {
			r.Data = n.keep(r.Data)
		}
		out.Persist = append(out.Persist, r)
	}
	out.Send = append(out.Send, e.Send...)
	for _, c := range e.Commit {
		n.committed(c)
		out.Commit = append(out.Commit, c)
	}
	for _, t := range e.Timers {
		n.setTimer(t)
	}
	if e.Propose != nil {
		n.wantBatch(*e.Propose)
	}
	for _, f := range e.Fetch {
		n.fetch(f, out)
	}
	n.absorbCheckpoints(e, out)
	for _, r := range e.Reject {
		n.reject(r)
	}
	for _, v := range e.Evidence {
		if int(v.Against) < len(n.peers) {
			n.peers[v.Against].evidence++
		}
	}
}

// arenaBytes is the size of the pieces from which copies of records are cut.
const arenaBytes = 16 << 10

// keep copies b. Copies share larger pieces of memory, which the collector takes back when the
// last copy in it is gone.
func (n *Node) keep(b []byte) []byte {
	if len(b) > arenaBytes/4 {
		return slices.Clone(b)
	}
	if len(b) > cap(n.arena)-len(n.arena) {
		n.arena = make([]byte, 0, arenaBytes)
	}
	start := len(n.arena)
	n.arena = append(n.arena, b...)
	return n.arena[start:len(n.arena):len(n.arena)]
}

func (n *Node) committed(c protocol.Committed) {
	if len(c.Body) == 0 {
		return
	}
	// A body that does not decode holds no request; a quorum that decides it is no news here,
	// and the execute stage treats it the same everywhere.
	_, reqs, err := wire.DecodeBody(c.Body)
	if err == nil {
		n.pool.commit(n.now, decided{c.Seq, n.proposals.had(c.Seq, c.View), reqs})
	}
}

func (n *Node) setTimer(t protocol.TimerOp) {
	if t.Timer == protocol.TimerPatience {
		n.pool.setPatience(n.now, t.After, n.view().View)
		return
	}
	n.timers.set(t.Timer, n.now, t.After)
}

// wantBatch notes that the core wants a batch. In a newer view everything counts as not
// proposed. A core that wants a batch for an older view than before was told otherwise since.
func (n *Node) wantBatch(p protocol.Propose) {
	if p.View < n.proposeView {
		return
	}
	if p.View > n.proposeView {
		n.pool.resetProposed()
		n.proposeView = p.View
	}
	n.propose = &p
}

func (n *Node) reject(r protocol.Rejection) {
	if int(r.From) < len(n.peers) && r.Reason < protocol.ReasonCount {
		n.peers[r.From].rejected[r.Reason]++
	}
}
