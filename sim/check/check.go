// Package check says what correct means, without any code of the protocols: it has its own
// quorum arithmetic, its own ledgers of what clients signed, what honest replicas ordered,
// executed, voted for and answered, and it compares. Its complaints are named:
//
//	S1 agreement          S2 order                 S3 validity of requests   S4 exactly once
//	S5 replies accepted   S6 durability            S9 equal states           linear: histories
//	S7 invariants: a equal certificates, b decisions last, c one stable digest, d nothing goes
//	   back, e views follow from their sets, f no two votes, g no vote before its sync, o who leaves
//	   owns up to what it said, q nothing on less than a quorum, w no vote outside the window
//	I invariants of a protocol's own state      client: what a session reports
//	L1 progress after healing   L2 no needless view change   M2 no needless work
//	V1 the run did something
//
// An Oracle owns the record of one simulated run. The simulator calls it from its goroutine
// for every observation; it never influences the run, never looks into a replica, and
// remembers only the first few violations. Observations of faulty replicas are not given to
// it, or only where a comment says so.
package check

import (
	"fmt"
	"slices"

	"github.com/themis-bft/themis/bft"
)

// names are the checkers, in the order of the list above; the tests hold it against the code.
var names = []string{
	"S1", "S2", "S3", "S4", "S5", "S6", "S7a", "S7b", "S7c", "S7d", "S7e", "S7f", "S7g", "S7o", "S7q", "S7w", "S9",
	"I", "linear", "client", "L1", "L2", "M2", "V1",
}

// Names lists every checker, also those that complain from the simulator itself: "client" for a
// session that ends with an error nobody caused, "I" for an invariant that a protocol finds broken.
func Names() []string { return slices.Clone(names) }

// violationsMax bounds what is remembered of one run: the first violation is the one to read.
const violationsMax = 8

// Violation is one complaint.
type Violation struct {
	Checker string
	Detail  string
}

// Config is what an Oracle must know of the cluster.
type Config struct {
	N, F   int
	Faulty int            // replicas that are faulty in this run
	Liars  bft.ReplicaSet // which they are
	Window bft.SeqNum     // slots above the stable checkpoint in which a replica may vote; 0: not checked
	// SafetyOnly switches the checks of progress off, for runs with more than F faults.
	SafetyOnly bool
	// Off are checkers that do not complain, by name: to show that nothing else sees what they see.
	Off []string
}

// Oracle holds the record of one run.
type Oracle struct {
	cfg        Config
	log        orderLog
	votes      voteBook
	states     stateBook
	clients    clientBook
	violations []Violation
	dropped    int
}

// New returns the Oracle of a fresh cluster.
func New(cfg Config) *Oracle {
	return &Oracle{
		cfg: cfg, log: newOrderLog(cfg.N), votes: newVoteBook(), states: newStateBook(cfg.N), clients: newClientBook(),
	}
}

// quorum is the smallest number of replicas such that two of that many share more than F,
// found by counting and not by the formula that the replicas use.
func (c Config) quorum() int {
	for q := 1; q <= c.N; q++ {
		if 2*q-c.N > c.F {
			return q
		}
	}
	return c.N
}

// Complain records a violation that the caller found by itself.
func (o *Oracle) Complain(checker, format string, args ...any) {
	if o.cfg.SafetyOnly && (checker[0] == 'L' || checker == "V1") {
		return // nobody promised progress
	}
	if slices.Contains(o.cfg.Off, checker) {
		return
	}
	if len(o.violations) >= violationsMax {
		o.dropped++
		return
	}
	o.violations = append(o.violations, Violation{Checker: checker, Detail: fmt.Sprintf(format, args...)})
}

// Violations returns what was found so far, oldest first.
func (o *Oracle) Violations() []Violation { return o.violations }

// Failed reports whether anything was found.
func (o *Oracle) Failed() bool { return len(o.violations) > 0 }

// Committed is the number of slots in the canonical log.
func (o *Oracle) Committed() int { return len(o.log.slots) }

// Last is the highest slot of the canonical log.
func (o *Oracle) Last() bft.SeqNum { return o.log.last }
