package exec

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/wire"
)

// Lookup answers a request that may have been executed: known says that nothing is left to
// order, and if wantsReply the replies were appended to out (or follow when a late response
// comes). Otherwise the request still has to be ordered, and with wantsReply its client is
// answered here when it executes.
//
// A session that this replica has not heard of is closed only if its number is a slot that was
// executed here; else this replica may merely be behind. If it were behind by more than a window
// it could not order the request: then nothing is said, and the client comes again.
//
// wall is what the driver's clock says; it decides only whether an OPEN of the future is worth ordering.
func (e *Executor) Lookup(r *wire.Request, wantsReply bool, wall bft.Time, out *Output) (known bool) {
	if !wantsReply {
		out = nil
	}
	if r.IsOpen() {
		known = e.lookupOpen(r, wall, out)
	} else {
		known = e.lookupOps(r, out)
	}
	if !known && wantsReply {
		e.interest.add(r.Key())
	}
	return known
}

// lookupOpen knows an OPEN whose session is live, an OPEN of a client that may have none, one of too
// long ago, and one of the future.
func (e *Executor) lookupOpen(r *wire.Request, wall bft.Time, out *Output) bool {
	var reply wire.Reply
	if s := e.table.opened(r.Client, r.First); s != nil {
		reply = e.openReply(r, wire.StatusOK, s.number)
	} else if admitted, _ := e.admits(r.Client); !admitted {
		reply = e.openReply(r, wire.StatusRefused, 0)
	} else if e.openAge(r, e.time) < 0 {
		reply = e.expiredReply(r, e.time)
	} else if now := max(wall, e.time); e.openAge(r, now) > 0 && !mutant.On("exec-future-opens-are-ordered") {
		reply = e.expiredReply(r, now)
	} else {
		return false
	}
	if out != nil {
		e.counts.FromCache++
		out.Replies = append(out.Replies, reply)
	}
	return true
}

// lookupOps knows a request whose operations were all executed, or whose session is closed.
func (e *Executor) lookupOps(r *wire.Request, out *Output) bool {
	s := e.table.find(r.Client, r.Session)
	if s == nil {
		if r.Session > uint64(e.executed) {
			return r.Session-uint64(e.executed) > uint64(e.membership.Window)
		}
		if out != nil {
			e.counts.FromCache += uint64(len(r.Ops))
			e.closed(r, out)
		}
		return true
	}
	for i := range r.Ops {
		if s.state(r.First+uint64(i)) != numberExecuted {
			return false
		}
	}
	if out != nil {
		e.counts.FromCache += uint64(len(r.Ops))
		for i := range r.Ops {
			e.cached(s, r.Client, r.First+uint64(i), out)
		}
	}
	return true
}

// interestsMax bounds what is remembered of clients that wait here: as many requests as the
// pool may hold, since what is not in a pool is not waited for.
const interestsMax = bft.PoolRequestsMax

// interests are the requests whose clients wait here although the request does not ask this
// replica to answer. The oldest is forgotten for a new one: its client repeats itself.
type interests struct {
	keys  map[wire.RequestKey]uint64 // to its turn
	order []waitingKey               // oldest first; entries that were taken stay until their turn
	turn  uint64
}

type waitingKey struct {
	key  wire.RequestKey
	turn uint64
}

func (w *interests) add(k wire.RequestKey) {
	if _, there := w.keys[k]; there {
		return
	}
	if w.keys == nil {
		w.keys = make(map[wire.RequestKey]uint64)
	}
	if len(w.order) >= interestsMax {
		w.compact()
	}
	w.turn++
	w.keys[k] = w.turn
	w.order = append(w.order, waitingKey{k, w.turn})
}

// compact drops what was taken; if that is less than a quarter, the oldest go as well.
func (w *interests) compact() {
	kept := w.order[:0]
	for _, o := range w.order {
		if w.keys[o.key] == o.turn {
			kept = append(kept, o)
		}
	}
	if over := len(kept) - interestsMax*3/4; over > 0 {
		for _, o := range kept[:over] {
			delete(w.keys, o.key)
		}
		kept = append(kept[:0], kept[over:]...)
	}
	w.order = kept
}

// take reports whether the client of k waits here, and forgets it.
func (w *interests) take(k wire.RequestKey) bool {
	if len(w.keys) == 0 {
		return false
	}
	_, there := w.keys[k]
	delete(w.keys, k)
	return there
}
