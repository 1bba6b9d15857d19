// Package assault attacks the ports of a cluster of real processes, by what docs/wire.md says and
// nothing else: as a stranger without a key, as a client with one of its own, or as a rogue
// replica that holds the key of one whose process is stopped.
//
// An attack is bounded: it has a rate, a number of connections or frames, and a time, ends by itself
// and leaves nothing open. It dials loopback addresses only; its connections come from addresses
// 127.66.0.x, so that limits by address tell it from everybody else. Campaigns run it in a process of
// its own (Serve), so that the processor time that it takes can be stated. The package knows nothing
// about how replicas defend themselves, and judges nothing.
package assault
