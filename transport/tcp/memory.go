package tcp

import "github.com/themis-bft/themis/bft"

const (
	// linkBytes is a connection that holds nothing: two goroutines, TLS with the buffers of a
	// record in either direction, the reader's own buffer, the sockets' bookkeeping.
	linkBytes = 2*(16<<10) + 2*(16<<10+512) + readBufferBytes + 8<<10
	// frameGrowth: a frame that is being read was copied once from a buffer half as large.
	frameGrowthNum, frameGrowthDen = 3, 2
)

// MemoryMax is what the links of a cluster of n may make a process hold: on every link a frame
// that its reader has or waits with, what waits to be sent, and handshakes.
func (l Limits) MemoryMax(n int) int64 {
	l = l.withDefaults()
	clients, peers := int64(l.ClientsMax), int64(max(n-1, 0))
	frames := clients*bft.ClientFrameBytesMax + 2*peers*bft.PeerFrameBytesMax
	queued := int64(l.ClientQueuesBytesMax) + clients*clientShareBytes + peers*int64(l.PeerQueueBytesMax)
	links := clients + filesPerPeer*peers
	handshakes := 4 * int64(l.PendingMax) * (linkBytes + handshakeBytesMax)
	return frames*frameGrowthNum/frameGrowthDen + queued + links*linkBytes + handshakes
}
