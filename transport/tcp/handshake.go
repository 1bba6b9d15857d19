package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/themis-bft/themis/auth/sig"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/wire"
)

// helloFrameBytesMax bounds the first frame: version, cluster, epoch and a short name.
const helloFrameBytesMax = 128

// identity is who is at the other end of a link.
type identity struct {
	replica bft.ReplicaID
	client  bft.ClientID // when isClient
	// isClient tells the two kinds apart; a listener accepts one of them.
	isClient bool
}

// prover authenticates the ends of a new connection and returns the connection to go on with.
type prover func(ctx context.Context, raw net.Conn) (net.Conn, identity, error)

// greet proves both ends and exchanges HELLO, all within the time given. Whoever accepted
// answers the HELLO even when it differs, so that both ends can say why the link ended.
func greet(ctx context.Context, raw net.Conn, prove prover, hello wire.Hello, accepted bool, limit time.Duration) (net.Conn, identity, error) {
	var who identity
	if err := raw.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, who, err
	}
	conn, who, err := prove(ctx, raw)
	if err != nil {
		return nil, who, late(err, ReasonTLS)
	}
	if !accepted {
		err = sendHello(conn, hello)
	}
	var theirs wire.Hello
	if err == nil {
		theirs, err = readHello(conn)
	}
	if err == nil && accepted {
		err = sendHello(conn, hello)
	}
	if err != nil {
		return nil, who, late(err, ReasonHello)
	}
	if theirs != hello && !mutant.On("tcp-hello-not-compared") {
		return nil, who, refusal{ReasonHello, fmt.Errorf("they are %+v, we are %+v", theirs, hello)}
	}
	return conn, who, raw.SetDeadline(time.Time{})
}

// late names the reason of a failed greeting: the time ran out, one that err knows, or other.
func late(err error, other Reason) error {
	var r refusal
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refusal{ReasonTimeout, err}
	case errors.As(err, &r):
		return err
	}
	return refusal{other, err}
}

func sendHello(conn net.Conn, h wire.Hello) error {
	_, err := conn.Write(wire.AppendFrame(nil, wire.KindHello, wire.AppendHello(nil, h)))
	return err
}

// readHello reads exactly the first frame and not a byte more, so that a reader with a buffer
// can take over.
func readHello(conn net.Conn) (wire.Hello, error) {
	var b [4 + helloFrameBytesMax]byte
	if err := readFull(conn, b[:4]); err != nil {
		return wire.Hello{}, err
	}
	n := wire.NewReader(b[:4]).U32()
	if n == 0 || n > helloFrameBytesMax && !mutant.On("tcp-hello-not-limited") {
		return wire.Hello{}, fmt.Errorf("%w: first frame of %d bytes", wire.ErrMalformed, n)
	}
	p := b[4 : 4+n]
	if err := readFull(conn, p); err != nil {
		return wire.Hello{}, err
	}
	if wire.Kind(p[0]) != wire.KindHello {
		return wire.Hello{}, fmt.Errorf("%w: first frame of kind %d", wire.ErrMalformed, p[0])
	}
	return wire.DecodeHello(p[1:])
}

func readFull(conn net.Conn, b []byte) error {
	for len(b) > 0 {
		n, err := conn.Read(b)
		b = b[n:]
		if err != nil && len(b) > 0 {
			return err
		}
	}
	return nil
}

// proveTLSServer runs TLS as the accepting end; identify maps the other end's key.
func proveTLSServer(key *keys.Key, identify func(der []byte) (identity, error)) prover {
	config := keys.ServerConfig(key, func(der []byte) error {
		_, err := identify(der)
		return err
	})
	return func(ctx context.Context, raw net.Conn) (net.Conn, identity, error) {
		conn := tls.Server(raw, config)
		if err := conn.HandshakeContext(ctx); err != nil {
			return nil, identity{}, err
		}
		der, err := keys.PeerDER(conn.ConnectionState())
		if err != nil {
			return nil, identity{}, err
		}
		who, err := identify(der)
		return conn, who, err
	}
}

// proveTLSClient runs TLS as the dialling end, towards the one key that config pins.
func proveTLSClient(config *tls.Config, who identity) prover {
	return func(ctx context.Context, raw net.Conn) (net.Conn, identity, error) {
		conn := tls.Client(raw, config)
		return conn, who, conn.HandshakeContext(ctx)
	}
}

// identifyPeer maps keys to the other members.
func identifyPeer(m *bft.Membership, self bft.ReplicaID) func(der []byte) (identity, error) {
	byKey := make(map[string]bft.ReplicaID, m.N())
	for i, r := range m.Replicas {
		byKey[string(r.Key)] = bft.ReplicaID(i)
	}
	return func(der []byte) (identity, error) {
		id, member := byKey[string(der)]
		if (!member || id == self) && !mutant.On("tcp-stranger-is-peer") {
			return identity{}, refusal{ReasonKey, errors.New("the key is of no other replica")}
		}
		return identity{replica: id}, nil
	}
}

// identifyClient maps keys to the clients that are admitted: those listed, and in an open
// cluster every Ed25519 key.
func identifyClient(m *bft.Membership) func(der []byte) (identity, error) {
	listed := make(map[bft.ClientID]bool, len(m.Clients))
	for _, c := range m.Clients {
		listed[c.ID] = true
	}
	return func(der []byte) (identity, error) {
		id, err := keys.ClientIDOf(der)
		if err != nil {
			return identity{}, refusal{ReasonKey, err}
		}
		scheme, err := keys.SchemeOf(der)
		if err != nil {
			return identity{}, refusal{ReasonKey, err}
		}
		if !listed[id] && (!m.Open || scheme != sig.Ed25519) && !mutant.On("tcp-any-client") {
			return identity{}, refusal{ReasonKey, fmt.Errorf("client %s is not admitted", id)}
		}
		return identity{client: id, isClient: true}, nil
	}
}
