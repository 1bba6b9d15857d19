// Package lying makes a replica lie on purpose: the processes behind "themis cluster lie" and
// themisd-byz, never part of themisd. It runs the honest replica and puts itself between it and
// the world: a Transport that changes what leaves, or an application that computes something
// else. In the same way it lets a replica suffer what machines suffer: a wrong clock, a slow disk.
// The replica knows nothing of it.
//
// A Plan owns no goroutine but timers of delayed messages. Its Transport is called by the
// replica's stages, its Machine by the execute stage.
package lying

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/auth"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/wire"
)

// Plan is one way to lie, for one replica.
type Plan struct {
	how    string
	self   bft.ReplicaID
	codec  protocol.Codec
	signer auth.Signer
}

// ways says what each way does. Every one stays within the power of one faulty replica.
var ways = map[string]string{
	"wrong-replies":    "answers clients with wrong results",
	"silent":           "receives everything and sends nothing",
	"equivocate":       "as primary, proposes different batches to different backups",
	"bad-votes":        "votes for digests that nobody proposed",
	"drop-half":        "loses half of what it sends",
	"false-checkpoint": "signs checkpoints of a state nobody has",
	"corrupt-state":    "skips some operations, so that its state is wrong",
	"slow-primary":     "sends everything late, within the patience of the others",
}

// Ways lists the ways to lie.
func Ways() []string { return slices.Sorted(maps.Keys(ways)) }

// All lists every name that New knows: the ways to lie, then the faults of machines.
func All() []string { return append(Ways(), slices.Sorted(maps.Keys(faults))...) }

// Explain says what a way or a fault does; it is empty for a name that New does not know.
func Explain(how string) string { return ways[how] + faults[how] }

// New returns the plan of a replica that lies in the given way. Messages it changes are signed
// with its own key, as a real traitor would.
func New(how string, self bft.ReplicaID, codec protocol.Codec, signer auth.Signer) (*Plan, error) {
	if Explain(how) == "" {
		return nil, fmt.Errorf("lying: %q is no way to lie (known: %s)", how, strings.Join(All(), ", "))
	}
	return &Plan{how: how, self: self, codec: codec, signer: signer}, nil
}

// Transport wraps the links.
func (p *Plan) Transport(t transport.Transport) transport.Transport {
	switch p.how {
	case "corrupt-state", "wrong-clock", "stuck-app", "slow-disk":
		return t
	}
	return &liar{Transport: t, plan: p}
}

// Machine wraps the application.
func (p *Plan) Machine(m app.Machine) app.Machine {
	switch p.how {
	case "corrupt-state":
		return &forgetful{Machine: m}
	case "stuck-app":
		return stuck{m}
	}
	return m
}

// forgetful is an application that leaves out some operations and answers them with themselves.
type forgetful struct {
	app.Machine
	count int
}

// forgetEvery is rare enough that the replica looks healthy until a checkpoint.
const forgetEvery = 20

func (f *forgetful) Execute(c app.Call, op []byte) app.Future {
	if f.count++; f.count%forgetEvery == 0 {
		return app.Ready(append([]byte(nil), op...))
	}
	return f.Machine.Execute(c, op)
}

// belie makes m, if this replica says something of its state in it, speak of a state nobody has, and
// reports whether it does. The same lie leaves in every message: else those who are handed the proof of
// a checkpoint would find the truth there, under our signature. What others have signed stays.
func (p *Plan) belie(m protocol.Message) bool {
	switch m := m.(type) {
	case *pbft.Checkpoint:
		if m.Replica != p.self {
			return false
		}
		m.Sig = p.falseEndorsement(m.Seq, m.Digest)
		m.Digest = falseDigest(m.Digest)
		return true
	case *pbft.Stable:
		return p.belieProof(m)
	case *pbft.ViewChange:
		return p.belieViewChange(m)
	case *pbft.NewView:
		lied := false
		for _, vc := range m.Set {
			lied = p.belieViewChange(vc) || lied
		}
		if lied && m.Replica == p.self {
			m.Sig = p.signature(m)
		}
		return lied
	}
	return false
}

func (p *Plan) belieViewChange(m *pbft.ViewChange) bool {
	if m.Replica != p.self || !p.belieProof(&m.Base) {
		return false
	}
	m.Sig = p.signature(m)
	return true
}

func (p *Plan) belieProof(m *pbft.Stable) (lied bool) {
	for i, e := range m.Endorse {
		if e.Replica == p.self {
			m.Endorse[i].Sig, lied = p.falseEndorsement(m.Seq, m.Digest), true
		}
	}
	return lied
}

// falseEndorsement is the signature of this replica for another state than that of d.
func (p *Plan) falseEndorsement(n bft.SeqNum, d bft.Digest) []byte {
	return p.signature(&pbft.Checkpoint{Seq: n, Digest: falseDigest(d), Replica: p.self})
}

func falseDigest(d bft.Digest) bft.Digest {
	d[0] ^= 0xff
	return d
}

// frame makes the whole frame of a message.
func (p *Plan) frame(m protocol.Message) []byte {
	b, start := wire.BeginFrame(nil, m.Kind())
	return wire.EndFrame(p.codec.Append(b, m), start)
}

// signature is this replica's under m.
func (p *Plan) signature(m protocol.Signed) []byte {
	return p.signer.Sign(nil, p.codec.AppendSigned(nil, m))
}
