package vectors

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write docs/vectors anew; a changed byte is a new version of the wire")

const folder = "../../docs/vectors"

// file is one file of vectors.
type file struct {
	About   string    `json:"about"`
	Vectors []vector  `json:"vectors,omitempty"` // value ⇄ bytes
	Digests []digest  `json:"digests,omitempty"`
	Signed  []signed  `json:"signed,omitempty"`
	Refused []refused `json:"refused,omitempty"` // byte strings that decode to nothing
	Checked []checked `json:"checked,omitempty"` // messages that decode, and whether they are accepted

	Verified []verified `json:"verified,omitempty"` // signatures, and whether they are accepted

	Extra object `json:"extra,omitempty"`
}

// vector is a value and its bytes.
type vector struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Value object `json:"value"`
	Hex   string `json:"hex"`
}

// digest is H(tag, bytes).
type digest struct {
	Name   string `json:"name"`
	Tag    string `json:"tag"`
	Bytes  string `json:"bytes"`
	Digest string `json:"digest"`
}

// signed is tag ∥ body under an Ed25519 key that is made of its seed.
type signed struct {
	Name      string `json:"name"`
	Kind      uint8  `json:"kind"`
	Sender    string `json:"sender"`
	Protocol  string `json:"protocol"`
	Tag       string `json:"tag"`
	Body      string `json:"body"`
	Seed      string `json:"seed"`
	Public    string `json:"public"`
	Signature string `json:"signature"`
}

// refused is a byte string that is no encoding of anything.
type refused struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Hex  string `json:"hex"`
}

// checked is a message from a sender and the reason for which it is refused, "" if it is not.
type checked struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	From   uint16 `json:"from"`
	Hex    string `json:"hex"`
	Refuse string `json:"refuse"`
}

// add decodes b and appends it as a vector.
func (f *file) add(t *testing.T, w *world, name, kind string, b []byte) {
	t.Helper()
	d, err := decoders[kind](w, b)
	if err != nil {
		t.Fatalf("%s %q does not decode: %v", kind, name, err)
	}
	f.Vectors = append(f.Vectors, vector{name, kind, d.value, repeats(b)})
}

func (f *file) refuse(name, kind string, b []byte) {
	f.Refused = append(f.Refused, refused{name, kind, squeeze(b)})
}

// repeats is b in hexadecimal with (D*N) for N times the digest D of an empty page of the store.
func repeats(b []byte) string {
	one := emptyPage.Hex()
	text := hx(b)
	for n := len(text) / len(one); n >= 4; n-- {
		text = strings.ReplaceAll(text, strings.Repeat(one, n), fmt.Sprintf("(%s*%d)", one, n))
	}
	return text
}

// squeeze is b in hexadecimal with (00*N) for long runs of zeros: limits are large.
func squeeze(b []byte) string {
	var out strings.Builder
	for len(b) > 0 {
		n := len(b) - len(bytes.TrimLeft(b, "\x00"))
		if n > 256 {
			fmt.Fprintf(&out, "(00*%d)", n)
			b = b[n:]
			continue
		}
		n++
		n = min(n, len(b))
		out.WriteString(hx(b[:n]))
		b = b[n:]
	}
	return out.String()
}

// files are all files, made from the code.
func files(t *testing.T, w *world) map[string]*file {
	return map[string]*file{
		"keys.json": keysFile(t, w), "frames.json": framesFile(t, w), "requests.json": requestsFile(t, w),
		"pbft.json": pbftFile(t, w), "kv.json": kvFile(t, w), "state.json": stateFile(t, w),
		"signatures.json": signaturesFile(t),
	}
}

// TestFilesAreWhatTheCodeMakes: encode(value) is what stands in the files, byte for byte.
func TestFilesAreWhatTheCodeMakes(t *testing.T) {
	for name, f := range files(t, newWorld(t)) {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", " ")
		if err := e.Encode(f); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(folder, name)
		if *rewrite {
			if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(have, b.Bytes()) {
			t.Errorf("%s differs from what the code makes now; run with -rewrite, read the diff, and see docs/wire.md, \"Versions\"\n%s",
				name, firstDifference(have, b.Bytes()))
		}
	}
}

func firstDifference(have, want []byte) string {
	h, w := bytes.Split(have, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range min(len(h), len(w)) {
		if !bytes.Equal(h[i], w[i]) {
			return "stands there: " + string(h[i]) + "\nthe code says: " + string(w[i])
		}
	}
	return "one is the beginning of the other"
}

func read(t *testing.T, name string) *file {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	f := &file{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(f); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return f
}

// run is how the files write what is repeated: (00*65536).
var run = regexp.MustCompile(`\(([0-9a-f]+)\*(\d+)\)`)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	s = run.ReplaceAllStringFunc(s, func(all string) string {
		parts := run.FindStringSubmatch(all)
		n, _ := strconv.Atoi(parts[2])
		return strings.Repeat(parts[1], n)
	})
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// normal is a value as it is after a trip through JSON.
func normal(t *testing.T, v object) object {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var out object
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestVectors reads the files and nothing else: every hex decodes to its value and encodes to
// itself, no prefix of it and nothing longer decodes, and what must be refused is.
func TestVectors(t *testing.T) {
	w := newWorld(t)
	names, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil || len(names) != 7 {
		t.Fatalf("%d files of vectors: %v", len(names), err)
	}
	seen := map[string]bool{}
	for _, path := range names {
		name := filepath.Base(path)
		f := read(t, name)
		for _, v := range f.Vectors {
			seen[v.Type] = true
			checkVector(t, w, name, v)
		}
		for _, r := range f.Refused {
			if _, err := decoders[r.Type](w, unhex(t, r.Hex)); err == nil {
				t.Errorf("%s: %s %q decodes", name, r.Type, r.Name)
			}
		}
	}
	for kind := range decoders {
		if !seen[kind] {
			t.Errorf("there is no vector of type %s", kind)
		}
	}
}

func checkVector(t *testing.T, w *world, name string, v vector) {
	t.Helper()
	decode, known := decoders[v.Type]
	if !known {
		t.Fatalf("%s: %q has the unknown type %s", name, v.Name, v.Type)
	}
	b := unhex(t, v.Hex)
	d, err := decode(w, b)
	switch {
	case err != nil:
		t.Errorf("%s: %s %q: %v", name, v.Type, v.Name, err)
	case !bytes.Equal(d.again, b):
		t.Errorf("%s: %s %q is encoded as %x", name, v.Type, v.Name, d.again)
	case !reflect.DeepEqual(normal(t, d.value), v.Value):
		t.Errorf("%s: %s %q decodes to %v, not to %v", name, v.Type, v.Name, d.value, v.Value)
	}
	if _, err := decode(w, append(bytes.Clone(b), 0)); err == nil {
		t.Errorf("%s: %s %q decodes with a trailing byte", name, v.Type, v.Name)
	}
	for i := range b {
		if len(b) < 2000 || i%97 == 0 {
			if _, err := decode(w, b[:i:i]); err == nil {
				t.Errorf("%s: %s %q decodes when cut to %d of %d bytes", name, v.Type, v.Name, i, len(b))
				return
			}
		}
	}
}
