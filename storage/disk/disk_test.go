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
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
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
