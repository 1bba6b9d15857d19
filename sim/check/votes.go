package check

import (
	"github.com/themis-bft/themis/bft"
)

// VoteKind says what a vote promises.
type VoteKind uint8

// The kinds of votes. A proposal is a vote of the primary. ViewChange and NewView promise a
// whole message: Digest is a hash of all of it but the signature.
const (
	VoteProposal VoteKind = iota + 1
	VotePrepare
	VoteCommit
	VoteCheckpoint
	VoteViewChange
	VoteNewView
)

var voteNames = [...]string{"", "PRE-PREPARE", "PREPARE", "COMMIT", "CHECKPOINT", "VIEW-CHANGE", "NEW-VIEW"}

// String is the name of the message that carries the vote.
func (k VoteKind) String() string {
	if int(k) < len(voteNames) {
		return voteNames[k]
	}
	return "unknown"
}

// Vote is one promise: for one kind, view and slot a replica gives one digest in its life.
type Vote struct {
	Kind   VoteKind
	View   bft.View
	Seq    bft.SeqNum
	Digest bft.Digest
}

type ballot struct {
	replica bft.ReplicaID
	kind    VoteKind
	view    bft.View
	seq     bft.SeqNum
}

// inView is the ballot without its kind.
func (b ballot) inView() ballot {
	b.kind = 0
	return b
}

type place struct {
	view bft.View
	seq  bft.SeqNum
}

type voteBook struct {
	cast     map[ballot]bft.Digest
	durable  map[ballot]bft.Digest
	fixed    map[ballot]bft.Digest       // what the NEW-VIEW that a replica entered with says of a slot
	prepared map[place]bft.Digest        // by honest replicas: what they sent COMMIT for or claim in P
	bySlot   map[bft.SeqNum][]preparedIn // the same by slot
	chosen   map[bft.SeqNum]place
	backing  map[Vote]bft.ReplicaSet  // honest replicas that cast a vote
	commits  map[Vote][]bft.View      // by slot and digest: the views of the COMMITs among them
	said     map[bft.ReplicaID][]Vote // what a VIEW-CHANGE of an honest replica must own up to
}

type preparedIn struct {
	view   bft.View
	digest bft.Digest
}

func newVoteBook() voteBook {
	return voteBook{
		cast: make(map[ballot]bft.Digest), durable: make(map[ballot]bft.Digest), fixed: make(map[ballot]bft.Digest),
		prepared: make(map[place]bft.Digest), bySlot: make(map[bft.SeqNum][]preparedIn),
		chosen: make(map[bft.SeqNum]place), backing: make(map[Vote]bft.ReplicaSet), commits: make(map[Vote][]bft.View),
		said: make(map[bft.ReplicaID][]Vote),
	}
}

// Cast says that a vote of honest replica r leaves it, for one receiver or many. A replica
// never contradicts itself, in its whole life (S7f).
func (o *Oracle) Cast(r bft.ReplicaID, v Vote) {
	key := ballot{replica: r, kind: v.Kind, view: v.View, seq: v.Seq}
	if before, ok := o.votes.cast[key]; ok {
		if before != v.Digest {
			o.Complain("S7f", "%v sends %v %v for view %d slot %d after %v", r, v.Kind, v.Digest, v.View, v.Seq, before)
		}
		return
	}
	o.votes.cast[key] = v.Digest
	if v.Kind <= VoteCommit {
		o.votes.said[r] = append(o.votes.said[r], v)
	}
	if fixed, ok := o.votes.fixed[key.inView()]; ok && fixed != v.Digest && v.Kind <= VoteCommit {
		o.Complain("S7e", "%v sends %v %v for slot %d, which it entered view %d with as %v", r, v.Kind, v.Digest, v.Seq, v.View, fixed)
	}
	o.votes.back(r, v)
	if v.Kind == VoteCommit {
		o.Prepared(r, v.View, v.Seq, v.Digest)
		o.backed(r, "prepares", Vote{Kind: VotePrepare, View: v.View, Seq: v.Seq, Digest: v.Digest},
			Vote{Kind: VoteProposal, View: v.View, Seq: v.Seq, Digest: v.Digest})
	}
}

// back enters an honest vote.
func (b *voteBook) back(r bft.ReplicaID, v Vote) {
	if v.Kind == VoteCommit && b.backing[v] == 0 {
		key := Vote{Seq: v.Seq, Digest: v.Digest}
		b.commits[key] = append(b.commits[key], v.View)
	}
	b.backing[v] = b.backing[v].With(r)
}

// backed checks that honest replicas which cast one of the given votes, and all faulty ones,
// make a quorum (S7q): nobody can have counted one on fewer.
func (o *Oracle) backed(r bft.ReplicaID, what string, votes ...Vote) {
	var who bft.ReplicaSet
	for _, v := range votes {
		who |= o.votes.backing[v]
	}
	if who.Len()+o.cfg.Faulty < o.cfg.quorum() {
		o.Complain("S7q", "%v %s slot %d as %v in view %d on the votes of %d honest and at most %d faulty replicas, a quorum is %d",
			r, what, votes[0].Seq, votes[0].Digest, votes[0].View, who.Len(), o.cfg.Faulty, o.cfg.quorum())
	}
}

// decidedOnQuorum checks that some view has a quorum of COMMITs for a decision (S7q).
func (o *Oracle) decidedOnQuorum(r bft.ReplicaID, seq bft.SeqNum, view bft.View, digest bft.Digest) {
	for _, v := range o.votes.commits[Vote{Seq: seq, Digest: digest}] { // liars may have driven views to 2^40
		if v <= view && o.votes.backing[Vote{Kind: VoteCommit, View: v, Seq: seq, Digest: digest}].Len()+o.cfg.Faulty >= o.cfg.quorum() {
			return
		}
	}
	o.backed(r, "decides", Vote{Kind: VoteCommit, View: view, Seq: seq, Digest: digest})
}

// Durable says that r's log holds the record of a vote and was synced: r may count its own
// vote from then on, also when a crash kept the message from leaving.
func (o *Oracle) Durable(r bft.ReplicaID, v Vote) {
	o.votes.back(r, v)
	o.votes.durable[ballot{replica: r, kind: v.Kind, view: v.View, seq: v.Seq}] = v.Digest
}

// MustBeDurable says that a vote of honest replica r leaves it: its record must be in the
// synced log (S7g).
func (o *Oracle) MustBeDurable(r bft.ReplicaID, v Vote) {
	d, ok := o.votes.durable[ballot{replica: r, kind: v.Kind, view: v.View, seq: v.Seq}]
	if !ok || d != v.Digest {
		o.Complain("S7g", "%v sends %v %v for view %d slot %d, which is not in its synced log", r, v.Kind, v.Digest, v.View, v.Seq)
	}
}

// Prepared says that honest replica r holds a prepared certificate, as its COMMIT or the P of
// its VIEW-CHANGE tells. Two for one view and slot are equal (S7a), and none of a later view
// contradicts a decision (S7b).
func (o *Oracle) Prepared(r bft.ReplicaID, view bft.View, seq bft.SeqNum, digest bft.Digest) {
	b := &o.votes
	at := place{view: view, seq: seq}
	if before, ok := b.prepared[at]; ok {
		if before != digest {
			o.Complain("S7a", "%v prepared %v in view %d slot %d, another honest replica prepared %v", r, digest, view, seq, before)
		}
		return
	}
	b.prepared[at] = digest
	b.bySlot[seq] = append(b.bySlot[seq], preparedIn{view: view, digest: digest})
	if c, ok := b.chosen[seq]; ok && view > c.view && o.log.slots[seq].digest != digest {
		o.Complain("S7b", "%v prepared %v in view %d slot %d, which was decided as %v in view %d",
			r, digest, view, seq, o.log.slots[seq].digest, c.view)
	}
}

// decided checks what was prepared before the decision was seen.
func (b *voteBook) decided(o *Oracle, seq bft.SeqNum, view bft.View, digest bft.Digest) {
	b.chosen[seq] = place{view: view, seq: seq}
	for _, p := range b.bySlot[seq] {
		if p.view > view && p.digest != digest {
			o.Complain("S7b", "slot %d is decided as %v in view %d, but an honest replica prepared %v in view %d",
				seq, digest, view, p.digest, p.view)
		}
	}
}
