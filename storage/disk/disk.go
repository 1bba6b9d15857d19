// Package disk is storage.FS on a real directory of the operating system: flat, private to its
// user (0700, files 0600), locked with flock, synced with fdatasync.
//
// An FS owns nothing but the path; the lock belongs to who took it and ends with the process.
// All methods are safe from any goroutine and block as long as the device does. It never
// retries a sync that failed: what such a sync left behind is unknown.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"syscall"

	"github.com/themis-bft/themis/storage"
)

// lockName is the file that carries the lock. It stays when the lock is released: a name
// that comes and goes could be locked twice.
const lockName = "lock"

type directory struct{ path string }

// Open returns the directory at path and makes it if it does not exist.
func Open(path string) (storage.FS, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return &directory{path: path}, nil
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("disk: %w", mapped(err))
	}
	if err := syncDirectory(filepath.Dir(filepath.Clean(path))); err != nil {
		return nil, err
	}
	return &directory{path: path}, nil
}

func (d *directory) join(name string) (string, error) {
	if name == "" || name == "." || name == ".." || name == lockName || name != filepath.Base(name) {
		return "", fmt.Errorf("disk: name %q: %w", name, fs.ErrInvalid)
	}
	return filepath.Join(d.path, name), nil
}

func (d *directory) open(name string, flag int) (storage.File, error) {
	p, err := d.join(name)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(p, flag, 0o600)
	if err != nil {
		return nil, fmt.Errorf("disk: %w", mapped(err))
	}
	return file{f}, nil
}

// Open opens an existing file.
func (d *directory) Open(name string) (storage.File, error) { return d.open(name, os.O_RDWR) }

// Create makes a file, or empties the one there is.
func (d *directory) Create(name string) (storage.File, error) {
	return d.open(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

// Rename gives the file from the name to.
func (d *directory) Rename(from, to string) error {
	a, err := d.join(from)
	if err != nil {
		return err
	}
	b, err := d.join(to)
	if err != nil {
		return err
	}
	return mapped(os.Rename(a, b))
}

// Remove takes a name away.
func (d *directory) Remove(name string) error {
	p, err := d.join(name)
	if err != nil {
		return err
	}
	return mapped(os.Remove(p))
}

// List returns the names of all regular files but the lock, in ascending order.
func (d *directory) List() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("disk: %w", mapped(err))
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && e.Name() != lockName {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names, nil
}

// SyncDir makes the names durable.
func (d *directory) SyncDir() error { return syncDirectory(d.path) }

func syncDirectory(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("disk: %w", mapped(err))
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("disk: %w", mapped(err))
	}
	return nil
}

// Lock takes the directory for this process. The lock ends with the process, however it ends.
func (d *directory) Lock() (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(d.path, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("disk: %w", mapped(err))
	}
	if err := uninterrupted(func() error {
		return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("disk: %s: %w", d.path, storage.ErrLocked)
		}
		return nil, fmt.Errorf("disk: lock %s: %w", d.path, err)
	}
	return func() { f.Close() }, nil
}

// file is an open file; what it does not override is os.File's.
type file struct{ *os.File }

// WriteAt writes p at off.
func (f file) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, mapped(err)
}

// Sync makes contents and size durable.
func (f file) Sync() error {
	if err := uninterrupted(func() error { return syncContents(f.File) }); err != nil {
		return fmt.Errorf("disk: sync %s: %w", f.Name(), mapped(err))
	}
	return nil
}

// Size is the present size.
func (f file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("disk: %w", err)
	}
	return info.Size(), nil
}

// Truncate changes the size.
func (f file) Truncate(size int64) error { return mapped(f.File.Truncate(size)) }

// mapped marks the errors that mean a full device, or that no more files can be open: only what
// begins by opening one fails with those, so nothing was done that could be damaged.
func mapped(err error) error {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: %w", storage.ErrNoSpace, err)
		}
	}
	return err
}

func uninterrupted(f func() error) error {
	for {
		if err := f(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
