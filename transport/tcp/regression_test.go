package tcp_test

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/transport/tcp"
	"github.com/themis-bft/themis/transport/transporttest"
)

// gatekeeper spoils the first handshakes of a replica that dials through it, each in another
// way, and passes on what comes later.
type gatekeeper struct {
	net.Listener
	seen atomic.Int32
}

const spoiled = 5

// Accept hands the proxy only what may pass.
func (g *gatekeeper) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		switch g.seen.Add(1) {
		case 1: // closed at once
			conn.Close()
		case 2: // what is no TLS
			conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			conn.Close()
		case 3: // nothing at all, until the replica gives up
			t := time.AfterFunc(time.Minute, func() { conn.Close() })
			go func() {
				defer t.Stop()
				defer conn.Close()
				var b [4096]byte
				for err := error(nil); err == nil; {
					_, err = conn.Read(b[:])
				}
			}()
		case 4: // half a record
			conn.Write([]byte{22, 3, 3, 1, 0, 2})
			conn.Close()
		case spoiled: // reset
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		default:
			return conn, nil
		}
	}
}

// TestFailedHandshakesAreRetried (L10): a handshake that fails, however it fails, is tried again, in both directions, and
// errors of accept in between end no listener. Frames flow when the network is whole.
func TestFailedHandshakesAreRetried(t *testing.T) {
	gates := []*gatekeeper{}
	c := newCluster(t, 2, false, func(o *tcp.Options) {
		o.Limits.HandshakeTime = 2 * time.Second // the silent case waits for its end, no other must
		o.PeerListener = &brokenListener{o.PeerListener, 3}
		peer := 1 - o.Self
		g := &gatekeeper{Listener: listen(t)}
		p := &proxy{ln: g, to: o.Dial[peer], open: make(map[net.Conn]bool)}
		p.wg.Add(1)
		go p.run()
		t.Cleanup(func() {
			g.Close()
			p.cut()
			p.wg.Wait()
		})
		gates = append(gates, g)
		o.Dial[peer] = g.Addr().String()
	})
	recs := []*transporttest.Recorder{{}, {}}
	for i, tr := range c.transports {
		if err := tr.Start(recs[i]); err != nil {
			t.Fatal(err)
		}
		defer tr.Close(t.Context())
	}
	for i, tr := range c.transports {
		other := bft.ReplicaID(1 - i)
		// The condition below is looked at when the other end notices something, which may be before
		// this end knows that its link is up: nothing would ever be sent.
		recs[i].Wait(t, "both directions", func() bool { return recs[i].Up[other] == 2 })
		recs[other].Wait(t, "a frame", func() bool {
			tr.SendPeer(other, transporttest.Frame(200, 7, 8))
			return len(recs[other].Frames[bft.ReplicaID(i)]) > 0
		})
		if n := gates[i].seen.Load(); n <= spoiled {
			t.Errorf("replica %d got through at attempt %d of %d spoiled ones", i, n, spoiled)
		}
		if n := tr.Stats().Refused[tcp.ReasonAccept.String()]; n != 3 {
			t.Errorf("replica %d: %d errors of accept, want 3", i, n)
		}
	}
}
