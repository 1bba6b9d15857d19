package kv

import (
	"container/heap"
	"strings"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// cursor is the rest of a page that a scan has not returned.
type cursor []entry

// cursors is a heap of them by their first key: a scan merges the pages, since keys that are
// neighbours lie in different ones.
type cursors []cursor

func (c cursors) Len() int           { return len(c) }
func (c cursors) Less(i, j int) bool { return c[i][0].key < c[j][0].key }
func (c cursors) Swap(i, j int)      { c[i], c[j] = c[j], c[i] }

// Push is called by container/heap alone.
func (c *cursors) Push(x any) { *c = append(*c, x.(cursor)) }

// Pop is called by container/heap alone.
func (c *cursors) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

// scan lists entries in the order of their keys until its limit, or until no other entry is
// sure to fit a result.
func (s *Store) scan(op Op) []byte {
	from, prefix := op.Key, string(op.Prefix)
	if string(from) < prefix {
		from = op.Prefix
	}
	var rest cursors
	for _, p := range s.pages {
		if i, _ := p.find(from); i < len(p.entries) && strings.HasPrefix(p.entries[i].key, prefix) {
			rest = append(rest, cursor(p.entries[i:]))
		}
	}
	heap.Init(&rest)
	b, n, more := make([]byte, scanHeaderBytes, 256), 0, false
	for len(rest) > 0 {
		e := rest[0][0]
		if n == op.Limit || len(b)+entryHeaderBytes+len(e.key)+len(e.value) > bft.ResultBytesMax {
			more = true
			break
		}
		b = wire.AppendU32(b, uint32(len(e.key)))
		b = append(b, e.key...)
		b = wire.AppendBytes(b, e.value)
		n++
		rest.step(prefix)
	}
	header := wire.AppendBool(append(b[:0], byte(Listed)), more)
	wire.AppendU16(header, uint16(n))
	return b
}

// step moves the first cursor on, or drops it at the end of its page or of the prefix.
func (c *cursors) step(prefix string) {
	first := (*c)[0][1:]
	if len(first) == 0 || !strings.HasPrefix(first[0].key, prefix) {
		heap.Pop(c)
		return
	}
	(*c)[0] = first
	heap.Fix(c, 0)
}
