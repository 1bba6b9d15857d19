package sim

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/byz"
	"github.com/themis-bft/themis/sim/check"
	"github.com/themis-bft/themis/wire"
)

// sometimes names what a campaign must meet now and then: a test that never sees a view change
// shows nothing about view changes.
type sometimes uint8

const (
	viewChange sometimes = iota
	twoViewChanges
	nullSlot
	requestReproposed
	gapFetched
	stateTransfer
	viewChangeDuringTransfer
	equivocationSeenByTwo
	repeatFromCache
	windowFull
	restartInsideViewChange
	crashBetweenVoteAndSync
	newViewFetched
	diverged
	decidedClaimed
	outcomeUnknown
	invalidTagIdeal
	invalidTagReal
	divergedHealed
	transferRetargeted
	firstDeed      // the deeds of strategies, in the order of byz
	sometimesCount = firstDeed + sometimes(byz.DeedCount)
)

var sometimesNames = [sometimesCount]string{
	"view_change", "two_view_changes_in_a_row", "null_slot", "request_reproposed", "gap_fetched", "state_transfer",
	"view_change_during_transfer", "equivocation_seen_by_two", "repeat_from_cache", "window_full",
	"restart_inside_view_change", "crash_between_vote_and_sync", "new_view_fetched", "diverged",
	"decided_claimed", "outcome_unknown", "invalid_tag_refused_ideal", "invalid_tag_refused_real",
	"diverged_and_healed", "transfer_retargeted",
	"two_new_views_that_hold", "new_view_hides_batches", "certificate_shown_to_one", "quorum_completed_by_liars", "decision_at_the_brink",
}

// String is the name in reports.
func (s sometimes) String() string { return sometimesNames[s] }

// proposal remembers in which view a batch was first proposed.
func (t *watch) proposal(v check.Vote) {
	if v.Kind != check.VoteProposal || v.Digest.IsNull() {
		return
	}
	if _, ok := t.views[v.Digest]; !ok {
		t.views[v.Digest] = v.View
	}
}

// decided looks at a slot that is executed for the first time.
func (t *watch) decided(c *protocol.Committed) {
	if c.Digest.IsNull() {
		t.hit(nullSlot)
		return
	}
	if v, ok := t.views[c.Digest]; ok && c.View > v {
		t.hit(requestReproposed)
	}
}

// asks looks at a VIEW-CHANGE that is sent.
func (t *watch) asks(r *replica, view bft.View) {
	p := &t.per[r.id]
	if view == p.asked {
		return
	}
	if view == p.asked+1 && p.asked > 0 && p.askedAt == r.exec.Executed() {
		t.hit(twoViewChanges)
	}
	if p.target != 0 {
		t.hit(viewChangeDuringTransfer)
	}
	p.asked, p.askedAt = view, r.exec.Executed()
}

// forwards looks at messages that repair what a peer lacks.
func (t *watch) forwards(r *replica, m protocol.Message) {
	switch m := m.(type) {
	case *pbft.NewView:
		if m.Replica != r.id {
			t.hit(newViewFetched)
		}
	case *pbft.Decided:
		t.hit(decidedClaimed)
		for i, d := range m.Digests {
			t.w.oracle.Claimed(r.id, m.First+bft.SeqNum(i), d)
		}
	}
}

// frame sees a frame of the host that a replica sends.
func (t *watch) frame(r *replica, _ bft.ReplicaID, k wire.Kind, _ []byte) {
	if k == wire.KindBody && !r.faulty() {
		t.hit(gapFetched)
	}
}

// crashes looks at a replica that is about to die.
func (t *watch) crashes(r *replica) {
	p := &t.per[r.id]
	p.inactive = !r.node.Status().Protocol.Active
	if r.faulty() {
		return
	}
	for _, s := range r.unsynced {
		for _, rec := range s.records {
			if len(t.w.dialect.recorded(r.id, rec)) > 0 {
				t.hit(crashBetweenVoteAndSync)
				return
			}
		}
	}
}

func (t *watch) equivocal() {
	n := 0
	for i := range t.per {
		if t.per[i].equivocal {
			n++
		}
	}
	if n == 2 {
		t.hit(equivocationSeenByTwo)
	}
}
