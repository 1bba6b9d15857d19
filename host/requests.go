package host

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// clientRequest takes a request from its client. The primary orders what it has not seen
// executed of a session that it knows; a repeat, what comes first of a session, and everything
// that comes to another replica, goes through the execute stage first, which answers from its
// cache or gives the request back as Unexecuted. Sessions that do not exist are answered there and
// cost no place in the pool and none in a batch: a client can name any number of them.
func (n *Node) clientRequest(in ClientRequest, out *Output) {
	if !in.Retry && n.leads() && n.pool.executed.knows(&in.Request) && !n.pool.executed.has(&in.Request) {
		n.offer(&in.Request, entryFlags{asked: true})
		return
	}
	out.Lookup = append(out.Lookup, Lookup{Request: in.Request})
}

// unexecuted pools a request that is known not to be executed, and tells the primary of it if
// its client asked for it here, and again when its client repeats it: a frame that was told may
// have been lost with a link. What a peer relayed is not told on at once: the peer did that.
func (n *Node) unexecuted(in Unexecuted, out *Output) {
	e := n.offer(&in.Request, entryFlags{asked: !in.Relay, confirmed: true, executed: in.Word.Executed})
	n.pool.heard(n.now, queueOf(in.Request.Key()), in.Word)
	if e == nil || in.Relay || n.fetching() || e.told && !n.pool.mayTellAgain(n.now, e) {
		return
	}
	if s := n.view(); s.Active && s.Primary != n.self {
		n.pool.tell(e, n.now)
		n.relay(e, bft.SetOf(s.Primary), out)
	}
}

// known drops a request that the execute stage has come to know since it was pooled.
func (n *Node) known(in Known) {
	if e := n.pool.byKey[in.Key]; e != nil {
		n.pool.remove(e)
	}
}

// offer adds a request to the pool, counts what became of it, and returns its entry if it is
// pending.
func (n *Node) offer(r *wire.Request, f entryFlags) *pending {
	a := n.pool.add(n.now, r, f)
	n.counts.Offered[a]++
	if a == addedNew || a == addedKnown {
		return n.pool.byKey[r.Key()]
	}
	return nil
}

// peerMessage steps a message of the protocol. If it is a proposal of the current primary its
// requests become pending here: a primary that proposes and then stalls is suspected like one
// that never proposed.
func (n *Node) peerMessage(in PeerMessage, out *Output) {
	carrier, ok := in.Verified.Message().(protocol.BodyCarrier)
	if ok {
		n.proposals.note(carrier.Slot(), in.Verified.From(), n.view()) // the step may decide the slot
	}
	n.step(protocol.Received{Verified: in.Verified}, out)
	if !ok {
		return
	}
	s := n.view()
	if !s.Active || s.Primary != in.Verified.From() {
		return
	}
	if carrier.Slot() <= s.Committed && !mutant.On("node-waits-for-the-executed") {
		return // it came late and is executed: of many OPENs at once the pool does not remember all
	}
	_, body := carrier.Body()
	_, reqs, err := wire.DecodeBody(body)
	if err != nil {
		return // the verify stage lets no such body through
	}
	for i := range reqs {
		n.offer(&reqs[i], entryFlags{told: true, toldAt: n.now})
	}
}

// fetching reports whether a state is being fetched. Until it is here this replica cannot say what is executed:
// what it told others would be ordered once more, and who opens sessions would close them again. What is
// pending is looked up anew afterwards (forget).
func (n *Node) fetching() bool {
	return n.transfer.fetcher.Active() && !mutant.On("node-relays-while-it-fetches")
}

// upkeep looks over the pool and does what waits too long asks for.
func (n *Node) upkeep(out *Output) {
	s := n.view()
	if !s.Active || s.Primary == n.self || n.fetching() {
		n.pool.waiting.postpone(n.now)
		return
	}
	u := n.pool.look(n.now)
	for _, e := range u.doubt {
		if r, ok := e.request(); ok {
			out.Lookup = append(out.Lookup, Lookup{Request: r, Relay: true, Doubt: true})
		}
	}
	for _, e := range u.lookup {
		if r, ok := e.request(); ok {
			out.Lookup = append(out.Lookup, Lookup{Request: r, Relay: !e.asked})
		}
	}
	for _, e := range u.tell {
		n.relay(e, bft.SetOf(s.Primary), out)
	}
	for _, e := range u.spread {
		n.relay(e, n.quorums.All().Without(n.self), out)
	}
	if u.cause != protocol.CauseNone {
		n.counts.Overdue++
		n.step(protocol.Overdue{View: s.View, Cause: u.cause}, out)
	}
}

// request decodes the envelope again; the pool keeps bytes only. It cannot fail: the bytes were
// decoded before they came here.
func (e *pending) request() (wire.Request, bool) {
	r, err := wire.DecodeRequest(e.raw)
	return r, err == nil
}

// relay sends a request to other replicas.
func (n *Node) relay(e *pending, to bft.ReplicaSet, out *Output) {
	e.relayedAt = n.now
	frame := wire.AppendFrame(make([]byte, 0, wire.FrameHeaderBytes+len(e.raw)), wire.KindRelay, e.raw)
	for id := range to.All() {
		n.counts.Relayed++
		out.Frames = append(out.Frames, Frame{To: id, Bytes: frame})
	}
}

// forget gives everything that is pending back to the execute stage, after a jump over slots
// whose requests nobody here has seen: what it does not know comes back as Unexecuted.
func (n *Node) forget(out *Output) {
	for _, e := range n.pool.drain() {
		if r, ok := e.request(); ok {
			out.Lookup = append(out.Lookup, Lookup{Request: r, Relay: !e.asked})
		}
	}
}
