// Package kv is the replicated key-value store: get, put, delete, compare-and-swap and ordered
// scans. It owns its entries, kept in pages by the hash of the key, each sorted by key.
//
// A page is copied before it is changed if a snapshot shares it, so that a snapshot costs a
// list of pointers and execution continues; digests are cached in the pages, so that a
// checkpoint hashes what changed. The Store is an app.Machine: called from the execute stage
// alone; snapshots from any goroutine. It never fails: what cannot be done is answered so.
package kv

import (
	"bytes"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/wire"
)

// Store is the state machine.
type Store struct {
	pages [Pages]*page
}

// New returns an empty store.
func New() *Store {
	s := &Store{}
	for i := range s.pages {
		s.pages[i] = &page{}
	}
	return s
}

var _ app.Machine = (*Store)(nil)

// Execute applies one operation; the response is that of ParseResult.
func (s *Store) Execute(_ app.Call, op []byte) app.Future { return app.Ready(s.apply(op, true)) }

// Query answers a get or a scan from the present state and refuses everything else.
func (s *Store) Query(op []byte) []byte { return s.apply(op, false) }

func (s *Store) apply(b []byte, mayChange bool) []byte {
	op, err := ParseOp(b)
	switch {
	case err != nil:
		return code(Malformed)
	case len(op.Key) > KeyBytesMax, len(op.Prefix) > KeyBytesMax, len(op.Value) > ValueBytesMax, len(op.Old) > ValueBytesMax:
		return code(TooLarge)
	}
	switch op.Kind {
	case KindGet:
		return s.get(op)
	case KindScan:
		return s.scan(op)
	}
	if !mayChange {
		return code(Malformed)
	}
	switch op.Kind {
	case KindPut:
		return s.put(op)
	case KindDelete:
		return s.delete(op)
	default:
		return s.cas(op)
	}
}

func code(c Code) []byte { return []byte{byte(c)} }

func (s *Store) get(op Op) []byte {
	p := s.pages[pageOf(op.Key)]
	i, there := p.find(op.Key)
	if !there {
		return code(Missing)
	}
	v := p.entries[i].value
	return wire.AppendBytes(append(make([]byte, 0, 5+len(v)), byte(Found)), v)
}

func (s *Store) put(op Op) []byte {
	at := pageOf(op.Key)
	p := s.pages[at]
	i, there := p.find(op.Key)
	crowded := !there && len(p.entries) >= PageEntriesMax && !mutant.On("kv-entries-not-bounded")
	if crowded || p.bytes+p.growth(op, i, there) > PageBytesMax {
		return code(Full)
	}
	s.own(at).set(op, i, there)
	return code(Done)
}

func (s *Store) delete(op Op) []byte {
	at := pageOf(op.Key)
	i, there := s.pages[at].find(op.Key)
	if !there {
		return code(Missing)
	}
	s.own(at).remove(i)
	return code(Done)
}

func (s *Store) cas(op Op) []byte {
	p := s.pages[pageOf(op.Key)]
	i, there := p.find(op.Key)
	if there == op.HasOld && (!there || bytes.Equal(p.entries[i].value, op.Old)) {
		return s.put(op)
	}
	b := wire.AppendBool(code(Mismatch), there)
	if !there {
		return wire.AppendBytes(b, nil)
	}
	return wire.AppendBytes(b, p.entries[i].value)
}
