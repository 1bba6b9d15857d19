package byz

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/rng"
	"github.com/themis-bft/themis/wire"
)

// silent sends nothing for a while, again and again.
type silent struct {
	Honest
	every int // wakes between changes
	wakes int
	mute  bool
}

func newSilent(r *rng.Source) Strategy { return &silent{every: 1 + r.Intn(20), mute: r.Intn(2) == 0} }

// Wake changes between talk and silence.
func (s *silent) Wake(*Env) {
	if s.wakes++; s.wakes%s.every == 0 {
		s.mute = !s.mute
	}
}

// Outgoing drops p in times of silence.
func (s *silent) Outgoing(_ *Env, p Parcel, emit func(Parcel)) {
	if !s.mute {
		emit(p)
	}
}

// Reply drops r in times of silence.
func (s *silent) Reply(_ *Env, r wire.Reply) *wire.Reply {
	if s.mute {
		return nil
	}
	return &r
}

// silentPrimary votes as a backup and proposes nothing as primary; in one variant it sends no
// NEW-VIEW either.
type silentPrimary struct {
	Honest
	newView bool
}

func newSilentPrimary(r *rng.Source) Strategy { return &silentPrimary{newView: r.Intn(2) == 0} }

// Outgoing drops proposals.
func (s *silentPrimary) Outgoing(_ *Env, p Parcel, emit func(Parcel)) {
	switch p.Msg.(type) {
	case *pbft.PrePrepare:
		return
	case *pbft.NewView:
		if s.newView {
			return
		}
	}
	emit(p)
}

// selective talks to as many as make a quorum with it and starves the rest.
type selective struct {
	Honest
	starved bft.ReplicaSet
	clients bool
	drawn   bool
}

func newSelective(r *rng.Source) Strategy { return &selective{clients: r.Intn(2) == 0} }

// Outgoing drops what is meant for the starved.
func (s *selective) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	if !s.drawn {
		s.drawn = true
		for s.starved.Len() < min(e.Membership.F, e.Membership.N()-e.Faulty.Len()) { // correct ones, for ever
			s.starved = s.starved.With(bft.ReplicaID(e.Rand.Intn(e.Membership.N()))) &^ e.Faulty
		}
	}
	if !s.starved.Has(p.To) {
		emit(p)
	}
}

// Reply stays silent towards clients in one variant.
func (s *selective) Reply(_ *Env, r wire.Reply) *wire.Reply {
	if s.clients {
		return nil
	}
	return &r
}

// unfair never hears one client: as a primary it starves it.
type unfair struct{ Honest }

func newUnfair(*rng.Source) Strategy { return &unfair{} }

// Hears reports false for requests of the victim, also relayed ones.
func (s *unfair) Hears(e *Env, _ int, k wire.Kind, payload []byte) bool {
	if k != wire.KindRequest && k != wire.KindRetry && k != wire.KindRelay {
		return true
	}
	q, err := wire.DecodeRequest(payload)
	return err != nil || q.Client != e.Victim
}

// slowPrimary delays its proposals by a part of patience.
type slowPrimary struct {
	Honest
	part int64 // per mille of patience
}

func newSlowPrimary(r *rng.Source) Strategy {
	return &slowPrimary{part: [...]int64{100, 500, 900, r.Between(100, 990), 1100}[r.Intn(5)]}
}

// Outgoing delays proposals.
func (s *slowPrimary) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	if _, ok := p.Msg.(*pbft.PrePrepare); ok {
		p.After += e.Patience * bft.Duration(s.part) / 1000
	}
	emit(p)
}
