package history

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// Verdict is what Check found.
type Verdict struct {
	Linearizable bool
	Undecided    bool   // the search of one key took too long
	Key          string // the first key that is not linearizable, or undecided
}

// register is the state of one key.
type register struct {
	present bool
	value   string
}

var model = porcupine.Model{
	Init:  func() any { return register{} },
	Step:  func(state, input, _ any) (bool, any) { return step(state.(register), input.(*Event)) },
	Equal: func(a, b any) bool { return a == b },
}

// step says whether the event is possible in state r, and what follows.
func step(r register, e *Event) (bool, register) {
	answered := e.Outcome != Unknown
	switch e.Op {
	case Get:
		if e.Value == nil {
			return !r.present, r
		}
		return r.present && r.value == *e.Value, r
	case Put:
		return true, register{true, *e.Value}
	case Del:
		return !answered || r.present == (e.Result == Done), register{}
	}
	matches := r.present == (e.Old != nil) && (e.Old == nil || r.value == *e.Old)
	if answered && matches != (e.Result == Done) {
		return false, r
	}
	if matches {
		return true, register{true, *e.Value}
	}
	return true, r
}

// Check holds the history against one register per key, all absent at first. An operation of
// unknown outcome may take effect at any later time, or never. perKey bounds the search of a key.
func Check(events []Event, perKey time.Duration) Verdict {
	byKey := map[string][]porcupine.Operation{}
	for i := range events {
		e := &events[i]
		if e.Outcome == Unknown && e.Op == Get || e.Outcome == Fail && e.Result != Mismatch {
			continue // neither saw nor changed anything
		}
		end := e.Return
		if e.Outcome == Unknown {
			end = math.MaxInt64
		}
		byKey[e.Key] = append(byKey[e.Key], porcupine.Operation{ClientId: e.Client, Input: e, Call: e.Call, Return: end})
	}
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		switch porcupine.CheckOperationsTimeout(model, byKey[key], perKey) {
		case porcupine.Illegal:
			return Verdict{Key: key}
		case porcupine.Unknown:
			return Verdict{Undecided: true, Key: key}
		}
	}
	return Verdict{Linearizable: true}
}

// Account is what Audit found.
type Account struct {
	Acknowledged int      // writes whose success was reported
	Lost         int      // reads that miss a write acknowledged before they began
	Duplicated   int      // reads that see a value again that was seen overwritten before
	Complaints   []string // the first of them in words
}

// complaintsMax bounds Account.Complaints.
const complaintsMax = 10

// Audit follows the keys that one client alone writes, by puts of distinct values: a read that began
// after a write was acknowledged must see that write or one that did not end before it began. A value
// that comes back after a later one was seen was written twice; else a write was lost. Of two writes
// that overlap, as when a client does not wait for its answers, neither is the later one.
func Audit(events []Event) Account {
	type entry struct {
		writer int
		shared bool
		writes []*Event
		reads  []*Event
	}
	keys := map[string]*entry{}
	for i := range events {
		e := &events[i]
		k := keys[e.Key]
		if k == nil {
			k = &entry{writer: -1}
			keys[e.Key] = k
		}
		switch {
		case e.Op == Get && e.Outcome == OK:
			k.reads = append(k.reads, e)
		case e.Op == Put && e.Outcome != Fail:
			k.shared = k.shared || k.writer >= 0 && k.writer != e.Client
			k.writer = e.Client
			k.writes = append(k.writes, e)
		case e.Op == CAS || e.Op == Del:
			k.shared = true
		}
	}
	var a Account
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		if k := keys[name]; !k.shared {
			a.follow(name, k.writes, k.reads)
		}
	}
	return a
}

// follow audits one key.
func (a *Account) follow(key string, writes, reads []*Event) {
	slices.SortFunc(writes, func(x, y *Event) int { return int(min(max(x.Call-y.Call, -1), 1)) })
	slices.SortFunc(reads, func(x, y *Event) int { return int(min(max(x.Call-y.Call, -1), 1)) })
	number := map[string]int{} // of a value: from 1; absent is 0
	for i, w := range writes {
		number[*w.Value] = i + 1
		if w.Outcome == OK {
			a.Acknowledged++
		}
	}
	for i, r := range reads {
		saw, due, seen := 0, 0, 0
		if r.Value != nil {
			n, known := number[*r.Value]
			if !known {
				a.complain("key %q: read %q, which nobody wrote", key, *r.Value)
				a.Lost++
				continue
			}
			saw = n
		}
		for j, w := range writes {
			if w.Outcome == OK && w.Return < r.Call && ended(writes, saw, w) {
				due = j + 1
			}
		}
		for _, earlier := range reads[:i] {
			if earlier.Return >= r.Call || earlier.Value == nil {
				continue
			}
			if n := number[*earlier.Value]; n > 0 && ended(writes, saw, writes[n-1]) {
				seen = max(seen, n)
			}
		}
		switch {
		case saw > 0 && writes[saw-1].Outcome == Unknown: // it may take effect as late as it likes
		case saw < seen:
			a.Duplicated++
			a.complain("key %q: write %d is back after write %d was read", key, saw, seen)
		case saw < due:
			a.Lost++
			a.complain("key %q: a read saw write %d after write %d was acknowledged", key, saw, due)
		}
	}
}

// ended reports whether the write of a number was over when another began. Number 0, the absent value,
// always was; a write whose end nobody saw never.
func ended(writes []*Event, number int, other *Event) bool {
	return number == 0 || writes[number-1].Outcome == OK && writes[number-1].Return < other.Call
}

func (a *Account) complain(format string, args ...any) {
	if len(a.Complaints) < complaintsMax {
		a.Complaints = append(a.Complaints, fmt.Sprintf(format, args...))
	}
}
