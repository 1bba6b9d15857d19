// Package foreign holds a foreign implementation against real clusters: clients/python, which was
// written from docs/wire.md and shares no line with the Go code. Its client reads and writes
// while a replica is down, silent or lying, and its rogue takes the place of a replica and
// misbehaves on the real links; clients of both languages must go on getting right answers.
//
// The package has tests only. They own the processes they start and end each of them by its
// number. scripts/need-python says which Python they use; without one they are skipped, with the
// reason, unless they run as root, who could have installed it.
package foreign
