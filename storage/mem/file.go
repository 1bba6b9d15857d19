package mem

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/themis-bft/themis/storage"
)

const (
	pageBytes = 2 << 10
	// sparePagesMax bounds the pages that are kept to be used again.
	sparePagesMax = 64
)

var zeroPage [pageBytes]byte

// node is the contents of a file, whatever its name.
type node struct {
	id          int
	pages       []page
	size        int64
	dirty       bool // differs from the durable contents
	durableSize int64
	dirtyPages  []int
	changes     []change // from the durable contents to the present ones
}

// page is one piece of a file; nil is zeros.
type page struct {
	now, durable []byte // durable counts only while dirty
	dirty        bool
}

// change is a write, or a new size.
type change struct {
	off      int64 // of a truncation the new size
	size     int
	data     []byte // nil is zeros
	truncate bool
}

func (c change) part(from, to int) change {
	p := change{off: c.off + int64(from), size: to - from}
	if c.data != nil {
		p.data = c.data[from:to]
	}
	return p
}

// change makes a change and remembers it until the next sync.
func (n *node) change(f *FS, c change) {
	c.data = bytes.Clone(c.data)
	n.apply(f, c)
	n.changes = append(n.changes, c)
}

func (n *node) apply(f *FS, c change) {
	if !n.dirty {
		n.dirty, n.durableSize = true, n.size
	}
	if c.truncate {
		if c.off < n.size {
			n.write(f, change{off: c.off, size: int(n.size - c.off)})
		}
		n.size = c.off
		return
	}
	if c.size > 0 {
		n.write(f, c)
		n.size = max(n.size, c.off+int64(c.size))
	}
}

func (n *node) write(f *FS, c change) {
	last := int((c.off + int64(c.size) - 1) / pageBytes)
	if last >= len(n.pages) {
		n.pages = append(n.pages, make([]page, last+1-len(n.pages))...)
	}
	for at := 0; at < c.size; {
		i, in := int((c.off+int64(at))/pageBytes), int((c.off+int64(at))%pageBytes)
		to := min(c.size, at+pageBytes-in)
		src := zeroPage[:to-at]
		if c.data != nil {
			src = c.data[at:to]
		}
		n.writePage(f, i, in, src)
		at = to
	}
}

func (n *node) writePage(f *FS, i, in int, src []byte) {
	p := &n.pages[i]
	if p.now == nil && isZero(src) {
		return
	}
	if !p.dirty {
		p.dirty, p.durable = true, p.now
		n.dirtyPages = append(n.dirtyPages, i)
		p.now = f.newPage(p.durable)
	} else if p.now == nil {
		p.now = f.newPage(nil)
	}
	copy(p.now[in:], src)
}

// settle makes the present contents the durable ones.
func (n *node) settle(f *FS) {
	for _, i := range n.dirtyPages {
		p := &n.pages[i]
		if p.durable != nil && len(f.spare) < sparePagesMax {
			f.spare = append(f.spare, p.durable)
		}
		p.durable, p.dirty = nil, false
	}
	n.dirtyPages = n.dirtyPages[:0]
	n.changes = n.changes[:0]
	n.dirty = false
}

// rollback makes the durable contents the present ones.
func (n *node) rollback() {
	for _, i := range n.dirtyPages {
		p := &n.pages[i]
		p.now, p.durable, p.dirty = p.durable, nil, false
	}
	n.dirtyPages = n.dirtyPages[:0]
	n.size = n.durableSize
	n.dirty = false
}

func (n *node) clone() *node {
	c := *n
	c.pages = slices.Clone(n.pages)
	for i := range c.pages {
		c.pages[i].now = bytes.Clone(c.pages[i].now)
		c.pages[i].durable = bytes.Clone(c.pages[i].durable)
	}
	c.dirtyPages = slices.Clone(n.dirtyPages)
	c.changes = slices.Clone(n.changes) // their bytes are immutable
	return &c
}

func (f *FS) newPage(from []byte) []byte {
	var p []byte
	if k := len(f.spare); k > 0 {
		p, f.spare = f.spare[k-1], f.spare[:k-1]
		if from == nil {
			clear(p)
		}
	} else {
		p = make([]byte, pageBytes)
	}
	copy(p, from)
	return p
}

func isZero(b []byte) bool {
	for len(b) > pageBytes {
		if !bytes.Equal(b[:pageBytes], zeroPage[:]) {
			return false
		}
		b = b[pageBytes:]
	}
	return bytes.Equal(b, zeroPage[:len(b)])
}

// file is an open file.
type file struct {
	fs     *FS
	node   *node
	name   string
	epoch  int
	closed bool
}

var _ storage.File = (*file)(nil)

func (f *file) check() error {
	switch {
	case f.epoch != f.fs.epoch:
		return ErrCrashed
	case f.closed:
		return fmt.Errorf("mem: %s: %w", f.name, fs.ErrClosed)
	}
	return nil
}

// ReadAt is io.ReaderAt.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check(); err != nil {
		return 0, err
	}
	n := f.node
	if off < 0 {
		return 0, fmt.Errorf("mem: read %s at %d: %w", f.name, off, fs.ErrInvalid)
	}
	if off >= n.size {
		return 0, io.EOF
	}
	want := int(min(int64(len(p)), n.size-off))
	for at := 0; at < want; {
		i, in := int((off+int64(at))/pageBytes), int((off+int64(at))%pageBytes)
		to := min(want, at+pageBytes-in)
		if i < len(n.pages) && n.pages[i].now != nil {
			copy(p[at:to], n.pages[i].now[in:])
		} else {
			clear(p[at:to])
		}
		at = to
	}
	if want < len(p) {
		return want, io.EOF
	}
	return want, nil
}

// WriteAt writes p at off; the file grows as needed.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check(); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, fmt.Errorf("mem: write %s at %d: %w", f.name, off, fs.ErrInvalid)
	}
	if err := f.fs.begin(OpWrite, f.name); err != nil {
		return 0, err
	}
	if err := f.room(off + int64(len(p))); err != nil {
		return 0, err
	}
	c := change{off: off, size: len(p)}
	if !isZero(p) {
		c.data = p
	}
	f.node.change(f.fs, c)
	return len(p), nil
}

func (f *file) room(size int64) error {
	more := size - f.node.size
	if f.fs.capacity > 0 && more > 0 && f.fs.used()+more > f.fs.capacity {
		return fmt.Errorf("mem: %s to %d bytes: %w", f.name, size, storage.ErrNoSpace)
	}
	return nil
}

// Sync makes contents and size durable.
func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check(); err != nil {
		return err
	}
	if err := f.fs.begin(OpSync, f.name); err != nil {
		return err
	}
	f.node.settle(f.fs)
	return nil
}

// Size is the present size.
func (f *file) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.node.size, f.check()
}

// Truncate changes the size.
func (f *file) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check(); err != nil {
		return err
	}
	if size < 0 {
		return fmt.Errorf("mem: truncate %s to %d: %w", f.name, size, fs.ErrInvalid)
	}
	if err := f.fs.begin(OpTruncate, f.name); err != nil {
		return err
	}
	if err := f.room(size); err != nil {
		return err
	}
	f.node.change(f.fs, change{off: size, truncate: true})
	return nil
}

// Close ends the use of the file.
func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check(); err != nil {
		return err
	}
	f.closed = true
	return nil
}
