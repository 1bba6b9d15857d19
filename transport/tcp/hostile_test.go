package tcp_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/transport/tcp"
	"github.com/themis-bft/themis/transport/transporttest"
	"github.com/themis-bft/themis/wire"
)

// victim starts replica 0 of a cluster of three whose others stay away.
func victim(t *testing.T, insecure bool, l tcp.Limits) (*cluster, *transporttest.Recorder) {
	t.Helper()
	c := newCluster(t, 3, insecure, func(o *tcp.Options) { o.Limits = l })
	rec := &transporttest.Recorder{}
	if err := c.transports[0].Start(rec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, tr := range c.transports {
			if err := tr.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
		rec.Look(func() {
			if len(rec.Broken) != 0 {
				t.Errorf("calls against the contract: %v", rec.Broken)
			}
		})
	})
	return c, rec
}

// patience is how long a test waits for something before it fails. Slow machines take long.
const patience = time.Minute

// until polls a condition that no callback announces.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	within(t, patience, what, cond)
}

func within(t *testing.T, patience time.Duration, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !cond() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (c *cluster) refused(r tcp.Reason) uint64 { return c.transports[0].Stats().Refused[r.String()] }

func (c *cluster) untilRefused(t *testing.T, r tcp.Reason, n uint64) {
	t.Helper()
	until(t, "refused: "+r.String(), func() bool { return c.refused(r) >= n })
}

// dialRaw makes a connection that ends at the latest when patience does, whatever the test reads from it.
func dialRaw(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { conn.Close() })
	t.Cleanup(func() {
		late.Stop()
		conn.Close()
	})
	return conn
}

// ended waits until the other end closes.
func ended(t *testing.T, conn net.Conn) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) || errors.Is(err, net.ErrClosed) {
		t.Error("the replica keeps the connection")
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func TestStrangers(t *testing.T) {
	c, rec := victim(t, false, tcp.Limits{})
	stranger := generate(t)
	config := func(k *keys.Key, edit func(*tls.Config)) *tls.Config {
		tc := keys.ClientConfig(k, c.keys[0].PublicDER())
		edit(tc)
		return tc
	}
	same := func(*tls.Config) {}
	noALPN := func(tc *tls.Config) { tc.NextProtos, tc.VerifyConnection = nil, nil }
	tls12 := func(tc *tls.Config) { tc.MinVersion, tc.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }
	for _, a := range []struct {
		name, address string
		config        *tls.Config
		reason        tcp.Reason
	}{
		{"unknown key to peers", c.peerAddr[0], config(stranger, same), tcp.ReasonKey},
		{"a client's key to peers", c.peerAddr[0], config(c.clientKeys[0], same), tcp.ReasonKey},
		{"its own key to peers", c.peerAddr[0], config(c.keys[0], same), tcp.ReasonKey},
		{"unknown key to clients", c.clientAddr[0], config(stranger, same), tcp.ReasonKey},
		{"a replica's key to clients", c.clientAddr[0], config(c.keys[1], same), tcp.ReasonKey},
		{"no application protocol", c.peerAddr[0], config(c.keys[1], noALPN), tcp.ReasonTLS},
		{"TLS 1.2", c.peerAddr[0], config(c.keys[1], tls12), tcp.ReasonTLS},
	} {
		before := c.refused(a.reason)
		conn := tls.Client(dialRaw(t, a.address), a.config)
		conn.Handshake() // in TLS 1.3 the refusal comes after the client is done
		ended(t, conn)
		until(t, a.name, func() bool { return c.refused(a.reason) > before })
	}
	before := c.refused(tcp.ReasonTLS)
	plain := dialRaw(t, c.clientAddr[0])
	plain.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	ended(t, plain)
	c.untilRefused(t, tcp.ReasonTLS, before+1)
	rec.Look(func() {
		if len(rec.Ups)+len(rec.Links) != 0 {
			t.Errorf("the handler heard of %v and %v", rec.Ups, rec.Links)
		}
	})
}

// TestRightKeyOtherReplica: an address that leads to another member is not taken for the one
// that was meant, by a replica or by a client.
func TestRightKeyOtherReplica(t *testing.T) {
	var c *cluster
	c = newCluster(t, 3, false, func(o *tcp.Options) {
		if o.Self == 1 {
			o.Dial[2] = o.Dial[0]
		}
	})
	var rec [2]transporttest.Recorder
	for i := range rec {
		if err := c.transports[i].Start(&rec[i]); err != nil {
			t.Fatal(err)
		}
		defer c.transports[i].Close(t.Context())
	}
	until(t, "a dial of r2 that fails by its key", func() bool {
		return strings.Contains(c.transports[1].Stats().Peers[2].LastError, keys.ErrPeer.Error())
	})
	if c.transports[1].SendPeer(2, transporttest.Frame(40, 1, 8)) {
		t.Error("r1 took r0 for r2")
	}
	_, err := tcp.DialClient(t.Context(), c.clientAddr[0], keys.ClientConfig(c.clientKeys[0], c.keys[1].PublicDER()), tcp.HelloOf(c.m))
	if !errors.Is(err, keys.ErrPeer) {
		t.Errorf("a client that wants r1 and meets r0 gets %v, want keys.ErrPeer", err)
	}
}

func TestHelloDiffers(t *testing.T) {
	c, _ := victim(t, false, tcp.Limits{})
	for name, edit := range map[string]func(*wire.Hello){
		"version":  func(h *wire.Hello) { h.Version++ },
		"cluster":  func(h *wire.Hello) { h.Cluster[3] ^= 1 },
		"epoch":    func(h *wire.Hello) { h.Epoch++ },
		"protocol": func(h *wire.Hello) { h.Protocol = "hybster" },
	} {
		before := c.refused(tcp.ReasonHello)
		hello := tcp.HelloOf(c.m)
		edit(&hello)
		_, err := tcp.DialClient(t.Context(), c.clientAddr[0], keys.ClientConfig(c.clientKeys[0], c.keys[0].PublicDER()), hello)
		if err == nil || !strings.Contains(err.Error(), "they are") {
			t.Errorf("another %s: the client is told %v; it must see both HELLOs", name, err)
		}
		c.untilRefused(t, tcp.ReasonHello, before+1)
	}
}

func TestSlowHandshake(t *testing.T) {
	c, _ := victim(t, false, tcp.Limits{HandshakeTime: 200 * time.Millisecond})
	ended(t, dialRaw(t, c.peerAddr[0]))
	c.untilRefused(t, tcp.ReasonTimeout, 1)
	var conn *tls.Conn
	refused := uint64(1)
	until(t, "a handshake in time", func() bool {
		conn = tls.Client(dialRaw(t, c.clientAddr[0]), keys.ClientConfig(c.clientKeys[0], c.keys[0].PublicDER()))
		err := conn.Handshake()
		if err != nil { // it came too late, and is counted
			refused++
			c.untilRefused(t, tcp.ReasonTimeout, refused)
		}
		return err == nil
	})
	conn.Write([]byte{30, 0, 0}) // most of a HELLO's length, and no more
	ended(t, conn)
	c.untilRefused(t, tcp.ReasonTimeout, refused+1)
}

// TestBadFrames: each ends the link of the client that sent it, counted by its reason.
func TestBadFrames(t *testing.T) {
	c, rec := victim(t, false, tcp.Limits{StallTime: 200 * time.Millisecond})
	long := binary.LittleEndian.AppendUint32(nil, bft.ClientFrameBytesMax+1)
	hello := wire.AppendFrame(nil, wire.KindHello, wire.AppendHello(nil, tcp.HelloOf(c.m)))
	for i, b := range []struct {
		name   string
		bytes  []byte
		reason tcp.Reason
	}{
		{"half a header", []byte{9, 0}, tcp.ReasonFrameStalled},
		{"half a frame", transporttest.Frame(2, 1, 100)[:50], tcp.ReasonFrameStalled},
		{"too long", append(long, 2), tcp.ReasonFrameSize},
		{"empty", []byte{0, 0, 0, 0, 2}, tcp.ReasonFrameSize},
		{"a second HELLO", hello, tcp.ReasonProtocol},
	} {
		before := c.refused(b.reason)
		conn, err := c.dial(t, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.WriteFrames(append(transporttest.Frame(2, 7, 8), b.bytes...)); err != nil {
			t.Fatal(err)
		}
		if _, err := transporttest.Next(t, conn); err == nil {
			t.Errorf("%s: a frame", b.name)
		}
		conn.Close()
		until(t, b.name, func() bool { return c.refused(b.reason) > before })
		rec.Wait(t, "ClientDown", func() bool {
			down := 0
			for l, up := range rec.Links {
				if !up && len(rec.FromCli[l]) == 1 {
					down++
				}
			}
			return down == i+1
		})
	}
}

// TestStrangersAndReplicas: places for handshakes that strangers hold are not those of replicas.
func TestStrangersAndReplicas(t *testing.T) {
	c, _ := victim(t, false, tcp.Limits{PendingMax: 2, HandshakeTime: time.Hour})
	away := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 66, 0, 1)}}
	// A replica begins, from where it is dialled, and strangers take no place but their own.
	begun := dialRaw(t, c.peerAddr[0])
	var strangers []net.Conn
	for range 4 {
		stranger, err := away.Dial("tcp", c.peerAddr[0])
		if err != nil {
			t.Fatal(err)
		}
		defer stranger.Close()
		strangers = append(strangers, stranger)
	}
	for _, s := range strangers[:2] {
		ended(t, s)
	}
	c.untilRefused(t, tcp.ReasonPending, 2)
	conn := tls.Client(begun, keys.ClientConfig(c.keys[1], c.keys[0].PublicDER()))
	if err := conn.Handshake(); err != nil {
		t.Errorf("a replica is kept out by strangers: %v", err)
	}
}

// taken counts the frames of clients. It is called inside Wait or Look.
func taken(rec *transporttest.Recorder) (n int) {
	for _, frames := range rec.FromCli {
		n += len(frames)
	}
	return n
}

// TestIdleClientsGiveWay: links that ask for nothing do not shut others out, and those that ask stay.
func TestIdleClientsGiveWay(t *testing.T) {
	const idle = 300 * time.Millisecond
	for name, limits := range map[string]tcp.Limits{
		"in all": {ClientsMax: 3, ClientIdleMin: idle}, "from one address": {ClientsPerAddressMax: 3, ClientIdleMin: idle},
	} {
		t.Run(name, func(t *testing.T) {
			c, rec := victim(t, false, limits)
			var conns []*tcp.ClientConn
			for i := range 3 {
				conn, err := c.dial(t, 0, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				conns = append(conns, conn)
				until(t, "its place", func() bool { return c.transports[0].Stats().Clients == i+1 })
			}
			sent := 0
			ask := func() { // on the link that is busy, so that it is idle for a shorter time than the others
				if err := conns[1].WriteFrames(wire.AppendFrame(nil, wire.KindRequest, []byte("busy"))); err != nil {
					t.Fatalf("the busy link was ended: %v", err)
				}
				sent++
				rec.Wait(t, "a frame of the busy link", func() bool { return taken(rec) == sent })
			}
			until(t, "a place that is given away", func() bool {
				ask()
				conn, err := c.dial(t, 0, 0)
				if err == nil {
					conn.Close()
				}
				return c.transports[0].Stats().Refused[tcp.ReasonIdle.String()] >= 2
			})
			for _, i := range []int{0, 2} {
				if _, err := transporttest.Next(t, conns[i]); err == nil {
					t.Errorf("idle link %d lives", i)
				}
			}
			ask()
		})
	}
}

// TestLinkWithAFrameIsNotIdle: while the replica takes nothing more, a link whose frame waits keeps its
// place. If it gave it away, whoever connects anew again and again would leave a frame and a goroutine
// behind each time, as many as he likes.
func TestLinkWithAFrameIsNotIdle(t *testing.T) {
	const idle = 100 * time.Millisecond
	c := newCluster(t, 3, false, func(o *tcp.Options) { o.Limits = tcp.Limits{ClientsMax: 1, ClientIdleMin: idle} })
	took, open := make(chan struct{}, 8), make(chan struct{})
	rec := &transporttest.Recorder{Client: func(transport.ClientLink, transport.Frame) {
		took <- struct{}{}
		<-open
	}}
	if err := c.transports[0].Start(rec); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.transports[0].Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	defer close(open)
	conn, err := c.dial(t, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.WriteFrames(wire.AppendFrame(nil, wire.KindRequest, []byte("waits"))); err != nil {
		t.Fatal(err)
	}
	<-took
	for began, waited := time.Now(), time.Duration(0); waited < 3*idle; {
		waited = time.Since(began) // before the attempt: the last one comes when the link would be idle
		if other, err := c.dial(t, 0, 0); err == nil {
			other.Close()
			t.Fatal("a link with a frame that waits gave its place away")
		}
	}
	c.untilRefused(t, tcp.ReasonTotal, 1)
	if n := c.transports[0].Stats().Refused[tcp.ReasonIdle.String()]; n != 0 {
		t.Fatalf("%d idle links", n)
	}
}

func TestCaps(t *testing.T) {
	t.Run("handshakes", func(t *testing.T) {
		c, _ := victim(t, false, tcp.Limits{PendingMax: 2, HandshakeTime: time.Hour})
		oldest := dialRaw(t, c.clientAddr[0])
		dialRaw(t, c.clientAddr[0])
		dialRaw(t, c.clientAddr[0])
		ended(t, oldest)
		c.untilRefused(t, tcp.ReasonPending, 1)
		// Peers have places of their own.
		conn := tls.Client(dialRaw(t, c.peerAddr[0]), keys.ClientConfig(c.keys[1], c.keys[0].PublicDER()))
		if err := conn.Handshake(); err != nil {
			t.Errorf("a replica is kept out by clients: %v", err)
		}
	})
	t.Run("handshakes from one address", func(t *testing.T) {
		c, _ := victim(t, false, tcp.Limits{PendingPerAddressMax: 1, HandshakeTime: time.Hour})
		oldest := dialRaw(t, c.clientAddr[0])
		dialRaw(t, c.clientAddr[0])
		ended(t, oldest)
		c.untilRefused(t, tcp.ReasonAddress, 1)
	})
	for name, limits := range map[string]tcp.Limits{
		tcp.ReasonClientLinks.String(): {LinksPerClientMax: 2},
		tcp.ReasonAddress.String():     {ClientsPerAddressMax: 2},
		tcp.ReasonTotal.String():       {ClientsMax: 2},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := victim(t, false, limits)
			var first *tcp.ClientConn
			for i := range 2 {
				conn, err := c.dial(t, 0, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				first = conn
				// It has its place: else the third may come before it and stay.
				until(t, "a link", func() bool { return c.transports[0].Stats().Clients == i+1 })
			}
			if conn, err := c.dial(t, 0, 0); err == nil {
				if _, err := transporttest.Next(t, conn); err == nil {
					t.Error("a third link lives")
				}
				conn.Close()
			}
			until(t, name, func() bool { return c.transports[0].Stats().Refused[name] >= 1 })
			first.Close()
			until(t, "room for another", func() bool {
				conn, err := c.dial(t, 0, 0)
				if err != nil {
					return false
				}
				defer conn.Close()
				up := false
				until(t, "it is up or refused", func() bool {
					up = c.transports[0].Stats().Clients == 2
					return up || conn.WriteFrames(transporttest.Frame(2, 1, 8)) != nil
				})
				return up
			})
		})
	}
}

// connectAs makes the link that a replica would make to replica 0.
func (c *cluster) connectAs(t *testing.T, id int) *tls.Conn {
	t.Helper()
	conn := tls.Client(dialRaw(t, c.peerAddr[0]), keys.ClientConfig(c.keys[id], c.keys[0].PublicDER()))
	hello := wire.AppendFrame(nil, wire.KindHello, wire.AppendHello(nil, tcp.HelloOf(c.m)))
	if _, err := conn.Write(hello); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, len(hello))); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestNewestLinkWins: a peer has one accepted link; PeerDown of the old one comes before
// PeerUp of the new, and its frames before both.
func TestNewestLinkWins(t *testing.T) {
	c, rec := victim(t, false, tcp.Limits{})
	old := c.connectAs(t, 1)
	old.Write(transporttest.Frame(40, 1, 8))
	rec.Wait(t, "a frame on the old link", func() bool { return len(rec.Frames[1]) == 1 })
	newer := c.connectAs(t, 1)
	newer.Write(transporttest.Frame(40, 2, 8))
	ended(t, old)
	rec.Wait(t, "a frame on the new link", func() bool { return len(rec.Frames[1]) == 2 })
	rec.Look(func() {
		if rec.Ups[1] != 2 || rec.Downs[1] != 1 || rec.Up[1] != 1 {
			t.Errorf("%d times up, %d times down", rec.Ups[1], rec.Downs[1])
		}
	})
	c.untilRefused(t, tcp.ReasonReplaced, 1)
	if s := c.transports[0].Stats().Peers[1]; !s.In || s.Out {
		t.Errorf("stats %+v, want the accepted link only", s)
	}
}

// TestDeafClient: a client that takes nothing is disconnected, and its room is free again.
func TestDeafClient(t *testing.T) {
	c, rec := victim(t, false, tcp.Limits{StallTime: 300 * time.Millisecond})
	conn, err := c.dial(t, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var link transport.ClientLink
	rec.Wait(t, "ClientUp", func() bool {
		for l := range rec.Links {
			link = l
		}
		return link != nil
	})
	frame := transporttest.Frame(4, 1, 32<<10)
	rec.Look(func() {})
	until(t, "the link ends", func() bool {
		for link.Send(frame) {
		}
		return c.refused(tcp.ReasonNotReading) >= 1
	})
	rec.Wait(t, "ClientDown", func() bool { return !rec.Links[link] })
	until(t, "its room", func() bool { return c.transports[0].Stats().ClientQueued == 0 })
}

func TestOptions(t *testing.T) {
	var good tcp.Options
	newCluster(t, 2, false, func(o *tcp.Options) {
		if o.Self == 0 {
			good = *o
		}
	})
	t.Cleanup(func() { good.PeerListener.Close(); good.ClientListener.Close() })
	for name, edit := range map[string]func(*tcp.Options){
		"no member":            func(o *tcp.Options) { o.Self = 2 },
		"another's key":        func(o *tcp.Options) { o.Self = 1 },
		"no key":               func(o *tcp.Options) { o.Key = nil },
		"too few addresses":    func(o *tcp.Options) { o.Dial = o.Dial[:1] },
		"plain, any interface": func(o *tcp.Options) { o.InsecureNone, o.PeerListener, o.ListenPeer = true, nil, ":0" },
		"plain, to elsewhere":  func(o *tcp.Options) { o.InsecureNone, o.Dial = true, []string{"", "192.0.2.1:1"} },
	} {
		o := good
		edit(&o)
		if _, err := tcp.New(o); !errors.Is(err, tcp.ErrOptions) {
			t.Errorf("%s: New returned %v, want ErrOptions", name, err)
		}
	}
	if _, err := tcp.DialPlainClient(t.Context(), "192.0.2.1:1", bft.ClientID{}, wire.Hello{}); !errors.Is(err, tcp.ErrOptions) {
		t.Errorf("DialPlainClient to elsewhere returned %v, want ErrOptions", err)
	}
}
