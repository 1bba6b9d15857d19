package kv

import (
	"errors"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// Limits of the store. What exceeds them is answered with TooLarge or Full.
const (
	KeyBytesMax   = 1 << 10  // a key
	ValueBytesMax = 30 << 10 // a value; compare-and-swap carries two of them in one operation
	ScanMax       = 1000     // entries in the result of one scan
	PageBytesMax  = 8 << 20  // encoded keys and values of one page

	// PageEntriesMax bounds the entries of one page: a new key moves those behind it, and a page
	// that a snapshot shares is copied before it is changed. 16 Mi keys in all pages together.
	PageEntriesMax = 1 << 14
)

// What must hold between them and the limits of Themis.
const (
	_ = uint(bft.OpBytesMax - KeyBytesMax - 2*ValueBytesMax - 16)
	_ = uint(bft.ResultBytesMax - KeyBytesMax - ValueBytesMax - scanHeaderBytes - 8)
	_ = uint(bft.StateItemBytesMax - PageBytesMax - pageHeaderBytes)
	_ = uint(bft.StatePagesMax/2 - Pages)
)

// Kind is what an operation does.
type Kind uint8

// The kinds of operations.
const (
	KindGet    Kind = 1
	KindPut    Kind = 2
	KindDelete Kind = 3
	KindCAS    Kind = 4
	KindScan   Kind = 5
)

// Op is a decoded operation. Fields that its kind does not have are empty.
type Op struct {
	Kind   Kind
	Key    []byte // of a scan: the first key that may be returned
	Value  []byte // to put, or the new value of a compare-and-swap
	Old    []byte // what a compare-and-swap expects, if HasOld
	HasOld bool   // false: the key must be absent
	Prefix []byte // of a scan: what all keys begin with
	Limit  int    // of a scan: at most so many entries
}

// Get returns the operation that reads a key.
func Get(key []byte) []byte { return wire.AppendBytes([]byte{byte(KindGet)}, key) }

// Put returns the operation that sets a key to a value.
func Put(key, value []byte) []byte {
	b := make([]byte, 0, 9+len(key)+len(value))
	return wire.AppendBytes(wire.AppendBytes(append(b, byte(KindPut)), key), value)
}

// Delete returns the operation that removes a key.
func Delete(key []byte) []byte { return wire.AppendBytes([]byte{byte(KindDelete)}, key) }

// CAS returns the operation that sets key to new if its value is old; with old nil, if the key
// is absent.
func CAS(key, old, new []byte) []byte {
	b := wire.AppendBytes([]byte{byte(KindCAS)}, key)
	b = wire.AppendBool(b, old != nil)
	b = wire.AppendBytes(b, old)
	return wire.AppendBytes(b, new)
}

// Scan returns the operation that lists entries in ascending order of their keys, from the key
// from on (included), at most limit.
func Scan(from []byte, limit int) []byte { return ScanPrefix(nil, from, limit) }

// ScanPrefix is Scan among the keys that begin with prefix.
func ScanPrefix(prefix, from []byte, limit int) []byte {
	b := wire.AppendBytes([]byte{byte(KindScan)}, prefix)
	b = wire.AppendBytes(b, from)
	return wire.AppendU32(b, uint32(min(max(limit, 0), ScanMax)))
}

// ParseOp decodes an operation, whose fields alias b. Keys and values may still exceed the
// limits: such an operation is well formed and answered with TooLarge.
func ParseOp(b []byte) (Op, error) {
	r := wire.NewReader(b)
	op := Op{Kind: Kind(r.U8())}
	switch op.Kind {
	case KindGet, KindDelete:
		op.Key = r.Bytes(bft.OpBytesMax)
	case KindPut:
		op.Key, op.Value = r.Bytes(bft.OpBytesMax), r.Bytes(bft.OpBytesMax)
	case KindCAS:
		op.Key, op.HasOld = r.Bytes(bft.OpBytesMax), r.Bool()
		op.Old, op.Value = r.Bytes(bft.OpBytesMax), r.Bytes(bft.OpBytesMax)
		if !op.HasOld && len(op.Old) > 0 {
			r.Fail()
		}
	case KindScan:
		op.Prefix, op.Key = r.Bytes(bft.OpBytesMax), r.Bytes(bft.OpBytesMax)
		limit := r.U32()
		if limit > ScanMax {
			r.Fail()
		}
		op.Limit = int(limit)
	default:
		r.Fail()
	}
	return op, r.Close()
}

// Code says how an operation ended.
type Code uint8

// The codes of a result.
const (
	Done      Code = 0 // put, delete or compare-and-swap took place
	Found     Code = 1 // Value is the value of the key
	Missing   Code = 2 // get or delete: there is no such key
	Mismatch  Code = 3 // compare-and-swap: the key has another value, or none
	Listed    Code = 4 // Entries is what the scan found
	TooLarge  Code = 5 // a key or a value is over its limit
	Full      Code = 6 // the page of the key has no room; nothing was changed
	Malformed Code = 7 // not an operation
	codeMax        = Malformed
)

var codeNames = [codeMax + 1]string{"done", "found", "missing", "mismatch", "listed", "too large", "full", "malformed"}

// String is the code in words.
func (c Code) String() string {
	if c <= codeMax {
		return codeNames[c]
	}
	return "unknown"
}

// Entry is a key with its value.
type Entry struct {
	Key, Value []byte
}

// Result is a decoded response.
type Result struct {
	Code    Code
	Value   []byte  // with Found; with Mismatch the present value, if Present
	Present bool    // with Mismatch: the key exists
	Entries []Entry // with Listed
	More    bool    // with Listed: the scan ended at its limit or at the size of a result
}

// ErrResult is returned for bytes that are no result of this application: the replicas run
// another one.
var ErrResult = errors.New("kv: not a result of the key-value store")

const scanHeaderBytes = 1 + 1 + 2

// ParseResult decodes a response. Fields alias b.
func ParseResult(b []byte) (Result, error) {
	r := wire.NewReader(b)
	q := Result{Code: Code(r.U8())}
	switch q.Code {
	case Found:
		q.Value = r.Bytes(bft.ResultBytesMax)
	case Mismatch:
		q.Present, q.Value = r.Bool(), r.Bytes(bft.ResultBytesMax)
	case Listed:
		q.More = r.Bool()
		n := r.Count(ScanMax, 8)
		for range n {
			q.Entries = append(q.Entries, Entry{Key: r.Bytes(bft.ResultBytesMax), Value: r.Bytes(bft.ResultBytesMax)})
		}
	default:
		if q.Code > codeMax {
			r.Fail()
		}
	}
	if r.Close() != nil {
		return Result{}, ErrResult
	}
	return q, nil
}
