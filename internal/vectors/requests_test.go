package vectors

import (
	"bytes"
	"slices"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/wire"
)

// framesFile holds the frames around payloads and the small payloads of the host.
func framesFile(t *testing.T, w *world) *file {
	f := &file{About: "Frames (4-byte length of kind and payload, kind, payload) and the host's small payloads. frame_of_client may have 69,696 bytes of kind and payload, frame_of_replica 8,388,608."}
	hello := wire.Hello{Version: wire.Version, Cluster: w.m.Cluster, Epoch: w.m.Epoch, Protocol: w.m.Protocol}
	h := wire.AppendHello(nil, hello)
	f.add(t, w, "the first frame of both ends of every link", "frame_of_client", wire.AppendFrame(nil, wire.KindHello, h))
	f.add(t, w, "the same between replicas", "frame_of_replica", wire.AppendFrame(nil, wire.KindHello, h))
	f.add(t, w, "its payload", "hello", h)
	r := wire.Reply{Session: 1, Number: 2, View: 5, Status: wire.StatusOK, Result: []byte{1, 2, 0, 0, 0, 'v', '1'}}
	f.add(t, w, "a result", "reply", r.Append(nil))
	f.add(t, w, "a frame with it", "frame_of_replica", wire.AppendFrame(nil, wire.KindReply, r.Append(nil)))
	opened := wire.Reply{Number: 1<<64 - 7, Status: wire.StatusOK, Result: wire.AppendU64(nil, 1)}
	f.add(t, w, "the answer to an OPEN: session 0, the nonce, session 1 as result", "reply", opened.Append(nil))
	for s, name := range []string{"", "closed", "dropped", "outside the window", "refused"} {
		if s > 0 {
			e := wire.Reply{Session: 9, Number: 4, View: bft.ViewMax, Status: wire.Status(s)}
			f.add(t, w, name, "reply", e.Append(nil))
		}
	}
	d := wire.BodyDigest(w.body())
	f.add(t, w, "wants the batch of a digest", "fetch", d[:])
	f.add(t, w, "wants the manifest of slot 4", "state_want", wire.StateWant{Seq: 4, Item: wire.Manifest}.Append(nil))
	f.add(t, w, "wants page 2 from byte 65,536 on", "state_want", wire.StateWant{Seq: 4, Item: 2, Offset: 65536}.Append(nil))
	part := wire.StateFragment{Want: wire.StateWant{Seq: 4, Item: 2, Offset: 3}, Total: 5, Bytes: []byte{7, 8}}
	f.add(t, w, "the last two of five bytes", "state_item", part.Append(nil))
	none := wire.StateFragment{Want: wire.StateWant{Seq: 4, Item: wire.Manifest}}
	f.add(t, w, "not held here", "state_item", none.Append(nil))
	refuseFrames(f, h, r.Append(nil), part)
	return f
}

func refuseFrames(f *file, hello, reply []byte, part wire.StateFragment) {
	f.refuse("length 0", "frame_of_client", []byte{0, 0, 0, 0, 1})
	f.refuse("a header alone", "frame_of_client", []byte{2, 0, 0, 0, 1})
	f.refuse("length 2^32-1", "frame_of_replica", []byte{255, 255, 255, 255, 4, 0})
	f.refuse("one byte over the limit of a client", "frame_of_client", wire.AppendFrame(nil, 2, make([]byte, bft.ClientFrameBytesMax)))
	f.refuse("two frames where one belongs", "frame_of_client", bytes.Repeat(wire.AppendFrame(nil, 2, nil), 2))
	f.refuse("the name of the protocol is longer than 32 bytes", "hello", wire.AppendHello(nil, wire.Hello{Version: 1, Protocol: string(bytes.Repeat([]byte{'p'}, 33))}))
	f.refuse("a trailing byte", "hello", append(slices.Clone(hello), 0))
	bad := slices.Clone(reply)
	bad[24] = 5
	f.refuse("status 5", "reply", bad)
	high := slices.Clone(reply)
	high[23] = 0x80
	f.refuse("a view above 2^62", "reply", high)
	long := wire.Reply{Result: make([]byte, bft.ResultBytesMax+1)}
	f.refuse("a result of 65,537 bytes", "reply", long.Append(nil))
	f.refuse("the null digest", "fetch", make([]byte, 32))
	f.refuse("31 bytes", "fetch", make([]byte, 31))
	part.Total = 4
	f.refuse("beyond its total", "state_item", part.Append(nil))
	part.Total = bft.StateItemBytesMax + 1
	f.refuse("an item of more than 16 MiB", "state_item", part.Append(nil))
	wide := wire.StateFragment{Total: bft.StateItemBytesMax, Bytes: make([]byte, bft.StateFragmentBytesMax+1)}
	f.refuse("a fragment of 65,537 bytes", "state_item", wide.Append(nil))
	part.Total = 5
	f.refuse("a length beyond the frame", "state_item", append(part.Append(nil)[:20], 3, 0, 0, 0, 1, 2))
}

// requestsFile holds requests, batches, and what a client signs.
func requestsFile(t *testing.T, w *world) *file {
	f := &file{About: "Requests with the byte string that the client signs (tag, then the request without its signature), and batches. Digests of whole requests and batches."}
	named := []struct {
		name string
		k    *keys.Key
		r    wire.Request
	}{
		{"an OPEN", w.listed, wire.Request{First: 1<<64 - 7, Answer: 0b1111, Flags: wire.FlagOpen, Ops: [][]byte{nil}}},
		{"one operation", w.listed, wire.Request{Session: 1, First: 1, Done: 1, Answer: 0b0111, Ops: [][]byte{[]byte("\x01\x01\x00\x00\x00k")}}},
		{"a bundle of three, one of them empty", w.listed, wire.Request{Session: 1, First: 258, Done: 5, Answer: 1 << 3, Ops: [][]byte{{1}, nil, {2, 3}}}},
		{"read-only, of a client that is not listed", w.unlisted, wire.Request{Session: 77, First: 5, Done: 2, Answer: 1, Flags: wire.FlagReadOnly, Ops: [][]byte{{0}}}},
	}
	var raw [][]byte
	for _, n := range named {
		r := w.request(n.k, n.r)
		raw = append(raw, r.Raw)
		f.add(t, w, n.name, "request", r.Raw)
		f.Digests = append(f.Digests, digestOf(n.name, "request", r.Raw))
		tag := wire.ClientDomain(w.m).AppendTag(nil, wire.KindRequest, r.Client[:])
		s := seed(listedSeed)
		if n.k == w.unlisted {
			s = seed(unlistedSeed)
		}
		f.Signed = append(f.Signed, signed{
			Name: n.name, Kind: uint8(wire.KindRequest), Sender: hx(r.Client[:]), Protocol: "client",
			Tag: hx(tag), Body: hx(r.AppendUnsigned(nil)), Seed: hx(s[:]), Public: hx(r.Client[:]), Signature: hx(r.Sig),
		})
	}
	body := wire.AppendBody(nil, 1_700_000_000_000_000_000, raw[:2])
	f.add(t, w, "two requests", "batch", body)
	f.Digests = append(f.Digests, digestOf("a batch of two requests", "batch", body))
	f.add(t, w, "one request", "batch", w.body())
	f.Digests = append(f.Digests, digestOf("a batch of one request", "batch", w.body()))
	w.refuseRequests(f, raw)
	return f
}

func (w *world) refuseRequests(f *file, raw [][]byte) {
	no := func(name string, r wire.Request) {
		b := w.request(w.listed, r).Raw
		f.refuse(name, "request", b)
	}
	one := [][]byte{{1}}
	no("no operation", wire.Request{Session: 1, First: 1, Done: 1})
	no("65 operations", wire.Request{Session: 1, First: 1, Done: 1, Ops: make([][]byte, 65)})
	no("an operation of 65,537 bytes", wire.Request{Session: 1, First: 1, Done: 1, Ops: [][]byte{make([]byte, bft.OpBytesMax+1)}})
	no("an unknown flag", wire.Request{Session: 1, First: 1, Done: 1, Flags: 4, Ops: one})
	no("an OPEN in a session", wire.Request{Session: 1, First: 1, Flags: wire.FlagOpen, Ops: one})
	no("an OPEN with done", wire.Request{First: 1, Done: 1, Flags: wire.FlagOpen, Ops: one})
	no("an OPEN of two operations", wire.Request{First: 1, Flags: wire.FlagOpen, Ops: [][]byte{nil, nil}})
	no("no session", wire.Request{First: 1, Done: 1, Ops: one})
	no("done above first", wire.Request{Session: 1, First: 1, Done: 2, Ops: one})
	no("beyond the window: first is done + 256", wire.Request{Session: 1, First: 257, Done: 1, Ops: one})
	no("a number of 2^62", wire.Request{Session: 1, First: 1 << 62, Done: 1 << 62, Ops: one})
	long := w.request(w.listed, wire.Request{Session: 1, First: 1, Done: 1, Ops: one})
	long.Sig = make([]byte, bft.SignatureBytesMax+1)
	f.refuse("a signature of 513 bytes", "request", long.Append(nil))
	f.refuse("a trailing byte", "request", append(slices.Clone(raw[1]), 0))
	counted := slices.Clone(raw[1])
	counted[65] = 2
	f.refuse("two operations announced, one there", "request", counted)
	f.refuse("no request", "batch", wire.AppendBody(nil, 1, nil))
	f.refuse("a time below zero", "batch", wire.AppendBody(nil, -1, raw[:1]))
	f.refuse("1,025 requests announced", "batch", append(wire.AppendU32(wire.AppendU64(nil, 1), 1025), make([]byte, 80000)...))
	f.refuse("2^31 requests announced", "batch", append(wire.AppendU32(wire.AppendU64(nil, 1), 1<<31), raw[0]...))
	f.refuse("a malformed request in it", "batch", wire.AppendBody(nil, 1, [][]byte{raw[0], counted}))
}
