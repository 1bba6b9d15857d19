package vectors

import (
	"errors"

	"github.com/themis-bft/themis/app/kv"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/catchup"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/wire"
)

// decoded is a value as files show it, and its encoding made anew from the decoded Go value.
type decoded struct {
	value object
	again []byte
}

// decoder parses one type of byte string.
type decoder func(w *world, b []byte) (decoded, error)

var errRefused = errors.New("refused")

// decoders are the types that stand in the files, but for digests and signed byte strings.
var decoders = map[string]decoder{
	"frame_of_client":  frameDecoder(bft.ClientFrameBytesMax),
	"frame_of_replica": frameDecoder(bft.PeerFrameBytesMax),
	"hello": func(_ *world, b []byte) (decoded, error) {
		h, err := wire.DecodeHello(b)
		return decoded{showHello(h), wire.AppendHello(nil, h)}, err
	},
	"request": func(_ *world, b []byte) (decoded, error) {
		r, err := wire.DecodeRequest(b)
		return decoded{showRequest(&r), r.Append(nil)}, err
	},
	"reply": func(_ *world, b []byte) (decoded, error) {
		r, err := wire.DecodeReply(b)
		return decoded{showReply(&r), r.Append(nil)}, err
	},
	"fetch": func(_ *world, b []byte) (decoded, error) {
		r := wire.NewReader(b)
		d := bft.Digest(r.Array32())
		if r.Close() != nil || d.IsNull() {
			return decoded{}, errRefused
		}
		return decoded{object{"digest": d.Hex()}, d[:]}, nil
	},
	"state_want": func(_ *world, b []byte) (decoded, error) {
		v, err := wire.DecodeStateWant(b)
		return decoded{showWant(v), v.Append(nil)}, err
	},
	"state_item": func(_ *world, b []byte) (decoded, error) {
		f, err := wire.DecodeStateFragment(b)
		return decoded{showFragment(&f), f.Append(nil)}, err
	},
	"batch":        decodeBatch,
	"pre-prepare":  messageDecoder(pbft.KindPrePrepare),
	"prepare":      messageDecoder(pbft.KindPrepare),
	"commit":       messageDecoder(pbft.KindCommit),
	"status":       messageDecoder(pbft.KindStatus),
	"checkpoint":   messageDecoder(pbft.KindCheckpoint),
	"view-change":  messageDecoder(pbft.KindViewChange),
	"new-view":     messageDecoder(pbft.KindNewView),
	"decided":      messageDecoder(pbft.KindDecided),
	"stable":       messageDecoder(pbft.KindStable),
	"kv_operation": decodeOp,
	"kv_result":    decodeResult,
	"manifest":     decodeManifest,
	"kv_page":      decodeKVPage,
	"session_page": decodeSessionPage,
}

// frameDecoder parses exactly one frame of at most limit bytes.
func frameDecoder(limit int) decoder {
	return func(_ *world, b []byte) (decoded, error) {
		var out []decoded
		whole := transport.Split(b, limit, func(f transport.Frame) {
			out = append(out, decoded{object{"kind": f.Kind, "payload": hx(f.Payload)}, wire.AppendFrame(nil, wire.Kind(f.Kind), f.Payload)})
		})
		if !whole || len(out) != 1 {
			return decoded{}, errRefused
		}
		return out[0], nil
	}
}

func messageDecoder(k wire.Kind) decoder {
	return func(w *world, b []byte) (decoded, error) {
		m, err := w.codec.Decode(k, b)
		if err != nil {
			return decoded{}, err
		}
		return decoded{showMessage(m), w.codec.Append(nil, m)}, nil
	}
}

// decodeBatch refuses the null batch, which has no bytes and no value.
func decodeBatch(_ *world, b []byte) (decoded, error) {
	t, reqs, err := wire.DecodeBody(b)
	if err != nil || len(b) == 0 {
		return decoded{}, errRefused
	}
	raw := make([][]byte, len(reqs))
	for i := range reqs {
		raw[i] = reqs[i].Append(nil)
	}
	return decoded{showBatch(t, reqs), wire.AppendBody(nil, t, raw)}, nil
}

func decodeOp(_ *world, b []byte) (decoded, error) {
	o, err := kv.ParseOp(b)
	if err != nil {
		return decoded{}, err
	}
	var again []byte
	switch o.Kind {
	case kv.KindGet:
		again = kv.Get(o.Key)
	case kv.KindDelete:
		again = kv.Delete(o.Key)
	case kv.KindPut:
		again = kv.Put(o.Key, o.Value)
	case kv.KindCAS:
		var old []byte
		if o.HasOld {
			old = append([]byte{}, o.Old...)
		}
		again = kv.CAS(o.Key, old, o.Value)
	case kv.KindScan:
		again = kv.ScanPrefix(o.Prefix, o.Key, o.Limit)
	}
	return decoded{showOp(o), again}, nil
}

// decodeResult has no encoder to hold against: results are made by the store alone.
func decodeResult(_ *world, b []byte) (decoded, error) {
	r, err := kv.ParseResult(b)
	if err != nil {
		return decoded{}, err
	}
	again := []byte{byte(r.Code)}
	switch r.Code {
	case kv.Found:
		again = wire.AppendBytes(again, r.Value)
	case kv.Mismatch:
		again = wire.AppendBytes(wire.AppendBool(again, r.Present), r.Value)
	case kv.Listed:
		again = wire.AppendU16(wire.AppendBool(again, r.More), uint16(len(r.Entries)))
		for _, e := range r.Entries {
			again = wire.AppendBytes(wire.AppendBytes(again, e.Key), e.Value)
		}
	}
	return decoded{showResult(r), again}, nil
}

func decodeManifest(_ *world, b []byte) (decoded, error) {
	m, err := catchup.ParseManifest(b)
	return decoded{object{
		"slot": uint64(m.Seq), "time": int64(m.Time), "membership": m.Membership.Hex(), "app": runs(m.App), "sessions": runs(m.Sessions),
	}, catchup.AppendManifest(nil, &m)}, err
}

// runs is a list of digests as pairs: how often in a row, and which.
func runs(ds []bft.Digest) []any {
	out := []any{}
	for len(ds) > 0 {
		n := 1
		for n < len(ds) && ds[n] == ds[0] {
			n++
		}
		out = append(out, []any{n, ds[0].Hex()})
		ds = ds[n:]
	}
	return out
}

// emptyPage is the digest of a page of the store without entries.
var emptyPage = catchup.PageDigest([]byte{0, 0, 0, 0})

// decodeKVPage lets the store decode the page among empty ones, and encode it again. The page's
// place follows from its first key.
func decodeKVPage(_ *world, b []byte) (decoded, error) {
	r := wire.NewReader(b)
	n := r.U32()
	first := r.Bytes(kv.KeyBytesMax)
	if n == 0 || r.Bad() {
		return decoded{}, errRefused
	}
	probe := kv.New()
	empty := probe.Snapshot()
	probe.Execute(call, kv.Put(first, nil))
	filled := probe.Snapshot()
	pages, at := make([][]byte, kv.Pages), -1
	for i := range pages {
		pages[i] = empty.Page(i)
		if empty.Digest(i) != filled.Digest(i) {
			at = i
		}
	}
	pages[at] = b
	store := kv.New()
	if err := store.Restore(pages); err != nil {
		return decoded{}, err
	}
	listed, err := kv.ParseResult(store.Query(kv.Scan(nil, kv.ScanMax)))
	entries := list(listed.Entries, func(e kv.Entry) any { return []any{hx(e.Key), hx(e.Value)} })
	return decoded{object{"page": at, "entries": entries}, store.Snapshot().Page(at)}, err
}

// decodeSessionPage is a reader of the layout in docs/wire.md that shares nothing with exec's.
// That exec reads the same is shown by TestState, which installs the pages.
func decodeSessionPage(_ *world, b []byte) (decoded, error) {
	r := wire.NewReader(b)
	var again []byte
	var places []any
	for range 16 {
		there := r.Bool()
		again = wire.AppendBool(again, there)
		if !there {
			places = append(places, nil)
			continue
		}
		var s object
		s, again = readSession(r, again)
		places = append(places, s)
	}
	return decoded{object{"places": places}, again}, r.Close()
}

func readSession(r *wire.Reader, again []byte) (object, []byte) {
	client := r.Array32()
	again = append(again, client[:]...)
	u64 := func() uint64 {
		v := r.U64()
		again = wire.AppendU64(again, v)
		return v
	}
	s := object{"client": hx(client[:]), "number": u64(), "nonce": u64()}
	listed := r.Bool()
	again = wire.AppendBool(again, listed)
	s["listed"], s["last_slot"] = listed, u64()
	last := r.U32()
	again = wire.AppendU32(again, last)
	s["last_request"], s["done"] = last, u64()
	s["executed"] = []any{u64(), u64(), u64(), u64()}
	s["produced"] = u64()
	n := r.Count(bft.SessionOpsMax, 20)
	again = wire.AppendU16(again, uint16(n))
	replies := []any{}
	for range n {
		c := object{"number": u64(), "start": u64()}
		result := r.Bytes(bft.ResultBytesMax)
		again = wire.AppendBytes(again, result)
		c["result"] = hx(result)
		replies = append(replies, c)
	}
	s["replies"] = replies
	return s, again
}
