package check

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/themis-bft/themis/bft"
)

// Action is what a client of the key-value store may do to one key.
type Action uint8

// The actions.
const (
	Get Action = iota
	Put
	Delete
	Swap // compare and swap
)

// Operation is one call of a correct client and its outcome.
type Operation struct {
	Client int
	Action Action
	Key    string
	Value  string // written by Put and Swap
	Old    string // expected by Swap
	Call   bft.Duration
	Return bft.Duration
	Known  bool   // the outcome is known; else it may still happen, at any time
	Found  bool   // Get: the key existed. Delete: it existed. Swap: it was swapped
	Result string // Get: its value
}

// linearBudget is how long one history may be searched. An undecided history is a failure.
const linearBudget = 10 * time.Second

type register struct {
	present bool
	value   string
}

// Linearizable holds the history of the key-value store against its sequential meaning, key by
// key. An operation with unknown outcome may take effect at any later time or never.
func (o *Oracle) Linearizable(history []Operation) {
	byKey := make(map[string][]porcupine.Operation)
	var keys []string
	for _, h := range history {
		if !h.Known && h.Action == Get {
			continue // an unanswered read constrains nothing
		}
		ret := int64(h.Return)
		if !h.Known {
			ret = math.MaxInt64
		}
		if byKey[h.Key] == nil {
			keys = append(keys, h.Key)
		}
		byKey[h.Key] = append(byKey[h.Key], porcupine.Operation{
			ClientId: h.Client, Input: h, Output: h, Call: int64(h.Call), Return: ret,
		})
	}
	slices.Sort(keys)
	for _, k := range keys {
		switch porcupine.CheckOperationsTimeout(kvModel, byKey[k], linearBudget) {
		case porcupine.Illegal:
			o.Complain("linear", "the %d operations on key %q are not linearizable: %s", len(byKey[k]), k, brief(byKey[k]))
		case porcupine.Unknown:
			o.Complain("linear", "the history of key %q was not decided within %v", k, linearBudget)
		}
	}
}

var kvModel = porcupine.Model{
	Init: func() any { return register{} },
	Step: func(state, input, output any) (bool, any) {
		return apply(state.(register), input.(Operation))
	},
	Equal: func(a, b any) bool { return a == b },
}

// apply says whether the outcome of h is possible in state r, and what follows.
func apply(r register, h Operation) (bool, any) {
	switch h.Action {
	case Get:
		return h.Found == r.present && (!r.present || h.Result == r.value), r
	case Put:
		return true, register{present: true, value: h.Value}
	case Delete:
		return !h.Known || h.Found == r.present, register{}
	default:
		matches := r.present && r.value == h.Old
		if h.Known && h.Found != matches {
			return false, r
		}
		if matches {
			return true, register{present: true, value: h.Value}
		}
		return true, r
	}
}

func brief(ops []porcupine.Operation) string {
	s := ""
	for i, op := range ops {
		if i == 6 {
			return s + "…"
		}
		h := op.Input.(Operation)
		s += fmt.Sprintf("[c%d %d %q/%q→%v %q @%d-%d] ", h.Client, h.Action, h.Old, h.Value, h.Found, h.Result, h.Call/bft.Millisecond, h.Return/bft.Millisecond)
	}
	return s
}
