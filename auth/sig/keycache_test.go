package sig

import (
	"crypto/ed25519"
	"encoding/binary"
	"testing"

	"github.com/themis-bft/themis/bft"
)

// TestKeysThatShareAPlace: two clients whose identifiers fall on one place of the key cache, and
// an identifier that is no key, verify each as if they were alone.
func TestKeysThatShareAPlace(t *testing.T) {
	v := &Verifier{open: true, keys: &keyCache{}}
	seen := map[uint64]ed25519.PrivateKey{}
	msg := []byte("message")
	for i := uint64(0); ; i++ {
		k := ed25519.NewKeyFromSeed(binary.LittleEndian.AppendUint64(make([]byte, 24), i))
		id := bft.ClientID(k.Public().(ed25519.PublicKey))
		place := binary.LittleEndian.Uint64(id[:]) % expandedMax
		other, shared := seen[place]
		seen[place] = k
		if !shared {
			continue
		}
		otherID := bft.ClientID(other.Public().(ed25519.PublicKey))
		for range 3 {
			if !v.VerifyClient(id, msg, ed25519.Sign(k, msg)) || !v.VerifyClient(otherID, msg, ed25519.Sign(other, msg)) {
				t.Fatal("a good signature does not verify")
			}
			if v.VerifyClient(id, msg, ed25519.Sign(other, msg)) || v.VerifyClient(otherID, msg, ed25519.Sign(k, msg)) {
				t.Fatal("one client's signature is taken for the other's")
			}
		}
		break
	}
	none := bft.ClientID{2} // y = 2 is no point of the curve
	for range 2 {
		if ok, _ := v.Admits(none); ok || v.VerifyClient(none, msg, make([]byte, 64)) {
			t.Fatal("no key, and admitted")
		}
	}
}
