package tcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// acceptPauseMax bounds the pause after the system refused to accept.
const acceptPauseMax = time.Second

// listener accepts for peers or for clients. run is its goroutine.
type listener struct {
	t     *Transport
	ln    net.Listener
	name  string
	prove prover
	admit func(address string) (Reason, bool) // whether one more connection may begin
	serve func(ctx context.Context, raw, conn net.Conn, who identity)
	leave func(address string)      // after every connection that admit let in
	known func(address string) bool // has places of its own among the handshakes
	under [2]*pending               // handshakes under way: of strangers, and of known addresses
	quiet quiet                     // for what whoever takes descriptors makes us log
}

func (t *Transport) peerListener(ln net.Listener) *listener {
	l := &listener{t: t, ln: ln, name: "peer", under: newPendings(&t.limits), known: t.ofPeers}
	l.prove = provePlainAccept(t.o.Membership, t.o.Self, false)
	if !t.o.InsecureNone {
		l.prove = proveTLSServer(t.o.Key, identifyPeer(t.o.Membership, t.o.Self))
	}
	l.admit = func(string) (Reason, bool) { return 0, true }
	l.leave = func(string) {}
	l.serve = func(_ context.Context, raw, conn net.Conn, who identity) {
		t.peers[who.replica].serve(raw, conn)
	}
	return l
}

func (t *Transport) clientListener(ln net.Listener) *listener {
	t.clients.init(t)
	l := &listener{t: t, ln: ln, name: "client", under: newPendings(&t.limits)}
	l.known = func(string) bool { return false }
	l.prove = provePlainAccept(t.o.Membership, t.o.Self, true)
	if !t.o.InsecureNone {
		l.prove = proveTLSServer(t.o.Key, identifyClient(t.o.Membership))
	}
	l.admit, l.leave = t.clients.admit, t.clients.leave
	l.serve = func(_ context.Context, raw, conn net.Conn, who identity) {
		t.clients.serve(raw, conn, who.client)
	}
	return l
}

// run accepts until the listener is closed.
func (l *listener) run(ctx context.Context) {
	pause := time.Duration(0)
	for {
		raw, err := l.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return
			}
			// Out of descriptors, most likely: trying again at once would only spin.
			l.t.count.add(ReasonAccept)
			pause = min(max(2*pause, 5*time.Millisecond), acceptPauseMax)
			l.quiet.logTo(l.t.log.Error, "accept", "listener", l.name, "error", err, "pause", pause)
			if !sleep(ctx, pause) {
				return
			}
			continue
		}
		pause = 0
		l.accepted(ctx, raw)
	}
}

// accepted starts the goroutine of a connection if there is room for it.
func (l *listener) accepted(ctx context.Context, raw net.Conn) {
	address := addressOf(raw.RemoteAddr())
	if reason, ok := l.admit(address); !ok {
		l.t.count.add(reason)
		raw.Close()
		return
	}
	if !l.t.track(raw) {
		l.leave(address)
		return
	}
	h, under := &handshake{Conn: raw, address: address}, l.under[0]
	if l.known(address) {
		under = l.under[1]
	}
	if victim, reason := under.enter(h); victim != nil {
		l.t.count.add(reason)
		l.t.end(victim.Conn)
	}
	l.t.spawn(func() {
		defer l.leave(address)
		defer l.t.end(raw)
		tune(raw)
		conn, who, err := greet(ctx, h, l.prove, l.t.hello, true, l.t.limits.HandshakeTime)
		under.leave(h)
		switch {
		case h.reason.Load() != 0: // it made room, and was counted then
		case err != nil:
			l.refused(ctx, raw, who, err)
		default:
			h.proved.Store(true)
			l.serve(ctx, raw, conn, who)
		}
	})
}

func (l *listener) refused(ctx context.Context, raw net.Conn, who identity, err error) {
	if ctx.Err() != nil {
		return
	}
	reason, _ := reasonOf(err)
	l.t.count.add(reason)
	level := l.t.log.Debug // anybody can cause it as often as he likes
	if reason == ReasonHello && !who.isClient {
		// A member that is configured otherwise: the operator must see it.
		level = func(msg string, args ...any) { l.t.peers[who.replica].quiet.logTo(l.t.log.Warn, msg, args...) }
	}
	level("refused", "listener", l.name, "from", raw.RemoteAddr(), "reason", reason, "error", err)
}

// decrement forgets a key when its count is zero, so that the map is bounded by what is open.
func decrement[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] == 0 {
		delete(m, k)
	}
}

// addressOf is what counts as one address: an IPv4 address, or an IPv6 network of 64 bits,
// since whoever has one of those has all of it.
func addressOf(a net.Addr) string {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}

func tune(raw net.Conn) {
	if c, ok := raw.(*net.TCPConn); ok {
		// Errors mean that the connection is gone already; the next read says so.
		_ = c.SetNoDelay(true)
		_ = c.SetKeepAliveConfig(keepAlive)
	}
}

// sleep reports whether it lasted as long as asked.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
