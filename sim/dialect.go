package sim

import (
	"fmt"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/check"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/wire"
)

// dialect tells the oracles what the messages and records of one protocol promise. It reads
// them as an outsider: from their fields and bytes.
type dialect interface {
	// votes returns what m promises on behalf of self.
	votes(self bft.ReplicaID, m protocol.Message) []check.Vote
	// prepared returns the certificates that m claims its sender to hold.
	prepared(self bft.ReplicaID, m protocol.Message) []check.Vote
	// leaves returns what m says of a view that self leaves, if it says so.
	leaves(self bft.ReplicaID, m protocol.Message) (check.Left, bool)
	// recorded returns the promises that a record of the log holds.
	recorded(self bft.ReplicaID, rec storage.Record) []check.Vote
	// entered returns what a record says of a view that was entered, if it says so.
	entered(rec storage.Record) (check.Entered, bool)
	// describe is m in one line of a chart.
	describe(m protocol.Message) string
	// kindName is the name of a message kind.
	kindName(k wire.Kind) string
}

func familyOf(name string) (protocol.Family, dialect, error) {
	if name == "" || name == pbft.Family.Name {
		return pbft.Family, &pbftDialect{}, nil
	}
	return protocol.Family{}, nil, fmt.Errorf("sim: no protocol %q", name)
}

type pbftDialect struct{}

// unsigned hashes a signed message without its signature.
func unsigned(m protocol.Message) bft.Digest {
	d := pbft.NewCodec(&bft.Membership{})
	return wire.DigestOf("sim-vote", d.AppendSigned(nil, m.(protocol.Signed)))
}

func (*pbftDialect) votes(self bft.ReplicaID, m protocol.Message) []check.Vote {
	switch m := m.(type) {
	case *pbft.PrePrepare:
		return []check.Vote{{Kind: check.VoteProposal, View: m.View, Seq: m.Seq, Digest: m.Digest}}
	case *pbft.Prepare:
		return []check.Vote{{Kind: check.VotePrepare, View: m.View, Seq: m.Seq, Digest: m.Digest}}
	case *pbft.Commit:
		return []check.Vote{{Kind: check.VoteCommit, View: m.View, Seq: m.Seq, Digest: m.Digest}}
	case *pbft.Checkpoint:
		return []check.Vote{{Kind: check.VoteCheckpoint, Seq: m.Seq, Digest: m.Digest}}
	case *pbft.ViewChange:
		if m.Replica == self {
			return []check.Vote{{Kind: check.VoteViewChange, View: m.View, Digest: unsigned(m)}}
		}
	case *pbft.NewView:
		if m.Replica != self {
			return nil
		}
		votes := []check.Vote{{Kind: check.VoteNewView, View: m.View, Digest: unsigned(m)}}
		for _, c := range m.Choices {
			votes = append(votes, check.Vote{Kind: check.VoteProposal, View: m.View, Seq: c.Seq, Digest: c.Digest})
		}
		return votes
	}
	return nil
}

func (*pbftDialect) prepared(self bft.ReplicaID, m protocol.Message) []check.Vote {
	vc, ok := m.(*pbft.ViewChange)
	if !ok || vc.Replica != self {
		return nil
	}
	var claims []check.Vote
	for _, c := range vc.P {
		claims = append(claims, check.Vote{Kind: check.VoteCommit, View: c.View, Seq: c.Seq, Digest: c.Digest})
	}
	return claims
}

// recorded reads the vote records of PBFT: a tag (1 pre-prepared, 2 prepared), view, slot and
// digest; and its view records: view, active, and while inactive the own VIEW-CHANGE.
func (*pbftDialect) recorded(self bft.ReplicaID, rec storage.Record) []check.Vote {
	codec := pbft.NewCodec(&bft.Membership{Replicas: make([]bft.Replica, bft.ReplicasMax), Window: bft.WindowSlotsMax})
	switch rec.Kind {
	case storage.RecordVote:
		r := wire.NewReader(rec.Data)
		tag := r.U8()
		v := check.Vote{View: bft.View(r.U64()), Seq: bft.SeqNum(r.U64()), Digest: r.Array32()}
		switch tag {
		case 1:
			a, b := v, v
			a.Kind, b.Kind = check.VoteProposal, check.VotePrepare
			return []check.Vote{a, b}
		case 2:
			v.Kind = check.VoteCommit
			return []check.Vote{v}
		}
	case storage.RecordView:
		r := wire.NewReader(rec.Data)
		r.U64()
		if active := r.Bool(); active {
			return nil
		}
		if m, err := codec.Decode(pbft.KindViewChange, r.Rest()); err == nil {
			return []check.Vote{{Kind: check.VoteViewChange, View: m.(*pbft.ViewChange).View, Digest: unsigned(m)}}
		}
	case storage.RecordNewView:
		if m, err := codec.Decode(pbft.KindNewView, rec.Data); err == nil {
			return []check.Vote{{Kind: check.VoteNewView, View: m.(*pbft.NewView).View, Digest: unsigned(m)}}
		}
	}
	return nil
}

// entered reads a view record: view, active, and while active the NEW-VIEW. View 0 has none.
func (*pbftDialect) entered(rec storage.Record) (check.Entered, bool) {
	if rec.Kind != storage.RecordView {
		return check.Entered{}, false
	}
	r := wire.NewReader(rec.Data)
	r.U64()
	if active := r.Bool(); !active {
		return check.Entered{}, false
	}
	codec := pbft.NewCodec(&bft.Membership{Replicas: make([]bft.Replica, bft.ReplicasMax), Window: bft.WindowSlotsMax})
	m, err := codec.Decode(pbft.KindNewView, r.Rest())
	if err != nil {
		return check.Entered{}, false
	}
	nv := m.(*pbft.NewView)
	e := check.Entered{View: nv.View, Primary: nv.Replica, Start: nv.Start}
	for _, vc := range nv.Set {
		e.Set = append(e.Set, left(vc))
	}
	for _, c := range nv.Choices {
		e.Digests = append(e.Digests, c.Digest)
	}
	return e, true
}

func (*pbftDialect) leaves(self bft.ReplicaID, m protocol.Message) (check.Left, bool) {
	vc, ok := m.(*pbft.ViewChange)
	if !ok || vc.Replica != self {
		return check.Left{}, false
	}
	return left(vc), true
}

func left(vc *pbft.ViewChange) check.Left {
	return check.Left{Replica: vc.Replica, View: vc.View, Digest: unsigned(vc), Base: vc.Base.Seq, P: claimed(vc.P), Q: claimed(vc.Q)}
}

func claimed(list []pbft.Claim) (out []check.Claimed) {
	for _, c := range list {
		out = append(out, check.Claimed{Seq: c.Seq, Digest: c.Digest, View: c.View})
	}
	return out
}

var pbftNames = map[wire.Kind]string{
	pbft.KindPrePrepare: "PRE-PREPARE", pbft.KindPrepare: "PREPARE", pbft.KindCommit: "COMMIT",
	pbft.KindStatus: "STATUS", pbft.KindCheckpoint: "CHECKPOINT", pbft.KindViewChange: "VIEW-CHANGE",
	pbft.KindNewView: "NEW-VIEW", pbft.KindDecided: "DECIDED", pbft.KindStable: "STABLE",
}

func (*pbftDialect) kindName(k wire.Kind) string { return pbftNames[k] }

func (d *pbftDialect) describe(m protocol.Message) string {
	name := pbftNames[m.Kind()]
	switch m := m.(type) {
	case *pbft.PrePrepare:
		return fmt.Sprintf("%s v%d n%d %v %s", name, m.View, m.Seq, m.Digest, batch(m.Batch))
	case *pbft.Prepare:
		return fmt.Sprintf("%s v%d n%d %v", name, m.View, m.Seq, m.Digest)
	case *pbft.Commit:
		return fmt.Sprintf("%s v%d n%d %v", name, m.View, m.Seq, m.Digest)
	case *pbft.Status:
		return fmt.Sprintf("%s v%d active=%v stable=%d committed=%d", name, m.View, m.Active, m.Stable, m.Committed)
	case *pbft.Checkpoint:
		return fmt.Sprintf("%s n%d %v by %v", name, m.Seq, m.Digest, m.Replica)
	case *pbft.ViewChange:
		return fmt.Sprintf("%s v%d by %v base=%d P=%s Q=%s", name, m.View, m.Replica, m.Base.Seq, claims(m.P), claims(m.Q))
	case *pbft.NewView:
		s := fmt.Sprintf("%s v%d by %v start=%d", name, m.View, m.Replica, m.Start)
		for _, c := range m.Choices {
			s += fmt.Sprintf(" %d:%v", c.Seq, c.Digest)
		}
		return s
	case *pbft.Decided:
		return fmt.Sprintf("%s n%d..%d", name, m.First, int(m.First)+len(m.Digests)-1)
	case *pbft.Stable:
		return fmt.Sprintf("%s n%d %v (%d)", name, m.Seq, m.Digest, len(m.Endorse))
	}
	return name
}

// batch names the requests of a body.
func batch(body []byte) string {
	_, reqs, err := wire.DecodeBody(body)
	if err != nil {
		return fmt.Sprintf("(malformed, %d bytes)", len(body))
	}
	s := "("
	for i := range reqs {
		s += fmt.Sprintf("%v %d/%d x%d ", reqs[i].Client, reqs[i].Session, reqs[i].First, len(reqs[i].Ops))
	}
	return s[:len(s)-1] + ")"
}

func claims(list []pbft.Claim) string {
	s := "{"
	for _, c := range list {
		s += fmt.Sprintf("%d:%v@%d ", c.Seq, c.Digest, c.View)
	}
	return s + "}"
}
