package host

import "github.com/themis-bft/themis/protocol"

// Progress is the protocol's status alone, for a driver that looks often: it is asked for once
// per step at most.
func (n *Node) Progress() protocol.Status { return *n.view() }
