package sim

import (
	"slices"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/app/kv"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/sim/check"
	"github.com/themis-bft/themis/wire"
)

// recorder is the application of a replica, watched: what it runs and what it answers.
type recorder struct {
	app.Machine
	runs []check.Run
}

// Execute runs op and writes it down.
func (m *recorder) Execute(c app.Call, op []byte) app.Future {
	f := m.Machine.Execute(c, op)
	result, _ := f.Bytes()
	m.runs = append(m.runs, check.Run{Client: c.Client, Op: append([]byte(nil), op...), Result: result})
	return f
}

// state is a digest of the application's state.
func (m *recorder) state() bft.Digest {
	s := m.Snapshot()
	defer s.Release()
	var b []byte
	for i := range s.Pages() {
		d := s.Digest(i)
		b = append(b, d[:]...)
	}
	return wire.DigestOf("sim-state", b)
}

// shardCount is the number of pages of a small machine.
const shardCount = 4

// shards is the key-value store with few pages: the thousand pages of the real one would cost
// more than all the rest of a run. Operations are the real store's; only snapshot and
// restore are made here. Some seeds run with the real pages.
type shards struct {
	store *kv.Store
	parts [shardCount]shard
}

// shard is the keys that were ever written and belong to one page.
type shard struct {
	keys   []string // ascending
	page   []byte   // nil: changed since the last snapshot
	digest bft.Digest
}

func newShards() *shards { return &shards{store: kv.New()} }

func shardOf(key []byte) int {
	h := 0
	for _, c := range key {
		h = h*31 + int(c)
	}
	return h & (shardCount - 1)
}

// Execute applies op to the store and notes whose page changes.
func (m *shards) Execute(c app.Call, op []byte) app.Future {
	if o, err := kv.ParseOp(op); err == nil && o.Kind != kv.KindGet && o.Kind != kv.KindScan {
		p := &m.parts[shardOf(o.Key)]
		p.page = nil
		if i, there := slices.BinarySearch(p.keys, string(o.Key)); !there {
			p.keys = slices.Insert(p.keys, i, string(o.Key))
		}
	}
	return m.store.Execute(c, op)
}

// Query asks the store.
func (m *shards) Query(op []byte) []byte { return m.store.Query(op) }

// Snapshot encodes the pages that changed.
func (m *shards) Snapshot() app.Snapshot {
	s := &shardSnapshot{}
	for i := range m.parts {
		p := &m.parts[i]
		if p.page == nil {
			p.page = m.encode(p)
			p.digest = app.PageDigest(p.page)
		}
		s.pages[i], s.digests[i] = p.page, p.digest
	}
	return s
}

func (m *shards) encode(p *shard) []byte {
	b := []byte{0}
	for _, k := range p.keys {
		res, err := kv.ParseResult(m.store.Query(kv.Get([]byte(k))))
		if err == nil && res.Code == kv.Found {
			b = wire.AppendBytes(wire.AppendBytes(b, []byte(k)), res.Value)
		}
	}
	return b
}

// Restore begins with an empty store and puts every entry.
func (m *shards) Restore(pages [][]byte) error {
	fresh := newShards()
	for _, b := range pages {
		r := wire.NewReader(b)
		r.U8()
		for r.Len() > 0 && !r.Bad() {
			fresh.Execute(app.Call{}, kv.Put(r.Bytes(kv.KeyBytesMax), r.Bytes(kv.ValueBytesMax)))
		}
		if err := r.Close(); err != nil {
			return err
		}
	}
	*m = *fresh
	return nil
}

type shardSnapshot struct {
	pages   [shardCount][]byte
	digests [shardCount]bft.Digest
}

func (s *shardSnapshot) Pages() int              { return shardCount }
func (s *shardSnapshot) Digest(i int) bft.Digest { return s.digests[i] }
func (s *shardSnapshot) Page(i int) []byte       { return s.pages[i] }
func (s *shardSnapshot) Release()                {}
