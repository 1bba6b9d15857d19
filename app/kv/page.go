package kv

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/wire"
)

// Pages is the number of pages. It is part of what replicas agree on: another number gives
// other checkpoints.
const Pages = 1024

const (
	pageHeaderBytes  = 4 // the number of entries
	entryHeaderBytes = 8 // the lengths of key and value
)

// entry is a key with its value; both are immutable.
type entry struct {
	key   string
	value []byte
}

// page is the part of the store whose keys have one hash. Once a snapshot shares it only what is
// cached of it changes any more.
type page struct {
	entries []entry // ascending by key
	bytes   int     // encoded size of the entries
	shared  bool    // read and written by the execute stage alone
	digest  atomic.Pointer[bft.Digest]
	encoded atomic.Pointer[[]byte] // of a shared page that is being served
}

// pageOf is FNV-1a of the key, folded to the number of pages.
func pageOf(key []byte) int {
	h := uint32(2166136261)
	for _, c := range key {
		h = (h ^ uint32(c)) * 16777619
	}
	return int((h ^ h>>16) % Pages)
}

// find returns where key is, or where it belongs.
func (p *page) find(key []byte) (int, bool) {
	low, high := 0, len(p.entries)
	for low < high {
		middle := int(uint(low+high) / 2)
		if p.entries[middle].key < string(key) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(p.entries) && p.entries[low].key == string(key)
}

// growth is by how much setting op's key at i makes the page longer.
func (p *page) growth(op Op, i int, there bool) int {
	if there {
		return len(op.Value) - len(p.entries[i].value)
	}
	return entryHeaderBytes + len(op.Key) + len(op.Value)
}

// own returns page at, ready to be changed.
func (s *Store) own(at int) *page {
	p := s.pages[at]
	if p.shared && !mutant.On("kv-snapshot-not-copied") {
		p = &page{entries: append(make([]entry, 0, len(p.entries)+1), p.entries...), bytes: p.bytes}
		s.pages[at] = p
	}
	p.digest.Store(nil)
	return p
}

// set puts copies of op's key and value at i.
func (p *page) set(op Op, i int, there bool) {
	p.bytes += p.growth(op, i, there)
	value := slices.Clone(op.Value)
	if there {
		p.entries[i].value = value
		return
	}
	p.entries = slices.Insert(p.entries, i, entry{key: string(op.Key), value: value})
}

func (p *page) remove(i int) {
	p.bytes -= entryHeaderBytes + len(p.entries[i].key) + len(p.entries[i].value)
	p.entries = slices.Delete(p.entries, i, i+1)
}

func (p *page) encode() []byte {
	b := make([]byte, 0, pageHeaderBytes+p.bytes)
	b = wire.AppendU32(b, uint32(len(p.entries)))
	for i := range p.entries {
		b = wire.AppendU32(b, uint32(len(p.entries[i].key)))
		b = append(b, p.entries[i].key...)
		b = wire.AppendBytes(b, p.entries[i].value)
	}
	return b
}

// snapshot shares the pages of the moment at which it was taken. Pages that do not fit one
// fragment stay encoded, since they are served in parts; the next snapshot that is given back
// forgets that, so that a peer that asks for everything makes the state twice as large at most.
type snapshot struct {
	pages [Pages]*page
}

// Snapshot returns a picture of the store.
func (s *Store) Snapshot() app.Snapshot {
	for _, p := range s.pages {
		p.shared = true
	}
	return &snapshot{pages: s.pages}
}

func (s *snapshot) Pages() int { return Pages }

func (s *snapshot) Digest(i int) bft.Digest {
	p := s.pages[i]
	if d := p.digest.Load(); d != nil {
		return *d
	}
	b := p.encoded.Load()
	if b == nil {
		fresh := p.encode() // not kept: a checkpoint hashes every page that changed
		b = &fresh
	}
	d := app.PageDigest(*b)
	p.digest.Store(&d)
	return d
}

func (s *snapshot) Page(i int) []byte {
	p := s.pages[i]
	if b := p.encoded.Load(); b != nil {
		return *b
	}
	b := p.encode()
	if len(b) > bft.StateFragmentBytesMax {
		p.encoded.Store(&b)
	}
	return b
}

func (s *snapshot) Release() {
	for _, p := range s.pages {
		p.encoded.Store(nil)
	}
}

// errPage says that the bytes are no page of this application.
var errPage = errors.New("kv: not a page of the key-value store")

// Restore replaces the content by the pages of a snapshot; on an error the content stays.
func (s *Store) Restore(pages [][]byte) error {
	if len(pages) != Pages {
		return fmt.Errorf("%w: %d pages, not %d", errPage, len(pages), Pages)
	}
	var fresh [Pages]*page
	for i, b := range pages {
		p, err := decodePage(i, b)
		if err != nil {
			return err
		}
		fresh[i] = p
	}
	s.pages = fresh
	return nil
}

// decodePage is the inverse of encode; keys and values are copied.
func decodePage(index int, b []byte) (*page, error) {
	r := wire.NewReader(b)
	n := int64(r.U32())
	if n*entryHeaderBytes > int64(r.Len()) || r.Len() > PageBytesMax || n > PageEntriesMax {
		return nil, fmt.Errorf("%w: page %d has %d entries in %d bytes", errPage, index, n, len(b))
	}
	p := &page{entries: make([]entry, 0, n), bytes: r.Len()}
	for i := range int(n) {
		key, value := r.Bytes(KeyBytesMax), r.Bytes(ValueBytesMax)
		if r.Bad() || pageOf(key) != index || i > 0 && p.entries[i-1].key >= string(key) {
			return nil, fmt.Errorf("%w: entry %d of page %d", errPage, i, index)
		}
		p.entries = append(p.entries, entry{key: string(key), value: append([]byte{}, value...)})
	}
	if r.Close() != nil {
		return nil, fmt.Errorf("%w: page %d", errPage, index)
	}
	return p, nil
}
