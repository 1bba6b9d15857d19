package catchup

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// Manifest is the list of what a checkpoint consists of. Its canonical encoding is what
// CHECKPOINT signs (ManifestDigest), so that whoever holds a certified digest can check every
// byte of the state: the agreed clock, the configuration, the pages of the application and the
// pages of the session table.
type Manifest struct {
	Seq        bft.SeqNum
	Time       bft.Time     // agreed time of slot Seq
	Membership bft.Digest   // wire.MembershipDigest of the configuration
	App        []bft.Digest // pages of the application
	Sessions   []bft.Digest // pages of the session table
}

// manifestVersion is the first byte of an encoded manifest; a change of the layout of the
// manifest or of the session pages raises it.
const manifestVersion = 1

// manifestHeaderBytes is everything before the digests: version, seq, time, membership and
// the two counts.
const manifestHeaderBytes = 1 + 8 + 8 + 32 + 4 + 4

// pagesMax bounds each of the two lists, so that both together keep bft.StatePagesMax.
const pagesMax = bft.StatePagesMax / 2

const _ = uint(bft.StateItemBytesMax - manifestHeaderBytes - 32*bft.StatePagesMax) // a manifest is an item

// Pages is the number of pages of the checkpoint.
func (m *Manifest) Pages() int { return len(m.App) + len(m.Sessions) }

// Page is the digest of page i: first those of the application, then those of the sessions.
func (m *Manifest) Page(i int) bft.Digest {
	if i < len(m.App) {
		return m.App[i]
	}
	return m.Sessions[i-len(m.App)]
}

// AppendManifest appends the canonical encoding of m.
func AppendManifest(b []byte, m *Manifest) []byte {
	b = wire.AppendU8(b, manifestVersion)
	b = wire.AppendU64(b, uint64(m.Seq))
	b = wire.AppendU64(b, uint64(m.Time))
	b = append(b, m.Membership[:]...)
	b = wire.AppendU32(b, uint32(len(m.App)))
	b = wire.AppendU32(b, uint32(len(m.Sessions)))
	for _, list := range [][]bft.Digest{m.App, m.Sessions} {
		for i := range list {
			b = append(b, list[i][:]...)
		}
	}
	return b
}

// ParseManifest decodes the canonical encoding of a manifest. Nothing is allocated before the
// counts were held against the length, so a forged manifest costs its own bytes at most.
func ParseManifest(b []byte) (Manifest, error) {
	r := wire.NewReader(b)
	version := r.U8()
	m := Manifest{Seq: bft.SeqNum(r.U64()), Time: bft.Time(r.U64()), Membership: r.Array32()}
	apps, sessions := uint64(r.U32()), uint64(r.U32())
	switch {
	case r.Bad(), version != manifestVersion, m.Seq > bft.SeqMax, m.Time < 0,
		apps > pagesMax, sessions > pagesMax, uint64(r.Len()) != 32*(apps+sessions):
		return Manifest{}, wire.ErrMalformed
	}
	m.App, m.Sessions = readDigests(r, int(apps)), readDigests(r, int(sessions))
	return m, r.Close()
}

func readDigests(r *wire.Reader, n int) []bft.Digest {
	if n == 0 {
		return nil
	}
	list := make([]bft.Digest, n)
	for i := range list {
		list[i] = r.Array32()
	}
	return list
}

// ManifestDigest is the digest of a checkpoint: that of its encoded manifest.
func ManifestDigest(manifest []byte) bft.Digest { return wire.DigestOf("checkpoint", manifest) }

// PageDigest is the digest of a page, of the application and of the sessions alike (the same
// as app.PageDigest).
func PageDigest(page []byte) bft.Digest { return wire.DigestOf("page", page) }
