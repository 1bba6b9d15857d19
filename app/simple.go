package app

import (
	"fmt"

	"github.com/themis-bft/themis/bft"
)

// Simple makes a Machine of a plain synchronous application whose whole state is one byte
// string: the five lines that a first application needs.
//
//	var n uint64
//	m := app.Simple{
//		Do:   func(_ app.Call, _ []byte) []byte { n++; return binary.LittleEndian.AppendUint64(nil, n) },
//		Save: func() []byte { return binary.LittleEndian.AppendUint64(nil, n) },
//		Load: func(b []byte) error { n = binary.LittleEndian.Uint64(b); return nil },
//	}.Machine()
type Simple struct {
	Do   func(c Call, op []byte) []byte // executes one operation
	Save func() []byte                  // the whole state, canonical, at most bft.StateItemBytesMax
	Load func(state []byte) error       // the inverse of Save
}

// Machine returns the Machine of s.
func (s Simple) Machine() Machine { return simple{s} }

type simple struct{ Simple }

func (s simple) Execute(c Call, op []byte) Future { return Ready(s.Do(c, op)) }
func (s simple) Query([]byte) []byte              { return nil }
func (s simple) Snapshot() Snapshot               { return onePage(append([]byte(nil), s.Save()...)) }

func (s simple) Restore(pages [][]byte) error {
	if len(pages) != 1 {
		return fmt.Errorf("app: a simple application has one page, not %d", len(pages))
	}
	return s.Load(pages[0])
}

type onePage []byte

func (p onePage) Pages() int            { return 1 }
func (p onePage) Digest(int) bft.Digest { return PageDigest(p) }
func (p onePage) Page(int) []byte       { return p }
func (p onePage) Release()              {}
