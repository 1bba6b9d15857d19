package pbft

import (
	"encoding/binary"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// overheard is what a real run sends, by kind no more than a few: batches and checkpoints, a
// primary that dies and returns, a replica that misses all of it and is helped.
func overheard(t testing.TB) []packet {
	c := newCluster(t, 4, 1)
	var heard []packet
	per := map[wire.Kind]int{}
	deaf := bft.ReplicaID(3)
	c.drop = func(p packet) bool {
		if per[p.kind]++; per[p.kind]%7 == 1 && per[p.kind] < 70 {
			heard = append(heard, p)
		}
		return p.to == deaf
	}
	requests := func(n int) {
		for range n {
			c.request()
			c.run()
		}
	}
	requests(6)
	c.nodes[0].dead = true
	deaf = 0
	c.fireAll(protocol.TimerPatience)
	c.run()
	requests(6)
	c.boot(0)
	for range 6 {
		c.fireAll(timerStatus)
		c.fireAll(timerFetch)
		c.run()
	}
	for k := KindPrePrepare; k <= KindStable; k++ {
		if per[k] == 0 {
			t.Fatalf("the run sent nothing of kind %d", k)
		}
	}
	return heard
}

// said frames a message for FuzzConversation: sender, kind, length, payload.
func said(b []byte, from bft.ReplicaID, k wire.Kind, payload []byte) []byte {
	b = append(b, byte(from), byte(k))
	return append(wire.AppendU16(b, uint16(len(payload))), payload...)
}

// next takes a message that said framed from b.
func next(b []byte) (p packet, rest []byte, ok bool) {
	if len(b) < 4 {
		return p, nil, false
	}
	n := int(binary.LittleEndian.Uint16(b[2:]))
	p = packet{from: bft.ReplicaID(b[0] % 4), kind: wire.Kind(b[1])}
	b = b[4:]
	n = min(n, len(b))
	p.payload = b[:n]
	return p, b[n:], true
}

// resign gives a message, and what is nested in it, good signatures: a liar lies under its own
// name. What self would have to sign stays as it is, and is refused.
func resign(c *Codec, m protocol.Message, self bft.ReplicaID) protocol.Message {
	if nv, ok := m.(*NewView); ok {
		for i, vc := range nv.Set {
			nv.Set[i] = resign(c, vc, self).(*ViewChange)
		}
	}
	s, ok := m.(protocol.Signed)
	if !ok || s.Signer() == self {
		return m
	}
	return s.WithSignature(tags{}.sign(s.Signer(), c.AppendSigned(nil, s)))
}

// FuzzConversation: whatever well-formed and well-signed messages a replica is told by the others,
// decoded from the bytes as from a link, it neither panics nor breaks an invariant, and it does
// not take back what it committed.
func FuzzConversation(f *testing.F) {
	var whole []byte
	for i, p := range overheard(f) {
		whole = said(whole, p.from, p.kind, p.payload)
		if i%8 == 7 {
			f.Add(whole)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 16<<10 {
			return
		}
		c := newCluster(t, 4, 1)
		const self = 1
		x := c.nodes[self]
		for p, rest, ok := next(b); ok; p, rest, ok = next(rest) {
			m, err := c.codec.Decode(p.kind, p.payload)
			if err != nil || p.from == self {
				continue
			}
			committed := x.core.committed
			v, reason := protocol.Verify(c.codec, p.from, resign(c.codec, m, self), tags{})
			if reason == protocol.ReasonNone {
				c.step(x, protocol.Received{Verified: v})
			}
			if x.core.committed < committed {
				t.Fatalf("committed fell from %d to %d", committed, x.core.committed)
			}
			c.net = c.net[:0]
		}
	})
}
