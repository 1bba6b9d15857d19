// Package storage is the contract of the durable log and of snapshots, over a small
// file-system interface that the simulator implements too. The implementations are
// storage/wal (the log) and storage/mem (a file system in memory that can crash);
// storagetest is the conformance suite.
package storage

import (
	"errors"

	"github.com/themis-bft/themis/bft"
)

// RecordKind says what a record holds.
type RecordKind uint8

// The kinds of records. Votes and bodies belong to a slot and go when a Cut covers it. Of the
// others only the newest counts: a Cut keeps it, however old it is.
const (
	RecordVote       RecordKind = 1 // opaque to the log; Seq is its slot
	RecordBody       RecordKind = 2 // Seq is the slot in which its digest was first accepted
	RecordView       RecordKind = 3 // view, whether active, and the own VIEW-CHANGE
	RecordNewView    RecordKind = 4 // the NEW-VIEW of the current view
	RecordCheckpoint RecordKind = 5 // proof of the last stable checkpoint, at Seq
	RecordKindMax               = RecordCheckpoint
)

// Latest reports whether only the newest record of kind k counts.
func (k RecordKind) Latest() bool { return k >= RecordView }

// Record is one entry of the log.
type Record struct {
	Kind RecordKind
	Seq  bft.SeqNum
	Data []byte
	Lazy bool // not on disk: the record may wait for another's sync
}

// The errors an owner of a log must tell apart. All others are input/output errors of the
// device, after which the process must end: what a failed sync left behind is unknown.
var (
	// ErrCorrupt: damage that is not a torn tail. The replica must not vote on this log.
	ErrCorrupt = errors.New("storage: log is damaged")
	// ErrOwner: the directory belongs to another replica, cluster or version.
	ErrOwner = errors.New("storage: directory belongs to another replica")
	// ErrLocked: another process uses the directory.
	ErrLocked = errors.New("storage: directory is in use")
	// ErrEmpty: nothing was ever initialised here. A replica without its log never votes.
	ErrEmpty = errors.New("storage: directory is not initialised")
	// ErrNoSpace: the device is full, or no more files can be open; nothing was damaged, and
	// it may be tried again.
	ErrNoSpace = errors.New("storage: no space left")
)

// Owner is who a directory belongs to. It is written at initialisation and compared at open.
type Owner struct {
	Cluster bft.ClusterID
	Epoch   uint64
	Replica bft.ReplicaID
	Key     bft.Digest // digest of the replica's public key
}

// Log is a durable sequence of records. All methods are called from one goroutine.
//
// Append copies the records into the log's buffer in order. Sync makes everything appended
// durable; after it returned nil a crash of process or machine loses none of it. Cut says that
// votes and bodies of slots ≤ below are no longer needed; the log may keep them longer.
// Replay calls f with every record that is durable, in order of appending, and may only be
// called before the first Append. Records that were cut may come too. Data passed to f is
// valid during the call only.
type Log interface {
	Append(recs ...Record) error
	Sync() error
	Cut(below bft.SeqNum) error
	Replay(f func(Record) error) error
	Bytes() int64 // size on disk
	Close() error
}

// File is an open file of FS. Offsets and sizes are in bytes.
type File interface {
	ReadAt(p []byte, off int64) (int, error) // io.ReaderAt
	WriteAt(p []byte, off int64) (int, error)
	Sync() error // contents and size are durable when it returns nil
	Size() (int64, error)
	Truncate(size int64) error
	Close() error
}

// FS is one flat directory. Names contain no separator. Creating, renaming and removing are
// durable only after SyncDir.
type FS interface {
	Open(name string) (File, error)   // must exist: error wraps io/fs.ErrNotExist
	Create(name string) (File, error) // must not exist, else it is truncated
	Rename(from, to string) error     // replaces to
	Remove(name string) error
	List() ([]string, error) // sorted
	SyncDir() error
	Lock() (release func(), err error) // ErrLocked if another holder lives
}
