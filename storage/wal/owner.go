package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/storage"
)

const (
	ownerName  = "owner"
	ownerDraft = "owner.new"
	ownerMagic = "themisow"
	ownerBytes = 8 + 4 + 16 + 8 + 2 + 32 + 4
)

func encodeOwner(o storage.Owner) []byte {
	b := make([]byte, 0, ownerBytes)
	b = append(b, ownerMagic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	b = append(b, o.Cluster[:]...)
	b = binary.LittleEndian.AppendUint64(b, o.Epoch)
	b = binary.LittleEndian.AppendUint16(b, uint16(o.Replica))
	b = append(b, o.Key[:]...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// ownerTag binds segments and records to their owner.
func ownerTag(o storage.Owner) uint32 {
	b := encodeOwner(o)
	return binary.LittleEndian.Uint32(b[len(b)-4:])
}

// writeOwner makes o the owner, durably and at one stroke: it is the last thing that Init does.
func writeOwner(f storage.FS, o storage.Owner) error {
	file, err := f.Create(ownerDraft)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(encodeOwner(o), 0)
	if err == nil {
		err = file.Sync()
	}
	if e := file.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = f.Rename(ownerDraft, ownerName)
	}
	if err == nil {
		err = f.SyncDir()
	}
	return err
}

// readOwner returns who the directory belongs to: storage.ErrEmpty if nobody,
// storage.ErrCorrupt if that cannot be read, storage.ErrOwner if it is of another version.
func readOwner(f storage.FS) (storage.Owner, error) {
	file, err := f.Open(ownerName)
	if errors.Is(err, fs.ErrNotExist) {
		return storage.Owner{}, storage.ErrEmpty
	}
	if err != nil {
		return storage.Owner{}, err
	}
	defer file.Close()
	b := make([]byte, ownerBytes+1)
	n, err := file.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return storage.Owner{}, err
	}
	b = b[:n]
	if n != ownerBytes || string(b[:8]) != ownerMagic ||
		crc32.Checksum(b[:ownerBytes-4], castagnoli) != binary.LittleEndian.Uint32(b[ownerBytes-4:]) {
		return storage.Owner{}, fmt.Errorf("wal: file %q: %w", ownerName, storage.ErrCorrupt)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != formatVersion {
		return storage.Owner{}, fmt.Errorf("wal: format version %d, not %d: %w", v, formatVersion, storage.ErrOwner)
	}
	var o storage.Owner
	copy(o.Cluster[:], b[12:])
	o.Epoch = binary.LittleEndian.Uint64(b[28:])
	o.Replica = bft.ReplicaID(binary.LittleEndian.Uint16(b[36:]))
	copy(o.Key[:], b[38:])
	return o, nil
}
