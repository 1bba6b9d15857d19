package faultproxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second // for what must come, however slow the machine

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition and reports whether it came.
func eventually(done func() bool) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// target accepts and gives each connection to serve, until the test ends.
func target(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close() //nolint:errcheck // the test is over
				must(t, conn.SetDeadline(time.Now().Add(patience)))
				serve(conn)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); running.Wait() }) //nolint:errcheck // the test is over
	return ln.Addr().String()
}

func echo(conn net.Conn) { _, _ = io.Copy(conn, conn) } // until either end has gone

func start(t *testing.T, o Options) *Proxy {
	t.Helper()
	p, err := New(o)
	must(t, err)
	t.Cleanup(p.Close)
	return p
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	must(t, err)
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { conn.Close() }) //nolint:errcheck // the test is over
	return conn
}

func say(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	_, err := conn.Write([]byte(text))
	must(t, err)
}

func hear(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	b := make([]byte, len(text))
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != text {
		t.Fatalf("heard %q, %v; want %q", b, err, text)
	}
}

// silent checks that nothing arrives for a while.
func silent(t *testing.T, conn net.Conn) {
	t.Helper()
	must(t, conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	var b [1]byte
	n, err := conn.Read(b[:])
	var late net.Error
	if n > 0 || !errors.As(err, &late) || !late.Timeout() {
		t.Fatalf("read %d bytes, %v; want silence", n, err)
	}
	must(t, conn.SetReadDeadline(time.Now().Add(patience)))
}

// over checks that a connection has ended.
func over(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, conn); err != nil {
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			t.Fatalf("the connection still lives after %s", patience)
		}
	}
}

// TestOpaque goes through what a proxy does to bytes.
func TestOpaque(t *testing.T) {
	p := start(t, Options{Target: target(t, echo)})
	conn := dial(t, p.Addr())
	say(t, conn, "fair")
	hear(t, conn, "fair")

	for _, way := range []Direction{Forward, Back} {
		p.Set(way, Condition{Hold: true})
		say(t, conn, "held")
		silent(t, conn)
		p.Heal()
		hear(t, conn, "held")
	}

	begin := time.Now()
	p.Set(Forward, Condition{Delay: 60 * time.Millisecond, Jitter: 10 * time.Millisecond})
	say(t, conn, "late")
	hear(t, conn, "late")
	if d := time.Since(begin); d < 60*time.Millisecond {
		t.Errorf("a delay of 60ms took %s", d)
	}
	begin = time.Now()
	p.Set(Forward, Condition{Rate: 100_000})
	big := string(bytes.Repeat([]byte("0123456789"), 1000))
	say(t, conn, big)
	hear(t, conn, big)
	if d := time.Since(begin); d < 90*time.Millisecond {
		t.Errorf("10 kB at 100 kB/s took %s", d)
	}
	p.Heal()

	p.Reset()
	over(t, conn)
	conn = dial(t, p.Addr())
	say(t, conn, "again")
	hear(t, conn, "again")
	p.Set(Back, Condition{Cut: true})
	over(t, conn)
	if c, err := net.Dial("tcp", p.Addr()); err == nil {
		_ = c.SetDeadline(time.Now().Add(patience))
		over(t, c)
		_ = c.Close()
	}
	p.Heal()
	conn = dial(t, p.Addr())
	say(t, conn, "healed")
	hear(t, conn, "healed")
	if s := p.Stats(); s.Connections != 3 || s.Refused < 1 || s.Faults["reset"] != 1 {
		t.Errorf("counted %+v", s)
	}
}

// TestHalfOpen: the target's side is gone, the dialler does not know until it is over.
func TestHalfOpen(t *testing.T) {
	gone := make(chan struct{}, 2)
	p := start(t, Options{Target: target(t, func(c net.Conn) { echo(c); gone <- struct{}{} })})
	conn := dial(t, p.Addr())
	say(t, conn, "one")
	hear(t, conn, "one")
	p.Set(Forward, Condition{HalfOpen: true})
	<-gone
	for range 20 {
		say(t, conn, "into nothing")
	}
	silent(t, conn)
	late := dial(t, p.Addr()) // whoever comes now talks to nobody either
	say(t, late, "hello?")
	silent(t, late)
	p.Heal()
	over(t, conn)
	over(t, late)
	conn = dial(t, p.Addr())
	say(t, conn, "two")
	hear(t, conn, "two")
}

// TestCloseWrite: whoever has said everything still hears the answer.
func TestCloseWrite(t *testing.T) {
	p := start(t, Options{Target: target(t, func(c net.Conn) {
		b, _ := io.ReadAll(c)
		_, _ = c.Write(append(b, '!'))
	})})
	conn := dial(t, p.Addr())
	say(t, conn, "that was all")
	must(t, conn.(*net.TCPConn).CloseWrite())
	hear(t, conn, "that was all!")
	over(t, conn)
}

// TestBounded: a proxy whose target does not read takes no more than its queue and what the system
// holds, and Close ends it all the same.
func TestBounded(t *testing.T) {
	release := make(chan struct{})
	p := start(t, Options{Target: target(t, func(net.Conn) { <-release })})
	t.Cleanup(func() { close(release) })
	conn := dial(t, p.Addr())
	must(t, conn.SetWriteDeadline(time.Now().Add(300*time.Millisecond)))
	sent := 0
	for {
		n, err := conn.Write(make([]byte, 1<<20))
		if sent += n; err != nil {
			break
		}
		if sent > 64<<20 {
			t.Fatal("64 MiB went into a proxy whose target reads nothing")
		}
	}
	if s := p.Stats(); s.Bytes > 16<<20 {
		t.Errorf("the proxy took %d bytes", s.Bytes)
	}
	p.Close()
}

// pair is a dialler's and a target's key and the frames that the target got.
type pair struct {
	near, far *keys.Key
	addr      string
	got       chan unit
	failed    atomic.Int64 // handshakes or frames that the target refused
}

// frameTarget serves TLS and collects frames.
func frameTarget(t *testing.T) *pair {
	t.Helper()
	s := &pair{got: make(chan unit, 1000)}
	var err error
	s.near, err = keys.Generate("ed25519")
	must(t, err)
	s.far, err = keys.Generate("ed25519")
	must(t, err)
	s.addr = target(t, func(raw net.Conn) {
		conn := tls.Server(raw, keys.ServerConfig(s.far, func(der []byte) error {
			if !bytes.Equal(der, s.near.PublicDER()) {
				return errStranger
			}
			return nil
		}))
		next := (&flow{from: conn}).frames()
		for {
			u, err := next()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					s.failed.Add(1)
				}
				return
			}
			s.got <- u
		}
	})
	return s
}

func (s *pair) ends() *Ends {
	return &Ends{
		Server: keys.ServerConfig(s.far, func([]byte) error { return nil }),
		Client: func([]byte) (*tls.Config, error) { return keys.ClientConfig(s.near, s.far.PublicDER()), nil },
	}
}

func (s *pair) dial(t *testing.T, addr string) *tls.Conn {
	t.Helper()
	conn := tls.Client(dial(t, addr), keys.ClientConfig(s.near, s.far.PublicDER()))
	must(t, conn.Handshake())
	return conn
}

func (s *pair) next(t *testing.T) (wire.Kind, string) {
	t.Helper()
	select {
	case u := <-s.got:
		return u.kind(), string(u.bytes[wire.FrameHeaderBytes:])
	case <-time.After(patience):
		t.Fatal("no frame came")
		return 0, ""
	}
}

func (s *pair) expect(t *testing.T, kind wire.Kind, payload string) {
	t.Helper()
	if k, p := s.next(t); k != kind || p != payload {
		t.Fatalf("got frame %d %q; want %d %q", k, p, kind, payload)
	}
}

func frame(k wire.Kind, payload string) []byte { return wire.AppendFrame(nil, k, []byte(payload)) }

// TestFrames goes through what a proxy with keys does to single frames, one kind of fault at a time.
func TestFrames(t *testing.T) {
	s := frameTarget(t)
	var tapped atomic.Int64
	p := start(t, Options{Target: s.addr, Ends: s.ends(), Tap: func(Direction, wire.Kind, []byte) { tapped.Add(1) }})
	conn := s.dial(t, p.Addr())
	send := func(k wire.Kind, payload string) {
		t.Helper()
		_, err := conn.Write(frame(k, payload))
		must(t, err)
	}
	send(wire.KindHello, "hello")
	s.expect(t, wire.KindHello, "hello")

	p.Set(Forward, Condition{Drop: 1, Kinds: []wire.Kind{33}})
	send(33, "dropped")
	send(34, "kept")
	s.expect(t, 34, "kept")

	p.Set(Forward, Condition{Duplicate: 1})
	send(33, "twice")
	s.expect(t, 33, "twice")
	s.expect(t, 33, "twice")

	p.Set(Forward, Condition{Reorder: 1})
	send(33, "first")
	send(33, "second")
	s.expect(t, 33, "second")
	s.expect(t, 33, "first")

	p.Set(Forward, Condition{Flip: 1})
	send(33, "true")
	if k, got := s.next(t); k != 33 || got == "true" || len(got) != 4 {
		t.Fatalf("a flipped frame arrived as %d %q", k, got)
	}

	p.Set(Forward, Condition{Replay: 1})
	send(36, "new")
	s.expect(t, 36, "new")
	if k, got := s.next(t); k < 33 || got == "" {
		t.Fatalf("replayed %d %q", k, got)
	}
	if n := tapped.Load(); n != 8 {
		t.Errorf("the tap saw %d frames of 8", n)
	}
}

// TestHelloIsSpared: chances leave HELLO alone unless it is named.
func TestHelloIsSpared(t *testing.T) {
	s := frameTarget(t)
	p := start(t, Options{Target: s.addr, Ends: s.ends()})
	p.Set(Forward, Condition{Drop: 1})
	_, err := s.dial(t, p.Addr()).Write(append(frame(wire.KindHello, "hello"), frame(33, "lost")...))
	must(t, err)
	s.expect(t, wire.KindHello, "hello")
	p.Set(Forward, Condition{Drop: 1, Kinds: []wire.Kind{wire.KindHello}})
	_, err = s.dial(t, p.Addr()).Write(append(frame(wire.KindHello, "hello"), frame(33, "kept")...))
	must(t, err)
	s.expect(t, 33, "kept")
}

// TestFlippedBytes: what an opaque proxy changes never arrives as a frame.
func TestFlippedBytes(t *testing.T) {
	s := frameTarget(t)
	p := start(t, Options{Target: s.addr, Seed: 7})
	for i := range 20 {
		conn := s.dial(t, p.Addr())
		_, err := conn.Write(frame(33, "true"))
		must(t, err)
		s.expect(t, 33, "true")
		p.Set(Forward, Condition{Flip: 1})
		_, _ = conn.Write(frame(33, "falsified")) // the link may end at once
		over(t, conn)
		p.Heal()
		if len(s.got) > 0 {
			t.Fatalf("try %d: %q arrived", i, (<-s.got).bytes)
		}
	}
	if !eventually(func() bool { return s.failed.Load() == 20 }) {
		t.Errorf("the target refused %d of 20 flipped streams", s.failed.Load())
	}
}

// TestReplayedStream: a recorded stream has no effect on a new connection if it is bytes, and is
// what its frames are if the replayer holds the key.
func TestReplayedStream(t *testing.T) {
	s := frameTarget(t)
	for _, ends := range []*Ends{nil, s.ends()} {
		p := start(t, Options{Target: s.addr, Ends: ends})
		if _, _, err := p.Replay(t.Context()); !errors.Is(err, errNothing) {
			t.Fatalf("replay of nothing: %v", err)
		}
		conn := s.dial(t, p.Addr())
		_, err := conn.Write(append(frame(wire.KindHello, "hello"), frame(33, "vote")...))
		must(t, err)
		s.expect(t, wire.KindHello, "hello")
		s.expect(t, 33, "vote")
		must(t, conn.Close())
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if ends == nil {
			sent, _, err := p.Replay(ctx)
			if err != nil || sent == 0 {
				t.Errorf("replayed %d bytes, %v", sent, err)
			}
			if len(s.got) > 0 {
				t.Errorf("a replayed stream brought %q", (<-s.got).bytes)
			}
		} else {
			done := make(chan struct{})
			go func() { defer close(done); _, _, _ = p.Replay(ctx) }()
			s.expect(t, wire.KindHello, "hello")
			s.expect(t, 33, "vote")
			cancel()
			<-done
		}
		cancel()
	}
}

// TestLoopbackOnly: a proxy listens nowhere else.
func TestLoopbackOnly(t *testing.T) {
	if p, err := New(Options{Listen: "0.0.0.0:0", Target: "127.0.0.1:1"}); err == nil {
		p.Close()
		t.Fatal("a proxy listens to the world")
	}
}
