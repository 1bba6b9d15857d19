package tcp

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/wire"
)

// Options say who this replica is and where its links go. Limits left at zero take defaults.
type Options struct {
	Self         bft.ReplicaID
	Membership   *bft.Membership
	Key          *keys.Key // must be Self's in Membership
	ListenPeer   string    // host:port for the other replicas
	ListenClient string    // host:port for clients
	Dial         []string  // by replica, where to reach it; Self's entry is not used

	// PeerListener and ClientListener replace the two addresses when a socket is open already.
	// The transport owns and closes them from Start on.
	PeerListener, ClientListener net.Listener

	// InsecureNone replaces TLS by identities that the ends merely claim, to measure what TLS
	// costs. It is refused unless every address is a loopback address.
	InsecureNone bool

	Log    *slog.Logger
	Limits Limits
}

// Limits bound what others can make a replica hold. The defaults are for a few tens of replicas
// and some thousand client connections.
type Limits struct {
	// HandshakeTime ends a connection that has not finished TLS and HELLO by then.
	HandshakeTime time.Duration // 3 s
	// StallTime ends a link on which a frame that has begun makes no progress (stallBytes) in
	// this time, and one that takes nothing of what is written to it.
	StallTime time.Duration // 10 s

	// PendingMax bounds the handshakes under way on one listener, PendingPerAddressMax those
	// from one address (IPv6: one /64). Beyond it a newcomer takes the place of another that has
	// proved nothing. Peers and clients are counted apart, so that no number of clients keeps a
	// replica out; and where replicas listen for each other strangers and those who come from
	// the address of a peer have as many places each.
	PendingMax           int // 128
	PendingPerAddressMax int // 96

	// ClientsMax bounds the client links, ClientsPerAddressMax those from one address,
	// LinksPerClientMax those of one key. A new link takes the place of one that has brought
	// nothing for ClientIdleMin, if there is no other place.
	ClientsMax           int           // 2048
	ClientsPerAddressMax int           // 1024
	LinksPerClientMax    int           // 16
	ClientIdleMin        time.Duration // 10 s

	// PeerQueueBytesMax bounds what waits to be sent to one replica, ClientQueueBytesMax to one
	// client. When all clients together exceed ClientQueuesBytesMax, each keeps a share of
	// clientShareBytes.
	PeerQueueBytesMax    int // 16 MiB
	ClientQueueBytesMax  int // 1 MiB
	ClientQueuesBytesMax int // 16 MiB

	// RedialMin and RedialMax bound the pause between attempts to reach a replica.
	RedialMin time.Duration // 20 ms
	RedialMax time.Duration // 1 s
}

// ErrOptions is returned by New for options that contradict each other or the membership. The
// operator must correct the configuration.
var ErrOptions = errors.New("tcp: options")

func orDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func (l Limits) withDefaults() Limits {
	orDefault(&l.HandshakeTime, 3*time.Second)
	orDefault(&l.StallTime, 10*time.Second)
	orDefault(&l.PendingMax, 128)
	orDefault(&l.PendingPerAddressMax, 96)
	orDefault(&l.ClientsMax, 2048)
	orDefault(&l.ClientsPerAddressMax, 1024)
	orDefault(&l.LinksPerClientMax, 16)
	orDefault(&l.ClientIdleMin, 10*time.Second)
	orDefault(&l.PeerQueueBytesMax, 2*bft.PeerFrameBytesMax)
	orDefault(&l.ClientQueueBytesMax, 1<<20)
	orDefault(&l.ClientQueuesBytesMax, 16<<20)
	orDefault(&l.RedialMin, 20*time.Millisecond)
	orDefault(&l.RedialMax, time.Second)
	return l
}

// HelloOf is the HELLO of every member and client of a cluster.
func HelloOf(m *bft.Membership) wire.Hello {
	return wire.Hello{Version: wire.Version, Cluster: m.Cluster, Epoch: m.Epoch, Protocol: m.Protocol}
}

func (o *Options) check() error {
	n := o.Membership.N()
	if int(o.Self) >= n {
		return fmt.Errorf("%w: %s is no member of a cluster of %d", ErrOptions, o.Self, n)
	}
	if len(o.Dial) != n {
		return fmt.Errorf("%w: %d dial addresses for %d replicas", ErrOptions, len(o.Dial), n)
	}
	if o.InsecureNone {
		return o.checkLoopback()
	}
	if o.Key == nil || string(o.Key.PublicDER()) != string(o.Membership.Replicas[o.Self].Key) {
		return fmt.Errorf("%w: the key is not the one listed for %s", ErrOptions, o.Self)
	}
	return nil
}

func (o *Options) checkLoopback() error {
	addresses := []string{o.ListenPeer, o.ListenClient}
	for i, l := range []net.Listener{o.PeerListener, o.ClientListener} {
		if l != nil {
			addresses[i] = l.Addr().String()
		}
	}
	for i, d := range o.Dial {
		if i != int(o.Self) {
			addresses = append(addresses, d)
		}
	}
	for _, a := range addresses {
		if !isLoopback(a) {
			return fmt.Errorf("%w: links without TLS are for loopback addresses only, not %q", ErrOptions, a)
		}
	}
	return nil
}

// isLoopback reports whether host:port names this machine only. A name other than localhost
// could resolve to anything and does not count.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && ip.IsLoopback())
}
