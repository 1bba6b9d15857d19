package pbft

import (
	"fmt"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// Decode parses the payload of a frame of kind k. Messages alias payload.
func (c *Codec) Decode(k wire.Kind, payload []byte) (protocol.Message, error) {
	r := wire.NewReader(payload)
	m := c.decode(k, r)
	if err := r.Close(); err != nil || m == nil {
		return nil, fmt.Errorf("pbft: kind %d: %w", k, wire.ErrMalformed)
	}
	return m, nil
}

func (c *Codec) decode(k wire.Kind, r *wire.Reader) protocol.Message {
	switch k {
	case KindPrePrepare:
		v, n, d := readVote(r)
		return &PrePrepare{View: v, Seq: n, Digest: d, Batch: r.Bytes(bft.BatchBytesMax)}
	case KindPrepare:
		v, n, d := readVote(r)
		return &Prepare{View: v, Seq: n, Digest: d}
	case KindCommit:
		v, n, d := readVote(r)
		return &Commit{View: v, Seq: n, Digest: d}
	case KindStatus:
		return &Status{
			View: readView(r), Active: r.Bool(), Stable: readSeq(r), Committed: readSeq(r), Open: readSeq(r),
			Accepted: r.U64(), Prepared: r.U64(), ViewChanges: bft.ReplicaSet(r.U64()),
		}
	case KindCheckpoint:
		return &Checkpoint{Seq: readSeq(r), Digest: r.Array32(), Replica: bft.ReplicaID(r.U16()), Sig: readSig(r)}
	case KindViewChange:
		return c.readViewChange(r)
	case KindNewView:
		return c.readNewView(r)
	case KindDecided:
		return readDecided(r)
	case KindStable:
		s := c.readStable(r)
		return &s
	}
	return nil
}

func readView(r *wire.Reader) bft.View {
	v := bft.View(r.U64())
	if v > bft.ViewMax {
		r.Fail()
	}
	return v
}

func readSeq(r *wire.Reader) bft.SeqNum {
	n := bft.SeqNum(r.U64())
	if n > bft.SeqMax {
		r.Fail()
	}
	return n
}

func readVote(r *wire.Reader) (bft.View, bft.SeqNum, bft.Digest) {
	v, n := readView(r), readSeq(r)
	if n == 0 {
		r.Fail()
	}
	return v, n, r.Array32()
}

func readSig(r *wire.Reader) []byte {
	n := int(r.U16())
	if n > bft.SignatureBytesMax {
		r.Fail()
		return nil
	}
	return r.Take(n)
}

func (c *Codec) readStable(r *wire.Reader) Stable {
	s := Stable{Seq: readSeq(r), Digest: r.Array32()}
	if n := r.Count(c.q.N, 4); n > 0 {
		s.Endorse = make([]Endorsement, n)
		for i := range s.Endorse {
			s.Endorse[i] = Endorsement{Replica: bft.ReplicaID(r.U16()), Sig: readSig(r)}
		}
	}
	return s
}

func readClaims(r *wire.Reader, limit int) []Claim {
	n := r.Count(limit, bft.ClaimBytes)
	if n == 0 {
		return nil
	}
	claims := make([]Claim, n)
	for i := range claims {
		v, seq, d := readVote(r)
		claims[i] = Claim{Seq: seq, Digest: d, View: v}
	}
	return claims
}

func (c *Codec) readViewChange(r *wire.Reader) *ViewChange {
	return &ViewChange{
		View: readView(r), Replica: bft.ReplicaID(r.U16()), Base: c.readStable(r),
		P: readClaims(r, int(c.window)), Q: readClaims(r, int(c.window)*bft.QEntriesMax), Sig: readSig(r),
	}
}

func (c *Codec) readNewView(r *wire.Reader) *NewView {
	m := &NewView{View: readView(r), Replica: bft.ReplicaID(r.U16())}
	n := r.Count(c.q.N, 64)
	for range n {
		m.Set = append(m.Set, c.readViewChange(r))
	}
	m.Start = readSeq(r)
	if k := r.Count(int(c.window), 32); k > 0 {
		m.Choices = make([]Choice, k)
		for i := range m.Choices {
			m.Choices[i] = Choice{Seq: m.Start + 1 + bft.SeqNum(i), Digest: r.Array32()}
		}
	}
	m.Sig = readSig(r)
	return m
}

func readDecided(r *wire.Reader) *Decided {
	m := &Decided{First: readSeq(r)}
	if n := r.Count(decidedMax, 32); n > 0 {
		m.Digests = make([]bft.Digest, n)
		for i := range m.Digests {
			m.Digests[i] = r.Array32()
		}
	}
	if m.First == 0 || len(m.Digests) == 0 {
		r.Fail()
	}
	return m
}
