package tcp

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"

	"github.com/themis-bft/themis/internal/mutant"
)

// helloBytesMin is less than any ClientHello has that may succeed here: who has sent fewer bytes
// is silent, or drips.
const helloBytesMin = 128

// pending are handshakes under way on one listener, of strangers or of those who come from where
// a peer is known to be: neither takes the places of the other. When all places are taken a newcomer is
// not refused, since it may be a replica and nobody can know yet: one of the others makes room.
// It is one of the address that has most, first the oldest that has not said anything, else any,
// so that a handshake which goes on is likely to end well however many come after it. A replica
// that shares an address with the attacker gets through like that, at the latest when it dials anew.
type pending struct {
	max, maxAddress int

	mu     sync.Mutex
	all    []*handshake // oldest first
	byAddr map[string]int
}

// handshake is one connection that has not proved who it is.
type handshake struct {
	net.Conn
	address string
	heard   atomic.Int64 // bytes that it has sent until it was proved
	proved  atomic.Bool  // TLS and HELLO are done
	reason  atomic.Int32 // why it had to make room, plus one; 0 if it had not
}

// handshakeBytesMax is more than a handshake with the longest keys and its HELLO have: what
// strangers send is not read for ever.
const handshakeBytesMax = 32 << 10

var errHandshakeBytes = errors.New("tcp: a handshake of too many bytes")

// Read counts what the other end sent. The TLS connection that is built on a handshake goes on
// to read through it.
func (h *handshake) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	if !h.proved.Load() && h.heard.Add(int64(n)) > handshakeBytesMax && !mutant.On("tcp-handshake-not-limited") {
		return 0, errHandshakeBytes
	}
	return n, err
}

func newPendings(l *Limits) (p [2]*pending) {
	for i := range p {
		p[i] = &pending{max: l.PendingMax, maxAddress: l.PendingPerAddressMax, byAddr: make(map[string]int)}
	}
	return p
}

// enter takes a place for h, and returns who has to leave for it, if anybody, and why.
func (p *pending) enter(h *handshake) (victim *handshake, reason Reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.byAddr[h.address] >= p.maxAddress:
		victim, reason = p.victim(h.address), ReasonAddress
	case len(p.all) >= p.max:
		victim, reason = p.victim(p.crowded()), ReasonPending
	}
	if victim != nil {
		victim.reason.Store(int32(reason) + 1)
		p.remove(victim)
	}
	p.all = append(p.all, h)
	p.byAddr[h.address]++
	return victim, reason
}

// crowded is the address with the most handshakes. Which of two equals does not matter.
func (p *pending) crowded() (address string) {
	most := 0
	for a, n := range p.byAddr {
		if n > most {
			address, most = a, n
		}
	}
	return address
}

func (p *pending) victim(address string) *handshake {
	if mutant.On("tcp-newest-makes-room") {
		return p.all[len(p.all)-1]
	}
	at := rand.IntN(p.byAddr[address])
	var any *handshake
	for _, h := range p.all {
		if h.address != address {
			continue
		}
		if h.heard.Load() < helloBytesMin {
			return h
		}
		if at == 0 {
			any = h
		}
		at--
	}
	return any
}

// remove gives the place of h back, once.
func (p *pending) remove(h *handshake) {
	for i := range p.all {
		if p.all[i] == h {
			p.all = append(p.all[:i], p.all[i+1:]...)
			decrement(p.byAddr, h.address)
			return
		}
	}
}

// leave gives the place of h back, if it still has one.
func (p *pending) leave(h *handshake) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remove(h)
}
