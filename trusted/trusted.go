// Package trusted is the room of the trusted subsystem: the contract of certificates bound to
// monotonic counters, on which hybrid protocols with 2f+1 replicas rest. PBFT needs none of it,
// so nothing stands here yet; docs/roadmap.md says when it comes.
package trusted
