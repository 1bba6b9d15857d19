package disk

import (
	"os"
	"syscall"
)

// syncContents spares the write of the inode when only contents changed, as they do in
// segments that are overwritten in place.
func syncContents(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
