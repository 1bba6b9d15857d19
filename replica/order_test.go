package replica

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/themis-bft/themis/protocol"
)

// TestRejectionsAreLoggedOnce: what a peer sends again and again is logged when it is new and
// when there is twice as much of it.
func TestRejectionsAreLoggedOnce(t *testing.T) {
	var lines bytes.Buffer
	o := &order{Replica: &Replica{log: slog.New(slog.NewTextHandler(&lines, nil))}}
	now := make([][protocol.ReasonCount]uint64, 4)
	for range 1000 {
		now[2][protocol.ReasonBadSignature] += 1000
		now[2][protocol.ReasonOldView] += 1000 // happens among correct ones
		o.noticePeers(now)
	}
	now[3][protocol.ReasonMalformed]++
	o.noticePeers(now)
	if n := bytes.Count(lines.Bytes(), []byte("\n")); n != 10+1 {
		t.Errorf("%d lines, want 11:\n%s", n, lines.String())
	}
}
