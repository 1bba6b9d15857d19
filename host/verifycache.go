package host

import (
	"encoding/binary"

	"github.com/themis-bft/themis/bft"
)

// verifiedCache remembers a fixed number of digests. It is cut into shards, each a table of
// small sets in which the newest digest pushes out the oldest. Only digests of requests that
// verified get in, so that what a client can push out is verifications of others, which then
// are made again: it buys time, not trust.
//
// A shard is passed from worker to worker through a channel of one place. Nobody waits for it:
// who does not find it there treats the digest as not remembered.
type verifiedCache struct {
	shards []chan []bft.Digest
	sets   uint32 // per shard
}

const (
	cacheShards = 16
	cacheWays   = 4
)

func newVerifiedCache(entries int) *verifiedCache {
	sets := max(1, entries/(cacheShards*cacheWays))
	c := &verifiedCache{shards: make([]chan []bft.Digest, cacheShards), sets: uint32(sets)}
	for i := range c.shards {
		c.shards[i] = make(chan []bft.Digest, 1)
		c.shards[i] <- make([]bft.Digest, sets*cacheWays)
	}
	return c
}

// place returns the shard of d and where in it the set of d begins. A digest is uniform in all
// its bits unless somebody searched for one, which costs him a signature per try.
func (c *verifiedCache) place(d bft.Digest) (shard chan []bft.Digest, start uint32) {
	h := binary.LittleEndian.Uint32(d[:4])
	return c.shards[h%cacheShards], h / cacheShards % c.sets * cacheWays
}

func (c *verifiedCache) has(d bft.Digest) bool {
	shard, start := c.place(d)
	select {
	case table := <-shard:
		found := false
		for _, x := range table[start : start+cacheWays] {
			found = found || x == d
		}
		shard <- table
		return found
	default:
		return false
	}
}

func (c *verifiedCache) add(d bft.Digest) {
	shard, start := c.place(d)
	select {
	case table := <-shard:
		set := table[start : start+cacheWays]
		copy(set[1:], set)
		set[0] = d
		shard <- table
	default:
	}
}
