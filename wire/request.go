package wire

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
)

// Flags of a request.
const (
	FlagOpen     uint8 = 1 << 0 // opens a session; Session is 0 and First an OpenNonce
	FlagReadOnly uint8 = 1 << 1 // asks for no change of state; ordered all the same
	flagsKnown         = FlagOpen | FlagReadOnly
)

// Request is an envelope: k ≥ 1 operations of one session with the consecutive numbers
// First … First+k-1 under one authenticator. It is verified, pooled and batched whole.
type Request struct {
	Client  bft.ClientID
	Session uint64 // the slot of the OPEN; 0 in the OPEN itself
	First   uint64 // number of the first operation; in an OPEN its OpenNonce
	Done    uint64 // every number below has been answered: cached replies may go
	Answer  bft.ReplicaSet
	Flags   uint8
	Ops     [][]byte
	Sig     []byte

	// Raw is the whole encoding, signature included, when the request was decoded. What
	// refers to the request refers to these bytes.
	Raw []byte
}

// RequestKey names a request: what a client never uses twice for different bytes.
type RequestKey struct {
	Client  bft.ClientID
	Session uint64
	First   uint64
}

// Key returns the name of r.
func (r *Request) Key() RequestKey {
	return RequestKey{Client: r.Client, Session: r.Session, First: r.First}
}

// An OPEN's nonce is a time in units of 2^openUnitBits nanoseconds, some 69 s, above OpenRandomBits that are
// random: processes that share a key and open in the same minute must not draw the same ones.
const (
	openUnitBits   = 36
	OpenRandomBits = openUnitBits + 1 // a Time has no use for its sign
)

// OpenNonce names an OPEN made at time t, by the client's clock, with the low OpenRandomBits of random.
// Replicas refuse OPENs of long ago and of the future.
func OpenNonce(t bft.Time, random uint64) uint64 {
	return uint64(max(t, 0))>>openUnitBits<<OpenRandomBits | random&(1<<OpenRandomBits-1)
}

// OpenAge compares the time in an OPEN's nonce with the agreed time now, both in the nonce's units: less than
// 0 if it is before that of now - span, above 0 if it is after that of now + span, else 0.
func OpenAge(nonce uint64, now bft.Time, span bft.Duration) int {
	made, slack := nonce>>OpenRandomBits, uint64(span)
	switch {
	case uint64(now) > slack && made < (uint64(now)-slack)>>openUnitBits:
		return -1
	case made > (uint64(now)+slack)>>openUnitBits:
		return 1
	}
	return 0
}

// openHintBits is how coarse OpenHint is: replicas that are some slots apart mostly say the same.
const openHintBits = 34

// OpenHint is the time that is told to who used a wrong one in an OPEN: the middle of the 17 s in
// which the agreed time now lies.
func OpenHint(now bft.Time) bft.Time { return now>>openHintBits<<openHintBits | 1<<(openHintBits-1) }

// IsOpen reports whether r opens a session.
func (r *Request) IsOpen() bool { return r.Flags&FlagOpen != 0 }

const requestBytesMin = 32 + 8 + 8 + 8 + 8 + 1 + 2

// AppendUnsigned appends everything of r but the signature: the bytes that AppendSigned
// covers behind its tag.
func (r *Request) AppendUnsigned(b []byte) []byte {
	b = append(b, r.Client[:]...)
	b = AppendU64(b, r.Session)
	b = AppendU64(b, r.First)
	b = AppendU64(b, r.Done)
	b = AppendU64(b, uint64(r.Answer))
	b = append(b, r.Flags)
	b = AppendU16(b, uint16(len(r.Ops)))
	for _, op := range r.Ops {
		b = AppendBytes(b, op)
	}
	return b
}

// Append appends the whole encoding: the payload of REQUEST, RETRY and RELAY, and one item
// of a batch.
func (r *Request) Append(b []byte) []byte {
	b = r.AppendUnsigned(b)
	b = AppendU16(b, uint16(len(r.Sig)))
	return append(b, r.Sig...)
}

// AppendSigned appends the byte string that the client signs: tag, then AppendUnsigned.
func (r *Request) AppendSigned(b []byte, d Domain) []byte {
	b = d.AppendTag(b, KindRequest, r.Client[:])
	if r.Raw != nil {
		return append(b, r.Raw[:len(r.Raw)-2-len(r.Sig)]...)
	}
	return r.AppendUnsigned(b)
}

// DecodeRequest parses an envelope. Fields alias p, Raw is p.
func DecodeRequest(p []byte) (Request, error) {
	var q Request
	if len(p) > bft.RequestBytesMax {
		return q, ErrMalformed
	}
	r := NewReader(p)
	q.Client = r.Array32()
	q.Session, q.First, q.Done = r.U64(), r.U64(), r.U64()
	q.Answer, q.Flags = bft.ReplicaSet(r.U64()), r.U8()
	n := r.Count(bft.RequestOpsMax, 4)
	if r.Bad() || n == 0 || q.Flags&^flagsKnown != 0 {
		return q, ErrMalformed
	}
	q.Ops = make([][]byte, n)
	for i := range q.Ops {
		q.Ops[i] = r.Bytes(bft.OpBytesMax)
	}
	sig := int(r.U16())
	if sig > bft.SignatureBytesMax {
		return q, ErrMalformed
	}
	q.Sig = r.take(sig)
	if err := r.Close(); err != nil {
		return q, err
	}
	if !q.wellFormed() {
		return q, ErrMalformed
	}
	q.Raw = p
	return q, nil
}

// wellFormed checks what the layout alone does not: an OPEN has session 0 and one operation,
// anything else has a session, numbers cannot wrap, and none lies outside the window that the
// request itself states (design, decision 5): what can never be executed is never ordered.
func (r *Request) wellFormed() bool {
	if r.IsOpen() {
		return r.Session == 0 && r.Done == 0 && len(r.Ops) == 1
	}
	return r.Session != 0 && r.First < 1<<62 && r.Done <= r.First &&
		(r.First+uint64(len(r.Ops)) <= r.Done+bft.SessionOpsMax || mutant.On("wire-window-not-checked"))
}

// Digest is the digest of the whole envelope, signature included: the key under which a
// verification may be remembered.
func (r *Request) Digest() bft.Digest { return DigestOf("request", r.Raw) }

// DigestOf hashes b under a short tag, so that no digest of one thing is one of another.
func DigestOf(tag string, b []byte) bft.Digest {
	h := sha256.New()
	if !mutant.On("wire-digest-without-tag") {
		h.Write([]byte{Version, byte(len(tag))})
		h.Write([]byte(tag))
	}
	h.Write(b)
	var d bft.Digest
	h.Sum(d[:0])
	return d
}

// A body is the encoding of a batch: proposed time (8), count (4), and as many envelopes,
// each behind its length (4). Its digest covers time and authenticators.
const bodyHeaderBytes = 12

// BodyDigest is the digest by which everything but PRE-PREPARE names a batch. The null batch
// has no bytes and bft.NullDigest.
func BodyDigest(body []byte) bft.Digest {
	if len(body) == 0 {
		return bft.NullDigest
	}
	return DigestOf("batch", body)
}

// AppendBody appends the encoding of a batch. Requests need not be decoded: raw envelopes.
func AppendBody(b []byte, t bft.Time, raw [][]byte) []byte {
	b = AppendU64(b, uint64(t))
	b = AppendU32(b, uint32(len(raw)))
	for _, r := range raw {
		b = AppendBytes(b, r)
	}
	return b
}

// BodyTime is the time that body proposes; ok is false for a null or malformed body.
func BodyTime(body []byte) (t bft.Time, ok bool) {
	if len(body) < bodyHeaderBytes {
		return 0, false
	}
	return bft.Time(binary.LittleEndian.Uint64(body)), true
}

// DecodeBody parses a batch. The requests alias body. A null body gives no requests.
func DecodeBody(body []byte) (t bft.Time, reqs []Request, err error) {
	if len(body) == 0 {
		return 0, nil, nil
	}
	if len(body) > bft.BatchBytesMax {
		return 0, nil, ErrMalformed
	}
	r := NewReader(body)
	t = bft.Time(r.U64())
	count := r.U32() // held against its limit before it becomes an int, which may have 32 bits
	if t < 0 || count == 0 || count > bft.BatchRequestsMax || int(count)*(requestBytesMin+4) > r.Len() {
		return 0, nil, ErrMalformed
	}
	reqs = make([]Request, count)
	for i := range reqs {
		raw := r.Bytes(bft.RequestBytesMax)
		if r.Bad() {
			return 0, nil, ErrMalformed
		}
		if reqs[i], err = DecodeRequest(raw); err != nil {
			return 0, nil, err
		}
	}
	return t, reqs, r.Close()
}
