package replica

import (
	"sync"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/wire"
)

// reply encodes replies, gathers those of one client in one buffer, and gives the buffer to
// every live link of that client. It runs on the execute goroutine.
type reply struct {
	*Replica
	index   map[bft.ClientID]int
	clients []bft.ClientID
	bufs    [][]byte
}

// replyBytesMin is the room for a small reply; most are.
const replyBytesMin = 64

// add appends one reply to its client's buffer.
func (p *reply) add(r *wire.Reply) {
	i, ok := p.index[r.Client]
	if !ok {
		i = len(p.clients)
		p.index[r.Client] = i
		p.clients = append(p.clients, r.Client)
		p.bufs = append(p.bufs, make([]byte, 0, replyBytesMin+len(r.Result)))
	}
	b, start := wire.BeginFrame(p.bufs[i], wire.KindReply)
	p.bufs[i] = wire.EndFrame(r.Append(b), start)
	p.metrics.replies.Inc()
	if len(p.bufs[i]) >= flushBytes {
		p.flush()
	}
}

// flush sends what was gathered.
func (p *reply) flush() {
	if len(p.clients) == 0 {
		return
	}
	for i, id := range p.clients {
		p.links.send(id, p.bufs[i])
		p.bufs[i] = nil
	}
	p.clients, p.bufs = p.clients[:0], p.bufs[:0]
	clear(p.index)
}

// links knows the live links: of every client, because replies go to all of them, and how many
// of every peer, for status.
type links struct {
	mu      sync.RWMutex
	clients map[bft.ClientID][]transport.ClientLink
	count   int
	peers   []int // live incoming links by peer
}

func newLinks(n int) *links {
	return &links{clients: map[bft.ClientID][]transport.ClientLink{}, peers: make([]int, n)}
}

func (l *links) send(id bft.ClientID, b []byte) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, link := range l.clients[id] {
		link.Send(b)
	}
}

// of is the number of live links of a client.
func (l *links) of(id bft.ClientID) int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return int64(len(l.clients[id]))
}

func (l *links) addClient(c transport.ClientLink) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients[c.Client()] = append(l.clients[c.Client()], c)
	l.count++
}

func (l *links) dropClient(c transport.ClientLink) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.clients[c.Client()]
	for i := range list {
		if list[i] != c {
			continue
		}
		l.count--
		if len(list) == 1 {
			delete(l.clients, c.Client())
			return
		}
		l.clients[c.Client()] = append(append([]transport.ClientLink(nil), list[:i]...), list[i+1:]...)
		return
	}
}

// closeClient ends all links of a client.
func (l *links) closeClient(id bft.ClientID) {
	l.mu.RLock()
	open := append([]transport.ClientLink(nil), l.clients[id]...)
	l.mu.RUnlock()
	for _, link := range open {
		link.Close()
	}
}

func (l *links) peer(id bft.ReplicaID, change int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int(id) < len(l.peers) {
		l.peers[id] += change
	}
}

// linked is the set of peers with a live incoming link, and the number of client links.
func (l *links) linked() (peers bft.ReplicaSet, clients int) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for id, n := range l.peers {
		if n > 0 {
			peers = peers.With(bft.ReplicaID(id))
		}
	}
	return peers, l.count
}
