package keys_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/themis-bft/themis/keys"
)

var schemes = []string{"ed25519", "ecdsa", "rsa"}

func generate(t *testing.T, scheme string) *keys.Key {
	t.Helper()
	k, err := keys.Generate(scheme)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSaveAndLoad(t *testing.T) {
	for _, scheme := range schemes {
		t.Run(scheme, func(t *testing.T) {
			k, path := generate(t, scheme), filepath.Join(t.TempDir(), "key.pem")
			if err := k.Save(path); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, error %v; want 0600", info.Mode(), err)
			}
			before, _ := os.ReadFile(path)
			if err := generate(t, scheme).Save(path); !errors.Is(err, fs.ErrExist) {
				t.Errorf("Save over a key returned %v, want fs.ErrExist", err)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the refused Save changed the file")
			}
			l, err := keys.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			if l.Scheme() != scheme || l.ClientID() != k.ClientID() || !bytes.Equal(l.PublicDER(), k.PublicDER()) {
				t.Errorf("loaded %v, saved %v", l, k)
			}
			id, err := keys.ClientIDOf(l.PublicDER())
			if err != nil || id != k.ClientID() {
				t.Errorf("ClientIDOf gives %v (%v), the key says %v", id, err, k.ClientID())
			}
			if s, err := keys.SchemeOf(l.PublicDER()); err != nil || s != scheme {
				t.Errorf("SchemeOf gives %q (%v)", s, err)
			}
		})
	}
}

// TestEd25519ClientIDIsTheKey keeps the rule by which a request verifies from its own bytes.
func TestEd25519ClientIDIsTheKey(t *testing.T) {
	k := generate(t, "ed25519")
	if id := k.ClientID(); !bytes.HasSuffix(k.PublicDER(), id[:]) {
		t.Errorf("identifier %x is not the end of %x", id, k.PublicDER())
	}
}

func TestLoadRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := generate(t, "ed25519").Save(path); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	pub := generate(t, "ecdsa").PublicDER()
	for name, text := range map[string][]byte{
		"empty":           nil,
		"no PEM":          []byte("hello"),
		"public key":      block("PUBLIC KEY", pub),
		"wrong content":   block("PRIVATE KEY", pub),
		"two keys":        append(bytes.Clone(good), good...),
		"trailing text":   append(bytes.Clone(good), "x"...),
		"too long":        append(bytes.Clone(good), bytes.Repeat([]byte("\n"), 1<<16)...),
		"X25519, no sign": block("PRIVATE KEY", x25519(t)),
	} {
		p := filepath.Join(t.TempDir(), "bad.pem")
		if err := os.WriteFile(p, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := keys.Load(p); !errors.Is(err, keys.ErrFile) {
			t.Errorf("%s: Load returned %v, want ErrFile", name, err)
		}
	}
	if _, err := keys.Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of no file returned %v", err)
	}
	if _, err := keys.Generate("dsa"); err == nil || !strings.Contains(err.Error(), "ed25519") {
		t.Errorf("Generate of an unknown scheme returned %v; it must name those there are", err)
	}
}

// x25519 is a PKCS #8 key that agrees but does not sign.
func x25519(t *testing.T) []byte {
	t.Helper()
	der := append([]byte{0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 0x22, 4, 0x20}, bytes.Repeat([]byte{7}, 32)...)
	if _, err := x509.ParsePKCS8PrivateKey(der); err != nil {
		t.Fatal(err)
	}
	return der
}

func TestPrintingGivesNothingAway(t *testing.T) {
	k := generate(t, "ed25519")
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(format, k); s != k.String() {
			t.Errorf("%s prints %q", format, s)
		}
	}
}
