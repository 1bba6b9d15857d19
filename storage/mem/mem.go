// Package mem is a storage.FS in memory that can crash: what was not synced is lost, kept, or
// torn, as the caller draws. The simulator and the tests use it; a deployed replica never does.
//
// An FS owns its files: every file has the contents that a Sync made durable and, over them,
// the writes since; the directory is the same with SyncDir. Pages that were never written, or
// only with zeros, take no memory, so that segments filled with zeros cost nothing. All methods
// are safe from any goroutine. Nothing here is random and no clock is read.
package mem

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/themis-bft/themis/storage"
)

// Op is one kind of operation that changes a file system or makes it durable.
type Op uint8

// The operations that OnOp sees and Count counts.
const (
	OpCreate Op = iota
	OpWrite
	OpTruncate
	OpSync
	OpRename
	OpRemove
	OpSyncDir
	opCount
)

var opNames = [opCount]string{"create", "write", "truncate", "sync", "rename", "remove", "syncdir"}

// String is the name of the operation.
func (o Op) String() string { return opNames[o] }

// ErrCrashed is returned by files that were open when the file system crashed.
var ErrCrashed = errors.New("mem: file was open at a crash")

// FS is a flat directory in memory. The zero value is not ready; New makes one.
type FS struct {
	mu       sync.Mutex
	live     map[string]*node // what processes see
	durable  map[string]*node // what a power cut leaves
	journal  []dirOp          // from durable to live
	epoch    int              // number of crashes; files of older epochs are dead
	locked   bool
	nextID   int
	capacity int64 // 0: unlimited
	hook     func(op Op, name string) error
	counts   [opCount]int
	spare    [][]byte // pages to use again
}

// dirOp is a change of the directory that was not synced yet. With node it enters to, and it
// always takes from away.
type dirOp struct {
	from, to string
	node     *node
}

// New returns an empty file system.
func New() *FS {
	return &FS{live: map[string]*node{}, durable: map[string]*node{}}
}

// OnOp calls hook before every operation; an error makes the operation fail without effect,
// nil as hook ends it. The hook must not call the file system. A hook that fails the k-th
// operation and all later ones is a process that died there.
func (f *FS) OnOp(hook func(op Op, name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

// SetCapacity makes the sum of all file sizes fail with storage.ErrNoSpace beyond n bytes;
// 0 is no limit. Overwriting in place never fails for want of space.
func (f *FS) SetCapacity(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.capacity = n
}

// Count is the number of operations of a kind that were attempted so far.
func (f *FS) Count(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[op]
}

// begin counts an operation and asks the hook.
func (f *FS) begin(op Op, name string) error {
	f.counts[op]++
	if f.hook == nil {
		return nil
	}
	if err := f.hook(op, name); err != nil {
		return fmt.Errorf("mem: %v %s: %w", op, name, err)
	}
	return nil
}

// Open opens an existing file.
func (f *FS) Open(name string) (storage.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.live[name]
	if n == nil {
		return nil, fmt.Errorf("mem: open %s: %w", name, fs.ErrNotExist)
	}
	return &file{fs: f, node: n, name: name, epoch: f.epoch}, nil
}

// Create makes a file, or empties the one there is.
func (f *FS) Create(name string) (storage.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if name == "" || strings.ContainsAny(name, `/\`) {
		return nil, fmt.Errorf("mem: create %q: %w", name, fs.ErrInvalid)
	}
	if err := f.begin(OpCreate, name); err != nil {
		return nil, err
	}
	n := f.live[name]
	if n == nil {
		f.nextID++
		n = &node{id: f.nextID}
		f.live[name] = n
		f.journal = append(f.journal, dirOp{to: name, node: n})
	} else {
		n.change(f, change{truncate: true})
	}
	return &file{fs: f, node: n, name: name, epoch: f.epoch}, nil
}

// Rename gives the file from the name to, replacing what was there.
func (f *FS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(OpRename, from); err != nil {
		return err
	}
	n := f.live[from]
	if n == nil {
		return fmt.Errorf("mem: rename %s: %w", from, fs.ErrNotExist)
	}
	if from == to {
		return nil
	}
	delete(f.live, from)
	f.live[to] = n
	f.journal = append(f.journal, dirOp{from: from, to: to, node: n})
	return nil
}

// Remove takes a name away; files open under it stay usable.
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(OpRemove, name); err != nil {
		return err
	}
	if f.live[name] == nil {
		return fmt.Errorf("mem: remove %s: %w", name, fs.ErrNotExist)
	}
	delete(f.live, name)
	f.journal = append(f.journal, dirOp{from: name})
	return nil
}

// List returns the names in ascending order.
func (f *FS) List() ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.live)), nil
}

// SyncDir makes all names as they are now durable.
func (f *FS) SyncDir() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(OpSyncDir, "."); err != nil {
		return err
	}
	if len(f.journal) > 0 {
		f.durable = maps.Clone(f.live)
		f.journal = f.journal[:0]
	}
	return nil
}

// Lock takes the directory until release, or until a crash.
func (f *FS) Lock() (release func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.locked {
		return nil, storage.ErrLocked
	}
	f.locked = true
	epoch := f.epoch
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.epoch == epoch {
			f.locked = false
		}
	}, nil
}

// used is the sum of all sizes.
func (f *FS) used() int64 {
	var sum int64
	for _, n := range f.live {
		sum += n.size
	}
	return sum
}
