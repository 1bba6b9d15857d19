package tcp

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/wire"
)

// ClientConn is a client's end of a link with one replica. One goroutine reads; any may write.
type ClientConn struct {
	raw, conn net.Conn
	frames    *frameReader
	writing   sync.Mutex
	stall     time.Duration
}

// DialClient connects to a replica's client address. config comes from keys.ClientConfig and
// pins the replica's key; hello is HelloOf the membership. It returns when both ends are proved
// and agree, at the latest when ctx ends or the time for a handshake is over.
func DialClient(ctx context.Context, address string, config *tls.Config, hello wire.Hello) (*ClientConn, error) {
	return dialClient(ctx, address, proveTLSClient(config, identity{}), hello)
}

// DialPlainClient is DialClient for a replica that runs with InsecureNone: the client merely
// claims to be id. It is refused for an address that is not a loopback address.
func DialPlainClient(ctx context.Context, address string, id bft.ClientID, hello wire.Hello) (*ClientConn, error) {
	if !isLoopback(address) {
		return nil, fmt.Errorf("%w: links without TLS are for loopback addresses only, not %q", ErrOptions, address)
	}
	return dialClient(ctx, address, provePlainDial(identity{client: id, isClient: true}, identity{}), hello)
}

func dialClient(ctx context.Context, address string, prove prover, hello wire.Hello) (*ClientConn, error) {
	limits := Limits{}.withDefaults()
	d := net.Dialer{Timeout: limits.HandshakeTime, KeepAliveConfig: keepAlive}
	raw, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("tcp: %w", err)
	}
	// The handshake heeds ctx by itself, the exchange of HELLO through this.
	unhook := context.AfterFunc(ctx, func() { raw.Close() })
	conn, _, err := greet(ctx, raw, prove, hello, false, limits.HandshakeTime)
	if !unhook() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("tcp: %s: %w", address, err)
	}
	c := &ClientConn{raw: raw, conn: conn, stall: limits.StallTime}
	c.frames = newFrameReader(conn, bft.ClientFrameBytesMax, limits.StallTime)
	return c, nil
}

// ReadFrame returns the next frame, waiting as long as the link lives. The caller owns the
// payload. Any error is final.
func (c *ClientConn) ReadFrame() (transport.Frame, error) { return c.frames.next() }

// WriteFrames writes a buffer of whole frames in one call. It blocks while the replica does not
// read, and then fails. Any error is final.
func (c *ClientConn) WriteFrames(frames []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.stall)); err != nil {
		return err
	}
	_, err := c.conn.Write(frames)
	return err
}

// RemoteAddr is the replica's address.
func (c *ClientConn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// Close ends the link. It never blocks and may be called more than once, from any goroutine.
func (c *ClientConn) Close() error { return c.raw.Close() }
