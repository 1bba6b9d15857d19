package mem_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/transport/mem"
	"github.com/themis-bft/themis/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	transporttest.Run(t, func(_ *testing.T, n int) transporttest.Cluster {
		net := mem.New(n, 16<<20)
		c := transporttest.Cluster{
			Client: func(i int, to bft.ReplicaID) (bft.ClientID, transporttest.Client, error) {
				id := bft.ClientID{byte(i)}
				conn, err := net.Client(id, to)
				if err != nil {
					return id, nil, err
				}
				return id, conn, nil
			},
			Break: func(a, b bft.ReplicaID) {
				net.Cut(a, b)
				net.Mend(a, b)
			},
		}
		for i := range n {
			c.Transports = append(c.Transports, net.Transport(bft.ReplicaID(i)))
		}
		return c
	})
}

// TestCutStays: a cut link is down until it is mended, and others do not notice.
func TestCutStays(t *testing.T) {
	net := mem.New(3, 1<<20)
	var rec [3]transporttest.Recorder
	for i := range rec {
		tr := net.Transport(bft.ReplicaID(i))
		if err := tr.Start(&rec[i]); err != nil {
			t.Fatal(err)
		}
		defer tr.Close(t.Context())
	}
	rec[0].Wait(t, "both peers up", func() bool { return rec[0].Up[1] == 1 && rec[0].Up[2] == 1 })
	net.Cut(0, 1)
	rec[0].Wait(t, "peer 1 down", func() bool { return rec[0].Up[1] == 0 })
	frame := transporttest.Frame(40, 1, 10)
	if net.Transport(1).SendPeer(0, frame) {
		t.Error("a cut link took a frame")
	}
	if !net.Transport(2).SendPeer(0, frame) {
		t.Error("the link beside the cut one took no frame")
	}
	net.Mend(0, 1)
	rec[0].Wait(t, "peer 1 up", func() bool { return rec[0].Up[1] == 1 })
	if !net.Transport(1).SendPeer(0, frame) {
		t.Error("a mended link took no frame")
	}
	if err := net.Transport(1).Start(&rec[1]); err != mem.ErrStarted {
		t.Errorf("second Start returned %v", err)
	}
}

var _ transport.Handler = (*transporttest.Recorder)(nil)
