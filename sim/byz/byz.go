// Package byz is the adversary of the simulator: replicas and clients that hold real keys and
// lie. A faulty replica runs the honest code and a Strategy stands between it and the network:
// it may change, omit, delay, repeat or split whatever leaves, add messages of its own, and it
// sees every message of every replica the moment it is sent. Each strategy is a small type in
// its own file with one line in Table. Production code never knows any of this.
//
// A Strategy belongs to one replica of one simulated run and is called from the run's
// goroutine. It decides by the rng.Source in its Env alone, so that a seed repeats it. It can
// sign with the keys of faulty replicas only.
package byz

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/sim/rng"
	"github.com/themis-bft/themis/wire"
)

// Parcel is one message on its way to one replica: a protocol message, or a frame of the host
// when Msg is nil. A protocol message may instead be given as its Payload, right or wrong.
type Parcel struct {
	To      bft.ReplicaID
	Msg     protocol.Message
	Kind    wire.Kind
	Payload []byte
	After   bft.Duration // it leaves that much later
}

// Env is what a strategy may know and do.
type Env struct {
	Self       bft.ReplicaID
	Membership *bft.Membership
	Rand       *rng.Source
	Codec      protocol.Codec
	Patience   bft.Duration
	Faulty     bft.ReplicaSet // all that are faulty: they may conspire
	Victim     bft.ClientID   // a correct client, for strategies that harm one

	// Sign signs m anew as this replica, whoever it names.
	Sign func(m protocol.Signed) protocol.Message
	// SignAs signs m with the key of a faulty replica; for any other it signs as this one.
	SignAs func(id bft.ReplicaID, m protocol.Signed) protocol.Message
	// Accomplice signs q if its client is faulty, and reports whether it is.
	Accomplice func(q *wire.Request) bool
	// Send puts a parcel on this replica's own link, around the strategy.
	Send func(p Parcel)
	// SendAs puts a parcel on the link of a faulty replica that conspires.
	SendAs func(from bft.ReplicaID, p Parcel)
	// Reached counts a mutator by its name.
	Reached func(name string)
	// Did counts a deed: a strategy that never comes to its point shows nothing.
	Did func(Deed)
}

// Deed is a point that a strategy wants to come to.
type Deed uint8

// The deeds.
const (
	TwoNewViews Deed = iota // sent two NEW-VIEWs that hold and decide differently
	Hid                     // sent a NEW-VIEW that holds and has fewer batches than the honest one
	ShownAlone              // showed a certificate to one replica before anybody had it
	Completed               // completed a quorum that was short of exactly the faulty votes
	Brought                 // completed a decision at one replica and asked the others to leave
	DeedCount
)

// primary is the primary of a view, computed here and not asked from the replica.
func (e *Env) primary(v bft.View) bft.ReplicaID {
	return bft.ReplicaID(uint64(v) % uint64(e.Membership.N()))
}

// others calls f for every other replica.
func (e *Env) others(f func(to bft.ReplicaID)) {
	for i := range e.Membership.N() {
		if id := bft.ReplicaID(i); id != e.Self {
			f(id)
		}
	}
}

// broadcast sends m to all others.
func (e *Env) broadcast(m protocol.Message) {
	e.others(func(to bft.ReplicaID) { e.Send(Parcel{To: to, Msg: m}) })
}

// copyOf is m with nothing shared: a strategy changes the copy, never what the replica holds.
func (e *Env) copyOf(m protocol.Message) protocol.Message {
	c, err := e.Codec.Decode(m.Kind(), e.Codec.Append(nil, m))
	if err != nil {
		return m
	}
	return c
}

// Strategy is how one replica is faulty. Honest has the harmless form of every method.
type Strategy interface {
	// Outgoing is called for every parcel of the honest code; it emits what leaves instead.
	Outgoing(e *Env, p Parcel, emit func(Parcel))
	// Reply is called for every reply of the honest code to a client; nil omits it.
	Reply(e *Env, r wire.Reply) *wire.Reply
	// Hears reports whether the honest code gets to see a frame; of a client, if from is -1.
	Hears(e *Env, from int, k wire.Kind, payload []byte) bool
	// Observe is called for every protocol message that another replica sends.
	Observe(e *Env, from, to bft.ReplicaID, m protocol.Message)
	// Wake is called every now and then.
	Wake(e *Env)
}

// Honest lets everything pass. Strategies embed it.
type Honest struct{}

// Outgoing emits p.
func (Honest) Outgoing(_ *Env, p Parcel, emit func(Parcel)) { emit(p) }

// Reply returns r.
func (Honest) Reply(_ *Env, r wire.Reply) *wire.Reply { return &r }

// Hears returns true.
func (Honest) Hears(*Env, int, wire.Kind, []byte) bool { return true }

// Observe does nothing.
func (Honest) Observe(*Env, bft.ReplicaID, bft.ReplicaID, protocol.Message) {}

// Wake does nothing.
func (Honest) Wake(*Env) {}

// StateFlipper is a Strategy under which the application of the replica computes wrongly from
// some slot on: a memory error rather than an attack. The simulator corrupts the machine.
type StateFlipper interface {
	FlipsStateAt() bft.SeqNum
}
