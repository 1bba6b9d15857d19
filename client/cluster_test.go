package client_test

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/transport/tcp"
	"github.com/themis-bft/themis/wire"
)

// cluster is a set of TLS servers that speak the frames of replicas and share one memory
// instead of a protocol: what its primary receives is answered by everybody who is asked to.
type cluster struct {
	t       testing.TB
	m       *bft.Membership
	key     *keys.Key
	servers []*server

	mu     sync.Mutex
	opens  map[uint64]uint64 // session by nonce
	closed uint64            // sessions up to this one are closed
	mute   bool              // nobody answers
}

// server is one replica of it.
type server struct {
	c    *cluster
	id   bft.ReplicaID
	key  *keys.Key
	addr string
	lies func(*wire.Reply) []byte // frame instead of the true reply; nil for honest

	ln    net.Listener
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

func newCluster(t testing.TB, n, f int) *cluster {
	t.Helper()
	c := &cluster{t: t, opens: make(map[uint64]uint64)}
	c.m = &bft.Membership{Protocol: "pbft", F: f, Scheme: "ed25519", Open: true, Cluster: bft.ClusterID{9}}
	c.key = newKey(t)
	for i := range n {
		s := &server{c: c, id: bft.ReplicaID(i), key: newKey(t), addr: "127.0.0.1:0", conns: make(map[net.Conn]bool)}
		c.m.Replicas = append(c.m.Replicas, bft.Replica{Key: s.key.PublicDER()})
		c.servers = append(c.servers, s)
		s.start()
	}
	t.Cleanup(func() {
		for _, s := range c.servers {
			s.stop()
		}
	})
	return c
}

func newKey(t testing.TB) *keys.Key {
	t.Helper()
	k, err := keys.Generate("ed25519")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (c *cluster) addresses() []string {
	var all []string
	for _, s := range c.servers {
		all = append(all, s.addr)
	}
	return all
}

func (s *server) start() {
	ln, err := tls.Listen("tcp", s.addr, keys.ServerConfig(s.key, func([]byte) error { return nil }))
	if err != nil {
		s.c.t.Fatal(err)
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.ln, s.addr = ln, ln.Addr().String()
	s.wg.Go(func() { s.accept(ln) })
}

// stop breaks everything, as a killed process does.
func (s *server) stop() {
	s.c.mu.Lock()
	if s.ln != nil {
		s.ln.Close()
		s.ln = nil
	}
	for conn := range s.conns {
		conn.Close()
	}
	s.c.mu.Unlock()
	s.wg.Wait()
}

func (s *server) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		s.c.mu.Lock()
		if s.ln != ln {
			s.c.mu.Unlock()
			conn.Close()
			return
		}
		s.conns[conn] = false
		s.wg.Go(func() { s.serve(conn) })
		s.c.mu.Unlock()
	}
}

func (s *server) serve(conn net.Conn) {
	defer func() {
		s.c.mu.Lock()
		defer s.c.mu.Unlock()
		delete(s.conns, conn)
		conn.Close()
	}()
	if kind, _, err := readFrame(conn); err != nil || kind != wire.KindHello {
		return
	}
	hello := wire.AppendFrame(nil, wire.KindHello, wire.AppendHello(nil, tcp.HelloOf(s.c.m)))
	if _, err := conn.Write(hello); err != nil {
		return
	}
	s.c.mu.Lock()
	s.conns[conn] = true
	s.c.mu.Unlock()
	for {
		kind, payload, err := readFrame(conn)
		if err != nil {
			return
		}
		r, err := wire.DecodeRequest(payload)
		if err != nil {
			s.c.t.Errorf("replica %d: request: %v", s.id, err)
			return
		}
		s.c.take(s, kind, &r)
	}
}

func readFrame(in io.Reader) (wire.Kind, []byte, error) {
	var header [wire.FrameHeaderBytes]byte
	if _, err := io.ReadFull(in, header[:]); err != nil {
		return 0, nil, err
	}
	payload := make([]byte, binary.LittleEndian.Uint32(header[:])-1)
	_, err := io.ReadFull(in, payload)
	return wire.Kind(header[4]), payload, err
}

// take answers a RETRY at whoever received it, and a REQUEST, at replica 0 only, at all asked.
func (c *cluster) take(s *server, kind wire.Kind, r *wire.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mute {
		return
	}
	if kind == wire.KindRetry {
		s.answer(r)
		return
	}
	for _, other := range c.servers {
		if s.id == 0 && r.Answer.Has(other.id) {
			other.answer(r)
		}
	}
}

func (s *server) answer(r *wire.Request) {
	c := s.c
	for i, op := range r.Ops {
		reply := wire.Reply{Session: r.Session, Number: r.First + uint64(i), Result: append([]byte("did "), op...)}
		switch {
		case r.IsOpen():
			if c.opens[r.First] == 0 {
				c.opens[r.First] = uint64(len(c.opens)) + 1
			}
			reply.Result = binary.LittleEndian.AppendUint64(nil, c.opens[r.First])
		case r.Session <= c.closed:
			reply.Status, reply.Result = wire.StatusClosed, nil
		}
		frame := wire.AppendFrame(nil, wire.KindReply, reply.Append(nil))
		if s.lies != nil {
			frame = s.lies(&reply)
		}
		for conn, ready := range s.conns {
			if ready {
				conn.Write(frame) //nolint:errcheck // a broken link is the reader's affair
			}
		}
	}
}
