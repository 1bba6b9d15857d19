package cluster

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"

	"github.com/themis-bft/themis/config"
)

const (
	// portFirst is where the search for ports begins; below it stand well-known services.
	portFirst = 10000
	// blockPorts is how many ports are claimed at once: a guard and what it guards.
	blockPorts = 64
	// blocksMax bounds what one process claims. Then the ports given longest ago come again:
	// enough for 160 clusters of four at the same time.
	blocksMax = 32
)

// ports are those that this process may give out. The range lies below the one that the system
// hands to outgoing connections: ports are kept in the configuration, and a replica that is
// down gives its ports up, so that a connection would squat on them otherwise.
var ports = sync.OnceValue(func() *pool {
	last := ephemeralFirst() - 1
	if last-portFirst < 1000 {
		last = 65535
	}
	return &pool{host: "127.0.0.1", first: portFirst, last: last}
})

// pool gives out ports of loopback. Between the choice of a port and the moment that a replica
// listens there, and while the replica is down, nothing in the system holds it; so the pools of
// all processes agree on whose it is. A pool claims ports in blocks, by listening on the first
// port of each until its process ends, and only a block in which nobody listens: of a cluster
// that outlived its process, one running replica is enough.
type pool struct {
	host        string
	first, last int

	mu     sync.Mutex
	guards []net.Listener
	queue  []int // those never given first, then those given longest ago
	fresh  int   // how many were never given
}

// take gives out n ports on which nobody listens.
func (p *pool) take(n int) ([]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.fresh < n && len(p.guards) < blocksMax && p.claim() {
	}
	var addrs []string
	for range p.queue {
		if len(addrs) == n {
			break
		}
		port := p.queue[0]
		p.queue, p.fresh = append(p.queue[1:], port), max(p.fresh-1, 0)
		if l, err := net.Listen("tcp", p.at(port)); err == nil {
			_ = l.Close() // it never accepted anything
			addrs = append(addrs, p.at(port))
		}
	}
	if len(addrs) < n {
		return nil, &Error{What: fmt.Sprintf("no free ports between %d and %d", p.first, p.last), Hint: "stop other clusters with: themis cluster down --dir D"}
	}
	return addrs, nil
}

// claim adds a block that is nobody's, if there is one.
func (p *pool) claim() bool {
	blocks := (p.last - p.first + 1) / blockPorts
	start := rand.IntN(blocks)
	for i := range blocks {
		base := p.first + (start+i)%blocks*blockPorts
		guard, err := net.Listen("tcp", p.at(base))
		if err != nil {
			continue
		}
		if !p.quiet(base+1, base+blockPorts) {
			_ = guard.Close() // it never accepted anything
			continue
		}
		p.guards = append(p.guards, guard)
		var block []int
		for port := base + 1; port < base+blockPorts; port++ {
			block = append(block, port)
		}
		p.queue = slices.Insert(p.queue, p.fresh, block...)
		p.fresh += len(block)
		return true
	}
	return false
}

// quiet reports whether nobody listens on the ports from and up to to.
func (p *pool) quiet(from, to int) bool {
	for ; from < to; from++ {
		l, err := net.Listen("tcp", p.at(from))
		if err != nil {
			return false
		}
		_ = l.Close() // it never accepted anything
	}
	return true
}

func (p *pool) at(port int) string { return net.JoinHostPort(p.host, strconv.Itoa(port)) }

// loopback finds three free ports per replica.
func loopback(replicas int) ([]addresses, error) {
	addrs, err := ports().take(3 * replicas)
	if err != nil {
		return nil, err
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
