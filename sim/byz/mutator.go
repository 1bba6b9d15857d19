package byz

import (
	"reflect"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/rng"
	"github.com/themis-bft/themis/wire"
)

// kindNames are the kinds as a mutator's name begins.
var kindNames = map[wire.Kind]string{
	wire.KindRequest: "REQUEST", wire.KindRetry: "REQUEST", wire.KindRelay: "RELAY", wire.KindFetch: "FETCH",
	wire.KindBody: "BODY", wire.KindStateWant: "STATE-WANT", wire.KindStateItem: "STATE-ITEM", wire.KindReply: "REPLY",
	pbft.KindPrePrepare: "PRE-PREPARE", pbft.KindPrepare: "PREPARE", pbft.KindCommit: "COMMIT",
	pbft.KindStatus: "STATUS", pbft.KindCheckpoint: "CHECKPOINT", pbft.KindViewChange: "VIEW-CHANGE",
	pbft.KindNewView: "NEW-VIEW", pbft.KindDecided: "DECIDED", pbft.KindStable: "STABLE",
}

// memory is what a mutator remembers of the messages that went by: old values for new messages.
type memory struct {
	numbers map[string][]uint64 // by field
	digests []bft.Digest
}

// The bounds of a memory.
const (
	digestsMax = 64
	numbersMax = 16
)

// scope says how far a mutation goes (ByzzFuzz: small, any, future).
type scope uint8

const (
	small  scope = iota // a neighbour, an old value, one element of a list, nothing at all
	anyhow              // any value
	future              // a number that lies ahead
)

// drawScope draws small, any and future 80 : 10 : 10.
func drawScope(r *rng.Source) scope {
	switch p := r.Intn(10); p {
	case 8:
		return anyhow
	case 9:
		return future
	}
	return small
}

// change returns p with one field changed. A message is signed anew where this replica, or one
// that conspires with it, holds the key, but not always.
func (m *memory) change(e *Env, p Parcel) Parcel {
	if p.Msg == nil {
		return m.changeFrame(e, p)
	}
	c := e.copyOf(p.Msg)
	name := kindNames[c.Kind()]
	if pp, ok := c.(*pbft.PrePrepare); ok && e.Rand.Intn(2) == 0 {
		if changed, body := m.changeBody(e, "BATCH", pp.Batch); changed {
			pp.Batch = body
			if e.Rand.Intn(8) != 0 {
				pp.Digest = wire.BodyDigest(pp.Batch)
			}
			p.Msg = pp
			return p
		}
	}
	m.field(e, name, c)
	if pp, ok := c.(*pbft.PrePrepare); ok && e.Rand.Intn(2) == 0 {
		pp.Digest = wire.BodyDigest(pp.Batch) // else the lie ends at the first check
	}
	p.Msg = c
	if e.Rand.Intn(8) != 0 {
		p.Msg = e.mend(c)
	}
	return p
}

// mend makes a changed message hold as far as the adversary can: signatures of all faulty
// replicas inside, a NEW-VIEW that follows from its set, and its own signature.
func (e *Env) mend(m protocol.Message) protocol.Message {
	switch m := m.(type) {
	case *pbft.Stable:
		e.endorse(m)
	case *pbft.ViewChange:
		e.endorse(&m.Base)
	case *pbft.NewView:
		for i, vc := range m.Set {
			if e.Faulty.Has(vc.Replica) {
				m.Set[i] = e.SignAs(vc.Replica, vc).(*pbft.ViewChange)
			}
		}
		if e.Rand.Intn(2) == 0 {
			if start, choices, ok := e.follows(m.Set); ok {
				m.Start, m.Choices = start, choices
			}
		}
	}
	if s, ok := m.(protocol.Signed); ok {
		return e.SignAs(s.Signer(), s)
	}
	return m
}

// endorse signs a proof with the keys of all faulty replicas in it.
func (e *Env) endorse(s *pbft.Stable) {
	for i, x := range s.Endorse {
		if e.Faulty.Has(x.Replica) {
			s.Endorse[i].Sig = e.SignAs(x.Replica, &pbft.Checkpoint{Seq: s.Seq, Digest: s.Digest, Replica: x.Replica}).(*pbft.Checkpoint).Sig
		}
	}
}

// leaf is one thing in a message that can be changed.
type leaf struct {
	name string
	v    reflect.Value
}

// field changes one field of what x points to and reports its name to the campaign. Every field
// is met equally often, however many elements a list has.
func (m *memory) field(e *Env, kind string, x any) {
	var leaves []leaf
	collect(kind, reflect.ValueOf(x), &leaves)
	for _, l := range leaves {
		m.note(e.Rand, l)
	}
	sc := drawScope(e.Rand)
	if sc == future {
		numbers := leaves[:0:0]
		for _, l := range leaves {
			if l.v.CanUint() || l.v.CanInt() {
				numbers = append(numbers, l)
			}
		}
		if len(numbers) > 0 {
			leaves = numbers
		} else {
			sc = small
		}
	}
	if len(leaves) == 0 {
		return
	}
	var names []string
	for _, l := range leaves {
		if len(names) == 0 || names[len(names)-1] != l.name { // an element's fields may come again: no matter
			names = append(names, l.name)
		}
	}
	name := names[e.Rand.Intn(len(names))]
	same := leaves[:0:0]
	for _, l := range leaves {
		if l.name == name {
			same = append(same, l)
		}
	}
	e.Reached(name + "/" + m.set(e, same[e.Rand.Intn(len(same))], sc))
}

// collect gathers what can be set: numbers, flags, digests, byte strings and lists.
func collect(name string, v reflect.Value, leaves *[]leaf) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			collect(name, v.Elem(), leaves)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "Raw" {
				collect(name+"."+f.Name, v.Field(i), leaves)
			}
		}
	case reflect.Slice:
		*leaves = append(*leaves, leaf{name, v})
		if v.Type().Elem().Kind() != reflect.Uint8 {
			for i := range v.Len() {
				collect(name+"[]", v.Index(i), leaves)
			}
		}
	default:
		if v.CanSet() {
			*leaves = append(*leaves, leaf{name, v})
		}
	}
}

// note remembers a value for later.
func (m *memory) note(r *rng.Source, l leaf) {
	switch {
	case l.v.CanUint():
		if m.numbers == nil {
			m.numbers = make(map[string][]uint64)
		}
		m.numbers[l.name] = keep(r, m.numbers[l.name], l.v.Uint(), numbersMax)
	case l.v.Type() == reflect.TypeFor[bft.Digest]():
		m.digests = keep(r, m.digests, l.v.Interface().(bft.Digest), digestsMax)
	}
}

func keep[T any](r *rng.Source, list []T, v T, limit int) []T {
	if len(list) < limit {
		return append(list, v)
	}
	list[r.Intn(limit)] = v
	return list
}

// set puts another value into l and returns the name of what it did.
func (m *memory) set(e *Env, l leaf, sc scope) string {
	r, v := e.Rand, l.v
	switch {
	case v.CanUint() || v.CanInt():
		return m.setNumber(e, l, sc)
	case v.Kind() == reflect.Bool:
		v.SetBool(!v.Bool())
		return "small"
	case v.Kind() == reflect.Array:
		return m.setArray(r, v, sc)
	case v.Type().Elem().Kind() == reflect.Uint8:
		return setBytes(r, v, sc)
	}
	return setList(r, v)
}

func (m *memory) setNumber(e *Env, l leaf, sc scope) string {
	r := e.Rand
	var old uint64
	if l.v.CanInt() {
		old = uint64(l.v.Int())
	} else {
		old = l.v.Uint()
	}
	put := func(n uint64, did string) string {
		if l.v.CanInt() {
			l.v.SetInt(int64(n))
		} else {
			l.v.SetUint(n)
		}
		return did
	}
	switch sc {
	case anyhow:
		if r.Intn(2) == 0 {
			return put([...]uint64{1 << 61, 1 << 62, 1<<62 + 1, 1 << 63, 1<<64 - 1}[r.Intn(5)], "any")
		}
		return put(r.Uint64()>>r.Intn(64), "any")
	case future:
		every, window := uint64(e.Membership.CheckpointEvery), uint64(e.Membership.Window)
		ahead := [...]uint64{2, 3, every, 2 * every, window, window + 1, 1_000_000, 1 << 40}
		return put(old+ahead[r.Intn(len(ahead))], "future")
	}
	if l.v.Type() == reflect.TypeFor[bft.ReplicaSet]() && r.Intn(2) == 0 {
		return put(old^1<<r.Intn(e.Membership.N()), "small")
	}
	switch r.Intn(5) {
	case 0:
		return put(old+1, "small")
	case 1:
		return put(old-1, "small")
	case 2:
		return put(0, "omit")
	}
	if list := m.numbers[l.name]; len(list) > 0 {
		return put(list[r.Intn(len(list))], "small")
	}
	return put(old+1, "small")
}

// setArray changes a digest or another fixed string of bytes.
func (m *memory) setArray(r *rng.Source, v reflect.Value, sc scope) string {
	b := v.Slice(0, v.Len()).Bytes()
	switch {
	case sc == anyhow:
		r.Fill(b)
		return "any"
	case r.Intn(4) == 0:
		clear(b)
		return "omit"
	case len(m.digests) > 0 && r.Intn(2) == 0 && v.Type() == reflect.TypeFor[bft.Digest]():
		v.Set(reflect.ValueOf(m.digests[r.Intn(len(m.digests))]))
	default:
		b[r.Intn(len(b))] ^= byte(1 + r.Intn(255))
	}
	return "small"
}

// setBytes flips bits, cuts, extends, or puts anything.
func setBytes(r *rng.Source, v reflect.Value, sc scope) string {
	b := append([]byte(nil), v.Bytes()...)
	switch n := len(b); {
	case sc == anyhow || n == 0:
		b = make([]byte, r.Intn(120))
		r.Fill(b)
		v.SetBytes(b)
		return "any"
	case r.Intn(5) == 0:
		v.SetBytes(nil)
		return "omit"
	case r.Intn(4) == 0:
		v.SetBytes(b[:r.Intn(n)])
	case r.Intn(4) == 0:
		v.SetBytes(append(b, byte(r.Uint64())))
	default:
		b[r.Intn(n)] ^= byte(1 + r.Intn(255))
		v.SetBytes(b)
	}
	return "small"
}

// setList drops, repeats or swaps elements.
func setList(r *rng.Source, v reflect.Value) string {
	n := v.Len()
	if n == 0 {
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem()))) // one that holds nothing
		if e := v.Index(0); e.Kind() == reflect.Pointer {
			e.Set(reflect.New(e.Type().Elem()))
		}
		return "invent"
	}
	i, j := r.Intn(n), r.Intn(n)
	fresh := reflect.MakeSlice(v.Type(), 0, n+1)
	did := [...]string{"drop", "repeat", "swap"}[r.Intn(3)]
	switch did {
	case "drop":
		fresh = reflect.AppendSlice(reflect.AppendSlice(fresh, v.Slice(0, i)), v.Slice(i+1, n))
	case "repeat":
		fresh = reflect.Append(reflect.AppendSlice(fresh, v), v.Index(i))
	default:
		fresh = reflect.AppendSlice(fresh, v)
		x := reflect.ValueOf(fresh.Index(i).Interface())
		fresh.Index(i).Set(fresh.Index(j))
		fresh.Index(j).Set(x)
	}
	v.Set(fresh)
	return did
}
