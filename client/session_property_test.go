package client

import (
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// world is a model of a cluster: replicas above f are correct and know the one true answer of
// every number; the first f say what the draw wants. It knows nothing of the session but its
// output and checks what a client promises.
type world struct {
	*bench
	rt      *rapid.T
	n, f    int
	window  uint64
	tokens  []Token
	bytesOf map[wire.RequestKey]string
	truthOf map[string]string // of an operation, by its bytes
	newest  uint64            // session of the newest request
	open    wire.RequestKey
	slot    uint64
	closed  map[uint64]bool
	done    map[uint64]uint64 // by session
	vouched map[string]bft.ReplicaSet
	seen    int
}

func truth(session, number uint64) string { return fmt.Sprintf("truth %d/%d", session, number) }

// absorb checks every frame sent since the last call.
func (w *world) absorb() {
	for ; w.seen < len(w.frames); w.seen++ {
		f := w.frames[w.seen]
		key := f.req.Key()
		if old, ok := w.bytesOf[key]; ok && old != string(f.req.Raw) {
			w.rt.Fatalf("request %v was sent with other bytes", key)
		} else if !ok {
			w.first(&f.req)
		}
		w.bytesOf[key] = string(f.req.Raw)
	}
}

// first checks a request that is sent for the first time.
func (w *world) first(r *wire.Request) {
	if r.IsOpen() {
		w.open = r.Key()
		w.slot += 10
		return
	}
	if r.Session < w.newest {
		w.rt.Fatalf("new request in session %d after one in %d", r.Session, w.newest)
	}
	w.newest = r.Session
	if r.Done < w.done[r.Session] {
		w.rt.Fatalf("Done falls from %d to %d", w.done[r.Session], r.Done)
	}
	w.done[r.Session] = r.Done
	if last := r.First + uint64(len(r.Ops)) - 1; last >= r.Done+w.window {
		w.rt.Fatalf("number %d with oldest unfinished %d leaves the window of %d", last, r.Done, w.window)
	}
	if r.Answer.Len() < w.f+1 || r.Answer&^bft.AllReplicas(w.n) != 0 {
		w.rt.Fatalf("answer set %b", r.Answer)
	}
	for i, op := range r.Ops {
		if _, ok := w.truthOf[string(op)]; ok {
			w.rt.Fatalf("operation %q was sent under two numbers", op)
		}
		w.truthOf[string(op)] = truth(r.Session, r.First+uint64(i))
	}
}

// numbered draws one of the operations sent so far.
func (w *world) numbered() (session, number uint64, ok bool) {
	var known []wire.Request
	for _, f := range w.frames {
		if !f.req.IsOpen() {
			known = append(known, f.req)
		}
	}
	if len(known) == 0 {
		return 0, 0, false
	}
	r := known[len(known)-1-rapid.IntRange(0, min(len(known)-1, 40)).Draw(w.rt, "request")]
	return r.Session, r.First + uint64(rapid.IntRange(0, len(r.Ops)-1).Draw(w.rt, "op")), true
}

// say delivers a reply and remembers which replicas vouched for it.
func (w *world) say(from int, r wire.Reply) {
	if r.Status == wire.StatusOK {
		w.vouched[string(r.Result)] = w.vouched[string(r.Result)].With(bft.ReplicaID(from))
	}
	w.reply(from, r)
}

func (w *world) correctReply() {
	from := rapid.IntRange(w.f, w.n-1).Draw(w.rt, "correct")
	if !w.s.Ready() {
		if w.open.Client != (bft.ClientID{}) {
			w.say(from, wire.Reply{Number: w.open.First, Result: binary.LittleEndian.AppendUint64(nil, w.slot)})
		}
		return
	}
	session, number, ok := w.numbered()
	if !ok {
		return
	}
	r := wire.Reply{Session: session, Number: number, Result: []byte(truth(session, number)), View: 1}
	if w.closed[session] {
		r.Status, r.Result = wire.StatusClosed, nil
	}
	w.say(from, r)
}

func (w *world) lie() {
	if w.f == 0 {
		return
	}
	from := rapid.IntRange(0, w.f-1).Draw(w.rt, "liar")
	session, number, _ := w.numbered()
	if rapid.Bool().Draw(w.rt, "open") {
		session, number = 0, w.open.First
	}
	w.say(from, wire.Reply{
		Session: session, Number: number, View: bft.View(rapid.Uint64Range(0, uint64(bft.ViewMax)).Draw(w.rt, "view")),
		Status: wire.Status(rapid.IntRange(0, 4).Draw(w.rt, "status")),
		Result: []byte(rapid.SampledFrom([]string{"lie", "12345678", ""}).Draw(w.rt, "value")),
	})
}

func (w *world) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"submit": func(t *rapid.T) {
			wait := bft.Duration(rapid.IntRange(1, 5000).Draw(t, "wait")) * ms
			if k, err := w.s.Submit(fmt.Append(nil, len(w.tokens)+1), w.now+wait); err == nil {
				w.tokens = append(w.tokens, k)
			}
			if rapid.Bool().Draw(t, "flush") {
				w.do(func() { w.s.Flush(w.now, &w.out) })
			}
		},
		"correct":  func(*rapid.T) { w.correctReply() },
		"correct2": func(*rapid.T) { w.correctReply() },
		"correct3": func(*rapid.T) { w.correctReply() },
		"lie":      func(*rapid.T) { w.lie() },
		"close": func(t *rapid.T) {
			if w.s.Ready() && rapid.IntRange(0, 9).Draw(t, "rarely") == 0 {
				w.closed[w.session()] = true
			}
		},
		"up": func(t *rapid.T) {
			id := bft.ReplicaID(rapid.IntRange(0, w.n-1).Draw(t, "replica"))
			w.do(func() { w.s.LinkUp(id, w.now, &w.out) })
		},
		"down": func(t *rapid.T) {
			id := bft.ReplicaID(rapid.IntRange(0, w.n-1).Draw(t, "replica"))
			w.do(func() { w.s.LinkDown(id, w.now, &w.out) })
		},
		"time": func(t *rapid.T) { w.pass(bft.Duration(rapid.IntRange(1, 1500).Draw(t, "ms")) * ms) },
		"":     func(t *rapid.T) { w.check() },
	}
}

func (w *world) session() uint64 { return w.s.Stats().Session }

// check holds everything answered so far against what the replicas said.
func (w *world) check() {
	w.absorb()
	for token, r := range w.results {
		if r.Err == nil && w.vouched[string(r.Value)].Len() < w.f+1 {
			w.rt.Fatalf("token %d got %q, vouched for by %b", token, r.Value, w.vouched[string(r.Value)])
		}
		if want := w.truthOf[fmt.Sprint(token)]; r.Err == nil && string(r.Value) != want {
			w.rt.Fatalf("token %d got %q, the truth is %q", token, r.Value, want)
		}
	}
	st := w.s.Stats()
	if st.View > 1 {
		w.rt.Fatalf("presumed view %d: correct replicas claim 0 or 1", st.View)
	}
	if st.Outstanding > int(w.window) {
		w.rt.Fatalf("%d outstanding in a window of %d", st.Outstanding, w.window)
	}
	for i := w.f; i < w.n; i++ {
		if st.Replicas[i].Deviations != 0 {
			w.rt.Fatalf("correct replica %d is said to deviate", i)
		}
	}
}

// finish lets time pass until every deadline came.
func (w *world) finish() {
	w.pass(6000 * ms)
	w.absorb()
	for _, k := range w.tokens {
		if _, ok := w.results[k]; !ok {
			w.rt.Fatalf("the deadline did not end operation %d", k)
		}
	}
}

func TestSessionProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := rapid.IntRange(0, 2).Draw(rt, "f")
		o := Options{
			Seed:   rapid.Uint64().Draw(rt, "seed"),
			Window: rapid.SampledFrom([]int{1, 2, 5, 256}).Draw(rt, "window"),
			Bundle: rapid.SampledFrom([]int{1, 3}).Draw(rt, "bundle"),
		}
		w := &world{
			bench: newBench(t, 3*f+1, f, o), rt: rt, n: 3*f + 1, f: f, window: uint64(o.Window), slot: 3,
			bytesOf: make(map[wire.RequestKey]string), truthOf: make(map[string]string),
			closed: make(map[uint64]bool), done: make(map[uint64]uint64), vouched: make(map[string]bft.ReplicaSet),
		}
		for i := range w.n {
			w.do(func() { w.s.LinkUp(bft.ReplicaID(i), w.now, &w.out) })
		}
		rt.Repeat(w.actions())
		w.finish()
	})
}

// TestEverythingIsAnsweredOnceHealed is liveness: with f replicas silent and every frame of the
// others delivered, all operations get their true answer.
func TestEverythingIsAnsweredOnceHealed(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := rapid.IntRange(0, 2).Draw(rt, "f")
		silent := rapid.IntRange(0, 3*f).Draw(rt, "silent")
		o := Options{Window: 3, Bundle: 2, Seed: rapid.Uint64().Draw(rt, "seed")}
		b := newBench(t, 3*f+1, f, o)
		for i := range 3*f + 1 {
			b.do(func() { b.s.LinkUp(bft.ReplicaID(i), b.now, &b.out) })
		}
		var tokens []Token
		for range 20 {
			tokens = append(tokens, b.submit("op", 60000*ms))
		}
		for seen, waited := 0, 0; len(b.results) < len(tokens) && waited < 1000; {
			if seen == len(b.frames) {
				b.pass(50 * ms)
				waited++
				continue
			}
			b.serve(b.frames[seen], f, silent)
			seen++
		}
		for _, k := range tokens {
			if r := b.results[k]; r.Err != nil || len(r.Value) == 0 {
				rt.Fatalf("operation %d ended with %q, %v", k, r.Value, r.Err)
			}
		}
	})
}

// serve answers a frame as a cluster does in which f replicas from silent on are mute: a REQUEST
// is ordered only if it meets the primary, replica 0.
func (b *bench) serve(f sent, faults, silent int) {
	mute := func(i int) bool { return faults > 0 && i >= silent && i < silent+faults }
	if f.kind == wire.KindRequest && (mute(0) || !f.to.Has(0)) {
		return
	}
	for i := range len(b.s.peers) {
		if mute(i) || f.kind == wire.KindRequest && !f.req.Answer.Has(bft.ReplicaID(i)) {
			continue
		}
		if f.req.IsOpen() {
			b.reply(i, wire.Reply{Number: f.req.First, Result: binary.LittleEndian.AppendUint64(nil, 5)})
			continue
		}
		for j := range f.req.Ops {
			n := f.req.First + uint64(j)
			b.reply(i, wire.Reply{Session: 5, Number: n, Result: []byte(truth(5, n))})
		}
	}
}

// FuzzReply feeds replies of every kind to a session with operations under way. f replicas say
// what the input wants: nothing panics, nothing grows, and nothing is accepted.
func FuzzReply(f *testing.F) {
	r := wire.Reply{Session: 7, Number: 1, View: 3, Result: []byte("x")}
	f.Add(r.Append(nil), uint16(3))
	r.Status = wire.StatusClosed
	f.Add(r.Append(nil), uint16(1))
	f.Add([]byte{}, uint16(65535))
	f.Fuzz(func(t *testing.T, p []byte, from uint16) {
		b := opened(t, 4, 1, Options{Window: 4})
		for range 6 {
			b.submit("op", 10000*ms)
		}
		reply, err := wire.DecodeReply(p)
		if err != nil {
			return
		}
		for range 3 {
			for n := range uint64(6) {
				r := reply
				b.do(func() { b.s.Reply(bft.ReplicaID(from), r, b.now, &b.out) })
				r.Session, r.Number = 7, n
				b.do(func() { b.s.Reply(bft.ReplicaID(from), r, b.now, &b.out) })
			}
		}
		if len(b.results) != 0 || b.s.Stats().View != 0 || !b.s.Ready() {
			t.Fatalf("one replica alone had an effect: %+v", b.s.Stats())
		}
	})
}
