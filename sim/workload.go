package sim

import (
	"fmt"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/app/kv"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/client"
	"github.com/themis-bft/themis/sim/check"
	"github.com/themis-bft/themis/sim/rng"
)

// workload draws what clients do with the key-value store and keeps the history.
type workload struct {
	w      *world
	rand   *rng.Source
	serial int
	done   []*call
	values []string // recently written, for compare-and-swap
}

func newWorkload(w *world, r *rng.Source) *workload { return &workload{w: w, rand: r} }

// machine is a fresh application.
func (l *workload) machine() *recorder {
	if l.w.swarm.allPages {
		return &recorder{Machine: kv.New()}
	}
	return &recorder{Machine: newShards()}
}

// corrupt changes the state of one replica behind everybody's back.
func (l *workload) corrupt(m app.Machine) {
	m.Execute(app.Call{}, kv.Put([]byte("k0"), []byte("cosmic ray")))
}

// call draws the next operation of a client. Faulty clients have keys of their own: what they
// write is no part of the history.
func (l *workload) call(c *simClient) *call {
	r := l.rand
	l.serial++
	k := &call{deadline: client.Never}
	prefix := "k"
	if c.faulty != nil {
		prefix = "x"
	}
	if l.w.stages.phase == phaseStorm && r.Intn(10) == 0 {
		k.deadline = l.w.now + bft.Duration(r.Between(int64(50*bft.Millisecond), int64(500*bft.Millisecond)))
	}
	op := &k.op
	op.Client, op.Key = c.index, fmt.Sprintf("%s%d", prefix, r.Intn(l.w.swarm.keys))
	key := []byte(op.Key)
	switch p := r.Intn(100); {
	case p < 30:
		op.Action = check.Get
		k.bytes = kv.Get(key)
	case p < 60:
		op.Action, op.Value = check.Put, l.value(r)
		k.bytes = kv.Put(key, []byte(op.Value))
	case p < 70:
		op.Action = check.Delete
		k.bytes = kv.Delete(key)
	case p < 75:
		k.scan = true
		k.bytes = kv.ScanPrefix([]byte(prefix), nil, 10)
	default:
		op.Action, op.Value, op.Old = check.Swap, l.value(r), "none"
		if len(l.values) > 0 {
			op.Old = l.values[max(0, len(l.values)-1-r.Intn(4))]
		}
		k.bytes = kv.CAS(key, []byte(op.Old), []byte(op.Value))
	}
	return k
}

// value draws a value that nobody wrote before; some are long, to make batches and pages.
func (l *workload) value(r *rng.Source) string {
	v := fmt.Sprintf("v%d", l.serial)
	if r.Intn(16) == 0 {
		v += fmt.Sprintf("%0*d", r.Intn(2000), 0)
	}
	l.values = append(l.values, v)
	return v
}

// finish enters the end of a call into the history.
func (l *workload) finish(k *call, value []byte, err error) {
	if err == client.ErrNoQuorum || k.scan {
		return // it never happened, or it spans keys: S5 holds it against the canonical log
	}
	if err == nil {
		k.learn(value)
	} else {
		l.w.watch.hit(outcomeUnknown)
	}
	l.done = append(l.done, k)
}

// learn enters the result of a call.
func (k *call) learn(value []byte) {
	k.op.Known = true
	if res, err := kv.ParseResult(value); err == nil {
		k.op.Found = res.Code == kv.Found || res.Code == kv.Done
		if k.op.Action == check.Get {
			k.op.Result = string(res.Value)
		}
	}
}

// history is every call that happened or may have happened. Of a call without an answer the
// canonical log tells the outcome; when its client could have learned it nobody knows, so that
// it returns at the end of time. What the log does not hold took no effect.
func (l *workload) history() []check.Operation {
	all := l.done
	for _, c := range l.w.clients {
		if c.faulty == nil {
			all = append(all, callsOf(c)...)
		}
	}
	var h []check.Operation
	for _, k := range all {
		if k.scan {
			continue
		}
		if !k.op.Known {
			result, ran := l.w.oracle.Outcome(l.w.clients[k.op.Client].id, k.session, k.number)
			if !ran {
				continue
			}
			k.learn(result)
			k.op.Return = client.Never
		}
		h = append(h, k.op)
	}
	return h
}
