package tcp_test

import (
	"net"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/transport/tcp"
	"github.com/themis-bft/themis/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is n transports on loopback whose links between replicas pass through proxies.
type cluster struct {
	m          *bft.Membership
	keys       []*keys.Key
	clientKeys []*keys.Key
	transports []*tcp.Transport
	peerAddr   []string
	clientAddr []string
	proxies    map[[2]int]*proxy // from, to
	insecure   bool
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func generate(t *testing.T) *keys.Key {
	t.Helper()
	k, err := keys.Generate("ed25519")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// newCluster makes n transports that are not started; edit may change the options of each.
func newCluster(t *testing.T, n int, insecure bool, edit func(*tcp.Options)) *cluster {
	t.Helper()
	c := &cluster{m: &bft.Membership{Cluster: bft.ClusterID{1}, Protocol: "pbft", Scheme: "ed25519"}, proxies: make(map[[2]int]*proxy), insecure: insecure}
	var peers, clients []net.Listener
	for range n {
		k := generate(t)
		c.keys = append(c.keys, k)
		c.m.Replicas = append(c.m.Replicas, bft.Replica{Key: k.PublicDER()})
		peers, clients = append(peers, listen(t)), append(clients, listen(t))
		c.peerAddr = append(c.peerAddr, peers[len(peers)-1].Addr().String())
		c.clientAddr = append(c.clientAddr, clients[len(clients)-1].Addr().String())
	}
	for range 3 {
		k := generate(t)
		c.clientKeys = append(c.clientKeys, k)
		c.m.Clients = append(c.m.Clients, bft.ClientKey{ID: k.ClientID(), Key: k.PublicDER()})
	}
	for i := range n {
		o := tcp.Options{
			Self: bft.ReplicaID(i), Membership: c.m, Key: c.keys[i], InsecureNone: insecure,
			PeerListener: peers[i], ClientListener: clients[i], Dial: make([]string, n),
		}
		for j := range n {
			if i != j {
				p := newProxy(t, c.peerAddr[j])
				c.proxies[[2]int{i, j}] = p
				o.Dial[j] = p.ln.Addr().String()
			}
		}
		if edit != nil {
			edit(&o)
		}
		tr, err := tcp.New(o)
		if err != nil {
			t.Fatal(err)
		}
		c.transports = append(c.transports, tr)
	}
	return c
}

// dial connects the i-th listed client to a replica.
func (c *cluster) dial(t *testing.T, i int, to bft.ReplicaID) (*tcp.ClientConn, error) {
	k := c.clientKeys[i]
	if c.insecure {
		return tcp.DialPlainClient(t.Context(), c.clientAddr[to], k.ClientID(), tcp.HelloOf(c.m))
	}
	return tcp.DialClient(t.Context(), c.clientAddr[to], keys.ClientConfig(k, c.keys[to].PublicDER()), tcp.HelloOf(c.m))
}

func TestConformance(t *testing.T) {
	for name, insecure := range map[string]bool{"tls": false, "none": true} {
		t.Run(name, func(t *testing.T) {
			transporttest.Run(t, func(t *testing.T, n int) transporttest.Cluster {
				c := newCluster(t, n, insecure, nil)
				out := transporttest.Cluster{
					Client: func(i int, to bft.ReplicaID) (bft.ClientID, transporttest.Client, error) {
						conn, err := c.dial(t, i, to)
						if err != nil {
							return bft.ClientID{}, nil, err
						}
						return c.clientKeys[i].ClientID(), conn, nil
					},
					Break: func(a, b bft.ReplicaID) {
						c.proxies[[2]int{int(a), int(b)}].cut()
						c.proxies[[2]int{int(b), int(a)}].cut()
					},
				}
				for _, tr := range c.transports {
					out.Transports = append(out.Transports, tr)
				}
				return out
			})
		})
	}
}

// proxy passes bytes between two ends until it is told to cut.
type proxy struct {
	ln   net.Listener
	to   string
	mu   sync.Mutex
	open map[net.Conn]bool
	wg   sync.WaitGroup
}

func newProxy(t *testing.T, to string) *proxy {
	p := &proxy{ln: listen(t), to: to, open: make(map[net.Conn]bool)}
	p.wg.Add(1)
	go p.run()
	t.Cleanup(func() {
		p.ln.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) run() {
	defer p.wg.Done()
	for {
		a, err := p.ln.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("tcp", p.to)
		if err != nil {
			a.Close()
			continue
		}
		p.mu.Lock()
		p.open[a], p.open[b] = true, true
		p.mu.Unlock()
		p.wg.Add(2)
		go p.pass(a, b)
		go p.pass(b, a)
	}
}

func (p *proxy) pass(from, to net.Conn) {
	defer p.wg.Done()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				err = werr
			}
		}
		if err != nil {
			break
		}
	}
	from.Close()
	to.Close()
	p.mu.Lock()
	delete(p.open, from)
	p.mu.Unlock()
}

// cut ends every connection that passes now.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		c.Close()
	}
}
