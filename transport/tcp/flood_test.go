package tcp_test

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/transport/tcp"
	"github.com/themis-bft/themis/transport/transporttest"
)

// floodPause is the time between two connections of a flood: places change hands all the time, and a
// slow machine has some left for others than the flood.
const floodPause = 500 * time.Microsecond

// flood keeps making connections to an address, from the address of everybody else here, with
// as many of them open at a time as given; opening is what each says first.
func flood(address string, opening []byte, open int, stop chan struct{}) *flooding {
	f := &flooding{}
	f.running.Go(func() {
		var conns []net.Conn
		defer func() {
			for _, c := range conns {
				c.Close()
			}
		}()
		pace := time.NewTicker(floodPause)
		defer pace.Stop()
		for {
			select {
			case <-stop:
				return
			case <-pace.C:
			}
			conn, err := net.Dial("tcp", address)
			if err != nil {
				continue
			}
			f.made++
			conn.Write(opening)
			if conns = append(conns, conn); len(conns) > open {
				conns[0].Close()
				conns = conns[1:]
			}
		}
	})
	return f
}

type flooding struct {
	running sync.WaitGroup
	made    int
}

// clientHello is what a TLS client says first: a flood of it costs its author nothing.
func clientHello(t *testing.T) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer b.Close()
	go tls.Client(a, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"themis/1"}}).Handshake()
	buf := make([]byte, 4096)
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// TestReplicasLinkInAFlood: while both ports are flooded from the address that the replicas
// have too, by connections that say nothing and by such that begin a handshake, replicas make
// their links, and a client its own. Whoever floods makes room for others, not they for him.
func TestReplicasLinkInAFlood(t *testing.T) {
	for name, opening := range map[string][]byte{"silent": nil, "dripping": {22}, "beginning": clientHello(t)} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 2, false, func(o *tcp.Options) {
				o.Limits = tcp.Limits{PendingMax: 32, PendingPerAddressMax: 24, RedialMax: 200 * time.Millisecond}
			})
			recs := []*transporttest.Recorder{{}, {}}
			if err := c.transports[0].Start(recs[0]); err != nil {
				t.Fatal(err)
			}
			defer c.transports[0].Close(t.Context())
			stop := make(chan struct{})
			floods := []*flooding{flood(c.peerAddr[0], opening, 100, stop), flood(c.clientAddr[0], opening, 100, stop)}
			defer func() {
				close(stop)
				for _, f := range floods {
					f.running.Wait()
					if f.made == 0 {
						t.Error("there was no flood")
					}
				}
			}()
			until(t, "places are taken", func() bool {
				return c.refused(tcp.ReasonPending)+c.refused(tcp.ReasonAddress) > 64
			})
			if err := c.transports[1].Start(recs[1]); err != nil {
				t.Fatal(err)
			}
			defer c.transports[1].Close(t.Context())
			within(t, 2*patience, "links of replicas in both directions", func() bool {
				s := c.transports[0].Stats().Peers[1]
				return s.In && s.Out
			})
			within(t, 2*patience, "a client's link", func() bool {
				conn, err := c.dial(t, 0, 0)
				if err != nil {
					return false
				}
				defer conn.Close()
				return conn.WriteFrames(transporttest.Frame(2, 1, 8)) == nil
			})
		})
	}
}

// TestNonReaders: clients that never read cost a bounded amount together, and are dropped.
func TestNonReaders(t *testing.T) {
	const links, queued = 80, 256 << 10
	c, rec := victim(t, false, tcp.Limits{
		HandshakeTime: patience, StallTime: 500 * time.Millisecond, ClientQueuesBytesMax: queued,
		LinksPerClientMax: 2 * links, PendingPerAddressMax: 2 * links, PendingMax: 2 * links, // room for attempts that failed
	})
	var dialling sync.WaitGroup
	conns := make(chan *tcp.ClientConn, links)
	for range 8 {
		dialling.Go(func() {
			end := time.Now().Add(patience)
			for range links / 8 {
				conn, err := c.dial(t, 0, 0)
				for err != nil && time.Now().Before(end) { // a handshake may come too late
					conn, err = c.dial(t, 0, 0)
				}
				if err != nil {
					t.Error(err)
					return
				}
				conns <- conn
			}
		})
	}
	dialling.Wait()
	close(conns)
	for conn := range conns {
		defer conn.Close()
	}
	var all []transport.ClientLink
	look := func() { // one of the first to come up may be an attempt that failed
		all = all[:0]
		for l, up := range rec.Links {
			if up {
				all = append(all, l)
			}
		}
	}
	rec.Wait(t, "all links", func() bool {
		look()
		return len(all) == links
	})
	frame := transporttest.Frame(4, 1, 8<<10)
	most := int64(0)
	until(t, "they are dropped", func() bool {
		rec.Look(look)
		for _, l := range all {
			l.Send(frame)
		}
		most = max(most, c.transports[0].Stats().ClientQueued)
		return c.transports[0].Stats().Clients == 0
	})
	if limit := int64(queued + links*(16<<10)); most > limit {
		t.Errorf("%d bytes were queued for clients, want %d at most", most, limit)
	}
	until(t, "nothing is queued for them", func() bool { return c.transports[0].Stats().ClientQueued == 0 })
}
