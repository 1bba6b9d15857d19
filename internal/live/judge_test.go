package live

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/themis-bft/themis/app/kv"
	"github.com/themis-bft/themis/bench/history"
	"github.com/themis-bft/themis/client"
)

// verdict is what the histories of all clients together say.
type verdict struct {
	operations, answered, unknown, failed int
	keys                                  int
	linearizable                          bool
	acknowledged, lost, doubled           int // writes
	deviations                            uint64
	gap                                   time.Duration // longest time without any answer
	throughput                            float64
	checking                              time.Duration
	complaints                            []string
}

// put adds the verdict to figures.
func (v *verdict) put(f figures) {
	f["operations"], f["answered"], f["unknown"], f["failed_unsent"] = v.operations, v.answered, v.unknown, v.failed
	f["linearizable"], f["acknowledged_writes"], f["lost"], f["duplicated"] = v.linearizable, v.acknowledged, v.lost, v.doubled
	f["deviations"], f["gap_max_ms"], f["throughput_rps"] = v.deviations, ms(v.gap), v.throughput
}

func (v *verdict) String() string {
	return fmt.Sprintf("%d operations (%d answered, %d unknown) on %d keys, %.0f/s, linearizable %t, %d acknowledged writes, %d lost, %d duplicated",
		v.operations, v.answered, v.unknown, v.keys, v.throughput, v.linearizable, v.acknowledged, v.lost, v.doubled)
}

// judge ends the load, reads every key once more and holds the joined history against the
// meaning of the store. What is wrong fails the test.
func (l *load) judge() verdict {
	l.t.Helper()
	l.end()
	var deviations uint64
	for _, c := range append(slices.Clone(l.clients), l.prober) {
		s := c.Stats()
		deviations += s.Deviations()
	}
	v := l.examine(l.readAll())
	v.deviations = deviations
	for _, c := range v.complaints {
		l.t.Error(c)
	}
	return v
}

// examine looks for what is wrong with the history and the final value of each key.
func (l *load) examine(final map[string]string) verdict {
	v := verdict{keys: len(final)}
	l.count(&v)
	begin := time.Now()
	check := history.Check(l.events, checkTime)
	v.linearizable, v.checking = check.Linearizable, time.Since(begin)
	if check.Undecided {
		v.complain("the order of key %q was not decided in %s", check.Key, checkTime)
	} else if !check.Linearizable {
		v.complain("key %q is not linearizable", check.Key)
	}
	account := history.Audit(l.events)
	v.acknowledged += account.Acknowledged
	v.lost += account.Lost
	v.doubled += account.Duplicated
	v.complaints = append(v.complaints, account.Complaints...)
	l.auditLists(&v, final)
	return v
}

func (v *verdict) complain(format string, args ...any) {
	v.complaints = append(v.complaints, fmt.Sprintf(format, args...))
}

// count sums the events up.
func (l *load) count(v *verdict) {
	var returns []int64
	for _, e := range l.events {
		v.operations++
		switch {
		case e.Outcome == history.Unknown:
			v.unknown++
		case e.Outcome == history.Fail && e.Result == "":
			v.failed++
		default:
			v.answered++
			returns = append(returns, e.Return)
		}
	}
	slices.Sort(returns)
	for i := 1; i < len(returns); i++ {
		v.gap = max(v.gap, time.Duration(returns[i]-returns[i-1]))
	}
	v.throughput = float64(v.answered) / l.ended.Sub(l.begun).Seconds()
}

// readAll reads every key that was ever named, by a fresh client, and adds that to the history.
func (l *load) readAll() map[string]string {
	l.t.Helper()
	named := map[string]bool{}
	for _, e := range l.events {
		named[e.Key] = true
	}
	reader, final := l.nodes.connect(), map[string]string{}
	type read struct {
		event  history.Event
		answer <-chan client.Result
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for group := range slices.Chunk(sortedKeys(named), 128) {
		var reads []read
		for _, key := range group {
			e := history.Event{Client: len(l.clients) + 1, Op: history.Get, Key: key, Call: history.Now()}
			reads = append(reads, read{e, reader.InvokeAsync(ctx, kv.Get([]byte(key)))})
		}
		for _, r := range reads {
			result := <-r.answer
			must(l.t, result.Err)
			r.event.Return = history.Now()
			e := settle(r.event, result.Value, nil)
			l.add(e)
			final[e.Key] = ""
			if e.Value != nil {
				final[e.Key] = *e.Value
			}
		}
	}
	return final
}

// auditLists checks the lists: what was acknowledged stands there once, what failed never, what
// is unknown at most once, and nothing else.
func (l *load) auditLists(v *verdict, final map[string]string) {
	found := map[string]int{}
	for key, value := range final {
		if strings.HasPrefix(key, "list/") {
			for token := range strings.FieldsSeq(value) {
				found[key+" "+token]++
			}
		}
	}
	for _, token := range sortedKeys(found) {
		switch outcome, known := l.lists[token]; {
		case !known || outcome == string(history.Fail):
			v.complain("%q stands in the list and was not appended (%q)", token, outcome)
		case found[token] > 1:
			v.doubled++
			v.complain("%q stands in the list %d times", token, found[token])
		}
	}
	for _, token := range sortedKeys(l.lists) {
		if l.lists[token] != string(history.OK) {
			continue
		}
		if v.acknowledged++; found[token] == 0 {
			v.lost++
			v.complain("%q was acknowledged and is not in the list", token)
		}
	}
}
