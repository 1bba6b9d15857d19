// Package pbft is Practical Byzantine Fault Tolerance (Castro and Liskov, OSDI'99 and
// TOCS'02) with ordering messages authenticated by the link and signed VIEW-CHANGE, NEW-VIEW
// and CHECKPOINT. It owns one replica's protocol state; the host calls it on the step thread.
// It never blocks, reads no clock and touches no key.
//
// Where to find what (section numbers of TOCS'02 unless noted; docs/protocols/pbft.md has the
// rules in prose, docs/divergence.md every difference):
//
//	normal.go      4.3  PRE-PREPARE, PREPARE, COMMIT, execution in order
//	checkpoint.go  4.4  CHECKPOINT, stable proofs, the window, divergence, state transfer
//	viewchange.go  4.5  VIEW-CHANGE, joining, NEW-VIEW
//	decide.go      4.5  what a set of VIEW-CHANGEs decides
//	status.go      5.2  STATUS and what is resent on it; claims of commitment
//	bodies.go           bodies of batches, and fetching what is missing
//	boot.go             the log's records, and starting from them
//	check.go            every rule that needs no state, run on the workers
//	messages.go codec.go decode.go   the messages and their bytes
//
// Invariants, checked after every step in tests and in the simulator (invariants.go):
//
//	I1  view, stable and (but for a repair of a diverged state) committed never decrease
//	I2  a slot is accepted at most once per view, and its PREPARE names what was accepted
//	I3  prepared means accepted in the same view with a quorum of votes
//	I4  for every slot above stable, P is the claim of the latest view in which it prepared;
//	    Q holds every digest accepted there, but for views below that of P
//	I5  every digest in Q above stable, and every decided one executed here, has its body here
//	I6  slots are committed in order, without gaps, each once
//	I7  an active view above 0 has its NEW-VIEW
//	I8  what was decided above stable-K is kept and served to the slow
package pbft
