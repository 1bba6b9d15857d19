package wire

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/alloctest"
	"pgregory.net/rapid"
)

func request(session, first, done uint64, ops ...string) Request {
	r := Request{Client: bft.ClientID{1, 2}, Session: session, First: first, Done: done, Answer: bft.SetOf(0, 2), Sig: []byte("signature")}
	for _, op := range ops {
		r.Ops = append(r.Ops, []byte(op))
	}
	return r
}

func open() Request {
	r := request(0, 99, 0, "")
	r.Flags = FlagOpen
	return r
}

// TestRequestForm: what is no request of a correct client does not decode.
func TestRequestForm(t *testing.T) {
	many := make([]string, bft.RequestOpsMax+1)
	opened, flagged := open(), request(1, 0, 0, "a")
	opened.Session = 3
	flagged.Flags = 128
	for _, test := range []struct {
		name string
		r    Request
		good bool
	}{
		{"one operation", request(1, 0, 0, "a"), true},
		{"empty operation", request(1, 0, 0, ""), true},
		{"open", open(), true},
		{"bundle", request(1, 5, 2, "a", "b"), true},
		{"last number of the window", request(1, 255, 0, "a"), true},
		{"number beyond the window", request(1, 256, 0, "a"), false},
		{"bundle across the end of the window", request(1, 255, 0, "a", "b"), false},
		{"no operation", request(1, 0, 0), false},
		{"too many operations", request(1, 0, 0, many...), false},
		{"done above the number", request(1, 4, 5, "a"), false},
		{"number that wraps", request(1, 1<<62, 1<<62, "a"), false},
		{"session 0 without OPEN", request(0, 0, 0, "a"), false},
		{"OPEN in a session", opened, false},
		{"unknown flag", flagged, false},
		{"operation too large", request(1, 0, 0, string(make([]byte, bft.OpBytesMax+1))), false},
	} {
		if _, err := DecodeRequest(test.r.Append(nil)); (err == nil) != test.good {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestCountIsBounded: a count that cannot be followed by as many items fails before the caller
// allocates for it (reliability F1).
func TestCountIsBounded(t *testing.T) {
	r := NewReader([]byte{200, 0, 1, 2, 3})
	if n := r.Count(1000, 4); n != 0 || !r.Bad() {
		t.Fatalf("count %d of items of 4 bytes in 3 bytes", n)
	}
}

// TestBody: time, order and authenticators are under the digest; the null batch has none.
func TestBody(t *testing.T) {
	a, b := request(1, 0, 0, "a"), request(1, 1, 0, "b")
	raw := [][]byte{a.Append(nil), b.Append(nil)}
	body := AppendBody(nil, 7, raw)
	at, reqs, err := DecodeBody(body)
	if err != nil || at != 7 || len(reqs) != 2 || !bytes.Equal(reqs[1].Raw, raw[1]) {
		t.Fatalf("time %d, %d requests, %v", at, len(reqs), err)
	}
	other := a
	other.Sig = []byte("Signature")
	seen := map[bft.Digest]bool{BodyDigest(nil): true, BodyDigest(body): true}
	for _, c := range [][]byte{
		AppendBody(nil, 8, raw), AppendBody(nil, 7, [][]byte{raw[1], raw[0]}), AppendBody(nil, 7, raw[:1]),
		AppendBody(nil, 7, [][]byte{other.Append(nil), raw[1]}),
	} {
		if seen[BodyDigest(c)] {
			t.Errorf("two batches have digest %s", BodyDigest(c))
		}
		seen[BodyDigest(c)] = true
	}
	if !BodyDigest(nil).IsNull() {
		t.Error("the null batch has a digest")
	}
}

// TestRoundTrips: what is encoded decodes to the same bytes; no prefix and no longer string does.
func TestRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		done := rapid.Uint64Range(0, 1<<40).Draw(t, "done")
		ops := rapid.SliceOfN(rapid.StringN(0, 40, -1), 1, 5).Draw(t, "ops")
		r := request(rapid.Uint64Range(1, 1<<50).Draw(t, "session"), done+rapid.Uint64Range(0, 200).Draw(t, "ahead"), done, ops...)
		r.Answer = bft.ReplicaSet(rapid.Uint64().Draw(t, "answer"))
		exact(t, r.Append(nil), func(b []byte) ([]byte, error) { q, err := DecodeRequest(b); return q.Append(nil), err })
		body := AppendBody(nil, bft.Time(rapid.Int64Range(0, 1<<62).Draw(t, "time")), [][]byte{r.Append(nil), r.Append(nil)})
		exact(t, body, func(b []byte) ([]byte, error) {
			if len(b) == 0 {
				return nil, ErrMalformed // the null batch is another value
			}
			at, reqs, err := DecodeBody(b)
			raw := make([][]byte, len(reqs))
			for i := range reqs {
				raw[i] = reqs[i].Raw
			}
			return AppendBody(nil, at, raw), err
		})
		y := Reply{Session: 3, Number: rapid.Uint64().Draw(t, "number"), View: 5, Status: StatusDropped, Result: []byte(ops[0])}
		exact(t, y.Append(nil), func(b []byte) ([]byte, error) { q, err := DecodeReply(b); return q.Append(nil), err })
		h := Hello{Version: 1, Epoch: done, Protocol: "pbft"}
		exact(t, AppendHello(nil, h), func(b []byte) ([]byte, error) { q, err := DecodeHello(b); return AppendHello(nil, q), err })
		f := StateFragment{Want: StateWant{Seq: 9, Item: 2, Offset: 4}, Total: 100, Bytes: []byte(ops[0])}
		exact(t, f.Append(nil), func(b []byte) ([]byte, error) { q, err := DecodeStateFragment(b); return q.Append(nil), err })
	})
}

func exact(t *rapid.T, b []byte, again func([]byte) ([]byte, error)) {
	if got, err := again(b); err != nil || !bytes.Equal(got, b) {
		t.Fatalf("%x became %x: %v", b, got, err)
	}
	for i := range b {
		if _, err := again(b[:i]); err == nil {
			t.Fatalf("%d of %d bytes decode: %x", i, len(b), b)
		}
	}
	if _, err := again(append(bytes.Clone(b), 0)); err == nil {
		t.Fatalf("a trailing byte decodes: %x", b)
	}
}

// TestTagsAreDistinct: kinds, senders, clusters, epochs and protocols never share a tag, nor is
// one tag the beginning of another.
// TestDigestsAreDistinct: the digest of one thing is never one of another with the same bytes, and
// what is hashed under a tag says so.
func TestDigestsAreDistinct(t *testing.T) {
	b := []byte("the same bytes")
	seen := map[bft.Digest]string{sha256.Sum256(b): "the bytes alone"}
	for _, tag := range []string{"", "batch", "request", "membership", "seed", "reques"} {
		d := DigestOf(tag, b)
		if other, dup := seen[d]; dup {
			t.Errorf("%q and %q have one digest", tag, other)
		}
		seen[d] = tag
	}
	if DigestOf("a", []byte("bc")) == DigestOf("ab", []byte("c")) {
		t.Error("the end of the tag is not marked")
	}
}

func TestTagsAreDistinct(t *testing.T) {
	var tags [][]byte
	for _, p := range []string{"client", "pbft", "pbf"} {
		for epoch := range uint64(2) {
			for k := range Kind(3) {
				d := Domain{Protocol: p, Cluster: bft.ClusterID{byte(epoch)}, Epoch: epoch}
				tags = append(tags, d.AppendReplicaTag(nil, k, 1), d.AppendReplicaTag(nil, k, 256), d.AppendTag(nil, k, make([]byte, 32)))
			}
		}
	}
	for i, a := range tags {
		for j, b := range tags {
			if i != j && bytes.HasPrefix(a, b) {
				t.Fatalf("%x begins with %x", a, b)
			}
		}
	}
}

// FuzzRequest: any bytes are rejected, or are the canonical encoding of what they decode to.
func FuzzRequest(f *testing.F) {
	a, o := request(1, 2, 1, "a", "bc"), open()
	f.Add(a.Append(nil))
	f.Add(o.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		alloctest.Reader(t, len(b), bft.RequestBytesMax, func() { DecodeRequest(b) })
		if q, err := DecodeRequest(b); err == nil && !bytes.Equal(q.Append(nil), b) {
			t.Fatalf("%x became %x", b, q.Append(nil))
		}
	})
}

// FuzzBody: the same for batches.
func FuzzBody(f *testing.F) {
	a := request(1, 2, 1, "a", "bc")
	f.Add(AppendBody(nil, 5, [][]byte{a.Append(nil)}))
	f.Add(AppendU32(AppendU64(nil, 5), bft.BatchRequestsMax)) // says much and brings nothing
	f.Fuzz(func(t *testing.T, b []byte) {
		alloctest.Reader(t, len(b), bft.BatchBytesMax, func() { DecodeBody(b) })
		at, reqs, err := DecodeBody(b)
		if err != nil || len(b) == 0 {
			return
		}
		raw := make([][]byte, len(reqs))
		for i := range reqs {
			raw[i] = reqs[i].Raw
		}
		if again := AppendBody(nil, at, raw); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

// FuzzFrames: the small frames of the host.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{1, 2, 3})
	f.Add(AppendHello(nil, Hello{Version: 1, Protocol: "pbft"}))
	reply := Reply{Session: 3, Number: 4, View: 5, Result: []byte("result")}
	f.Add(reply.Append(nil))
	f.Add(StateWant{Seq: 8, Item: 1, Offset: 9}.Append(nil))
	fragment := StateFragment{Want: StateWant{Seq: 8}, Total: 3, Bytes: []byte("abc")}
	f.Add(fragment.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		alloctest.Reader(t, len(b), bft.ClientFrameBytesMax, func() {
			DecodeHello(b)
			DecodeReply(b)
			DecodeStateWant(b)
			DecodeStateFragment(b)
		})
		if h, err := DecodeHello(b); err == nil && !bytes.Equal(AppendHello(nil, h), b) {
			t.Fatal("hello")
		}
		if r, err := DecodeReply(b); err == nil && !bytes.Equal(r.Append(nil), b) {
			t.Fatal("reply")
		}
		if w, err := DecodeStateWant(b); err == nil && !bytes.Equal(w.Append(nil), b) {
			t.Fatal("state want")
		}
		if s, err := DecodeStateFragment(b); err == nil && !bytes.Equal(s.Append(nil), b) {
			t.Fatal("state item")
		}
	})
}
