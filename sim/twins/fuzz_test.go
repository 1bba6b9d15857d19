package twins

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
)

// hands turns bytes into decisions. When they are used up, nothing is tampered with any more.
type hands struct{ left []byte }

func (h *hands) next() byte {
	if len(h.left) == 0 {
		return 0
	}
	b := h.left[0]
	h.left = h.left[1:]
	return b
}

// scripted reads a schedule from the head of the bytes: the twin, the number of rounds, and per
// round a split, a phase and whose timers fire. The rest decides about messages one by one.
func scripted(b []byte) (Schedule, []byte, *hands) {
	h := &hands{left: b}
	s := Schedule{Replicas: 4, Twins: []bft.ReplicaID{bft.ReplicaID(h.next() % 4)}, Epochs: make([]Epoch, 1+h.next()%6)}
	fires := make([]byte, len(s.Epochs))
	for i := range s.Epochs {
		s.Epochs[i] = Epoch{Sides: uint32(h.next()%16) << 1, From: Phase(h.next() % byte(phases))}
		fires[i] = h.next()
	}
	return s, fires, h
}

// liar gives the bytes their power over a cluster: the network may lose, delay and repeat
// everything, and what the twinned identity says may be replaced by a well-formed lie.
func liar(c *cluster, h *hands) func(p *packet) fate {
	return func(p *packet) fate {
		b := h.next()
		switch b & 7 {
		case 1:
			return lost
		case 2:
			if b == 2 {
				return delayed
			}
		case 3:
			return twice
		case 4, 5:
			if x := c.endpoints[p.from]; !x.honest {
				return c.lie(x, p, b>>3)
			}
		}
		return arrives
	}
}

// lie replaces a message of a twin by another one that it could have sent.
func (c *cluster) lie(x *endpoint, p *packet, how byte) fate {
	if c.batches == 0 {
		return arrives
	}
	b := batch(1 + uint64(how)%c.batches) // what no client signed the verify stage refuses
	d := b.digest
	var m protocol.Message
	switch o := p.verified.Message().(type) {
	case *pbft.PrePrepare:
		m = &pbft.PrePrepare{View: o.View, Seq: o.Seq + bft.SeqNum(how&1), Digest: d, Batch: b.body}
	case *pbft.Prepare:
		m = &pbft.Prepare{View: o.View, Seq: o.Seq, Digest: d}
	case *pbft.Commit:
		m = &pbft.Commit{View: o.View, Seq: o.Seq, Digest: d}
	case *pbft.Status:
		lie := *o
		lie.Committed, lie.Open, lie.Stable = bft.SeqNum(how), bft.SeqNum(how/2), bft.SeqNum(how/4)
		lie.Accepted, lie.Prepared = 0, 0
		m = &lie
	case *pbft.Decided:
		m = &pbft.Decided{First: o.First + bft.SeqNum(how&3), Digests: []bft.Digest{d}}
	case *pbft.Checkpoint:
		m = &pbft.Checkpoint{Seq: o.Seq, Digest: d, Replica: x.id}
	case *pbft.ViewChange:
		lie := *o
		if how&1 != 0 {
			lie.P = nil
		}
		if how&2 != 0 {
			lie.Q = nil
		}
		if how&4 != 0 {
			claim := pbft.Claim{Seq: o.Base.Seq + 1, Digest: d, View: o.View - 1}
			lie.P, lie.Q = []pbft.Claim{claim}, []pbft.Claim{claim}
		}
		lie.Replica = x.id
		m = &lie
	default:
		return arrives
	}
	if s, ok := m.(protocol.Signed); ok {
		m = s.WithSignature(binary.LittleEndian.AppendUint64(nil, tag(x.id, c.codec.AppendSigned(nil, s))))
	}
	v, reason := protocol.Verify(c.codec, x.id, m, tags{})
	if reason != protocol.ReasonNone {
		return lost // a lie that every verify stage refuses
	}
	p.verified, p.print = v, fingerprint(m)
	return arrives
}

// fuzzed runs what the bytes say.
func fuzzed(b []byte, chart *strings.Builder) (out Outcome, unused int) {
	s, fires, h := scripted(b)
	c := newCluster(&s, nil)
	if chart != nil {
		c.chart = chart
	}
	c.tamper = liar(c, h)
	round := -1
	c.fires = func(x *endpoint) bool {
		if x.at == 0 {
			round++
		}
		return fires[round]>>x.at&1 == 0
	}
	return c.run(), len(h.left)
}

// FuzzSchedule: whatever the network does with the messages of three honest replicas and of one
// identity that is there twice and lies, nothing that was promised is broken, and once it heals
// the honest ones are served.
func FuzzSchedule(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4096 {
			return
		}
		if out, _ := fuzzed(b, nil); len(out.Violations) > 0 {
			var chart strings.Builder
			fuzzed(b, &chart)
			t.Fatalf("%s: %s\n%s", out.Violations[0].Checker, out.Violations[0].Detail, chart.String())
		}
	})
}

// seeds are inputs that reach deep: every twin, several splits, and lies sprinkled over the run.
func seeds() [][]byte {
	var all [][]byte
	for i := range byte(16) {
		b := []byte{i, 1 + i%4}
		for k := range byte(2 + i%4) {
			b = append(b, mixed(i, k), k+i, byte(mix(uint64(i)<<8|uint64(k)))&1<<k)
		}
		for k := range 400 {
			if v := mix(uint64(i)<<16 | uint64(k)); v%4 == 0 {
				b = append(b, byte(v>>8))
			} else {
				b = append(b, 0)
			}
		}
		all = append(all, b)
	}
	return all
}

func mixed(i, k byte) byte { return byte(mix(uint64(i)*31 + uint64(k))) }

// TestSeedsOfSchedules: the seeds do tamper, and still decide and change views.
func TestSeedsOfSchedules(t *testing.T) {
	commits, entered, lost, noticed := 0, 0, 0, uint64(0)
	for _, b := range seeds() {
		out, unused := fuzzed(b, nil)
		if len(out.Violations) > 0 || unused == len(b) {
			t.Fatalf("%x: %v", b, out.Violations)
		}
		commits, entered, lost, noticed = commits+out.Commits, entered+out.Entered, lost+out.Lost, noticed+out.Equivocations
	}
	if commits == 0 || entered == 0 || lost == 0 || noticed == 0 {
		t.Errorf("%d commits, %d views entered, %d messages lost, %d contradictions noticed", commits, entered, lost, noticed)
	}
}
