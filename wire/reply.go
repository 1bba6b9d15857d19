package wire

import "github.com/themis-bft/themis/bft"

// Status of a reply. All replicas give the same one for the same operation.
type Status uint8

// The statuses of a reply.
const (
	StatusOK      Status = 0 // Result is what the application answered
	StatusClosed  Status = 1 // no such session (never opened, or evicted): open a new one
	StatusDropped Status = 2 // executed before, its result is no longer cached
	StatusWindow  Status = 3 // the number lies outside the session's window
	StatusRefused Status = 4 // this client may not open a session
	statusMax            = StatusRefused
)

// Reply answers one operation. Clients compare everything but View.
type Reply struct {
	Client  bft.ClientID // not on the wire: the link knows
	Session uint64
	Number  uint64
	View    bft.View // a hint where the primary is; trusted from f+1 only
	Status  Status
	Result  []byte // of an OPEN: the session's number in 8 bytes
}

// Append appends the payload of a REPLY.
func (r *Reply) Append(b []byte) []byte {
	b = AppendU64(b, r.Session)
	b = AppendU64(b, r.Number)
	b = AppendU64(b, uint64(r.View))
	b = append(b, byte(r.Status))
	return AppendBytes(b, r.Result)
}

// DecodeReply parses the payload of a REPLY. Result aliases p.
func DecodeReply(p []byte) (Reply, error) {
	r := NewReader(p)
	q := Reply{Session: r.U64(), Number: r.U64(), View: bft.View(r.U64()), Status: Status(r.U8())}
	q.Result = r.Bytes(bft.ResultBytesMax)
	if q.Status > statusMax || q.View > bft.ViewMax {
		return q, ErrMalformed
	}
	return q, r.Close()
}

// StateItem addresses one part of a checkpoint: the manifest, or a page by its index in it.
type StateItem uint32

// Manifest is the item that lists the digests of all pages; its own digest is what CHECKPOINT signs.
const Manifest StateItem = 1<<32 - 1

// StateWant asks for the bytes of an item of checkpoint Seq from Offset on.
type StateWant struct {
	Seq    bft.SeqNum
	Item   StateItem
	Offset uint32
}

// Append appends the payload of a STATE-WANT.
func (w StateWant) Append(b []byte) []byte {
	return AppendU32(AppendU32(AppendU64(b, uint64(w.Seq)), uint32(w.Item)), w.Offset)
}

// DecodeStateWant parses the payload of a STATE-WANT.
func DecodeStateWant(p []byte) (StateWant, error) {
	r := NewReader(p)
	w := StateWant{Seq: bft.SeqNum(r.U64()), Item: StateItem(r.U32()), Offset: r.U32()}
	return w, r.Close()
}

// StateFragment answers a StateWant: Total is the size of the whole item, 0 when the sender
// does not hold that checkpoint.
type StateFragment struct {
	Want  StateWant
	Total uint32
	Bytes []byte
}

// Append appends the payload of a STATE-ITEM.
func (f *StateFragment) Append(b []byte) []byte {
	return AppendBytes(AppendU32(f.Want.Append(b), f.Total), f.Bytes)
}

// DecodeStateFragment parses the payload of a STATE-ITEM. Bytes aliases p.
func DecodeStateFragment(p []byte) (StateFragment, error) {
	r := NewReader(p)
	f := StateFragment{Want: StateWant{Seq: bft.SeqNum(r.U64()), Item: StateItem(r.U32()), Offset: r.U32()}}
	f.Total = r.U32()
	f.Bytes = r.Bytes(bft.StateFragmentBytesMax)
	if f.Total > bft.StateItemBytesMax || uint64(f.Want.Offset)+uint64(len(f.Bytes)) > uint64(f.Total) {
		return f, ErrMalformed
	}
	return f, r.Close()
}
