package check

import (
	"bytes"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// Run is one operation that the application of a replica was asked to execute.
type Run struct {
	Client bft.ClientID
	Op     []byte
	Result []byte
}

// slot is what the first honest execution of a slot wrote down; every later one must agree.
type slot struct {
	digest bft.Digest
	view   bft.View
	body   []byte
	runs   []Run
	ran    bool // runs is known
}

type orderLog struct {
	slots    map[bft.SeqNum]*slot
	last     bft.SeqNum
	position []bft.SeqNum // last executed slot, by replica
}

func newOrderLog(n int) orderLog {
	return orderLog{slots: make(map[bft.SeqNum]*slot), position: make([]bft.SeqNum, n)}
}

// Ordered says that honest replica r hands a decided slot to execution. It checks agreement
// (S1), order (S2) and validity (S3).
func (o *Oracle) Ordered(r bft.ReplicaID, seq bft.SeqNum, view bft.View, digest bft.Digest, body []byte) {
	l := &o.log
	if seq != l.position[r]+1 {
		o.Complain("S2", "%v executes slot %d after slot %d", r, seq, l.position[r])
	}
	l.position[r] = seq
	s := l.slots[seq]
	if s == nil {
		s = &slot{digest: digest, view: view, body: body}
		l.slots[seq] = s
		l.last = max(l.last, seq)
		o.checkBody(r, seq, digest, body)
		o.decidedOnQuorum(r, seq, view, digest)
		o.votes.decided(o, seq, view, digest)
		return
	}
	if s.digest != digest {
		o.Complain("S1", "%v executes %v in slot %d (view %d), another honest replica executed %v (view %d)",
			r, digest, seq, view, s.digest, s.view)
		return
	}
	if !bytes.Equal(s.body, body) {
		o.Complain("S1", "%v executes other bytes than another honest replica in slot %d under one digest", r, seq)
	}
}

// checkBody holds the body of a slot against its digest and its requests against the ledger
// of what clients really signed (S3).
func (o *Oracle) checkBody(r bft.ReplicaID, seq bft.SeqNum, digest bft.Digest, body []byte) {
	if wire.BodyDigest(body) != digest {
		o.Complain("S3", "%v executes slot %d: the body is not that of digest %v", r, seq, digest)
		return
	}
	_, reqs, err := wire.DecodeBody(body)
	if err != nil {
		o.Complain("S3", "%v executes slot %d: its body is malformed", r, seq)
		return
	}
	for i := range reqs {
		if !o.clients.signed(&reqs[i]) {
			o.Complain("S3", "slot %d at %v holds request %d/%d of client %v, which that client never signed",
				seq, r, reqs[i].Session, reqs[i].First, reqs[i].Client)
		}
	}
}

// Ran says what the application of honest replica r executed in a slot. All replicas must run
// the same operations with the same results (S1), each at most once for ever (S4).
func (o *Oracle) Ran(r bft.ReplicaID, seq bft.SeqNum, runs []Run) {
	s := o.log.slots[seq]
	if s == nil {
		o.Complain("S1", "%v runs operations of slot %d, which nobody ordered", r, seq)
		return
	}
	if !s.ran {
		s.ran, s.runs = true, append([]Run(nil), runs...)
		o.assign(seq, s)
		return
	}
	if len(runs) != len(s.runs) {
		o.Complain("S1", "%v runs %d operations in slot %d, another honest replica ran %d", r, len(runs), seq, len(s.runs))
		return
	}
	for i, x := range runs {
		y := s.runs[i]
		if x.Client != y.Client || !bytes.Equal(x.Op, y.Op) {
			o.Complain("S1", "%v runs another operation %d in slot %d than another honest replica", r, i, seq)
		}
		if !bytes.Equal(x.Result, y.Result) {
			o.Complain("S1", "%v answers operation %d of slot %d with %x, another honest replica with %x",
				r, i, seq, x.Result, y.Result)
		}
	}
}

// assign gives each operation that ran in a slot to the session number that asked for it. An
// operation that can be given to no number which has not run before is a repetition (S4). A
// number that is passed over was refused; its client would notice.
func (o *Oracle) assign(seq bft.SeqNum, s *slot) {
	_, reqs, err := wire.DecodeBody(s.body)
	if err != nil {
		return // reported by checkBody
	}
	next := 0
	for i := range reqs {
		q := &reqs[i]
		if q.IsOpen() {
			o.clients.opened(q, seq)
			continue
		}
		for k, op := range q.Ops {
			key := number{client: q.Client, session: q.Session, n: q.First + uint64(k)}
			_, before := o.clients.results[key]
			if before && !o.clients.faulty[q.Client] || next == len(s.runs) {
				continue
			}
			if run := s.runs[next]; run.Client == q.Client && bytes.Equal(run.Op, op) {
				o.clients.results[key] = run.Result
				o.clients.ranIn[key] = seq
				next++
			}
		}
	}
	if next < len(s.runs) {
		o.Complain("S4", "slot %d runs an operation of client %v that was executed before or stands in no batch",
			seq, s.runs[next].Client)
	}
}

// Jumped says that honest replica r installed the checkpoint at seq from its peers: the only
// way in which it may leave slots out (S2).
func (o *Oracle) Jumped(r bft.ReplicaID, seq bft.SeqNum, digest bft.Digest) {
	o.log.position[r] = seq
	o.Checkpointed(r, seq, digest)
}

// Restarted says that honest replica r came back from its disk with the state of slot seq.
func (o *Oracle) Restarted(r bft.ReplicaID, seq bft.SeqNum) { o.log.position[r] = seq }

// Position is the last slot that replica r executed.
func (o *Oracle) Position(r bft.ReplicaID) bft.SeqNum { return o.log.position[r] }

// Claimed says that honest replica r tells others that digest was decided in slot seq (S1).
func (o *Oracle) Claimed(r bft.ReplicaID, seq bft.SeqNum, digest bft.Digest) {
	if s := o.log.slots[seq]; s != nil && s.digest != digest {
		o.Complain("S1", "%v claims that slot %d was decided as %v, it was %v", r, seq, digest, s.digest)
	}
}
