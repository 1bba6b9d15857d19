package replica

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
)

// repeats bounds what clients draw from the cache of replies: a request that was executed already
// costs its sender some bytes and may be answered with the whole cache of its session, on each of
// its links. What a client has drawn is forgotten when its allowance is full again.
type repeats struct {
	drawn map[bft.ClientID]allowance
}

// allowance is what was left for one client at an instant. It may be less than nothing: whoever has
// something left gets a whole answer, however many links it goes to.
type allowance struct {
	left int64
	at   bft.Duration
}

// repeatersMax bounds the clients whose draw is remembered.
const repeatersMax = 4096

// repeatNanos is the time that earns a byte, rounded up.
const repeatNanos = (bft.Second + bft.RepeatBytesPerSecond - 1) / bft.RepeatBytesPerSecond

// now is the allowance at an instant.
func (a allowance) now(now bft.Duration) allowance {
	earned := int64((now - a.at) / repeatNanos)
	return allowance{min(a.left+earned, bft.RepeatBurstBytes), a.at + bft.Duration(earned)*repeatNanos}
}

// take reports whether n bytes of repeated answers may go to a client, and takes them.
func (r *repeats) take(id bft.ClientID, n int64, now bft.Duration) bool {
	a, known := r.drawn[id]
	if !known {
		a = allowance{bft.RepeatBurstBytes, now}
	}
	a = a.now(now)
	if a.left <= 0 && !mutant.On("replica-repeats-unbounded") {
		return false
	}
	a.left -= n
	if r.drawn == nil {
		r.drawn = map[bft.ClientID]allowance{}
	}
	if !known && len(r.drawn) >= repeatersMax {
		r.forget(now)
	}
	r.drawn[id] = a
	return true
}

// forget makes room: those whose allowance is full again go, and if that is nobody one of the others,
// who then gets more than he should: as much as for the session that he had to open.
func (r *repeats) forget(now bft.Duration) {
	for id, a := range r.drawn {
		if a.now(now).left == bft.RepeatBurstBytes {
			delete(r.drawn, id)
		}
	}
	for id := range r.drawn {
		if len(r.drawn) < repeatersMax {
			break
		}
		delete(r.drawn, id)
	}
}
