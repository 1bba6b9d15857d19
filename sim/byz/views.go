package byz

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/rng"
)

// viewSpam asks for views that nobody needs: the next, some ahead, far ones.
type viewSpam struct {
	Honest
	rate int
	high bft.View
	base pbft.Stable
}

func newViewSpam(r *rng.Source) Strategy { return &viewSpam{rate: 50 << r.Intn(5)} }

// Observe learns the highest view and the newest proof of a checkpoint.
func (s *viewSpam) Observe(_ *Env, _, _ bft.ReplicaID, m protocol.Message) {
	switch m := m.(type) {
	case *pbft.Prepare:
		s.high = max(s.high, m.View)
	case *pbft.ViewChange:
		if m.View < s.high+4 {
			s.high = max(s.high, m.View)
		}
		if m.Base.Seq > s.base.Seq {
			s.base = m.Base
		}
	}
}

// Wake sends a VIEW-CHANGE without claims.
func (s *viewSpam) Wake(e *Env) {
	if !e.Rand.PerMille(s.rate) {
		return
	}
	ahead := [...]bft.View{1, 1, 1, 2, 3, 10, 1000, 1 << 40, bft.ViewMax - 1}[e.Rand.Intn(9)]
	m := &pbft.ViewChange{View: min(s.high+ahead, bft.ViewMax), Replica: e.Self, Base: s.base}
	signed := e.Sign(m)
	e.others(func(to bft.ReplicaID) {
		if e.Rand.Intn(4) != 0 {
			e.Send(Parcel{To: to, Msg: signed})
		}
	})
}

// falseClaims lies about what it prepared and pre-prepared: to different receivers differently.
type falseClaims struct {
	Honest
	memory memory
	perTo  bool
	told   *pbft.ViewChange
	as     protocol.Message
}

func newFalseClaims(r *rng.Source) Strategy { return &falseClaims{perTo: r.Intn(2) == 0} }

// Outgoing changes VIEW-CHANGEs.
func (s *falseClaims) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	vc, ok := p.Msg.(*pbft.ViewChange)
	if !ok || vc.Replica != e.Self {
		emit(p)
		return
	}
	if s.perTo || s.told == nil || s.told.View != vc.View {
		s.told, s.as = vc, s.lie(e, vc)
	}
	p.Msg = s.as
	emit(p)
}

func (s *falseClaims) lie(e *Env, vc *pbft.ViewChange) protocol.Message {
	c := e.copyOf(vc).(*pbft.ViewChange)
	switch e.Rand.Intn(7) {
	case 0:
		c.P = nil
	case 1:
		c.P, c.Q = nil, nil
	case 2: // prepared what was only pre-prepared, or the reverse
		c.P = nil
		for _, q := range c.Q {
			if len(c.P) == 0 || c.P[len(c.P)-1].Seq != q.Seq {
				c.P = append(c.P, q)
			}
		}
	case 3: // in the latest view possible
		for i := range c.P {
			c.P[i].View = c.View - 1
		}
		for i := range c.Q {
			c.Q[i].View = c.View - 1
		}
	case 5: // in a view that is still to come
		for i := range c.Q {
			c.Q[i].View = c.View + bft.View(i%2)
		}
	case 4: // another digest
		for i := range c.P {
			e.Rand.Fill(c.P[i].Digest[:4])
		}
	default: // a slot further up
		c.P = append(c.P, pbft.Claim{Seq: c.Base.Seq + e.Membership.Window, View: c.View - 1})
		e.Rand.Fill(c.P[len(c.P)-1].Digest[:])
	}
	return e.Sign(c)
}

// falseNewView sends a NEW-VIEW that hides a member, chooses otherwise, or differs by receiver.
type falseNewView struct {
	Honest
	how int
}

func newFalseNewView(r *rng.Source) Strategy { return &falseNewView{how: r.Intn(6)} }

// Outgoing changes own NEW-VIEWs.
func (s *falseNewView) Outgoing(e *Env, p Parcel, emit func(Parcel)) {
	nv, ok := p.Msg.(*pbft.NewView)
	if !ok || nv.Replica != e.Self {
		emit(p)
		return
	}
	c := e.copyOf(nv).(*pbft.NewView)
	switch n := len(c.Choices); {
	case s.how == 0 && len(c.Set) > 1:
		c.Set = c.Set[:len(c.Set)-1] // too few, and nothing claimed
		c.Start, c.Choices = c.Set[0].Base.Seq, nil
	case s.how == 1 && n > 0:
		for i := range c.Choices {
			c.Choices[i].Digest = bft.NullDigest
		}
	case s.how == 2 && n > 0:
		c.Choices = c.Choices[:n-1]
	case s.how == 5: // it follows from the set, but nobody signed such a set
		c.Start, c.Choices = 0, nil
		for _, vc := range c.Set {
			vc.P, vc.Q = nil, nil
			c.Start = max(c.Start, vc.Base.Seq)
		}
	case s.how == 3:
		c.Start += e.Membership.CheckpointEvery
	default:
		i := e.Rand.Intn(len(c.Set))
		c.Set[i].P = nil // its signature no longer holds
	}
	p.Msg = e.Sign(c)
	emit(p)
}
