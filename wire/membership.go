package wire

import "github.com/themis-bft/themis/bft"

// AppendMembership appends the canonical encoding of m, of which MembershipDigest is the hash.
func AppendMembership(b []byte, m *bft.Membership) []byte {
	b = append(b, m.Cluster[:]...)
	b = AppendU64(b, m.Epoch)
	for _, s := range []string{m.Protocol, m.App, m.Scheme} {
		b = AppendBytes(b, []byte(s))
	}
	b = AppendU16(b, uint16(m.F))
	b = AppendU16(b, uint16(len(m.Replicas)))
	for _, r := range m.Replicas {
		b = AppendBytes(b, r.Key)
	}
	b = AppendU32(b, uint32(len(m.Clients)))
	for _, c := range m.Clients {
		b = append(b, c.ID[:]...)
		b = AppendBytes(b, c.Key)
	}
	b = AppendBool(b, m.Open)
	for _, v := range []uint64{
		uint64(m.CheckpointEvery), uint64(m.Window), uint64(m.InFlight), uint64(m.BatchCount),
		uint64(m.BatchBytes), uint64(m.Sessions), uint64(m.TimeSkew),
	} {
		b = AppendU64(b, v)
	}
	return b
}

// MembershipDigest names a configuration; checkpoints cover it.
func MembershipDigest(m *bft.Membership) bft.Digest {
	return DigestOf("membership", AppendMembership(nil, m))
}
