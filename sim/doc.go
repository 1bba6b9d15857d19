// Package sim runs whole clusters inside one goroutine: the same protocol core, host, execute
// stage, log, snapshots and client sessions as the real programs, on a virtual clock, a
// virtual network and virtual disks. One uint64 seed decides a run from its parameters to its
// last event, so that every failure can be repeated and read as a message chart.
//
// Run owns everything of its run and shares nothing; Campaign runs many seeds on some
// goroutines and folds their reports in the order of the seeds. The replicas know nothing of
// being simulated: faults happen to their network, disk and process, lies are told by package
// byz between a replica and its links, and package check judges from what it sees outside.
//
// A run has five phases: calm, storm (faults of network and processes), heal (only a random
// quorum of correct replicas comes back, the rest stays frozen), steady (no view may change
// any more) and join (all come back and must end equal).
package sim
