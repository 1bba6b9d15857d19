package sim

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/exec"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/sim/check"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/wire"
)

// watch stands between the replicas and the oracles: it passes on what correct replicas do,
// and counts what a campaign must have met sometimes.
type watch struct {
	w         *world
	counts    Counts
	sometimes [sometimesCount]int
	per       []seen
	views     map[bft.Digest]bft.View // of a batch: the first view it was proposed in
	requests  map[wire.RequestKey]bft.Digest
}

// seen is what the watch remembers of one replica.
type seen struct {
	view       bft.View
	active     bool
	asked      bft.View // last view it sent a VIEW-CHANGE for
	askedAt    bft.SeqNum
	target     bft.SeqNum // of the transfer of state; 0: none
	equivocal  bool
	diverged   bool
	inactive   bool // when it crashed
	lastStatus protocol.Status
}

func newWatch(w *world) *watch {
	return &watch{
		w: w, per: make([]seen, w.n), views: make(map[bft.Digest]bft.View), requests: make(map[wire.RequestKey]bft.Digest),
	}
}

func (t *watch) hit(s sometimes) { t.sometimes[s]++ }

// sends sees a message of the honest code before any strategy touches it.
func (t *watch) sends(r *replica, to bft.ReplicaSet, m protocol.Message) {
	t.w.chart.sends(r.id, to, m)
	if r.faulty() {
		return
	}
	o := t.w.oracle
	fixed := false // the slots of a NEW-VIEW lie above the checkpoint of its set, not above ours
	for _, v := range t.w.dialect.votes(r.id, m) {
		o.Cast(r.id, v)
		fixed = fixed || v.Kind == check.VoteNewView
		if !fixed && (v.Kind == check.VoteProposal || v.Kind == check.VotePrepare || v.Kind == check.VoteCommit) {
			o.Inside(r.id, r.low, v)
		}
		t.proposal(v)
		switch v.Kind {
		case check.VotePrepare, check.VoteCommit, check.VoteViewChange, check.VoteNewView:
			o.MustBeDurable(r.id, v)
		}
		if v.Kind == check.VoteViewChange {
			t.asks(r, v.View)
		}
	}
	for _, v := range t.w.dialect.prepared(r.id, m) {
		o.Prepared(r.id, v.View, v.Seq, v.Digest)
	}
	if l, ok := t.w.dialect.leaves(r.id, m); ok {
		o.Leaves(r.id, l)
	}
	t.forwards(r, m)
}

// durable sees records of a log that was synced.
func (t *watch) durable(r *replica, recs []storage.Record) {
	if r.faulty() {
		return
	}
	for _, rec := range recs {
		for _, v := range t.w.dialect.recorded(r.id, rec) {
			t.w.oracle.Durable(r.id, v)
		}
		if e, ok := t.w.dialect.entered(rec); ok {
			t.w.oracle.Enters(r.id, e)
		}
	}
}

// shows sees what a replica stands for once it is durable.
func (t *watch) shows(r *replica, p check.Progress) {
	if !r.faulty() {
		t.w.oracle.Shows(r.id, p)
	}
}

func (t *watch) commits(r *replica, c *protocol.Committed) {
	if r.faulty() {
		return
	}
	if t.w.oracle.Last() < c.Seq {
		t.counts.Commits++
		t.decided(c)
	}
	t.w.oracle.Ordered(r.id, c.Seq, c.View, c.Digest, c.Body)
}

func (t *watch) executed(r *replica, c *protocol.Committed, runs []check.Run) {
	t.w.chart.commit(r.id, c)
	if !r.faulty() {
		t.w.oracle.Ran(r.id, c.Seq, runs)
	}
}

func (t *watch) checkpoint(r *replica, ck *exec.Checkpoint) {
	if !r.faulty() {
		t.w.oracle.Checkpointed(r.id, ck.Seq(), ck.Digest())
	}
}

func (t *watch) stable(r *replica, s protocol.Stable) {
	if !r.faulty() {
		t.w.oracle.Stable(r.id, s.Seq, s.Digest)
	}
}

func (t *watch) answers(r *replica, rep *wire.Reply) {
	if !r.faulty() {
		t.w.oracle.Answered(r.id, rep)
	}
}

func (t *watch) installs(r *replica, ck *exec.Checkpoint, before bft.SeqNum) {
	t.w.chart.note("%v installs the state of slot %d (it was at %d)", r.id, ck.Seq(), before)
	if r.faulty() {
		return
	}
	t.counts.StateTransfers++
	t.hit(stateTransfer)
	t.w.oracle.Jumped(r.id, ck.Seq(), ck.Digest())
}

// restarted sees a replica that comes back with what its disk holds.
func (t *watch) restarted(r *replica, held *exec.Checkpoint, recs []storage.Record) {
	if r.faulty() {
		return
	}
	t.durable(r, recs)
	t.w.oracle.Restarted(r.id, held.Seq())
	if held.Seq() > 0 {
		t.w.oracle.Checkpointed(r.id, held.Seq(), held.Digest())
	}
	if t.per[r.id].inactive {
		t.per[r.id].inactive = false
		t.hit(restartInsideViewChange)
	}
}

// stepped looks at a replica after a step.
func (t *watch) stepped(r *replica) {
	if !r.alive || r.node == nil || !r.busy {
		return
	}
	r.busy = false
	st := r.node.Status()
	p := &t.per[r.id]
	if st.Protocol.Diverged && !p.diverged {
		t.hit(diverged)
		t.w.chart.note("%v has diverged", r.id)
	}
	if p.diverged && !st.Protocol.Diverged {
		t.hit(divergedHealed)
	}
	p.diverged = st.Protocol.Diverged
	if r.faulty() {
		return
	}
	if r.invariants != nil {
		if err := r.invariants.CheckInvariants(); err != nil {
			t.w.oracle.Complain("I", "%v breaks an invariant: %v", r.id, err)
		}
	}
	if p.diverged {
		t.w.oracle.Complain("S9", "%v finds that its state differs from a certified one", r.id)
	}
	s := &st.Protocol
	if s.Active && (s.View > p.view || !p.active && s.View == p.view && s.View > 0) {
		t.w.chart.note("%v enters view %d", r.id, s.View)
		t.counts.ViewChanges++
		t.hit(viewChange)
	}
	p.view, p.active = s.View, s.Active
	if now := st.CatchUp.Target; p.target != 0 && now > p.target && r.exec.Executed() < p.target {
		t.hit(transferRetargeted)
	}
	p.target = st.CatchUp.Target
	p.lastStatus = *s
	if s.Primary == r.id && s.Active && s.Assigned == s.High && st.Unproposed > 0 {
		t.hit(windowFull)
	}
	if s.Equivocations > 0 && !p.equivocal {
		p.equivocal = true
		t.equivocal()
	}
}
