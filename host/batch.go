package host

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/wire"
)

// batch marks pending requests as proposed and returns their envelopes: one of each session in
// turn, so that the oldest request of a session is overtaken by at most as many requests of
// others as sessions wait, besides those that were proposed before it came. The envelopes are
// valid until the next call of anything.
func (p *pool) batch(into [][]byte, countMax, bytesMax int) [][]byte {
	size := batchHeaderBytes
	for len(into) < countMax && p.turn != nil {
		q := p.turn
		e := q.first
		// An envelope alone always fits what a batch may be, whatever the membership asks for.
		if next := size + batchItemBytes + len(e.raw); next > bytesMax && len(into) > 0 {
			break
		}
		size += batchItemBytes + len(e.raw)
		into = append(into, e.raw)
		e.proposed = true
		p.unproposed--
		if q.first = e.next; q.first == nil {
			q.unring(p) // passes the turn on
		} else if !mutant.On("pool-not-fair") {
			p.turn = q.after
		}
	}
	return into
}

// overLimits reports whether a body of so many requests and bytes is more than the pool of a
// correct primary makes: what a replica keeps per slot is counted in such batches.
func overLimits(m *bft.Membership, requests, size int) bool {
	return requests > max(m.BatchCount, 1) || requests > 1 && size > m.BatchBytes
}

// What a batch costs beyond its envelopes: its head, and the length before each envelope.
const (
	batchHeaderBytes = 12
	batchItemBytes   = 4
)

// proposal builds the body of the next batch, or nil when nothing is to be proposed. Proposed
// time does not run backwards with the wall clock, but it stays near it: after a jump of the clock
// that was corrected, backups would refuse everything until the clock got there again. Agreed time
// never runs backwards in any case (package exec).
func (n *Node) proposal(wall bft.Time) []byte {
	m := n.membership
	countMax := min(max(m.BatchCount, 1), bft.BatchRequestsMax)
	n.raws = n.pool.batch(n.raws[:0], countMax, min(m.BatchBytes, bft.BatchBytesMax))
	if len(n.raws) == 0 {
		return nil
	}
	ahead := wall + bft.Time(m.TimeSkew/2)
	if mutant.On("node-keeps-false-time") {
		ahead = n.proposedTime
	}
	n.proposedTime = max(min(n.proposedTime, ahead), wall, 0)
	size := batchHeaderBytes
	for _, r := range n.raws {
		size += batchItemBytes + len(r)
	}
	body := wire.AppendBody(make([]byte, 0, size), n.proposedTime, n.raws)
	clear(n.raws)
	return body
}
