package mem

import (
	"cmp"
	"maps"
	"slices"
)

// sectorBytes is what a device writes whole or not at all.
const sectorBytes = 512

// Crash is a power cut: files that are open die, the lock is released, and of what was not
// synced only the part stays that pick draws. pick(n) returns a number in [0, n); one that
// always returns 0 loses everything, one that always returns n-1 keeps everything. Between
// these, the changes of a file survive as a prefix whose last write is torn at any byte, or as
// any subset of sectors, in any order; changes of the directory survive each on its own.
func (f *FS) Crash(pick func(n int) int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	nodes := f.nodes()
	f.crashDir(pick)
	for _, n := range nodes {
		n.crash(f, pick)
	}
	f.live = maps.Clone(f.durable)
	f.end()
}

// Kill ends the process and leaves the machine up: files that are open die and the lock is
// released, but nothing is lost and nothing becomes durable by it.
func (f *FS) Kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end()
}

func (f *FS) end() {
	f.epoch++
	f.locked = false
	f.hook = nil
}

// nodes are all files with a name, in the order of their creation.
func (f *FS) nodes() []*node {
	seen := map[*node]bool{}
	var all []*node
	for _, dir := range []map[string]*node{f.live, f.durable} {
		for _, n := range dir {
			if !seen[n] {
				seen[n] = true
				all = append(all, n)
			}
		}
	}
	slices.SortFunc(all, func(a, b *node) int { return cmp.Compare(a.id, b.id) })
	return all
}

func (f *FS) crashDir(pick func(n int) int) {
	if len(f.journal) == 0 {
		return
	}
	mode := pick(3)
	for _, op := range f.journal {
		if mode == 0 || mode == 1 && pick(2) == 0 {
			continue
		}
		if op.from != "" {
			delete(f.durable, op.from)
		}
		if op.node != nil {
			f.durable[op.to] = op.node
		}
	}
	f.journal = f.journal[:0]
}

// crash goes back to the durable contents and makes the changes again that pick keeps.
func (n *node) crash(f *FS, pick func(n int) int) {
	if !n.dirty {
		return
	}
	changes := n.changes
	n.changes = nil
	mode := pick(4)
	if mode == 3 {
		n.settle(f)
		return
	}
	n.rollback()
	switch mode {
	case 1: // a prefix, torn
		k := pick(len(changes) + 1)
		for _, c := range changes[:k] {
			n.apply(f, c)
		}
		if k < len(changes) && !changes[k].truncate {
			n.apply(f, changes[k].part(0, pick(changes[k].size+1)))
		}
	case 2: // any sectors
		for _, c := range changes {
			if c.truncate {
				if pick(2) == 1 {
					n.apply(f, c)
				}
				continue
			}
			for at := 0; at < c.size; {
				to := min(c.size, at+sectorBytes-int((c.off+int64(at))%sectorBytes))
				if pick(2) == 1 {
					n.apply(f, c.part(at, to))
				}
				at = to
			}
		}
	}
	n.settle(f)
}

// Clone returns a copy of everything, unsynced changes included, whose files are all closed,
// that is not locked and has no hook.
func (f *FS) Clone() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	to := map[*node]*node{}
	for _, n := range f.nodes() {
		to[n] = n.clone()
	}
	c := New()
	c.nextID, c.capacity = f.nextID, f.capacity
	for name, n := range f.live {
		c.live[name] = to[n]
	}
	for name, n := range f.durable {
		c.durable[name] = to[n]
	}
	for _, op := range f.journal {
		if op.node != nil {
			if to[op.node] == nil { // created and removed again
				to[op.node] = op.node.clone()
			}
			op.node = to[op.node]
		}
		c.journal = append(c.journal, op)
	}
	return c
}
