package catchup

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
)

// What one peer may take per second and at once: the rate bounds what a faulty peer can make
// this replica send. A server says nothing to who asks for more, so that a Fetcher keeps a
// little below: it asks no source for more than askBytesPerSecond, and askBurstBytes at once. What
// lies between the two bursts is for frames that arrive closer together than they were sent.
const (
	serveBytesPerSecond = 64 << 20
	serveBurstBytes     = 4 << 20
	askBytesPerSecond   = serveBytesPerSecond / 16 * 15
	askBurstBytes       = 2 << 20
)

const (
	_ = uint(askBurstBytes - 2*peerFragmentsMax*bft.StateFragmentBytesMax)
	_ = uint(serveBurstBytes - askBurstBytes - peerFragmentsMax*bft.StateFragmentBytesMax)
)

// budget is a token bucket, filled by the time that passes.
type budget struct {
	bytes int64
	at    bft.Duration
}

// fill adds what the time since the last call earned.
func (b *budget) fill(now bft.Duration, perSecond, burst int64) {
	if passed := min(max(now-b.at, 0), bft.Second); passed > 0 {
		b.bytes = min(burst, b.bytes+int64(passed)*perSecond/int64(bft.Second))
		b.at = now
	}
}

// mayAsk reports whether peer may be asked for one more fragment now. If not, it notes when.
func (s *sources) mayAsk(peer bft.ReplicaID, now bft.Duration) bool {
	if mutant.On("catchup-asks-too-much") {
		return true
	}
	b := &s.budget[peer]
	b.fill(now, askBytesPerSecond, askBurstBytes)
	lacks := bft.StateFragmentBytesMax - b.bytes
	if lacks <= 0 {
		return true
	}
	at := now + bft.Duration(lacks*int64(bft.Second)/askBytesPerSecond) + 1
	if !s.paced || at < s.paceAt {
		s.paced, s.paceAt = true, at
	}
	return false
}

// asked takes a whole fragment from what may be asked of peer; came gives back by how much the
// fragment was smaller.
func (s *sources) asked(peer bft.ReplicaID) { s.budget[peer].bytes -= bft.StateFragmentBytesMax }

func (s *sources) came(peer bft.ReplicaID, bytes int) {
	b := &s.budget[peer]
	b.bytes = min(askBurstBytes, b.bytes+int64(bft.StateFragmentBytesMax-bytes))
}
