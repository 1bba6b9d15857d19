package faultproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"

	"github.com/themis-bft/themis/wire"
)

// errNothing is returned by Replay before anything was recorded.
var errNothing = errors.New("faultproxy: nothing was recorded yet")

// record keeps what the last connection began with.
func (p *Proxy) record(l *link, u unit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.streamOf != l.number {
		p.streamOf, p.stream = l.number, nil
	}
	p.stream = append(p.stream, u.bytes[:min(len(u.bytes), streamBytesMax-len(p.stream))]...)
}

// Replay sends the beginning of what went forward on the last connection to the target again, on a
// connection of its own, and reads until the target ends that or ctx ends. An opaque proxy repeats
// bytes, TLS and all. With keys it is the dialler anew: TLS and HELLO are fresh, the frames old. It
// returns how many bytes were sent and came back inside TLS, if there was any.
func (p *Proxy) Replay(ctx context.Context) (sent, back int64, err error) {
	p.mu.Lock()
	stream, der, ends := slices.Clone(p.stream), p.diallerDER, p.o.Ends
	p.stats.Faults["replayed-stream"]++
	p.mu.Unlock()
	if len(stream) == 0 {
		return 0, 0, errNothing
	}
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", p.o.Target)
	if err != nil {
		return 0, 0, err
	}
	defer raw.Close() //nolint:errcheck // nothing is to be saved
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
	conn := raw
	if ends != nil {
		config, err := ends.Client(der)
		if err != nil {
			return 0, 0, err
		}
		t := tls.Client(raw, config)
		if err := t.HandshakeContext(ctx); err != nil {
			return 0, 0, err
		}
		conn = t
		stream = wholeFrames(stream)
	}
	n, err := conn.Write(stream)
	if err != nil {
		return int64(n), 0, err
	}
	back, _ = io.Copy(io.Discard, conn) // it ends when the target or ctx does
	return int64(n), back, nil
}

// wholeFrames cuts off a frame that was recorded in part.
func wholeFrames(b []byte) []byte {
	whole := 0
	for whole+wire.FrameHeaderBytes <= len(b) {
		n := wire.NewReader(b[whole : whole+4]).U32()
		if uint64(n) > uint64(len(b)-whole-4) {
			break
		}
		whole += 4 + int(n)
	}
	return b[:whole]
}
