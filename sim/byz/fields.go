package byz

import (
	"reflect"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/sim/rng"
	"github.com/themis-bft/themis/wire"
)

// memory holds numbers and digests that went by, to put an old value into a new message.
type memory struct {
	numbers []uint64
	digests []bft.Digest
}

const memoryMax = 64

// change returns p with one field of its message changed and, where it is signed, signed
// anew. Every exported field of every message can be met, at any depth.
func (m *memory) change(e *Env, p Parcel) Parcel {
	if p.Msg == nil {
		return changeBytes(e, p)
	}
	c := e.copyOf(p.Msg)
	var leaves []reflect.Value
	collect(reflect.ValueOf(c), &leaves)
	for _, v := range leaves {
		m.note(e.Rand, v)
	}
	if len(leaves) > 0 {
		m.set(e.Rand, leaves[e.Rand.Intn(len(leaves))])
	}
	if pp, ok := c.(*pbft.PrePrepare); ok && e.Rand.Intn(2) == 0 {
		pp.Digest = wire.BodyDigest(pp.Batch) // else the lie ends at the first check
	}
	p.Msg = c
	if e.Rand.Intn(8) != 0 {
		p.Msg = resign(e, c)
	}
	return p
}

// changeBytes changes one byte of a frame of the host.
func changeBytes(e *Env, p Parcel) Parcel {
	if len(p.Payload) > 0 {
		p.Payload = append([]byte(nil), p.Payload...)
		p.Payload[e.Rand.Intn(len(p.Payload))] += byte(1 + e.Rand.Intn(255))
	}
	return p
}

// collect gathers what can be set: numbers, flags, digests, byte strings and lists.
func collect(v reflect.Value, leaves *[]reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			collect(v.Elem(), leaves)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				collect(v.Field(i), leaves)
			}
		}
	case reflect.Slice:
		*leaves = append(*leaves, v)
		if v.Type().Elem().Kind() != reflect.Uint8 {
			for i := range v.Len() {
				collect(v.Index(i), leaves)
			}
		}
	default:
		if v.CanSet() {
			*leaves = append(*leaves, v)
		}
	}
}

// note remembers a value for later.
func (m *memory) note(r *rng.Source, v reflect.Value) {
	switch {
	case v.CanUint():
		m.numbers = keep(r, m.numbers, v.Uint())
	case v.Type() == reflect.TypeFor[bft.Digest]():
		m.digests = keep(r, m.digests, v.Interface().(bft.Digest))
	}
}

func keep[T any](r *rng.Source, list []T, v T) []T {
	if len(list) < memoryMax {
		return append(list, v)
	}
	list[r.Intn(memoryMax)] = v
	return list
}

// set puts another value into v: a neighbour, an old one, an extreme, or any.
func (m *memory) set(r *rng.Source, v reflect.Value) {
	switch {
	case v.CanUint():
		v.SetUint(m.number(r, v.Uint()))
	case v.Kind() == reflect.Bool:
		v.SetBool(!v.Bool())
	case v.Kind() == reflect.Array:
		if len(m.digests) > 0 && r.Intn(2) == 0 && v.Type() == reflect.TypeFor[bft.Digest]() {
			v.Set(reflect.ValueOf(m.digests[r.Intn(len(m.digests))]))
			return
		}
		b := v.Slice(0, v.Len()).Bytes()
		b[r.Intn(len(b))] ^= byte(1 + r.Intn(255))
	case v.Kind() == reflect.Slice:
		setList(r, v)
	}
}

func (m *memory) number(r *rng.Source, old uint64) uint64 {
	switch r.Intn(8) {
	case 0, 1:
		return old + 1
	case 2, 3:
		return old - 1
	case 4:
		return old + uint64(r.Between(2, 40))
	case 5:
		return [...]uint64{0, 1 << 61, 1 << 62, 1<<62 + 1, 1<<64 - 1}[r.Intn(5)]
	default:
		return m.numbers[r.Intn(len(m.numbers))]
	}
}

// setList drops, repeats or swaps elements, or changes one byte.
func setList(r *rng.Source, v reflect.Value) {
	n := v.Len()
	if n == 0 {
		return
	}
	if v.Type().Elem().Kind() == reflect.Uint8 && r.Intn(2) == 0 {
		b := append([]byte(nil), v.Bytes()...)
		b[r.Intn(n)] ^= byte(1 + r.Intn(255))
		v.SetBytes(b)
		return
	}
	i, j := r.Intn(n), r.Intn(n)
	fresh := reflect.MakeSlice(v.Type(), 0, n+1)
	switch r.Intn(3) {
	case 0: // without i
		fresh = reflect.AppendSlice(reflect.AppendSlice(fresh, v.Slice(0, i)), v.Slice(i+1, n))
	case 1: // i twice
		fresh = reflect.Append(reflect.AppendSlice(fresh, v), v.Index(i))
	default: // i and j swapped
		fresh = reflect.AppendSlice(fresh, v)
		x := reflect.ValueOf(fresh.Index(i).Interface())
		fresh.Index(i).Set(fresh.Index(j))
		fresh.Index(j).Set(x)
	}
	v.Set(fresh)
}
