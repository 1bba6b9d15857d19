package assault

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/wire"
)

// recorded is a frame as it was seen on a link.
type recorded struct {
	kind    wire.Kind
	payload []byte
}

// cutFrames splits what was recorded; a last frame that is not whole is left out.
func cutFrames(b []byte) (all []recorded) {
	for len(b) >= wire.FrameHeaderBytes {
		n := int(binary.LittleEndian.Uint32(b))
		if n < 1 || n > len(b)-4 {
			break
		}
		all = append(all, recorded{wire.Kind(b[4]), b[wire.FrameHeaderBytes : 4+n]})
		b = b[4+n:]
	}
	return all
}

// mutator changes real frames.
type mutator struct {
	rogue  *rogue // nil: a client's frames, which are not signed anew
	frames []recorded
	byKind [][]recorded
	rnd    *rand.Rand
}

func newMutator(r *rogue, frames []recorded, rnd *rand.Rand) *mutator {
	m := &mutator{rogue: r, frames: frames, rnd: rnd}
	index := map[wire.Kind]int{}
	for _, f := range frames {
		i, known := index[f.kind]
		if !known {
			i = len(m.byKind)
			index[f.kind] = i
			m.byKind = append(m.byKind, nil)
		}
		m.byKind[i] = append(m.byKind[i], f)
	}
	return m
}

// pick is a recorded frame; all kinds are as likely.
func (m *mutator) pick() recorded {
	of := m.byKind[m.rnd.IntN(len(m.byKind))]
	return of[m.rnd.IntN(len(of))]
}

// fatalShare is one in how many mutants has a length that ends its link: each costs a handshake.
const fatalShare = 64

// next is a mutant, and whether its link ends by it.
func (m *mutator) next() (frame []byte, fatal bool) {
	f := m.pick()
	p := append([]byte(nil), f.payload...)
	if m.rnd.IntN(fatalShare) == 0 {
		frame := wire.AppendFrame(nil, f.kind, p)
		lengths := []uint32{0, 1 << 31, 1<<32 - 1, bft.PeerFrameBytesMax + 1, m.rnd.Uint32()}
		binary.LittleEndian.PutUint32(frame, lengths[m.rnd.IntN(len(lengths))])
		return frame, true
	}
	switch m.rnd.IntN(8) {
	case 0: // some bits
		for range 1 + m.rnd.IntN(4) {
			if len(p) > 0 {
				p[m.rnd.IntN(len(p))] ^= 1 << m.rnd.IntN(8)
			}
		}
	case 1:
		p = p[:m.rnd.IntN(len(p)+1)]
	case 2:
		for range 1 + m.rnd.IntN(64) {
			p = append(p, byte(m.rnd.Uint32()))
		}
	case 3: // of another kind, perhaps one that nobody knows
		f.kind = wire.Kind(1 + m.rnd.IntN(255))
		if f.kind == wire.KindHello {
			return wire.AppendFrame(nil, f.kind, p), true
		}
	case 4: // a number inside: a length, a count, a slot
		if len(p) >= 8 {
			at := m.rnd.IntN(len(p) - 7)
			numbers := []uint64{0, 1, 1 << 31, 1<<32 - 1, 1 << 62, 1<<63 - 1, 1<<64 - 1, m.rnd.Uint64()}
			n := numbers[m.rnd.IntN(len(numbers))]
			switch m.rnd.IntN(3) {
			case 0:
				binary.LittleEndian.PutUint16(p[at:], uint16(n))
			case 1:
				binary.LittleEndian.PutUint32(p[at:], uint32(n))
			default:
				binary.LittleEndian.PutUint64(p[at:], n)
			}
		}
	case 5: // the head of one and the tail of another
		other := m.pick()
		cut := m.rnd.IntN(min(len(p), len(other.payload)) + 1)
		p = append(p[:cut], other.payload[cut:]...)
	default:
		if b := m.fields(f.kind, p); b != nil {
			return b, false
		}
		p = append(p, p...)
	}
	if len(p) > bft.PeerFrameBytesMax-1 {
		p = p[:bft.PeerFrameBytesMax-1]
	}
	return wire.AppendFrame(nil, f.kind, p), false
}

// fields changes a message of the protocol field by field and signs it anew, so that only its
// meaning is wrong. Nil: the frame holds none.
func (m *mutator) fields(k wire.Kind, payload []byte) []byte {
	if m.rogue == nil {
		return nil
	}
	msg, err := m.rogue.codec.Decode(k, payload)
	if err != nil {
		return nil
	}
	view, _, slot := m.rogue.knows()
	number := func(n uint64) uint64 {
		choices := []uint64{0, n, n + 1, n - 1, n + 256, 1<<62 - 1, m.rnd.Uint64N(1 << 62)}
		return min(choices[m.rnd.IntN(len(choices))], 1<<62)
	}
	v, n, d, id := bft.View(number(uint64(view))), bft.SeqNum(number(uint64(slot))), m.rogue.digest(m.rnd), m.rogue.id
	if m.rnd.IntN(4) == 0 {
		id = bft.ReplicaID(m.rnd.IntN(1 << 16))
	}
	switch msg := msg.(type) {
	case *pbft.PrePrepare:
		msg.View, msg.Seq, msg.Digest = v, n, d
	case *pbft.Prepare:
		msg.View, msg.Seq, msg.Digest = v, n, d
	case *pbft.Commit:
		msg.View, msg.Seq, msg.Digest = v, n, d
	case *pbft.Status:
		msg.View, msg.Committed, msg.Open = v, n, bft.SeqNum(number(uint64(n)))
		msg.Accepted, msg.Prepared, msg.ViewChanges = m.rnd.Uint64(), m.rnd.Uint64(), bft.ReplicaSet(m.rnd.Uint64())
	case *pbft.Checkpoint:
		msg.Seq, msg.Digest, msg.Replica = n, d, id
	case *pbft.ViewChange:
		msg.View, msg.Replica, msg.P = v, id, append(msg.P, pbft.Claim{Seq: n, Digest: d, View: v})
	case *pbft.NewView:
		msg.View, msg.Replica, msg.Start = v, id, n
	case *pbft.Decided:
		msg.First = n
	case *pbft.Stable:
		msg.Seq, msg.Digest = n, d
	}
	return m.rogue.frame(msg)
}

// mutants sends Count changed frames in all: most on links that the rogue and clients have joined, a
// tenth to ports that have not seen a handshake.
func mutants(a *assailant) error {
	b, err := os.ReadFile(a.plan.Frames)
	if err != nil {
		return err
	}
	frames := cutFrames(b)
	if len(frames) == 0 {
		return errFrame
	}
	r, err := a.usurp(false)
	if err != nil {
		return err
	}
	var lanes []func() error
	ports := 2 * (len(a.peers) - 1)
	strange := share(a.plan.Count/10, ports)
	joined := share(a.plan.Count-a.plan.Count/10, ports)
	for i := range a.peers {
		if i == a.plan.Rogue {
			continue
		}
		peer, client := newMutator(r, frames, a.rand(4*i)), newMutator(nil, frames, a.rand(4*i+1))
		lanes = append(lanes,
			func() error {
				return a.pour(joined, peer, func() (*link, error) { return a.join(a.peers[i], a.key, a.m.Replicas[i].Key) })
			},
			func() error {
				return a.pour(joined, client, func() (*link, error) {
					p, err := a.puppet()
					if err != nil {
						return nil, err
					}
					return p.join(i)
				})
			},
			func() error { return a.splash(strange, newMutator(nil, frames, a.rand(4*i+2)), a.peers[i]) },
			func() error { return a.splash(strange, newMutator(nil, frames, a.rand(4*i+3)), a.clients[i]) },
		)
	}
	return a.each(len(lanes), func(i int) error { return lanes[i]() })
}

// share is how many of count each of several has to do, so that together they do no fewer.
func share(count, among int) int { return max((count+among-1)/among, 1) }

// pour sends mutants over joined links: a new one whenever the old has ended.
func (a *assailant) pour(count int, m *mutator, open func() (*link, error)) error {
	for count > 0 && a.ctx.Err() == nil {
		l, err := open()
		if err != nil {
			a.sleep(20 * time.Millisecond)
			continue
		}
		a.discard(l)
		for count > 0 && a.pace() {
			frame, fatal := m.next()
			if _, err := l.Write(frame); err != nil {
				break
			}
			a.sent.Add(1)
			if count--; fatal {
				break
			}
		}
		// What was written is read before the end is noticed, if there is no reset.
		if t, ok := l.Conn.(interface{ CloseWrite() error }); ok {
			_ = t.CloseWrite() // the other end may have been faster
		}
		a.sleep(5 * time.Millisecond)
		l.drop()
	}
	return nil
}

// splash sends mutants to a port in the place of a handshake, one per connection.
func (a *assailant) splash(count int, m *mutator, addr string) error {
	for count > 0 && a.pace() {
		c, err := a.dial(addr)
		if err != nil {
			continue
		}
		frame, _ := m.next()
		_, _ = c.Write(frame) // a refusal may be faster
		a.sent.Add(1)
		count--
		if t, ok := c.Conn.(interface{ CloseWrite() error }); ok {
			_ = t.CloseWrite() // so that what was written arrives
		}
		a.linger(c)
	}
	return nil
}
