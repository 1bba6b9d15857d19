package disk

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/storage/storagetest"
)

func TestFS(t *testing.T) {
	storagetest.RunFS(t, func(t *testing.T) storage.FS {
		f, err := Open(filepath.Join(t.TempDir(), "new", "dir"))
		if err != nil {
			t.Fatal(err)
		}
		return f
	})
}

func TestNoSpaceIsRecognised(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE} {
		err := mapped(&os.PathError{Op: "write", Path: "x", Err: errno})
		if !errors.Is(err, storage.ErrNoSpace) || !errors.Is(err, errno) {
			t.Errorf("%v became %v", errno, err)
		}
	}
	if err := mapped(syscall.EIO); errors.Is(err, storage.ErrNoSpace) {
		t.Errorf("EIO became %v", err)
	}
}

func TestPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	file, err := f.Create("a")
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "a"): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %v, want %v", filepath.Base(path), got, want)
		}
	}
}

func TestLockNameIsReserved(t *testing.T) {
	f, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Create(lockName); err == nil {
		t.Fatalf("a file may be called %q", lockName)
	}
}

// TestNoDescriptor: a process that may open no more files is told so, in a way that lets it go on.
func TestNoDescriptor(t *testing.T) {
	f, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	held, err := f.Create("held")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	none := before
	none.Cur = 3
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	_, created := f.Create("a")
	_, opened := f.Open("held")
	_, listed := f.List()
	synced := f.SyncDir()
	_, written := held.WriteAt([]byte("x"), 0)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"Create": created, "Open": opened, "List": listed, "SyncDir": synced} {
		if !errors.Is(err, storage.ErrNoSpace) || !errors.Is(err, syscall.EMFILE) {
			t.Errorf("%s without a descriptor: %v", what, err)
		}
	}
	if written != nil {
		t.Errorf("writing to a file that is open: %v", written)
	}
	if g, err := f.Create("a"); err != nil {
		t.Errorf("with descriptors again: %v", err)
	} else {
		g.Close()
	}
}
