package assault

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/wire"
)

// rogue stands in for a replica that does not run: it accepts the links that the others dial to it,
// and learns from them what it needs to seem well informed.
type rogue struct {
	a     *assailant
	id    bft.ReplicaID
	codec *pbft.Codec
	deaf  bool // accepts and does not read

	mu      sync.Mutex
	view    bft.View
	stable  bft.SeqNum
	slot    bft.SeqNum // the highest seen
	digests []bft.Digest
}

// digestsMax is how many digests of batches the rogue remembers.
const digestsMax = 256

// usurp takes the place of the rogue's replica.
func (a *assailant) usurp(deaf bool) (*rogue, error) {
	r := &rogue{a: a, id: bft.ReplicaID(a.plan.Rogue), codec: pbft.NewCodec(a.m), deaf: deaf}
	ln, err := net.Listen("tcp", a.peers[r.id])
	if err != nil {
		return nil, err // its replica runs, most likely
	}
	context.AfterFunc(a.ctx, func() { _ = ln.Close() }) // it closes but once
	members := map[string]bool{}
	for _, m := range a.m.Replicas {
		members[string(m.Key)] = true
	}
	config := keys.ServerConfig(a.key, func(der []byte) error {
		if !members[string(der)] {
			return errors.New("assault: not a replica")
		}
		return nil
	})
	a.running.Go(func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			a.running.Go(func() { r.serve(raw, config) })
		}
	})
	return r, nil
}

// serve is one link that a replica dialled.
func (r *rogue) serve(raw net.Conn, config *tls.Config) {
	defer raw.Close() //nolint:errcheck // nothing is to be saved
	defer context.AfterFunc(r.a.ctx, func() { _ = raw.Close() })()
	conn := tls.Server(raw, config)
	if conn.HandshakeContext(r.a.ctx) != nil {
		return
	}
	if _, _, err := readFrame(conn); err != nil {
		return
	}
	if _, err := conn.Write(wire.AppendFrame(nil, wire.KindHello, wire.AppendHello(nil, r.a.hello()))); err != nil {
		return
	}
	if r.deaf {
		<-r.a.ctx.Done()
		return
	}
	for {
		k, payload, err := readFrame(conn)
		if err != nil {
			return
		}
		r.a.received.Add(uint64(wire.FrameHeaderBytes + len(payload)))
		r.learn(k, payload)
	}
}

// learn keeps what a frame tells of the cluster.
func (r *rogue) learn(k wire.Kind, payload []byte) {
	m, err := r.codec.Decode(k, payload)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch m := m.(type) {
	case *pbft.Status:
		if m.Active {
			r.view = max(r.view, m.View)
		}
		r.stable, r.slot = max(r.stable, m.Stable), max(r.slot, m.Committed)
	case *pbft.PrePrepare:
		r.view, r.slot = max(r.view, m.View), max(r.slot, m.Seq)
		if len(r.digests) < digestsMax {
			r.digests = append(r.digests, m.Digest)
		} else {
			r.digests[int(m.Seq)%digestsMax] = m.Digest
		}
	}
}

// knows is what the rogue has learned.
func (r *rogue) knows() (view bft.View, stable, slot bft.SeqNum) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.view, r.stable, r.slot
}

// digest is one of a real batch, or a random one.
func (r *rogue) digest(rnd *rand.Rand) (d bft.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.digests) > 0 && rnd.IntN(4) > 0 {
		return r.digests[rnd.IntN(len(r.digests))]
	}
	for i := range d {
		d[i] = byte(rnd.Uint32())
	}
	return d
}

// frame is a frame of the protocol, signed if its kind is.
func (r *rogue) frame(m protocol.Message) []byte {
	if s, ok := m.(protocol.Signed); ok {
		m = s.WithSignature(r.a.key.Signer().Sign(nil, r.codec.AppendSigned(nil, s)))
	}
	return wire.AppendFrame(nil, m.Kind(), r.codec.Append(nil, m))
}

// storm sends what next makes to every other replica, at the plan's rate, all of them together.
func (a *assailant) storm(deaf bool, next func(r *rogue, rnd *rand.Rand) []byte) error {
	r, err := a.usurp(deaf)
	if err != nil {
		return err
	}
	return a.each(len(a.peers), func(i int) error {
		if i == a.plan.Rogue {
			return nil
		}
		rnd := a.rand(i)
		a.again(func() error {
			l, err := a.join(a.peers[i], a.key, a.m.Replicas[i].Key)
			if err != nil {
				return err
			}
			defer l.drop()
			a.discard(l)
			for a.pace() {
				if err := l.SetWriteDeadline(time.Now().Add(dialTime)); err != nil {
					return err
				}
				if _, err := l.Write(next(r, rnd)); err != nil {
					return err
				}
				a.sent.Add(1)
			}
			return nil
		})
		return nil
	})
}

// far is a number far ahead of n: just beyond a window, or anywhere up to the end.
func far(rnd *rand.Rand, n uint64) uint64 {
	if rnd.IntN(2) == 0 {
		return n + uint64(bft.WindowSlotsMax) + rnd.Uint64N(1<<20)
	}
	return rnd.Uint64N(1 << 62)
}

// futureSlots votes for slots and views far ahead.
func futureSlots(a *assailant) error {
	return a.storm(false, func(r *rogue, rnd *rand.Rand) []byte {
		view, _, slot := r.knows()
		n, d := bft.SeqNum(far(rnd, uint64(slot))), r.digest(rnd)
		if rnd.IntN(4) == 0 {
			view = bft.View(far(rnd, uint64(view)))
		}
		switch rnd.IntN(4) {
		case 0:
			body := wire.AppendBody(nil, 1, nil)
			return r.frame(&pbft.PrePrepare{View: view, Seq: n, Digest: d, Batch: body})
		case 1:
			return r.frame(&pbft.Prepare{View: view, Seq: n, Digest: d})
		case 2:
			every := r.a.m.CheckpointEvery
			return r.frame(&pbft.Checkpoint{Seq: max(n/every, 1) * every, Digest: d, Replica: r.id})
		default:
			return r.frame(&pbft.Commit{View: view, Seq: n, Digest: d})
		}
	})
}

// viewChanges asks for the next views and for distant ones, validly signed; every fourth time with as
// many claims as fit.
func viewChanges(a *assailant) error {
	return a.storm(false, func(r *rogue, rnd *rand.Rand) []byte {
		view, _, _ := r.knows()
		m := &pbft.ViewChange{View: view + 1 + bft.View(rnd.IntN(8)), Replica: r.id}
		if rnd.IntN(4) == 0 {
			m.View = bft.View(far(rnd, uint64(view)))
		}
		if rnd.IntN(4) == 0 {
			for n := range a.m.Window {
				c := pbft.Claim{Seq: n + 1, Digest: r.digest(rnd), View: m.View - 1}
				m.P, m.Q = append(m.P, c), append(m.Q, c)
			}
		}
		return r.frame(m)
	})
}

// fetches asks for batches, most of them real.
func fetches(a *assailant) error {
	return a.storm(false, func(r *rogue, rnd *rand.Rand) []byte {
		d := r.digest(rnd)
		return wire.AppendFrame(nil, wire.KindFetch, d[:])
	})
}

// stateWants asks for the pages of the stable checkpoint over and over.
func stateWants(a *assailant) error {
	return a.storm(false, func(r *rogue, rnd *rand.Rand) []byte {
		_, stable, _ := r.knows()
		w := wire.StateWant{Seq: stable, Item: wire.Manifest}
		if rnd.IntN(4) > 0 {
			w.Item = wire.StateItem(rnd.IntN(16))
		}
		return wire.AppendFrame(nil, wire.KindStateWant, w.Append(nil))
	})
}

// statuses says that it has nothing, so that everybody resends everything.
func statuses(a *assailant) error { return a.storm(false, emptyStatus) }

func emptyStatus(r *rogue, _ *rand.Rand) []byte {
	view, stable, _ := r.knows()
	return r.frame(&pbft.Status{View: view, Active: true, Stable: stable, Committed: stable, Open: stable})
}

// deafPeer says the same, and reads nothing of what is sent.
func deafPeer(a *assailant) error {
	return a.storm(true, emptyStatus)
}

// badRelays passes on requests of clients that do not exist, with bad signatures.
func badRelays(a *assailant) error {
	return a.storm(false, func(_ *rogue, rnd *rand.Rand) []byte {
		q := wire.Request{Session: 1 + rnd.Uint64N(1000), First: 1, Done: 1, Ops: [][]byte{put(1)}, Sig: make([]byte, 64)}
		for i := range q.Client {
			q.Client[i] = byte(rnd.Uint32())
		}
		return wire.AppendFrame(nil, wire.KindRelay, q.Append(nil))
	})
}

// flapping joins, breaks a rule that ends its link, and joins again.
func flapping(a *assailant) error {
	return a.each(4*len(a.peers), func(i int) error {
		to := i % len(a.peers)
		for to != a.plan.Rogue && a.pace() {
			l, err := a.join(a.peers[to], a.key, a.m.Replicas[to].Key)
			if err != nil {
				continue
			}
			if _, err := l.Write(make([]byte, wire.FrameHeaderBytes)); err == nil { // a frame without a kind
				a.sent.Add(1)
				_, _ = io.Copy(io.Discard, l) // until it is ended
			}
			l.drop()
		}
		return nil
	})
}
