package storagetest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"slices"
	"testing"

	"github.com/themis-bft/themis/storage"
)

// RunFS checks the contract of storage.FS. make returns an empty file system.
func RunFS(t *testing.T, make func(t *testing.T) storage.FS) {
	for name, run := range map[string]func(*testing.T, storage.FS){
		"missing": fsMissing, "contents": fsContents, "truncate": fsTruncate,
		"create empties": fsCreate, "rename": fsRename, "names": fsNames, "lock": fsLock,
	} {
		t.Run(name, func(t *testing.T) { run(t, make(t)) })
	}
}

func put(t *testing.T, f storage.FS, name, contents string) storage.File {
	t.Helper()
	file, err := f.Create(name)
	must(t, err)
	_, err = file.WriteAt([]byte(contents), 0)
	must(t, err)
	must(t, file.Sync())
	return file
}

func contents(t *testing.T, f storage.FS, name string) string {
	t.Helper()
	file, err := f.Open(name)
	must(t, err)
	size, err := file.Size()
	must(t, err)
	b := make([]byte, size+1)
	n, err := file.ReadAt(b, 0)
	if err != io.EOF || int64(n) != size {
		t.Fatalf("reading one byte more than the %d of %s: %d, %v; want all and io.EOF", size, name, n, err)
	}
	must(t, file.Close())
	return string(b[:n])
}

func fsMissing(t *testing.T, f storage.FS) {
	if _, err := f.Open("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of a missing file: %v, want fs.ErrNotExist", err)
	}
	if err := f.Remove("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Remove of a missing file: %v, want fs.ErrNotExist", err)
	}
	if err := f.Rename("none", "some"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Rename of a missing file: %v, want fs.ErrNotExist", err)
	}
	for _, name := range []string{"", "a/b", "../a"} {
		if _, err := f.Create(name); err == nil {
			t.Errorf("Create(%q) worked: a name is flat", name)
		}
	}
}

func fsContents(t *testing.T, f storage.FS) {
	file := put(t, f, "a", "hello")
	_, err := file.WriteAt([]byte("j"), 0)
	must(t, err)
	_, err = file.WriteAt([]byte("far"), 10000)
	must(t, err)
	want := "jello" + string(bytes.Repeat([]byte{0}, 9995)) + "far"
	must(t, file.Close())
	if got := contents(t, f, "a"); got != want {
		t.Fatalf("%d bytes, want %d with a hole of zeros", len(got), len(want))
	}
}

func fsTruncate(t *testing.T, f storage.FS) {
	file := put(t, f, "a", "hello world")
	must(t, file.Truncate(5))
	must(t, file.Truncate(8))
	must(t, file.Close())
	if got := contents(t, f, "a"); got != "hello\x00\x00\x00" {
		t.Fatalf("%q: what was cut off must not come back", got)
	}
}

func fsCreate(t *testing.T, f storage.FS) {
	must(t, put(t, f, "a", "hello").Close())
	must(t, put(t, f, "a", "hi").Close())
	if got := contents(t, f, "a"); got != "hi" {
		t.Fatalf("%q, want only the new contents", got)
	}
}

func fsRename(t *testing.T, f storage.FS) {
	must(t, put(t, f, "a", "new").Close())
	must(t, put(t, f, "b", "old").Close())
	must(t, f.Rename("a", "b"))
	must(t, f.SyncDir())
	if got := contents(t, f, "b"); got != "new" {
		t.Fatalf("%q, want the renamed file", got)
	}
	if _, err := f.Open("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the old name still opens: %v", err)
	}
}

func fsNames(t *testing.T, f storage.FS) {
	release, err := f.Lock() // the lock is no file of the directory
	must(t, err)
	defer release()
	for _, name := range []string{"c", "a", "b"} {
		must(t, put(t, f, name, name).Close())
	}
	must(t, f.Remove("b"))
	got, err := f.List()
	must(t, err)
	if !slices.Equal(got, []string{"a", "c"}) {
		t.Fatalf("List is %v, want a and c in order", got)
	}
}

func fsLock(t *testing.T, f storage.FS) {
	release, err := f.Lock()
	must(t, err)
	if _, err := f.Lock(); !errors.Is(err, storage.ErrLocked) {
		t.Fatalf("second Lock: %v, want ErrLocked", err)
	}
	release()
	release, err = f.Lock()
	must(t, err)
	release()
}
