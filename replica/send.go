package replica

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/host"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/wire"
)

// flushBytes is the size at which frames are handed to the transport before the round is over.
const flushBytes = 256 << 10

// send encodes every message once, for all its receivers, and gives each peer one buffer per
// flush. It runs on the persist goroutine.
type send struct {
	*Replica
	codec     protocol.Codec
	transport transport.Transport
	buf       []byte // frames of this flush; belongs to the transport afterwards
	spans     []span
	last      int // size of the last flush, a guess at the next
}

// span says who gets the part of the buffer that ends here.
type span struct {
	end int
	to  bft.ReplicaSet
}

// message appends one message, certified first if it asks for that.
func (s *send) message(m *protocol.Outgoing, c *certify) {
	msg := m.Msg
	if m.Certify {
		msg = c.message(msg)
	}
	to := m.To.Without(s.self)
	if to.Len() == 0 {
		return
	}
	if s.buf == nil {
		s.buf = make([]byte, 0, s.last)
	}
	var start int
	s.buf, start = wire.BeginFrame(s.buf, msg.Kind())
	s.buf = wire.EndFrame(s.codec.Append(s.buf, msg), start)
	if n := len(s.spans); n > 0 && s.spans[n-1].to == to {
		s.spans[n-1].end = len(s.buf)
	} else {
		s.spans = append(s.spans, span{end: len(s.buf), to: to})
	}
	s.metrics.sentMessages.Inc()
	if len(s.buf) >= flushBytes {
		s.flush()
	}
}

// flush hands over what was appended. As a rule everything goes to the same peers, who then
// share one buffer; else each gets a copy of its parts, in order.
func (s *send) flush() {
	if len(s.spans) == 0 {
		return
	}
	var all bft.ReplicaSet
	for _, p := range s.spans {
		all |= p.to
	}
	for id := range all.All() {
		s.peer(id, s.part(id))
	}
	s.last = min(max(len(s.buf), 256), 64<<10)
	s.buf, s.spans = nil, s.spans[:0]
}

// part returns the frames for one peer.
func (s *send) part(id bft.ReplicaID) []byte {
	size, begin, whole := 0, 0, true
	for _, p := range s.spans {
		if p.to.Has(id) {
			size += p.end - begin
		} else {
			whole = false
		}
		begin = p.end
	}
	if whole {
		return s.buf
	}
	b := make([]byte, 0, size)
	begin = 0
	for _, p := range s.spans {
		if p.to.Has(id) {
			b = append(b, s.buf[begin:p.end]...)
		}
		begin = p.end
	}
	return b
}

// frames sends the host's own frames, which rest on no vote.
func (s *send) frames(outs []*host.Output) {
	for _, o := range outs {
		for i := range o.Frames {
			s.peer(o.Frames[i].To, o.Frames[i].Bytes)
		}
		clear(o.Frames)
		o.Frames = o.Frames[:0]
	}
}

// peer hands a buffer to the transport, which drops it when the peer does not keep up: the
// protocol's own retransmission brings back what is still needed.
func (s *send) peer(id bft.ReplicaID, b []byte) {
	s.metrics.sentBytes.Add(len(b))
	if !s.transport.SendPeer(id, b) {
		s.metrics.dropped[id].Inc()
	}
}
