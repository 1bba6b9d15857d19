package check

import (
	"bytes"
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// number is the identity of one operation, for ever.
type number struct {
	client  bft.ClientID
	session uint64
	n       uint64
}

type clientBook struct {
	ledger  map[bft.Digest]bool // every envelope that its client signed
	results map[number][]byte   // canonical result of every operation that ran
	ranIn   map[number]bft.SeqNum
	opens   map[number][]bft.SeqNum // OPENs by nonce: where they were ordered
	faulty  map[bft.ClientID]bool
}

func newClientBook() clientBook {
	return clientBook{
		ledger: make(map[bft.Digest]bool), results: make(map[number][]byte), ranIn: make(map[number]bft.SeqNum),
		opens: make(map[number][]bft.SeqNum), faulty: make(map[bft.ClientID]bool),
	}
}

// Faulty says that a client does not follow the rules. It may use one number for several
// operations, so that only agreement is checked of what it asked for.
func (o *Oracle) Faulty(client bft.ClientID) { o.clients.faulty[client] = true }

// envelope names what the signature covers, so that a second signature of the same request
// makes no difference.
func envelope(q *wire.Request) bft.Digest {
	return wire.DigestOf("sim-ledger", q.AppendUnsigned(nil))
}

// Signed enters a request into the ledger when its client, correct or faulty, signs it.
func (o *Oracle) Signed(q *wire.Request) { o.clients.ledger[envelope(q)] = true }

func (b *clientBook) signed(q *wire.Request) bool { return b.ledger[envelope(q)] }

func (b *clientBook) opened(q *wire.Request, seq bft.SeqNum) {
	key := number{client: q.Client, n: q.First}
	b.opens[key] = append(b.opens[key], seq)
}

// Accepted says that a correct client took result for its operation. It must be what the
// honest replicas computed (S5).
func (o *Oracle) Accepted(client bft.ClientID, session, n uint64, result []byte) {
	key := number{client: client, session: session, n: n}
	want, ran := o.clients.results[key]
	if !ran {
		o.Complain("S5", "client %v accepted a result of %d/%d, which no honest replica executed", client, session, n)
		return
	}
	if !bytes.Equal(want, result) {
		o.Complain("S5", "client %v accepted %x for %d/%d, the honest replicas computed %x", client, result, session, n, want)
	}
}

// Answered says what an honest replica replied. A repetition must have the bytes of the first
// answer (S4).
func (o *Oracle) Answered(r bft.ReplicaID, rep *wire.Reply) {
	if rep.Status != wire.StatusOK {
		return
	}
	key := number{client: rep.Client, session: rep.Session, n: rep.Number}
	if rep.Session == 0 || o.clients.faulty[rep.Client] {
		return
	}
	want, ran := o.clients.results[key]
	if !ran {
		o.Complain("S4", "%v answers %d/%d of client %v, which no honest replica executed", r, rep.Session, rep.Number, rep.Client)
		return
	}
	if !bytes.Equal(want, rep.Result) {
		o.Complain("S4", "%v answers %d/%d of client %v with %x, it was executed with %x",
			r, rep.Session, rep.Number, rep.Client, rep.Result, want)
	}
}

// Outcome is what became of an operation in the canonical log, for the clients that never
// learned it: its result, or that it was not executed until now.
func (o *Oracle) Outcome(client bft.ClientID, session, n uint64) (result []byte, ran bool) {
	result, ran = o.clients.results[number{client: client, session: session, n: n}]
	return result, ran
}

// Opened says that a correct client took session for the OPEN with this nonce (S5).
func (o *Oracle) Opened(client bft.ClientID, nonce, session uint64) {
	slots := o.clients.opens[number{client: client, n: nonce}]
	if !slices.Contains(slots, bft.SeqNum(session)) {
		o.Complain("S5", "client %v believes in session %d; its OPEN was ordered in slots %d", client, session, slots)
	}
}
