package tcp_test

import (
	"testing"

	"github.com/themis-bft/themis/transport/tcp"
)

// TestWithinFiles: what links may take always leaves room for the log and for replicas.
func TestWithinFiles(t *testing.T) {
	for _, c := range []struct {
		n, files int
		enough   bool
	}{
		{4, 1 << 20, true}, {4, 4096, true}, {4, 1024, true}, {4, 256, true}, {4, 64, true},
		{16, 128, true}, {64, 256, true}, {4, 40, false}, {64, 64, false},
	} {
		l, enough := tcp.Limits{}.WithinFiles(c.n, c.files)
		if enough != c.enough {
			t.Errorf("n %d, %d files: enough %t", c.n, c.files, enough)
		}
		if enough && l.Files(c.n) > c.files-24 {
			t.Errorf("n %d, %d files: links may take %d", c.n, c.files, l.Files(c.n))
		}
		if l.PendingMax < 1 || l.PendingPerAddressMax < 1 || l.ClientsMax < 1 || l.ClientsPerAddressMax < 1 {
			t.Errorf("n %d, %d files: nobody may come in: %+v", c.n, c.files, l)
		}
	}
	if l, _ := (tcp.Limits{}).WithinFiles(4, 1<<20); l.ClientsMax != 2048 || l.PendingMax != 128 {
		t.Errorf("with plenty of files: %d clients, %d handshakes", l.ClientsMax, l.PendingMax)
	}
}
