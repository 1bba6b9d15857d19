package byz

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/sim/rng"
	"github.com/themis-bft/themis/wire"
)

// kinds is a random set of message kinds with a rate: what an interceptor works on.
type kinds struct {
	rate int // per mille of the parcels of these kinds
	mask uint64
}

func drawKinds(r *rng.Source) kinds {
	k := kinds{rate: 20 << r.Intn(6), mask: r.Uint64() | r.Uint64()}
	if r.Intn(3) == 0 { // one kind only, of the host or of the protocol
		kind := uint(wire.KindRelay) + uint(r.Intn(5+9))
		if kind > uint(wire.KindStateItem) {
			kind += uint(wire.KindProtocol) - uint(wire.KindStateItem) - 1
		}
		k.mask = 1 << kind
	}
	return k
}

func (k kinds) hit(r *rng.Source, p Parcel) bool {
	kind := p.Kind
	if p.Msg != nil {
		kind = p.Msg.Kind()
	}
	rate := k.rate
	if kind == wire.KindStateWant || kind == wire.KindStateItem {
		rate = max(rate, 400) // they are few
	}
	return k.mask&(1<<(kind&63)) != 0 && r.PerMille(rate)
}

// mutate changes one field of a message for each receiver separately.
type mutate struct {
	Honest
	on     kinds
	memory memory
}

func newMutate(r *rng.Source) Strategy { return &mutate{on: drawKinds(r)} }

// Outgoing emits p, now and then changed.
func (s *mutate) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	if s.on.hit(e.Rand, p) {
		p = s.memory.change(e, p)
	}
	emit(p)
}

// Reply returns r, now and then changed.
func (s *mutate) Reply(e *Env, r wire.Reply) *wire.Reply {
	if s.on.mask&(1<<wire.KindReply) != 0 && e.Rand.PerMille(s.on.rate) {
		r = s.memory.changeReply(e, r)
	}
	return &r
}

// split changes what a fixed part of the receivers gets: to them the replica tells one story,
// to the others another.
type split struct {
	mutate
	part bft.ReplicaSet
}

func newSplit(r *rng.Source) Strategy {
	s := &split{mutate: mutate{on: drawKinds(r)}, part: bft.ReplicaSet(r.Uint64())}
	s.on.rate = 300 + r.Intn(700)
	return s
}

// Outgoing emits p, changed for the chosen receivers.
func (s *split) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	if s.part.Has(p.To) {
		s.mutate.Outgoing(e, p, emit)
		return
	}
	emit(p)
}

// omit drops parcels by kind and receiver.
type omit struct {
	Honest
	on kinds
	to bft.ReplicaSet
}

func newOmit(r *rng.Source) Strategy {
	return &omit{on: drawKinds(r), to: bft.ReplicaSet(r.Uint64() | r.Uint64())}
}

// Outgoing drops p or emits it.
func (s *omit) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	if !s.to.Has(p.To) || !s.on.hit(e.Rand, p) {
		emit(p)
	}
}

// delay lets parcels wait.
type delay struct {
	Honest
	on    kinds
	scale int64 // per mille of patience
}

func newDelay(r *rng.Source) Strategy { return &delay{on: drawKinds(r), scale: r.Between(50, 3000)} }

// Outgoing emits p, now and then much later.
func (s *delay) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	if s.on.hit(e.Rand, p) {
		p.After += bft.Duration(e.Rand.Between(0, int64(e.Patience)*s.scale/1000))
	}
	emit(p)
}

// repeat sends parcels again: at once, later, to others.
type repeat struct {
	Honest
	on   kinds
	kept []Parcel
}

// keptMax bounds what a strategy remembers for a replay.
const keptMax = 256

func newRepeat(r *rng.Source) Strategy { return &repeat{on: drawKinds(r)} }

// Outgoing emits p and now and then something old with it.
func (s *repeat) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	emit(p)
	if !s.on.hit(e.Rand, p) {
		return
	}
	emit(p)
	if len(s.kept) < keptMax {
		s.kept = append(s.kept, p)
	} else {
		s.kept[e.Rand.Intn(keptMax)] = p
	}
	old := s.kept[e.Rand.Intn(len(s.kept))]
	old.To = p.To
	old.After = bft.Duration(e.Rand.Between(0, int64(e.Patience)))
	emit(old)
}

// garbage breaks encodings.
type garbage struct {
	Honest
	on kinds
}

func newGarbage(r *rng.Source) Strategy { return &garbage{on: drawKinds(r)} }

// Outgoing emits p, now and then as broken bytes.
func (s *garbage) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	if !s.on.hit(e.Rand, p) {
		emit(p)
		return
	}
	if p.Msg != nil {
		p = Parcel{To: p.To, Kind: p.Msg.Kind(), Payload: e.Codec.Append(nil, p.Msg), After: p.After}
	} else {
		p.Payload = append([]byte(nil), p.Payload...)
	}
	switch n := len(p.Payload); e.Rand.Intn(5) {
	case 0:
		p.Payload = p.Payload[:e.Rand.Intn(n+1)]
	case 1:
		p.Payload = append(p.Payload, byte(e.Rand.Uint64()))
	case 2:
		p.Kind = wire.Kind(e.Rand.Uint64())
	case 3:
		p.Payload = make([]byte, e.Rand.Intn(200))
		e.Rand.Fill(p.Payload)
	default:
		if n > 0 {
			p.Payload[e.Rand.Intn(n)] ^= 1 << e.Rand.Intn(8)
		}
	}
	emit(p)
}
