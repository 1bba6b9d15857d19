package tcp_test

import (
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/transport/tcp"
)

// TestMemoryMax: what the limits let others fill is in the bound, and each of them moves it.
func TestMemoryMax(t *testing.T) {
	base := tcp.Limits{}.MemoryMax(4)
	if least := int64(2048*bft.ClientFrameBytesMax + 16<<20 + 2048*(16<<10) + 3*3*bft.PeerFrameBytesMax); base < least {
		t.Errorf("%d bytes, at least %d can be filled", base, least)
	}
	for name, l := range map[string]tcp.Limits{
		"clients": {ClientsMax: 4096}, "handshakes": {PendingMax: 256}, "a peer's queue": {PeerQueueBytesMax: 64 << 20},
		"clients' queues": {ClientQueuesBytesMax: 64 << 20},
	} {
		if more := l.MemoryMax(4); more <= base {
			t.Errorf("more %s: %d bytes, before %d", name, more, base)
		}
	}
	if few, _ := (tcp.Limits{}).WithinFiles(4, 64); few.MemoryMax(4) >= base/2 {
		t.Errorf("with few files still %d of %d bytes", few.MemoryMax(4), base)
	}
}
