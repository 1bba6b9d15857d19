package host

import (
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
)

// timers are the running timers of the protocol, by name. There are few, so that a slice in the
// order of names does. A timer that was stopped or restarted leaves nothing behind that could fire.
type timers []timer

type timer struct {
	name protocol.Timer
	at   bft.Duration
}

func (t timers) find(name protocol.Timer) (int, bool) {
	return slices.BinarySearchFunc(t, name, func(x timer, n protocol.Timer) int { return int(x.name) - int(n) })
}

// set starts, restarts or (with after = 0) stops a timer.
func (t *timers) set(name protocol.Timer, now, after bft.Duration) {
	i, there := t.find(name)
	switch {
	case after == 0 && there:
		*t = slices.Delete(*t, i, i+1)
	case after == 0:
	case there:
		(*t)[i].at = now + after
	default:
		*t = slices.Insert(*t, i, timer{name, now + after})
	}
}

// first is the index of the timer that is due first; of those due at once, the smallest name.
func (t timers) first() int {
	best := 0
	for i := range t {
		if t[i].at < t[best].at {
			best = i
		}
	}
	return best
}

// next is when the first timer is due.
func (t timers) next() (bft.Duration, bool) {
	if len(t) == 0 {
		return 0, false
	}
	return t[t.first()].at, true
}

// due takes the first timer that is due out of the table.
func (t *timers) due(now bft.Duration) (protocol.Timer, bool) {
	if len(*t) == 0 {
		return 0, false
	}
	i := t.first()
	if (*t)[i].at > now {
		return 0, false
	}
	name := (*t)[i].name
	*t = slices.Delete(*t, i, i+1)
	return name, true
}
