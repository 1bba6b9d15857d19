package pbft

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/storage"
)

// proofsMax bounds the proven checkpoints above the own stable one that are remembered.
const proofsMax = 4

// ballot collects CHECKPOINTs for one slot: the first of each sender.
type ballot struct {
	have    bft.ReplicaSet
	digests []bft.Digest
	sigs    [][]byte
	own     bool // we executed up to here; ours is our digest
	ours    bft.Digest
}

func (c *Core) ballotAt(n bft.SeqNum) *ballot {
	b := c.ckpts[n]
	if b == nil {
		b = &ballot{digests: make([]bft.Digest, c.n), sigs: make([][]byte, c.n)}
		c.ckpts[n] = b
	}
	return b
}

// onExecuted announces the own checkpoint.
func (c *Core) onExecuted(n bft.SeqNum, d bft.Digest, out *protocol.Effects) {
	if n == c.stable.Seq && d != c.stable.Digest && n > 0 {
		c.diverge(c.stable, out)
	}
	if n <= c.stable.Seq || c.diverged || n > c.slots.High() {
		return
	}
	b := c.ballotAt(n)
	b.own, b.ours = true, d
	c.certify(&Checkpoint{Seq: n, Digest: d, Replica: c.self}, out)
	c.settle(out)
}

// onCheckpoint counts a CHECKPOINT, ours or a peer's. A quorum of equal ones is a proof.
func (c *Core) onCheckpoint(m *Checkpoint, out *protocol.Effects) protocol.Reason {
	switch {
	case m.Seq <= c.stable.Seq:
		return protocol.ReasonBelowWindow
	case m.Seq > c.slots.High():
		c.noteAhead(out)
		return protocol.ReasonAboveWindow
	}
	b := c.ballotAt(m.Seq)
	if b.have.Has(m.Replica) {
		if b.digests[m.Replica] == m.Digest {
			return protocol.ReasonDuplicate
		}
		c.evidence(m.Replica, m.Kind(), m.Seq, b.digests[m.Replica], m.Digest, out)
		return protocol.ReasonConflict
	}
	b.have = b.have.With(m.Replica)
	b.digests[m.Replica], b.sigs[m.Replica] = m.Digest, m.Sig
	if p, ok := c.prove(m.Seq, m.Digest, b); ok {
		c.noteProof(p, out)
	}
	return protocol.ReasonNone
}

// prove builds the proof of (n, d) if a quorum signed it.
func (c *Core) prove(n bft.SeqNum, d bft.Digest, b *ballot) (Stable, bool) {
	need := c.q.Quorum()
	if mutant.On("pbft-stable-small") {
		need = c.q.Weak()
	}
	p := Stable{Seq: n, Digest: d}
	for id := range b.have.All() {
		if len(p.Endorse) < need && (b.digests[id] == d || mutant.On("pbft-checkpoint-digest-ignored")) {
			p.Endorse = append(p.Endorse, Endorsement{Replica: id, Sig: b.sigs[id]})
		}
	}
	return p, len(p.Endorse) >= need
}

// onStable takes a proof that a peer showed on STATUS.
func (c *Core) onStable(p Stable, out *protocol.Effects) protocol.Reason {
	if p.Seq <= c.stable.Seq {
		return protocol.ReasonBelowWindow
	}
	c.noteProof(p, out)
	return protocol.ReasonNone
}

// noteProof remembers a proven checkpoint until our own state reaches it.
func (c *Core) noteProof(p Stable, out *protocol.Effects) {
	if p.Seq <= c.stable.Seq {
		return
	}
	at := len(c.proofs)
	for at > 0 && c.proofs[at-1].Seq >= p.Seq {
		if c.proofs[at-1].Seq == p.Seq {
			return
		}
		at--
	}
	c.proofs = append(c.proofs[:at], append([]Stable{p}, c.proofs[at:]...)...)
	if len(c.proofs) > proofsMax {
		c.proofs = c.proofs[1:]
	}
	c.settle(out)
}

// settle holds our own state against the proven checkpoints: what we reached becomes stable,
// what we cannot reach by claims of commitment is fetched as state.
func (c *Core) settle(out *protocol.Effects) {
	for i := len(c.proofs) - 1; i >= 0; i-- {
		p := c.proofs[i]
		if p.Seq > c.committed {
			continue
		}
		b := c.ckpts[p.Seq]
		if b == nil || !b.own {
			continue // executed soon
		}
		if b.ours != p.Digest && !mutant.On("pbft-divergence-ignored") {
			c.diverge(p, out)
			break // what is fetched then may be gone: the newest proof below is the target
		}
		c.makeStable(p, out)
		break
	}
	if len(c.proofs) == 0 {
		return
	}
	p := c.proofs[len(c.proofs)-1]
	if p.Seq > c.committed+c.every || p.Seq > c.slots.High() || c.diverged && p.Seq > c.target {
		c.catchUp(p, out)
	}
}

// catchUp asks for the state of a proven checkpoint. Slowness alone does not lead here:
// correct peers keep claims and bodies one interval below their stable checkpoint (I8).
func (c *Core) catchUp(p Stable, out *protocol.Effects) {
	if p.Seq <= c.target {
		return
	}
	c.target, c.targetProof = p.Seq, p
	var sources bft.ReplicaSet
	for _, e := range p.Endorse {
		sources = sources.With(e.Replica)
	}
	out.CatchUp = &protocol.Target{Seq: p.Seq, Digest: p.Digest, Sources: sources & c.others}
}

// claimsPatience is for how many periods of STATUS a replica below a proven checkpoint may stand
// still before it fetches state. It is within reach of claims then, but who executed up to there
// may be down, or restarted from a snapshot and know of no slot below it: too few are left to claim.
const claimsPatience = 10

// watchClaims falls back to state transfer where claims of commitment do not come.
func (c *Core) watchClaims(out *protocol.Effects) {
	p := c.stable
	if k := len(c.proofs); k > 0 {
		p = c.proofs[k-1]
	}
	if p.Seq <= c.committed || c.committed != c.stoodAt || mutant.On("pbft-waits-for-claims") {
		c.stoodAt, c.stoodFor = c.committed, 0
		return
	}
	if c.stoodFor++; c.stoodFor >= claimsPatience {
		c.catchUp(p, out)
	}
}

// diverge stops execution: our state is not what a quorum certified. It is replaced by theirs.
func (c *Core) diverge(p Stable, out *protocol.Effects) {
	if c.diverged {
		return
	}
	c.diverged = true
	c.target = 0
	c.catchUp(p, out)
}

// makeStable moves the window above a checkpoint that is proven and that our state has.
func (c *Core) makeStable(p Stable, out *protocol.Effects) {
	c.stable, c.stableState = p, p.Digest
	kept := c.proofs[:0]
	for _, q := range c.proofs {
		if q.Seq > p.Seq {
			kept = append(kept, q)
		}
	}
	c.proofs = kept
	for n := range c.ckpts { // order does not matter: each is only dropped
		if n <= p.Seq {
			delete(c.ckpts, n)
		}
	}
	c.moveWindow(p.Seq)
	if mutant.On("pbft-drops-above-stable") {
		c.dropBodies(p.Seq + 1)
	}
	if !mutant.On("pbft-checkpoint-not-logged") {
		out.Persist = append(out.Persist, protocol.Record{Kind: storage.RecordCheckpoint, Seq: p.Seq, Data: p.append(nil)})
	}
	out.Stable = &protocol.Stable{Seq: p.Seq, Digest: p.Digest}
	c.applyNewView(out)
	c.tryNewView(out)
	c.askBatch(out)
	if c.above && !mutant.On("pbft-refused-above-not-asked") { // it fits now, and nobody repeats it unasked
		c.sendStatus(c.others, out)
	}
	c.above = false
}

// moveWindow keeps one interval below the stable checkpoint for the slow and drops the rest.
func (c *Core) moveWindow(stable bft.SeqNum) {
	if stable > c.every {
		if low := stable - c.every; low > c.slots.Low() {
			c.slots.Advance(low, func(bft.SeqNum, *slot) {})
			c.dropBodies(low)
		}
	}
}

// onInstalled goes on from a checkpoint whose state was fetched and verified.
func (c *Core) onInstalled(n bft.SeqNum, d bft.Digest, out *protocol.Effects) {
	if n <= c.committed && !c.diverged { // slots up to n were decided meanwhile; they changed nothing
		if n > c.stable.Seq && n <= c.slots.High() {
			b := c.ballotAt(n)
			b.own, b.ours = true, d
			c.settle(out)
		}
		return
	}
	if c.diverged {
		c.forgetOwnCheckpoints()
	}
	c.committed, c.loaded, c.diverged = n, n, false
	c.assigned = max(c.assigned, n)
	switch p := c.targetProof; {
	case n == c.stable.Seq:
		out.Stable = &protocol.Stable{Seq: n, Digest: d}
	case p.Seq == n && p.Digest == d:
		c.makeStable(p, out)
	}
	c.advance(out)
	c.applyNewView(out)
	c.tryNewView(out)
	c.settle(out)
	c.watchFlight(out)
	c.askBatch(out) // nothing may have moved but what was executed here
	c.sendStatus(c.others, out)
}

// forgetOwnCheckpoints withdraws what a wrong state made us announce.
func (c *Core) forgetOwnCheckpoints() {
	for _, b := range c.ballots(c.stable.Seq) {
		b.own, b.have = false, b.have.Without(c.self)
	}
}
