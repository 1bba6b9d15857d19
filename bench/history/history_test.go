package history

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"
)

func text(s string) *string { return &s }

// log makes a history in which operation i is called at 10i and returns at 10i+5.
func log(events ...Event) []Event {
	for i := range events {
		e := &events[i]
		if e.Call == 0 && e.Return == 0 {
			e.Call, e.Return = int64(10*i), int64(10*i+5)
		}
		if e.Key == "" {
			e.Key = "k"
		}
		if e.Outcome == "" {
			e.Outcome = OK
		}
	}
	return events
}

func put(v string) Event { return Event{Op: Put, Value: text(v), Result: Done} }
func get(v string) Event { return Event{Op: Get, Client: 1, Value: text(v), Result: Found} }
func none() Event        { return Event{Op: Get, Client: 1, Result: Missing} }
func del(result string) Event {
	return Event{Op: Del, Result: result}
}

func cas(old, v, result string) Event {
	e := Event{Op: CAS, Value: text(v), Result: result}
	if old != "" {
		e.Old = text(old)
	}
	if result == Mismatch {
		e.Outcome = Fail
	}
	return e
}

func unknown(e Event) Event {
	e.Outcome, e.Result = Unknown, ""
	return e
}

func at(e Event, call, ret int64) Event {
	e.Call, e.Return = call, ret
	return e
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []Event
		want   bool
	}{
		{"empty", nil, true},
		{"read your write", log(put("a"), get("a")), true},
		{"absent first", log(none(), put("a")), true},
		{"stale read", log(put("a"), put("b"), get("a")), false},
		{"lost write", log(put("a"), none()), false},
		{"came back", log(put("a"), put("b"), get("b"), get("a")), false},
		{"value from nowhere", log(put("a"), get("z")), false},
		{"concurrent either way", log(at(put("a"), 1, 100), at(put("b"), 2, 90), get("a")), true},
		{"delete of what is there", log(put("a"), del(Done), none()), true},
		{"delete that denies it", log(put("a"), del(Missing)), false},
		{"swap", log(put("a"), cas("a", "b", Done), get("b")), true},
		{"swap of absence", log(cas("", "b", Done), get("b")), true},
		{"swap against the value", log(put("a"), cas("z", "b", Done)), false},
		{"mismatch that should have matched", log(put("a"), cas("a", "b", Mismatch)), false},
		{"mismatch changes nothing", log(put("a"), cas("z", "b", Mismatch), get("a")), true},
		{"two swaps of one value", log(put("a"), cas("a", "b", Done), cas("a", "c", Done)), false},
		{"unknown took effect late", log(put("a"), unknown(put("b")), get("a"), get("b")), true},
		{"unknown took no effect", log(put("a"), unknown(put("b")), get("a")), true},
		{"unknown twice", log(put("a"), unknown(put("b")), get("b"), put("c"), get("c"), get("b")), false},
		{"unknown read", log(put("a"), unknown(get("z"))), true},
		{"never sent", log(put("a"), Event{Op: Put, Value: text("b"), Outcome: Fail}, get("a")), true},
		{"two keys", log(put("a"), Event{Op: Get, Key: "other", Result: Missing}), true},
	} {
		if v := Check(c.events, time.Second); v.Linearizable != c.want || v.Undecided {
			t.Errorf("%s: %+v, want linearizable = %t", c.name, v, c.want)
		}
	}
}

func TestAudit(t *testing.T) {
	for _, c := range []struct {
		name       string
		events     []Event
		lost, dupl int
	}{
		{"well", log(put("a"), get("a"), put("b"), get("b")), 0, 0},
		{"concurrent read", log(put("a"), at(put("b"), 10, 50), at(get("a"), 20, 30)), 0, 0},
		{"concurrent writes", log(at(put("a"), 0, 50), at(put("b"), 10, 40), at(get("a"), 60, 70), at(get("a"), 80, 90)), 0, 0},
		{"lost after concurrent writes", log(at(put("a"), 0, 50), at(put("b"), 10, 40), at(put("c"), 60, 70), at(get("a"), 80, 90)), 1, 0},
		{"lost", log(put("a"), put("b"), get("a")), 1, 0},
		{"lost the first", log(put("a"), none()), 1, 0},
		{"came back", log(put("a"), put("b"), get("b"), get("a")), 0, 1},
		{"from nowhere", log(put("a"), get("z")), 1, 0},
		{"late unknown is excused", log(unknown(put("a")), put("b"), get("b"), get("a")), 0, 0},
		{"shared keys are not audited", log(put("a"), Event{Op: Put, Client: 7, Value: text("b")}, get("a")), 0, 0},
		{"nor swapped ones", log(put("a"), cas("a", "b", Done), get("b")), 0, 0},
	} {
		if a := Audit(c.events); a.Lost != c.lost || a.Duplicated != c.dupl || len(a.Complaints) != c.lost+c.dupl {
			t.Errorf("%s: %+v, want %d lost, %d duplicated", c.name, a, c.lost, c.dupl)
		}
	}
	if a := Audit(log(put("a"), unknown(put("b")), get("a"))); a.Acknowledged != 1 {
		t.Errorf("one acknowledged write was counted as %d", a.Acknowledged)
	}
}

func TestLines(t *testing.T) {
	want := log(put("a"), none(), cas("a", "b", Done), unknown(cas("", "c", Done)))
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, e := range want {
		w.Add(e)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(b.String(), "\n")
	if first != `{"client":0,"op":"put","key":"k","value":"a","call":0,"return":5,"outcome":"ok","result":"done"}` {
		t.Errorf("the first line is %s", first)
	}
	got, err := Read(&b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("wrote %+v, read %+v, %v", want, got, err)
	}
	if _, err := Read(strings.NewReader("{}\nnonsense")); err == nil {
		t.Error("nonsense was read")
	}
}

func TestNowIsTheMachinesClock(t *testing.T) {
	a := Now()
	b := Now()
	if a <= 0 || b < a {
		t.Errorf("the monotonic clock went from %d to %d", a, b)
	}
}
