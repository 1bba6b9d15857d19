// Package twins runs the honest code of a protocol twice under one identity and enumerates what
// the network can do to it ("Twins: BFT Systems Made Robust", OPODIS 2021). Both copies hold the
// same keys and know nothing of each other: whatever is sent to the identity reaches both, what
// either says counts as the identity's. Equivocation, double votes and amnesia then arise from
// unmodified code, and only in forms that a real operator's mistake could take too.
//
// A schedule is a list of epochs, one a round, and a round is one view. An epoch splits the
// endpoints (every replica, and the second copies) into two sides that do not hear each other,
// and begins before one phase of its round: PRE-PREPARE, PREPARE, COMMIT, VIEW-CHANGE or
// NEW-VIEW. Messages of a phase are delivered in that phase, in the order in which they were
// sent, or lost; those that come too late for it wait for the same phase of the next round. At
// the end of a round every timer fires. After the last round all splits heal for good, the twins
// stay, and the honest replicas must commit a fresh batch within a bounded number of views.
//
// A Schedule decides a run completely; every run is checked by the oracle of sim/check and by the
// core's own invariants after every event. A cluster is owned by one goroutine; campaigns use
// several.
package twins
