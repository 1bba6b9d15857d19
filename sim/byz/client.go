package byz

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/sim/rng"
	"github.com/themis-bft/themis/wire"
)

// ClientEnv is what a faulty client may do. It holds its own key only.
type ClientEnv struct {
	Rand     *rng.Source
	Replicas int
	Sign     func(q *wire.Request) // signs q with the client's key, in place
	Send     func(to bft.ReplicaID, k wire.Kind, payload []byte)
}

// ClientStrategy is how a client is faulty. It stands between an honest session and its links.
type ClientStrategy interface {
	// Outgoing is called for every request frame of the honest session and sends what leaves.
	Outgoing(e *ClientEnv, to bft.ReplicaID, k wire.Kind, q *wire.Request)
}

// ReplyHearer is a ClientStrategy that sees every answer before the honest session does.
type ReplyHearer interface {
	// HearsReply reports whether the honest session gets to see r.
	HearsReply(e *ClientEnv, from bft.ReplicaID, r *wire.Reply) bool
}

// ClientEntry is one faulty client of the table.
type ClientEntry struct {
	Name string
	Does string
	Make func(r *rng.Source) ClientStrategy
}

// ClientTable is every strategy of faulty clients, by name.
var ClientTable = []ClientEntry{
	{Name: "client-conflict", Does: "signs different requests with one number for different replicas", Make: newConflict},
	{Name: "client-replay", Does: "sends old requests again", Make: newReplay},
	{Name: "client-forge", Does: "sends bad signatures and foreign names", Make: newForge},
	{Name: "client-wild", Does: "uses numbers outside its window, false sessions and answer sets", Make: newWild},
	{Name: "client-partial", Does: "sends to single backups only", Make: newPartial},
	{Name: "client-big-mac", Does: "signs for some replicas and not for others", Make: newBigMAC},
	{Name: "client-twin", Does: "runs in two processes under one identity", Make: newTwin},
	{Name: "client-deaf", Does: "never reads an answer", Make: newDeaf},
	{Name: "client-flood", Does: "sends as much as it may", Make: newFlood},
	{Name: "client-answer-sets", Does: "asks for answers from nobody and from everybody at once", Make: newAnswerSets},
	{Name: "client-backward", Does: "uses old numbers for new operations", Make: newBackward},
}

// ClientNames lists the strategies of faulty clients.
func ClientNames() []string {
	var names []string
	for _, e := range ClientTable {
		names = append(names, e.Name)
	}
	return names
}

func pass(e *ClientEnv, to bft.ReplicaID, k wire.Kind, q *wire.Request) {
	e.Send(to, k, q.Append(nil))
}

// conflict gives every replica its own operation under the same number.
type conflict struct{}

func newConflict(*rng.Source) ClientStrategy { return conflict{} }

// Outgoing sends a variant to each.
func (conflict) Outgoing(e *ClientEnv, to bft.ReplicaID, k wire.Kind, q *wire.Request) {
	for i := range e.Replicas {
		c := *q
		c.Raw = nil
		if last := len(c.Ops) - 1; i%2 == 1 && len(c.Ops[last]) > 0 && !q.IsOpen() {
			c.Ops = append([][]byte(nil), c.Ops...)
			op := append([]byte(nil), c.Ops[last]...)
			op[len(op)-1] = 'a' + byte(i)
			c.Ops[last] = op
		}
		e.Sign(&c)
		pass(e, bft.ReplicaID(i), k, &c)
	}
	_ = to
}

// replay sends what it sent before, to anyone.
type replay struct{ kept []wire.Request }

func newReplay(*rng.Source) ClientStrategy { return &replay{} }

// Outgoing sends q and something old.
func (s *replay) Outgoing(e *ClientEnv, to bft.ReplicaID, k wire.Kind, q *wire.Request) {
	pass(e, to, k, q)
	s.kept = keep(e.Rand, s.kept, *q, keptMax)
	for range 2 {
		old := s.kept[e.Rand.Intn(len(s.kept))]
		kind := [...]wire.Kind{wire.KindRequest, wire.KindRetry}[e.Rand.Intn(2)]
		pass(e, bft.ReplicaID(e.Rand.Intn(e.Replicas)), kind, &old)
	}
}

// forge breaks signatures and names other clients.
type forge struct{}

func newForge(*rng.Source) ClientStrategy { return forge{} }

// Outgoing sends q and a forgery.
func (forge) Outgoing(e *ClientEnv, to bft.ReplicaID, k wire.Kind, q *wire.Request) {
	c := *q
	c.Raw = nil
	switch e.Rand.Intn(3) {
	case 0:
		c.Sig = append([]byte(nil), c.Sig...)
		c.Sig[e.Rand.Intn(len(c.Sig))] ^= 1
	case 1:
		e.Rand.Fill(c.Client[:])
	default:
		c.First++
	}
	pass(e, to, k, &c)
	pass(e, to, k, q)
}

// wild signs requests that no honest session would make.
type wild struct{}

func newWild(*rng.Source) ClientStrategy { return wild{} }

// Outgoing sends q and something wild.
func (wild) Outgoing(e *ClientEnv, to bft.ReplicaID, k wire.Kind, q *wire.Request) {
	c := *q
	c.Raw = nil
	if !c.IsOpen() {
		switch e.Rand.Intn(5) {
		case 0:
			c.First += bft.SessionOpsMax + uint64(e.Rand.Intn(1000))
		case 1:
			c.First = 1<<62 - 1
		case 2:
			c.Session += uint64(e.Rand.Intn(3))
		case 3:
			c.Answer = bft.ReplicaSet(e.Rand.Uint64())
		default:
			c.Done = c.First
		}
	}
	e.Sign(&c)
	e.Send(bft.ReplicaID(e.Rand.Intn(e.Replicas)), k, c.Append(nil))
	pass(e, to, k, q)
}

// partial sends everything to one backup only, so that relays carry it or nobody does.
type partial struct{ to bft.ReplicaID }

func newPartial(r *rng.Source) ClientStrategy { return &partial{to: bft.ReplicaID(r.Intn(4))} }

// Outgoing sends q to the chosen replica alone.
func (s *partial) Outgoing(e *ClientEnv, _ bft.ReplicaID, k wire.Kind, q *wire.Request) {
	pass(e, s.to, k, q)
}
