package catchup

import (
	"bytes"
	"slices"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/alloctest"
)

func FuzzManifest(f *testing.F) {
	f.Add(sample(8).manifest)
	f.Add(newCheckpoint(0).manifest)
	f.Fuzz(func(t *testing.T, b []byte) {
		alloctest.Reader(t, len(b), bft.StateItemBytesMax, func() { ParseManifest(b) })
		m, err := ParseManifest(b)
		if err != nil {
			return
		}
		if !bytes.Equal(AppendManifest(nil, &m), b) {
			t.Fatalf("%x is not canonical", b)
		}
	})
}

func TestManifestIsStrict(t *testing.T) {
	good := sample(8).manifest
	for name, b := range map[string][]byte{
		"empty": nil, "cut": good[:len(good)-1], "longer": append(slices.Clone(good), 0),
		"version":  append([]byte{2}, good[1:]...),
		"counts":   append(append(slices.Clone(good[:49]), 255, 255, 255, 255), good[53:]...),
		"negative": append(append(slices.Clone(good[:16]), 0x80), good[17:]...),
	} {
		if _, err := ParseManifest(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
