package tcp_test

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/themis-bft/themis/transport/tcp"
	"github.com/themis-bft/themis/transport/transporttest"
)

// brokenListener fails some times before it accepts.
type brokenListener struct {
	net.Listener
	failures int
}

func (l *brokenListener) Accept() (net.Conn, error) {
	if l.failures > 0 {
		l.failures--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

func TestAcceptErrors(t *testing.T) {
	c := newCluster(t, 2, false, func(o *tcp.Options) { o.ClientListener = &brokenListener{o.ClientListener, 3} })
	if err := c.transports[0].Start(&transporttest.Recorder{}); err != nil {
		t.Fatal(err)
	}
	defer c.transports[0].Close(t.Context())
	conn, err := c.dial(t, 0, 0)
	if err != nil {
		t.Fatalf("after the listener recovered: %v", err)
	}
	conn.Close()
	if n := c.refused(tcp.ReasonAccept); n != 3 {
		t.Errorf("%d errors of accept are counted, want 3", n)
	}
}

// stutteringListener fails before everything that it accepts.
type stutteringListener struct {
	net.Listener
	accepts bool
}

func (l *stutteringListener) Accept() (net.Conn, error) {
	if l.accepts = !l.accepts; l.accepts {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// TestAcceptErrorsAreQuiet: whoever takes the last descriptor, gives it back and takes it again does
// not fill the log.
func TestAcceptErrorsAreQuiet(t *testing.T) {
	var lines countingHandler
	c := newCluster(t, 2, false, func(o *tcp.Options) {
		o.ClientListener, o.Log = &stutteringListener{Listener: o.ClientListener}, slog.New(&lines)
	})
	if err := c.transports[0].Start(&transporttest.Recorder{}); err != nil {
		t.Fatal(err)
	}
	defer c.transports[0].Close(t.Context())
	for range 60 {
		conn, err := net.Dial("tcp", c.clientAddr[0])
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	until(t, "60 errors of accept", func() bool { return c.refused(tcp.ReasonAccept) >= 60 })
	if n := lines.n.Load(); n < 1 || n > 25 {
		t.Errorf("%d lines for %d errors of accept", n, c.refused(tcp.ReasonAccept))
	}
}

// countingHandler counts the lines about accept.
type countingHandler struct{ n atomic.Int64 }

func (h *countingHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h *countingHandler) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h *countingHandler) WithGroup(string) slog.Handler            { return h }
func (h *countingHandler) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "accept" {
		h.n.Add(1)
	}
	return nil
}
