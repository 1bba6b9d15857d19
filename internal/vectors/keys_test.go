package vectors

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/themis-bft/themis/auth/sig"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/wire"
)

// keysFile holds the cluster of all vectors: seeds, keys, identifiers, its membership, and one
// certificate with the key that a peer finds in it.
func keysFile(t *testing.T, w *world) *file {
	f := &file{About: "The cluster of all vectors: Ed25519 seeds, public keys (PKIX, DER), client identifiers, the membership, and a certificate with the key that stands in it."}
	show := func(k *keys.Key, b byte) object {
		s := seed(b)
		id := k.ClientID()
		return object{"seed": hx(s[:]), "pkix": hx(k.PublicDER()), "id": hx(id[:])}
	}
	var replicas []any
	for i, k := range w.replicas {
		replicas = append(replicas, show(k, replicaSeed+byte(i)))
	}
	f.Extra = object{
		"replicas": replicas, "listed_client": show(w.listed, listedSeed), "unlisted_client": show(w.unlisted, unlistedSeed),
		"membership": showMembership(w.m), "certificate_of_replica_0": certificate(t, w),
	}
	encoded := wire.AppendMembership(nil, w.m)
	f.Digests = []digest{digestOf("membership", "membership", encoded)}
	return f
}

// certificate is the one of the file: another library, or a later version of this one, may write
// another, of which the key alone counts. Without a file it is a new one.
func certificate(t *testing.T, w *world) any {
	if _, err := os.Stat(filepath.Join(folder, "keys.json")); err == nil {
		return read(t, "keys.json").Extra["certificate_of_replica_0"]
	}
	c, err := w.replicas[0].Certificate()
	if err != nil {
		t.Fatal(err)
	}
	return hx(c.Certificate[0])
}

func digestOf(name, tag string, b []byte) digest {
	return digest{name, tag, repeats(b), wire.DigestOf(tag, b).Hex()}
}

// TestCertificate: the key that a peer pins is found in the certificate of the file.
func TestCertificate(t *testing.T) {
	w := newWorld(t)
	text, _ := read(t, "keys.json").Extra["certificate_of_replica_0"].(string)
	c, err := x509.ParseCertificate(unhex(t, text))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(c.RawSubjectPublicKeyInfo, w.m.Replicas[0].Key) {
		t.Errorf("the certificate carries %x", c.RawSubjectPublicKeyInfo)
	}
}

// TestDigests recomputes every digest of the files.
func TestDigests(t *testing.T) {
	checked := map[string]bool{}
	for _, name := range []string{"keys.json", "requests.json", "state.json"} {
		for _, d := range read(t, name).Digests {
			checked[d.Tag] = true
			if got := wire.DigestOf(d.Tag, unhex(t, d.Bytes)).Hex(); got != d.Digest {
				t.Errorf("%s: %q is %s, not %s", name, d.Name, got, d.Digest)
			}
		}
	}
	for _, tag := range []string{"batch", "request", "membership", "page", "checkpoint", "seed"} {
		if !checked[tag] {
			t.Errorf("no digest with tag %q", tag)
		}
	}
}

// TestSigned verifies every signed byte string by two libraries and makes the tag again from its
// parts; no other kind, sender, epoch or protocol gives the same tag.
func TestSigned(t *testing.T) {
	w := newWorld(t)
	kinds := map[uint8]bool{}
	for _, name := range []string{"requests.json", "pbft.json"} {
		for _, s := range read(t, name).Signed {
			kinds[s.Kind] = true
			msg := append(unhex(t, s.Tag), unhex(t, s.Body)...)
			if !ed25519.Verify(unhex(t, s.Public), msg, unhex(t, s.Signature)) {
				t.Errorf("%s: %q does not verify", name, s.Name)
			}
			d := wire.Domain{Protocol: s.Protocol, Cluster: w.m.Cluster, Epoch: w.m.Epoch}
			if tag := d.AppendTag(nil, wire.Kind(s.Kind), unhex(t, s.Sender)); hx(tag) != s.Tag {
				t.Errorf("%s: %q has the tag %x", name, s.Name, tag)
			}
			if !verifies(t, w, s, msg) {
				t.Errorf("%s: the cluster does not accept %q", name, s.Name)
			}
			if verifies(t, w, s, append(bytes.Clone(msg), 0)) {
				t.Errorf("%s: the cluster accepts %q with a byte more", name, s.Name)
			}
		}
	}
	for _, k := range []uint8{2, 36, 37, 38} {
		if !kinds[k] {
			t.Errorf("no signed byte string of kind %d", k)
		}
	}
}

func verifies(t *testing.T, w *world, s signed, msg []byte) bool {
	t.Helper()
	sender, signature := unhex(t, s.Sender), unhex(t, s.Signature)
	if len(sender) == 2 {
		return w.verifier.VerifyReplica(bft.ReplicaID(sender[0]), msg, signature)
	}
	return w.verifier.VerifyClient(bft.ClientID(sender), msg, signature)
}

// TestIdentifiers: an Ed25519 client is its key.
func TestIdentifiers(t *testing.T) {
	w := newWorld(t)
	id, err := sig.ClientIDOf(w.listed.PublicDER())
	if err != nil || !bytes.HasSuffix(w.listed.PublicDER(), id[:]) {
		t.Errorf("%s, %v", id, err)
	}
}
