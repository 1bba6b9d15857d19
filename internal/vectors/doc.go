// Package vectors freezes the wire: docs/vectors holds, for every frame, message, operation,
// digest and signed byte string of docs/wire.md, one value and its bytes, and byte strings that
// must be refused. The tests of this package make the files (-rewrite) and hold them against the
// code in both directions; clients/python holds itself against the same files.
//
// The package has tests only. A changed byte in a file is a new version of the wire.
package vectors
