package mem

import (
	"bytes"
	"sync"

	"github.com/themis-bft/themis/transport"
)

// pipe is one direction of a link: buffers in order, bounded in bytes.
type pipe struct {
	limit int
	done  chan struct{} // closed when the receiver has seen the end, for links between replicas

	mu     sync.Mutex
	change sync.Cond
	bufs   [][]byte
	bytes  int // waiting, and the one being delivered
	taken  int
	closed bool
}

func newPipe(limit int) *pipe {
	p := &pipe{limit: limit, done: make(chan struct{})}
	p.change.L = &p.mu
	return p
}

func (p *pipe) push(b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.bytes+len(b) > p.limit {
		return false
	}
	p.bufs = append(p.bufs, b)
	p.bytes += len(b)
	p.change.Signal()
	return true
}

// pop waits for a buffer and keeps its room until the next pop. False: the pipe is closed.
func (p *pipe) pop() ([]byte, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes -= p.taken
	p.taken = 0
	for len(p.bufs) == 0 && !p.closed {
		p.change.Wait()
	}
	if p.closed {
		return nil, false
	}
	b := p.bufs[0]
	p.bufs[0] = nil
	p.bufs = p.bufs[1:]
	p.taken = len(b)
	return b, true
}

// close ends the pipe; what waits is lost.
func (p *pipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.bufs = nil
	p.change.Broadcast()
}

// deliver hands every frame to the receiver until the pipe is closed or a buffer is malformed.
func (p *pipe) deliver(limit int, frame func(transport.Frame)) {
	for {
		b, open := p.pop()
		if !open || !transport.Split(b, limit, func(f transport.Frame) { frame(own(f)) }) {
			p.close()
			return
		}
	}
}

// own copies a payload: the sender may have queued the same bytes for others.
func own(f transport.Frame) transport.Frame {
	f.Payload = bytes.Clone(f.Payload)
	return f
}
