package replica

import (
	"sync"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
)

const (
	// barredMax bounds the clients that are remembered; the one that was entered first is
	// forgotten for a new one.
	barredMax = 1024
	// offencesFree is how often a client merely loses its links. After more than that it is kept
	// out, for barTimeMin and twice as long each time, barDoublings times.
	offencesFree = 4
	barTimeMin   = bft.Second
	barDoublings = 5
	// offenceTime is how long an offence is remembered if no other follows.
	offenceTime = 60 * bft.Second
)

// barred remembers the clients that sent what no correct client sends. Who does so again and
// again has its links ended at once for a while, so that a flood of bad signatures makes its
// author pay with connections. It is about keys: nobody else can send in a client's name, so
// nobody can get another barred.
type barred struct {
	mu    sync.Mutex
	terms map[bft.ClientID]term
	order []bft.ClientID // as they were entered
}

// term is what a client has done, and until when it is barred.
type term struct {
	offences    uint
	last, until bft.Duration
}

func newBarred() *barred { return &barred{terms: map[bft.ClientID]term{}} }

// add notes an offence of a client.
func (b *barred) add(id bft.ClientID, now bft.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, known := b.terms[id]
	if !known {
		if len(b.order) >= barredMax {
			delete(b.terms, b.order[0])
			b.order = append(b.order[:0], b.order[1:]...)
		}
		b.order = append(b.order, id)
	}
	if now-max(t.last, t.until) >= offenceTime {
		t = term{}
	}
	t.last = now
	if t.offences++; t.offences > offencesFree {
		t.until = now + barTimeMin<<min(t.offences-offencesFree-1, barDoublings)
	}
	b.terms[id] = t
}

// has reports whether a client is barred now.
func (b *barred) has(id bft.ClientID, now bft.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return now < b.terms[id].until && !mutant.On("replica-client-not-barred")
}
