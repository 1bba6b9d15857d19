package cluster

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"

	"github.com/themis-bft/themis/config"
)

// portFirst is where the search for ports begins; below it stand well-known services.
const portFirst = 10000

// loopback finds three free ports per replica. They are kept in the configuration, and a
// replica that is down gives its ports up: so they are taken from below the range that the
// system hands to outgoing connections, which would otherwise squat on them.
func loopback(replicas int) ([]addresses, error) {
	last := ephemeralFirst() - 1
	if last-portFirst < 1000 {
		last = 65535
	}
	taken := make([]net.Listener, 0, 3*replicas)
	defer func() {
		for _, l := range taken {
			_ = l.Close() // it never accepted anything
		}
	}()
	var addrs []string
	for tries := 0; len(addrs) < 3*replicas; tries++ {
		if tries > 100*replicas {
			return nil, &Error{What: fmt.Sprintf("no free ports between %d and %d", portFirst, last), Hint: "stop other clusters with: themis cluster down --dir D"}
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(portFirst+rand.IntN(last-portFirst+1)))
		if l, err := net.Listen("tcp", addr); err == nil {
			taken, addrs = append(taken, l), append(addrs, addr)
		}
	}
	all := make([]addresses, replicas)
	for i := range all {
		a := addrs[3*i:]
		all[i] = addresses{listen: config.Listen{Peer: a[0], Client: a[1], Admin: a[2]}, dialPeer: a[0], dialClient: a[1]}
	}
	return all, nil
}

// ephemeralFirst is the first port that the system hands out by itself.
func ephemeralFirst() int {
	var first, last int
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if n, err := fmt.Sscan(string(b), &first, &last); err == nil && n == 2 {
			return first
		}
	}
	return 32768
}

// portsFree checks that nobody else listens where r is going to.
func (r *Replica) portsFree() error {
	l := r.Config.Listen
	for _, addr := range []string{l.Peer, l.Client, l.Admin} {
		probe, err := net.Listen("tcp", addr)
		if err != nil {
			return &Error{
				What: fmt.Sprintf("%s cannot listen on %s", r.ID, addr), Err: err,
				Hint: "stop what uses the port, or edit " + r.Config.Path + " and the files that dial it",
			}
		}
		_ = probe.Close() // it never accepted anything
	}
	return nil
}
