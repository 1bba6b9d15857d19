package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	appbench "github.com/themis-bft/themis/app/bench"
	"github.com/themis-bft/themis/app/kv"
	"github.com/themis-bft/themis/bench/history"
	"github.com/themis-bft/themis/client"
)

// Mix says how often each operation of kv occurs, relative to the others.
type Mix struct {
	Put, Get, CAS, Del int
}

// ParseMix reads a mix such as "put=50,get=40,cas=10".
func ParseMix(text string) (Mix, error) {
	var m Mix
	for part := range strings.SplitSeq(text, ",") {
		name, share, ok := strings.Cut(strings.TrimSpace(part), "=")
		n, err := strconv.Atoi(share)
		if !ok || err != nil || n < 0 || n > 1_000_000 {
			return Mix{}, fmt.Errorf("%q is no share of a mix; write put=50,get=40,cas=10", part)
		}
		switch name {
		case "put":
			m.Put = n
		case "get":
			m.Get = n
		case "cas":
			m.CAS = n
		case "del":
			m.Del = n
		default:
			return Mix{}, fmt.Errorf("%q is no operation of a mix (put, get, cas, del)", name)
		}
	}
	if m == (Mix{}) {
		return Mix{}, errors.New("a mix needs one operation at least")
	}
	return m, nil
}

// String is the form that ParseMix reads.
func (m Mix) String() string {
	return fmt.Sprintf("put=%d,get=%d,cas=%d,del=%d", m.Put, m.Get, m.CAS, m.Del)
}

// draw picks an operation.
func (m Mix) draw(r *rand.Rand) history.Kind {
	n := r.IntN(m.Put + m.Get + m.CAS + m.Del)
	for _, k := range []struct {
		kind  history.Kind
		share int
	}{{history.Put, m.Put}, {history.Get, m.Get}, {history.CAS, m.CAS}} {
		if n -= k.share; n < 0 {
			return k.kind
		}
	}
	return history.Del
}

// task is one operation: its bytes, and what it means to a history.
type task struct {
	op    []byte
	event history.Event
}

// source makes the operations of one client. It is used by one goroutine.
type source struct {
	o      *Options
	client int
	made   uint64
	tag    uint64 // tells the values of this run from those of others
	rand   *rand.Rand
	seen   map[string]string // last value known of a key, for compare-and-swap
}

func newSource(o *Options, client int) *source {
	return &source{
		o: o, client: client, tag: rand.Uint64(), seen: map[string]string{},
		rand: rand.New(rand.NewPCG(uint64(client), rand.Uint64())),
	}
}

// next makes the next operation.
func (s *source) next() task {
	s.made++
	if s.o.Cluster.Membership.App == "bench" {
		return task{op: appbench.Op(s.o.Payload, s.o.Reply, s.tag+s.made)}
	}
	e := s.draw()
	key := []byte(e.Key)
	switch e.Op {
	case history.Put:
		e.Value = s.value()
		return task{op: kv.Put(key, []byte(*e.Value)), event: e}
	case history.Get:
		return task{op: kv.Get(key), event: e}
	case history.Del:
		return task{op: kv.Delete(key), event: e}
	}
	e.Value = s.value()
	var old []byte
	if known, ok := s.seen[e.Key]; ok {
		e.Old, old = &known, []byte(known)
	}
	return task{op: kv.CAS(key, old, []byte(*e.Value)), event: e}
}

// draw picks an operation and its key.
func (s *source) draw() history.Event {
	e := history.Event{Client: s.client}
	if s.o.Own == 0 || s.rand.IntN(2) == 0 {
		e.Op, e.Key = s.o.Mix.draw(s.rand), s.o.Prefix+strconv.Itoa(s.rand.IntN(s.o.Keys))
		return e
	}
	owner := s.client
	if e.Op = history.Put; s.rand.IntN(2) == 0 {
		e.Op, owner = history.Get, s.rand.IntN(s.o.Clients)
	}
	e.Key = fmt.Sprintf("%sown/%d/%d", s.o.Prefix, owner, s.rand.IntN(s.o.Own))
	return e
}

// value is unique among all clients and runs, as long as the payload leaves room for that.
func (s *source) value() *string {
	b := make([]byte, 0, max(s.o.Payload, 32))
	b = strconv.AppendInt(b, int64(s.client), 10)
	b = append(b, '.')
	b = strconv.AppendUint(b, s.made, 10)
	b = append(b, '.')
	b = strconv.AppendUint(b, s.tag, 36)
	for len(b) < s.o.Payload {
		b = append(b, '-')
	}
	v := string(b[:min(len(b), max(s.o.Payload, 24))])
	return &v
}

// finish completes the event of a task by its outcome and reports whether the operation was
// answered.
func (s *source) finish(t *task, result []byte, err error) bool {
	if s.o.Cluster.Membership.App == "bench" {
		return err == nil
	}
	e := &t.event
	e.Outcome = history.OK
	if err != nil {
		if e.Outcome = history.Unknown; errors.Is(err, client.ErrNoQuorum) || errors.Is(err, client.ErrBusy) {
			e.Outcome = history.Fail // it was never sent
		}
		delete(s.seen, e.Key)
		return false
	}
	r, perr := kv.ParseResult(result)
	if perr != nil {
		e.Outcome = history.Fail
		return false
	}
	e.Result = r.Code.String()
	switch {
	case r.Code == kv.Found:
		v := string(r.Value)
		e.Value, s.seen[e.Key] = &v, v
	case r.Code == kv.Done && e.Value != nil:
		s.seen[e.Key] = *e.Value
	case r.Code == kv.Done || r.Code == kv.Missing:
		delete(s.seen, e.Key)
	default: // mismatch, too large, full: nothing happened
		e.Outcome = history.Fail
		if len(r.Value) > 0 {
			s.seen[e.Key] = string(r.Value)
		}
	}
	return r.Code <= kv.Mismatch
}

// salt makes a client's key from the run and its number.
func salt(run [32]byte, client int) [32]byte {
	binary.LittleEndian.PutUint64(run[24:], uint64(client))
	return run
}
