package host

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/catchup"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// transfer is both ends of state transfer: the checkpoints that peers may fetch, and the one
// that is fetched here.
type transfer struct {
	server  *catchup.Server
	fetcher *catchup.Fetcher
	out     catchup.Output
}

func newTransfer(o Options, m *bft.Membership) transfer {
	// The stable checkpoint, all that may lie above it in the window, and the one before it.
	held := 2
	if m.CheckpointEvery > 0 {
		held += int(m.Window / m.CheckpointEvery)
	}
	t := transfer{
		server:  catchup.NewServer(held),
		fetcher: catchup.NewFetcher(o.Protocol.Self, m.N(), max(o.Protocol.Patience, bft.Millisecond)),
	}
	if o.Held != nil {
		t.server.Hold(o.Held)
	}
	return t
}

// Close releases the checkpoints that the node serves. Nothing may be called after it.
func (n *Node) Close() { n.transfer.server.Close() }

// serveState answers STATE-WANT; the server keeps a budget for every peer.
func (n *Node) serveState(in PeerStateWant, out *Output) {
	f, reason := n.transfer.server.Serve(in.From, in.Want, n.now)
	if reason != protocol.ReasonNone {
		n.reject(protocol.Rejection{From: in.From, Kind: wire.KindStateWant, Reason: reason})
		return
	}
	n.counts.StateServed++
	b, start := wire.BeginFrame(make([]byte, 0, wire.FrameHeaderBytes+24+len(f.Bytes)), wire.KindStateItem)
	out.Frames = append(out.Frames, Frame{To: in.From, Bytes: wire.EndFrame(f.Append(b), start)})
}

func (n *Node) stateFragment(in PeerStateFragment, out *Output) {
	t := &n.transfer
	t.fetcher.Fragment(in.From, &in.Fragment, n.now, &t.out)
	n.absorbTransfer(out)
}

func (n *Node) transferTick(out *Output) {
	t := &n.transfer
	if due, ok := t.fetcher.Deadline(); ok && due <= n.now {
		t.fetcher.Tick(n.now, &t.out)
		n.absorbTransfer(out)
	}
}

func (n *Node) transferDeadline() (bft.Duration, bool) { return n.transfer.fetcher.Deadline() }

func (n *Node) transferStatus() CatchUpStatus {
	return CatchUpStatus{Target: n.transfer.fetcher.Target().Seq, Fetch: n.transfer.fetcher.Stats()}
}

// absorbTransfer turns what the fetcher wants into frames, and a complete state into an
// obligation of the driver.
func (n *Node) absorbTransfer(out *Output) {
	o := &n.transfer.out
	for _, w := range o.Want {
		b, start := wire.BeginFrame(nil, wire.KindStateWant)
		out.Frames = append(out.Frames, Frame{To: w.To, Bytes: wire.EndFrame(w.Want.Append(b), start)})
	}
	for _, r := range o.Reject {
		n.reject(r)
	}
	if o.Done != nil {
		out.Install = o.Done
	}
	o.Reset()
}

// absorbCheckpoints takes what a step says of checkpoints.
func (n *Node) absorbCheckpoints(e *protocol.Effects, out *Output) {
	t := &n.transfer
	if e.Stable != nil {
		stable := *e.Stable
		out.Stable = &stable
		t.server.Stable(stable.Seq)
	}
	if e.CatchUp != nil {
		t.fetcher.Start(*e.CatchUp, t.server.Local, n.now, &t.out)
		n.absorbTransfer(out)
	}
}

// checkpoint takes a checkpoint of the execute stage: peers may fetch it, the protocol votes
// for it. Execution that got to the target of a transfer by itself ends the transfer, unless it
// was execution in a state that has diverged, which got nowhere.
func (n *Node) checkpoint(in Checkpoint, out *Output) {
	t := &n.transfer
	seq, digest := in.Held.Seq(), in.Held.Digest()
	t.server.Hold(in.Held)
	target := t.fetcher.Target()
	beyond := seq > target.Seq && (!n.view().Diverged || mutant.On("transfer-ended-by-diverged"))
	if t.fetcher.Active() && (beyond || seq == target.Seq && digest == target.Digest) {
		t.fetcher.Stop()
	}
	n.step(protocol.Executed{Seq: seq, Digest: digest}, out)
}

// installed takes a state that the execute stage installed. Commits go on behind it.
func (n *Node) installed(in Installed, out *Output) {
	seq, digest := in.Held.Seq(), in.Held.Digest()
	n.transfer.server.Hold(in.Held)
	n.duties.installed, n.duties.jump = seq, true
	n.forget(out)
	n.step(protocol.Installed{Seq: seq, Digest: digest}, out)
}
