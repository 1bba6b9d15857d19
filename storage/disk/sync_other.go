//go:build !linux

package disk

import "os"

func syncContents(f *os.File) error { return f.Sync() }
