package byz

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// body is a batch taken apart.
type body struct {
	Time     bft.Time
	Requests []*wire.Request
}

func bodyOf(b []byte) (*body, bool) {
	t, reqs, err := wire.DecodeBody(b)
	if err != nil || len(reqs) == 0 {
		return nil, false
	}
	x := &body{Time: t}
	for i := range reqs {
		x.Requests = append(x.Requests, &reqs[i])
	}
	return x, true
}

// bytes puts it together again: requests as they stand, from their fields.
func (x *body) bytes() []byte {
	var raw [][]byte
	for _, q := range x.Requests {
		raw = append(raw, q.Append(nil))
	}
	return wire.AppendBody(nil, x.Time, raw)
}

// fetch is the payload of FETCH.
type fetch struct{ Digest bft.Digest }

// changeBody changes one field of a batch or of a request in it.
func (m *memory) changeBody(e *Env, kind string, b []byte) (bool, []byte) {
	x, ok := bodyOf(b)
	if !ok {
		return false, b
	}
	m.field(e, kind, x)
	for _, q := range x.Requests {
		m.resign(e, q)
	}
	return true, x.bytes()
}

// resign signs a request anew if a client conspires and the request was changed.
func (*memory) resign(e *Env, q *wire.Request) {
	if string(q.Raw) != string(q.Append(nil)) && e.Rand.Intn(8) != 0 {
		q.Raw = nil
		e.Accomplice(q)
	}
}

// changeFrame changes one field of a frame of the host.
func (m *memory) changeFrame(e *Env, p Parcel) Parcel {
	name := kindNames[p.Kind]
	var changed []byte
	switch p.Kind {
	case wire.KindRelay:
		if q, err := wire.DecodeRequest(p.Payload); err == nil {
			m.field(e, name, &q)
			m.resign(e, &q)
			changed = q.Append(nil)
		}
	case wire.KindFetch:
		if r := wire.NewReader(p.Payload); r.Len() == len(bft.Digest{}) {
			f := &fetch{Digest: r.Array32()}
			m.field(e, name, f)
			changed = f.Digest[:]
		}
	case wire.KindBody:
		if ok, b := m.changeBody(e, name, p.Payload); ok {
			changed = b
		}
	case wire.KindStateWant:
		if w, err := wire.DecodeStateWant(p.Payload); err == nil {
			m.field(e, name, &w)
			changed = w.Append(nil)
		}
	case wire.KindStateItem:
		if f, err := wire.DecodeStateFragment(p.Payload); err == nil {
			m.field(e, name, &f)
			changed = f.Append(nil)
		}
	}
	if changed == nil {
		return changeBytes(e, p)
	}
	p.Payload = changed
	return p
}

// changeBytes changes one byte of a frame.
func changeBytes(e *Env, p Parcel) Parcel {
	if len(p.Payload) > 0 {
		p.Payload = append([]byte(nil), p.Payload...)
		p.Payload[e.Rand.Intn(len(p.Payload))] += byte(1 + e.Rand.Intn(255))
	}
	return p
}

// answer is what of a reply is on the wire.
type answer struct {
	Session, Number uint64
	View            bft.View
	Status          wire.Status
	Result          []byte
}

// changeReply changes one field of a reply.
func (m *memory) changeReply(e *Env, r wire.Reply) wire.Reply {
	a := answer{r.Session, r.Number, r.View, r.Status, r.Result}
	m.field(e, kindNames[wire.KindReply], &a)
	r.Session, r.Number, r.View, r.Status, r.Result = a.Session, a.Number, a.View, a.Status, a.Result
	return r
}
