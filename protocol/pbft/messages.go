package pbft

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// The kinds of PBFT's messages. The first four and the last three travel on authenticated
// links only; CHECKPOINT, VIEW-CHANGE and NEW-VIEW are signed.
const (
	KindPrePrepare = wire.KindProtocol + iota
	KindPrepare
	KindCommit
	KindStatus
	KindCheckpoint
	KindViewChange
	KindNewView
	KindDecided
	KindStable
)

// PrePrepare assigns a batch to slot Seq in View (TOCS'02, section 4.2). The body travels
// with it; everything else names the batch by Digest.
type PrePrepare struct {
	View   bft.View
	Seq    bft.SeqNum
	Digest bft.Digest
	Batch  []byte
}

// Prepare says that its sender accepted the assignment.
type Prepare struct {
	View   bft.View
	Seq    bft.SeqNum
	Digest bft.Digest
}

// Commit says that its sender is prepared.
type Commit struct {
	View   bft.View
	Seq    bft.SeqNum
	Digest bft.Digest
}

// Status tells peers what its sender has, so that they resend what it lacks (TOCS'02,
// section 5.2). Accepted and Prepared are bitmaps of the slots from Open+1 on. Open is Committed,
// or less while the sender is not prepared, in this view, in slots that it has executed.
type Status struct {
	View        bft.View
	Active      bool
	Stable      bft.SeqNum
	Committed   bft.SeqNum
	Open        bft.SeqNum
	Accepted    uint64
	Prepared    uint64
	ViewChanges bft.ReplicaSet // whose VIEW-CHANGE for View it holds
}

// Checkpoint says that the state of Replica after slot Seq has this digest.
type Checkpoint struct {
	Seq     bft.SeqNum
	Digest  bft.Digest
	Replica bft.ReplicaID
	Sig     []byte
}

// Endorsement is one replica's signature under a CHECKPOINT.
type Endorsement struct {
	Replica bft.ReplicaID
	Sig     []byte
}

// Stable proves a checkpoint: a quorum of signed CHECKPOINTs with equal Seq and Digest. The
// zero value stands for the initial state, which needs no proof.
type Stable struct {
	Seq     bft.SeqNum
	Digest  bft.Digest
	Endorse []Endorsement // ascending by replica
}

// Claim says (Seq, Digest) was prepared or pre-prepared in View. It proves nothing alone;
// the rule in decide.go weighs the claims of a quorum.
type Claim struct {
	Seq    bft.SeqNum
	Digest bft.Digest
	View   bft.View
}

// ViewChange asks for View (TOCS'02, section 4.5.1, with signed messages and without
// acknowledgements). P holds the slots prepared at Replica, each with its latest view; Q the
// digests pre-prepared there, each with its latest view. Both lie above Base.
type ViewChange struct {
	View    bft.View
	Replica bft.ReplicaID
	Base    Stable
	P       []Claim // ascending by slot, one each
	Q       []Claim // ascending by slot, then digest
	Sig     []byte
}

// Choice is the digest that a new view starts a slot with.
type Choice struct {
	Seq    bft.SeqNum
	Digest bft.Digest
}

// NewView starts View: a set S of VIEW-CHANGEs and what follows from it.
type NewView struct {
	View    bft.View
	Replica bft.ReplicaID
	Set     []*ViewChange // ascending by replica
	Start   bft.SeqNum    // highest proven checkpoint in Set
	Choices []Choice      // slots Start+1, Start+2, …
	Sig     []byte
}

// Decided claims that its sender committed these batches in the slots from First on.
type Decided struct {
	First   bft.SeqNum
	Digests []bft.Digest
}

// Kind and the following methods make the messages protocol messages.
func (*PrePrepare) Kind() wire.Kind { return KindPrePrepare }

// Kind is KindPrepare.
func (*Prepare) Kind() wire.Kind { return KindPrepare }

// Kind is KindCommit.
func (*Commit) Kind() wire.Kind { return KindCommit }

// Kind is KindStatus.
func (*Status) Kind() wire.Kind { return KindStatus }

// Kind is KindCheckpoint.
func (*Checkpoint) Kind() wire.Kind { return KindCheckpoint }

// Kind is KindViewChange.
func (*ViewChange) Kind() wire.Kind { return KindViewChange }

// Kind is KindNewView.
func (*NewView) Kind() wire.Kind { return KindNewView }

// Kind is KindDecided.
func (*Decided) Kind() wire.Kind { return KindDecided }

// Kind is KindStable.
func (*Stable) Kind() wire.Kind { return KindStable }

// Body returns the batch that a PRE-PREPARE brings along.
func (m *PrePrepare) Body() (bft.Digest, []byte) { return m.Digest, m.Batch }

// Slot is the slot of a PRE-PREPARE.
func (m *PrePrepare) Slot() bft.SeqNum { return m.Seq }

// Signer is the replica whose signature a CHECKPOINT carries.
func (m *Checkpoint) Signer() bft.ReplicaID { return m.Replica }

// Signer is the replica whose signature a VIEW-CHANGE carries.
func (m *ViewChange) Signer() bft.ReplicaID { return m.Replica }

// Signer is the replica whose signature a NEW-VIEW carries.
func (m *NewView) Signer() bft.ReplicaID { return m.Replica }
