package host

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
)

type transfer struct{}

func newTransfer(o Options, m *bft.Membership) transfer { return transfer{} }

func (n *Node) serveState(in PeerStateWant, out *Output)        {}
func (n *Node) stateFragment(in PeerStateFragment, out *Output) {}
func (n *Node) transferStatus() CatchUpStatus                   { return CatchUpStatus{} }
func (n *Node) transferTick(out *Output)                        {}
func (n *Node) transferDeadline() (bft.Duration, bool)          { return 0, false }

// absorbCheckpoints takes what a step says of checkpoints.
func (n *Node) absorbCheckpoints(e *protocol.Effects, out *Output) {
	if e.Stable != nil {
		s := *e.Stable
		out.Stable = &s
	}
}

// checkpoint takes a checkpoint of the execute stage.
func (n *Node) checkpoint(in Checkpoint, out *Output) {
	n.step(protocol.Executed{Seq: in.Held.Seq(), Digest: in.Held.Digest()}, out)
}

// installed takes a state that the execute stage installed.
func (n *Node) installed(in Installed, out *Output) {
	seq := in.Held.Seq()
	n.duties.installed, n.duties.jump = seq, true
	n.step(protocol.Installed{Seq: seq, Digest: in.Held.Digest()}, out)
	n.forget(out)
}
