package byz

import (
	"encoding/binary"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/sim/rng"
	"github.com/themis-bft/themis/wire"
)

// bigMAC signs for some replicas and not for others (Aardvark's big MAC attack): which, of all
// subsets, is drawn once.
type bigMAC struct{ bad bft.ReplicaSet }

func newBigMAC(r *rng.Source) ClientStrategy { return BigMAC(bft.ReplicaSet(r.Uint64())) }

// BigMAC returns a client whose signature does not hold at the given replicas.
func BigMAC(bad bft.ReplicaSet) ClientStrategy { return bigMAC{bad: bad} }

// Outgoing spoils the signature for the chosen receivers, and sends to all.
func (s bigMAC) Outgoing(e *ClientEnv, _ bft.ReplicaID, k wire.Kind, q *wire.Request) {
	for i := range e.Replicas {
		c := *q
		if c.Raw = nil; s.bad.Has(bft.ReplicaID(i)) {
			c.Sig = append([]byte(nil), q.Sig...)
			c.Sig[e.Rand.Intn(len(c.Sig))] ^= 0x10
		}
		pass(e, bft.ReplicaID(i), k, &c)
	}
}

// twin is one identity in two processes: a second session beside the honest one, and a second
// hand in the honest one's session, which uses the number that comes next for its own operation.
type twin struct {
	own     uint64 // nonce of the honest OPEN
	nonce   uint64 // of the other
	session uint64
	next    uint64
}

func newTwin(*rng.Source) ClientStrategy { return &twin{} }

// Outgoing sends what both processes want.
func (s *twin) Outgoing(e *ClientEnv, to bft.ReplicaID, k wire.Kind, q *wire.Request) {
	pass(e, to, k, q)
	c := *q
	c.Raw = nil
	switch {
	case q.IsOpen():
		if q.First != s.own {
			s.own, s.nonce = q.First, anotherNonce(q.First, e.Rand)
		}
		c.First = s.nonce
	case s.session != 0 && e.Rand.Intn(2) == 0:
		c.Session, c.First, c.Done = s.session, s.next, s.next
		s.next += uint64(len(c.Ops))
	default:
		c.First += uint64(len(c.Ops))
	}
	e.Sign(&c)
	for i := range e.Replicas {
		pass(e, bft.ReplicaID(i), k, &c)
	}
}

// anotherNonce is a nonce of the time of another OPEN; of what is too long ago no session comes.
func anotherNonce(nonce uint64, r *rng.Source) uint64 {
	const low = 1<<wire.OpenRandomBits - 1
	return nonce&^low | r.Uint64()&low
}

// HearsReply learns the second session's number.
func (s *twin) HearsReply(_ *ClientEnv, _ bft.ReplicaID, r *wire.Reply) bool {
	if r.Session == 0 && r.Number == s.nonce && len(r.Result) == 8 {
		s.session = binary.LittleEndian.Uint64(r.Result)
		return false
	}
	return true
}

// deaf never reads an answer once it has its session: it asks again and again.
type deaf struct{ hears int }

func newDeaf(r *rng.Source) ClientStrategy { return &deaf{hears: 3 + r.Intn(20)} }

// Outgoing sends q.
func (s *deaf) Outgoing(e *ClientEnv, to bft.ReplicaID, k wire.Kind, q *wire.Request) {
	pass(e, to, k, q)
}

// HearsReply reports false after a while.
func (s *deaf) HearsReply(*ClientEnv, bft.ReplicaID, *wire.Reply) bool {
	s.hears--
	return s.hears >= 0
}

// flood sends as much as it may: each request many times and to all, numbers to the end of its
// window, and new sessions.
type flood struct {
	copies int
	open   uint64 // nonce of the honest OPEN
}

func newFlood(r *rng.Source) ClientStrategy { return &flood{copies: 2 + r.Intn(6)} }

// Outgoing floods.
func (s *flood) Outgoing(e *ClientEnv, _ bft.ReplicaID, _ wire.Kind, q *wire.Request) {
	if q.IsOpen() {
		s.open = q.First
	}
	for n := range s.copies {
		c := *q
		c.Raw = nil
		switch {
		case n == 0:
		case q.IsOpen() || e.Rand.Intn(4) == 0:
			c = wire.Request{Client: q.Client, First: anotherNonce(s.open, e.Rand), Flags: wire.FlagOpen, Ops: [][]byte{nil}}
		default:
			c.First += uint64(e.Rand.Intn(bft.SessionOpsMax))
		}
		e.Sign(&c)
		kind := [...]wire.Kind{wire.KindRequest, wire.KindRetry}[e.Rand.Intn(2)]
		for i := range e.Replicas {
			pass(e, bft.ReplicaID(i), kind, &c)
		}
	}
}

// answerSets asks for the same request's answer from nobody, from each in turn, from those that
// do not exist, all in flight at once.
type answerSets struct{}

func newAnswerSets(*rng.Source) ClientStrategy { return answerSets{} }

// Outgoing sends q with several sets of replicas that are to answer.
func (answerSets) Outgoing(e *ClientEnv, to bft.ReplicaID, k wire.Kind, q *wire.Request) {
	for _, set := range []bft.ReplicaSet{0, 1 << to, ^bft.ReplicaSet(0), bft.ReplicaSet(e.Rand.Uint64()) << e.Replicas} {
		c := *q
		c.Answer = set
		e.Sign(&c)
		pass(e, bft.ReplicaID(e.Rand.Intn(e.Replicas)), k, &c)
	}
	pass(e, to, k, q)
}

// backward uses numbers that it used before, for other operations.
type backward struct{}

func newBackward(*rng.Source) ClientStrategy { return backward{} }

// Outgoing sends q, and its operations under older numbers.
func (backward) Outgoing(e *ClientEnv, to bft.ReplicaID, k wire.Kind, q *wire.Request) {
	pass(e, to, k, q)
	if q.IsOpen() {
		return
	}
	c := *q
	c.First -= min(c.First, 1+uint64(e.Rand.Intn(4)))
	c.Done = min(c.Done, c.First)
	e.Sign(&c)
	for i := range e.Replicas {
		pass(e, bft.ReplicaID(i), k, &c)
	}
}
