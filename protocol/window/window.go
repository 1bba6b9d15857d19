// Package window is the ring of slots above a low mark that protocols share: constant
// memory, access by sequence number, and nothing that a peer could make grow. It owns the
// slots; its owner calls it on the step thread.
package window

import (
	"fmt"

	"github.com/themis-bft/themis/bft"
)

// Ring holds one T for each of the slots (Low, Low+size].
type Ring[T any] struct {
	low   bft.SeqNum
	items []T
	reset func(*T)
}

// New returns a Ring of size slots above low. reset empties a slot for reuse and keeps its
// memory; it is called for every slot once at the start.
func New[T any](low bft.SeqNum, size int, reset func(*T)) *Ring[T] {
	r := &Ring[T]{low: low, items: make([]T, size), reset: reset}
	for i := range r.items {
		reset(&r.items[i])
	}
	return r
}

// Low is the slot below the first.
func (r *Ring[T]) Low() bft.SeqNum { return r.low }

// High is the last slot.
func (r *Ring[T]) High() bft.SeqNum { return r.low + bft.SeqNum(len(r.items)) }

// At returns slot n, or nil if n lies outside.
func (r *Ring[T]) At(n bft.SeqNum) *T {
	if n <= r.low || n > r.High() {
		return nil
	}
	return &r.items[uint64(n)%uint64(len(r.items))]
}

// Advance moves the low mark up to low. Each slot that falls below is given to drop, in
// ascending order, and then emptied.
func (r *Ring[T]) Advance(low bft.SeqNum, drop func(bft.SeqNum, *T)) {
	if low < r.low {
		panic(fmt.Sprintf("window: low mark would fall from %d to %d", r.low, low))
	}
	last := min(low, r.High())
	for n := r.low + 1; n <= last; n++ {
		s := r.At(n)
		drop(n, s)
		r.reset(s)
	}
	r.low = low
}
