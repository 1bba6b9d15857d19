package wal_test

import (
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/storage/storagetest"
	"github.com/themis-bft/themis/storage/wal"
)

var owner = storage.Owner{Cluster: bft.ClusterID{1, 2}, Epoch: 3, Replica: 2, Key: bft.Digest{9}}

func subject(o wal.Options) storagetest.Subject {
	return storagetest.Subject{
		Init: func(fs storage.FS) error { return wal.Init(fs, owner, o) },
		Open: func(fs storage.FS) (storage.Log, error) {
			l, err := wal.Open(fs, owner, o)
			if err != nil {
				return nil, err
			}
			return l, nil
		},
	}
}

func TestConformance(t *testing.T) {
	storagetest.Run(t, subject(wal.Options{SegmentBytes: 8 << 10}))
}

func TestCrash(t *testing.T) {
	storagetest.RunCrash(t, subject(wal.Options{SegmentBytes: 4 << 10}))
}

func TestFlips(t *testing.T) {
	storagetest.RunFlips(t, subject(wal.Options{SegmentBytes: 4 << 10}))
}
