package check

import (
	"slices"
	"strings"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// Every checker is shown a broken history and must complain; the same history unbroken must
// pass. A checker that sees nothing would make every campaign green.

func digest(b byte) bft.Digest { return bft.Digest{b} }

func request(client byte, session, first uint64, ops ...string) wire.Request {
	q := wire.Request{Client: bft.ClientID{client}, Session: session, First: first, Sig: []byte{1}}
	for _, op := range ops {
		q.Ops = append(q.Ops, []byte(op))
	}
	return q
}

func body(t bft.Time, reqs ...wire.Request) (bft.Digest, []byte) {
	var raw [][]byte
	for i := range reqs {
		raw = append(raw, reqs[i].Append(nil))
	}
	b := wire.AppendBody(nil, t, raw)
	return wire.BodyDigest(b), b
}

func run(client byte, op, result string) Run {
	return Run{Client: bft.ClientID{client}, Op: []byte(op), Result: []byte(result)}
}

// good plays a short correct history: three replicas vote, two of them execute.
func good(o *Oracle) {
	o.Signed(&q)
	for r := range bft.ReplicaID(3) {
		o.Cast(r, Vote{Kind: VotePrepare, View: 0, Seq: 1, Digest: d})
		o.Cast(r, Vote{Kind: VoteCheckpoint, Seq: 4, Digest: digest(4)})
	}
	o.Cast(2, Vote{Kind: VoteCommit, View: 0, Seq: 1, Digest: d})
	for r := range bft.ReplicaID(2) {
		o.Cast(r, Vote{Kind: VotePrepare, View: 0, Seq: 1, Digest: d})
		o.Durable(r, Vote{Kind: VotePrepare, View: 0, Seq: 1, Digest: d})
		o.MustBeDurable(r, Vote{Kind: VotePrepare, View: 0, Seq: 1, Digest: d})
		o.Cast(1-r, Vote{Kind: VoteCommit, View: 0, Seq: 1, Digest: d})
		o.Cast(r, Vote{Kind: VoteCommit, View: 0, Seq: 1, Digest: d})
		o.Ordered(r, 1, 0, d, b)
		o.Ran(r, 1, []Run{run(1, "a", "x"), run(1, "b", "y")})
		o.Checkpointed(r, 4, digest(4))
		o.Stable(r, 4, digest(4))
		o.Shows(r, Progress{View: 1, Stable: 4})
	}
	o.Accepted(bft.ClientID{1}, 5, 1, []byte("x"))
	o.Answered(0, &wire.Reply{Client: bft.ClientID{1}, Session: 5, Number: 2, Result: []byte("y")})
	o.Completes(Liveness{Healed: 10, Bound: 100}, bft.ClientID{1}, 20, 60, true)
	o.Stays(0, 3, 3)
	o.Busy("storm", 5, 1)
	o.Works(0, 9)
	for r := range bft.ReplicaID(3) {
		o.Cast(r, Vote{Kind: VoteViewChange, View: 1, Digest: digest(byte(r))})
	}
	o.Enters(1, entered(d))
	o.Inside(0, 4, Vote{Kind: VotePrepare, Seq: 12, Digest: d})
	o.Linearizable([]Operation{{Action: Put, Key: "k", Value: "v", Call: 1, Return: 2, Known: true, Found: true}})
}

// entered is view 1 with slot 1 as claimed by one member and seen by two.
func entered(choice bft.Digest) Entered {
	c := []Claimed{{Seq: 1, Digest: d}}
	return Entered{View: 1, Primary: 1, Digests: []bft.Digest{choice}, Set: []Left{
		{Replica: 0, View: 1, Digest: digest(0), P: c, Q: c}, {Replica: 1, View: 1, Digest: digest(1), Q: c},
		{Replica: 2, View: 1, Digest: digest(2)},
	}}
}

type canary struct {
	name, checker string
	spoil         func(o *Oracle)
}

// The same batch twice at other times, another batch, and one that its client never signed.
var (
	q                = request(1, 5, 1, "a", "b")
	d, b             = body(1, q)
	otherD, otherB   = body(2, q)
	forgedD, forgedB = body(3, request(2, 5, 1, "z"))
	again, againB    = body(4, q)
)

func slot2(o *Oracle, d bft.Digest, b []byte, runs ...Run) {
	o.Ordered(0, 2, 0, d, b)
	o.Ran(0, 2, runs)
}

func canaries() []canary {
	return slices.Concat(ofExecution(), ofClients(), ofVotes(), ofHistories())
}

func ofExecution() []canary {
	return []canary{
		{"another batch in a slot", "S1", func(o *Oracle) { o.log.position[2] = 0; o.Ordered(2, 1, 0, otherD, otherB) }},
		{"another result", "S1", func(o *Oracle) {
			o.Ordered(2, 1, 0, d, b)
			o.Ran(2, 1, []Run{run(1, "a", "x"), run(1, "b", "WRONG")})
		}},
		{"an operation left out", "S1", func(o *Oracle) { o.Ordered(2, 1, 0, d, b); o.Ran(2, 1, []Run{run(1, "a", "x")}) }},
		{"another state at a checkpoint", "S1", func(o *Oracle) { o.Checkpointed(2, 4, digest(9)) }},
		{"a false claim of a decision", "S1", func(o *Oracle) { o.Claimed(2, 1, otherD) }},
		{"a slot left out", "S2", func(o *Oracle) { o.Ordered(0, 3, 0, again, againB) }},
		{"a slot twice", "S2", func(o *Oracle) { o.Ordered(0, 1, 0, d, b) }},
		{"a request nobody signed", "S3", func(o *Oracle) { slot2(o, forgedD, forgedB) }},
		{"a request nobody signed, well agreed on", "S3", func(o *Oracle) {
			for r := range bft.ReplicaID(3) {
				o.Cast(r, Vote{Kind: VotePrepare, Seq: 2, Digest: forgedD})
			}
			for r := range bft.ReplicaID(3) {
				o.Cast(r, Vote{Kind: VoteCommit, Seq: 2, Digest: forgedD})
			}
			slot2(o, forgedD, forgedB, run(2, "z", "x"))
		}},
		{"bytes of another digest", "S3", func(o *Oracle) { o.Ordered(0, 2, 0, digest(7), againB) }},
		{"an operation twice", "S4", func(o *Oracle) { slot2(o, again, againB, run(1, "a", "x")) }},
		{"an operation from nowhere", "S4", func(o *Oracle) { slot2(o, again, againB, run(1, "invented", "x")) }},
	}
}

func ofClients() []canary {
	return []canary{
		{"another answer to a repeat", "S4", func(o *Oracle) {
			o.Answered(0, &wire.Reply{Client: bft.ClientID{1}, Session: 5, Number: 2, Result: []byte("WRONG")})
		}},
		{"an answer without execution", "S4", func(o *Oracle) {
			o.Answered(0, &wire.Reply{Client: bft.ClientID{1}, Session: 5, Number: 3, Result: []byte("y")})
		}},
		{"a false result accepted", "S5", func(o *Oracle) { o.Accepted(bft.ClientID{1}, 5, 1, []byte("lie")) }},
		{"a result of nothing accepted", "S5", func(o *Oracle) { o.Accepted(bft.ClientID{1}, 5, 9, []byte("x")) }},
		{"a session nobody opened", "S5", func(o *Oracle) { o.Opened(bft.ClientID{1}, 77, 5) }},
		{"a log that ends early", "S6", func(o *Oracle) { o.Final([]Ends{{Replica: 0, Executed: 0}}) }},
		{"a view entered with a dropped slot", "S7e", func(o *Oracle) { o.Enters(1, entered(otherD)) }},
		{"a view entered by two", "S7e", func(o *Oracle) {
			e := entered(d)
			e.Set = e.Set[:2]
			o.Enters(1, e)
		}},
		{"a view entered by a backup's word", "S7e", func(o *Oracle) {
			e := entered(d)
			e.Primary = 2
			o.Enters(1, e)
		}},
		{"two prepared certificates", "S7a", func(o *Oracle) { o.Prepared(2, 0, 1, otherD) }},
		{"a certificate against a decision", "S7b", func(o *Oracle) { o.Prepared(2, 3, 1, otherD) }},
		{"a view entered with a forged view change", "S7e", func(o *Oracle) {
			e := entered(d)
			e.Set[2].Digest = digest(9)
			o.Enters(1, e)
		}},
		{"a vote against the view's own choice", "S7e", func(o *Oracle) {
			o.Cast(1, Vote{Kind: VotePrepare, View: 1, Seq: 1, Digest: otherD})
		}},
		{"a view entered on a claim of a later view", "S7e", func(o *Oracle) {
			e := entered(d)
			e.Set[0].P = []Claimed{{Seq: 1, Digest: d, View: 1}}
			o.Enters(1, e)
		}},
		{"a view entered with a view change of nobody", "S7e", func(o *Oracle) {
			e := entered(d)
			e.Set[2].Replica = 3
			o.Enters(1, e)
		}},
		{"two stable digests", "S7c", func(o *Oracle) { o.Stable(2, 4, digest(9)) }},
		{"a view that goes back", "S7d", func(o *Oracle) { o.Shows(0, Progress{View: 0, Stable: 4}) }},
		{"a checkpoint that goes back", "S7d", func(o *Oracle) { o.Shows(0, Progress{View: 1, Stable: 0}) }},
	}
}

func ofVotes() []canary {
	return []canary{
		{"two votes", "S7f", func(o *Oracle) { o.Cast(0, Vote{Kind: VotePrepare, Seq: 1, Digest: otherD}) }},
		{"a PREPARE that a view change is silent on", "S7o", func(o *Oracle) { o.Leaves(1, Left{Replica: 1, View: 9}) }},
		{"a COMMIT that a view change calls pre-prepared", "S7o", func(o *Oracle) {
			o.Cast(3, Vote{Kind: VoteCommit, Seq: 1, Digest: d})
			o.Leaves(3, Left{Replica: 3, View: 9, Q: []Claimed{{Seq: 1, Digest: d}}})
		}},
		{"a vote above the window", "S7w", func(o *Oracle) { o.Inside(0, 4, Vote{Kind: VotePrepare, Seq: 13, Digest: d}) }},
		{"a vote that is not synced", "S7g", func(o *Oracle) { o.MustBeDurable(2, Vote{Kind: VotePrepare, Seq: 1, Digest: d}) }},
		{"prepared by too few", "S7q", func(o *Oracle) {
			o.Cast(0, Vote{Kind: VoteProposal, Seq: 2, Digest: d})
			o.Cast(1, Vote{Kind: VotePrepare, Seq: 2, Digest: d})
			o.Cast(1, Vote{Kind: VoteCommit, Seq: 2, Digest: d})
		}},
		{"decided by too few", "S7q", func(o *Oracle) { slot2(o, again, againB) }},
		{"stable by too few", "S7q", func(o *Oracle) { o.Stable(0, 8, digest(8)) }},
		{"two states at the end", "S9", func(o *Oracle) {
			o.Final([]Ends{{Replica: 0, Executed: 1, State: digest(1)}, {Replica: 1, Executed: 1, State: digest(2)}})
		}},
	}
}

func ofHistories() []canary {
	return []canary{
		{"a late answer", "L1", func(o *Oracle) { o.Completes(Liveness{Healed: 10, Bound: 100}, bft.ClientID{1}, 20, 121, true) }},
		{"no answer", "L1", func(o *Oracle) { o.Completes(Liveness{Healed: 10, Bound: 100}, bft.ClientID{1}, 20, 60, false) }},
		{"a needless view change", "L2", func(o *Oracle) { o.Stays(0, 3, 4) }},
		{"a signature verified again and again", "M2", func(o *Oracle) { o.Works(0, 10) }},
		{"an empty phase", "V1", func(o *Oracle) { o.Busy("storm", 0, 1) }},
		{"a read from the past", "linear", func(o *Oracle) {
			o.Linearizable([]Operation{
				{Action: Put, Key: "k", Value: "v", Call: 1, Return: 2, Known: true, Found: true},
				{Client: 1, Action: Get, Key: "k", Call: 3, Return: 4, Known: true},
			})
		}},
		{"a swap twice", "linear", func(o *Oracle) {
			o.Linearizable([]Operation{
				{Action: Put, Key: "k", Value: "v", Call: 1, Return: 2, Known: true, Found: true},
				{Client: 1, Action: Swap, Key: "k", Old: "v", Value: "w", Call: 3, Return: 4, Known: true, Found: true},
				{Client: 2, Action: Swap, Key: "k", Old: "v", Value: "u", Call: 5, Return: 6, Known: true, Found: true},
			})
		}},
	}
}

func TestCanaries(t *testing.T) {
	for _, tt := range canaries() {
		t.Run(tt.checker+" "+tt.name, func(t *testing.T) {
			if got := complaints(t, tt); !slices.Contains(got, tt.checker) {
				t.Fatalf("no complaint of %s, only %v", tt.checker, got)
			}
		})
	}
}

// complaints are the checkers that complain of a canary, some of them switched off.
func complaints(t *testing.T, c canary, off ...string) (names []string) {
	t.Helper()
	o := New(Config{N: 4, F: 1, Window: 8, Off: off})
	good(o)
	if o.Failed() {
		t.Fatalf("the unbroken history is refused: %v", o.Violations())
	}
	c.spoil(o)
	for _, v := range o.Violations() {
		names = append(names, v.Checker)
	}
	return names
}

// TestFarViewsCostNothing: a decision in a view far ahead is judged without looking at every view
// before it (a replica that adopts views from STATUS made a run hang here).
func TestFarViewsCostNothing(t *testing.T) {
	o := New(Config{N: 4, F: 1})
	o.Signed(&q)
	for r := range bft.ReplicaID(3) {
		o.Cast(r, Vote{Kind: VotePrepare, View: bft.ViewMax, Seq: 1, Digest: d})
	}
	for r := range bft.ReplicaID(3) {
		o.Cast(r, Vote{Kind: VoteCommit, View: bft.ViewMax, Seq: 1, Digest: d})
	}
	o.Ordered(0, 1, bft.ViewMax, d, b)
	if o.Failed() {
		t.Fatal(o.Violations())
	}
}

func TestSafetyOnlyIgnoresProgress(t *testing.T) {
	o := New(Config{N: 4, F: 1, SafetyOnly: true})
	o.Completes(Liveness{}, bft.ClientID{1}, 20, 60, false)
	o.Stays(0, 3, 4)
	o.Busy("storm", 0, 1)
	if o.Failed() {
		t.Fatalf("progress is judged: %v", o.Violations())
	}
}

func TestFaultyClientMayReuseNumbers(t *testing.T) {
	o := New(Config{N: 4, F: 1, Faulty: 4})
	q := request(1, 5, 1, "a")
	o.Signed(&q)
	o.Faulty(q.Client)
	d, b := body(1, q)
	o.Ordered(0, 1, 0, d, b)
	o.Ran(0, 1, []Run{run(1, "a", "x")})
	d, b = body(2, q)
	o.Ordered(0, 2, 0, d, b)
	o.Ran(0, 2, []Run{run(1, "a", "x")})
	if o.Failed() {
		t.Fatalf("a faulty client is protected from itself: %v", o.Violations())
	}
}

func TestUnknownOutcomes(t *testing.T) {
	o := New(Config{N: 4, F: 1})
	o.Linearizable([]Operation{
		{Action: Put, Key: "k", Value: "v", Call: 1, Return: 2}, // unknown: may take effect late
		{Client: 1, Action: Get, Key: "k", Call: 3, Return: 4, Known: true},
		{Client: 1, Action: Get, Key: "k", Call: 5, Return: 6, Known: true, Found: true, Result: "v"},
	})
	if o.Failed() {
		t.Fatalf("an operation with unknown outcome must be allowed to happen late: %v", o.Violations())
	}
}

func TestComplaintsAreBounded(t *testing.T) {
	o := New(Config{N: 4, F: 1})
	for range 100 {
		o.Complain("S1", "%s", strings.Repeat("x", 10))
	}
	if len(o.Violations()) > violationsMax {
		t.Fatalf("%d complaints are kept", len(o.Violations()))
	}
}

// TestFarViews: more than f liars may drive the view up by 2^40; a decision there is checked
// against the views that voted, not against all that might have.
func TestFarViews(t *testing.T) {
	o := New(Config{N: 4, F: 1, Faulty: 2, SafetyOnly: true})
	const far = bft.View(1) << 60
	body := wire.AppendBody(nil, 1, nil)
	d := wire.BodyDigest(body)
	for r := range bft.ReplicaID(2) {
		o.Durable(r, Vote{Kind: VoteCommit, View: far - 1, Seq: 1, Digest: d})
	}
	o.decidedOnQuorum(0, 1, far, d)
	if o.Failed() {
		t.Errorf("a decision by two honest votes and two liars is refused: %v", o.Violations())
	}
	o.decidedOnQuorum(0, 2, far, d)
	if !o.Failed() {
		t.Error("a decision by liars alone passes")
	}
}
