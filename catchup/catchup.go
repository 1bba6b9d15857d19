// Package catchup is state transfer: a pure machine that fetches a certified checkpoint from
// peers part by part, and the server side of it. No part is used before its digest was checked
// against the certified one, so that a lying source costs one part and is named. It owns no
// goroutine and no clock; the host calls it on the step thread.
package catchup

import (
	"github.com/themis-bft/themis/bft"
)

// Held is a checkpoint that this replica can serve: its manifest and its pages. The manifest
// is the canonical list of the digests of all pages (exec writes it); its digest is what
// CHECKPOINT signs. The methods are safe from any goroutine until Release.
type Held interface {
	Seq() bft.SeqNum
	Digest() bft.Digest
	Manifest() []byte
	Pages() int
	Page(i int) []byte
	PageDigest(i int) bft.Digest
	Release()
}

// State is a complete checkpoint, verified against the digest of its target.
type State struct {
	Seq      bft.SeqNum
	Digest   bft.Digest
	Manifest []byte
	Pages    [][]byte
}
