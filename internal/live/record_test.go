package live

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"
)

// recordEvery is the time between two looks at a replica; often enough to see what came before a
// suspicion, seldom enough to cost nothing.
const recordEvery = 100 * time.Millisecond

// moment is where a replica stood at one time.
type moment struct {
	At        time.Time
	Took      float64 // ms that the answer took: the order stage gives it
	ID        int
	Missed    bool // no answer
	View      uint64
	Active    bool
	Committed uint64
	Executed  uint64
	Assigned  uint64
	Missing   string
	Waiting   []int
	Queues    map[string]int
	Requests  int
	Oldest    float64
	RSS       uint64
}

// record follows all replicas until the test ends, for the explanation of a failure.
func (n *nodes) record() {
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	var all []moment
	var done sync.WaitGroup
	for id := range n.n() {
		done.Go(func() {
			for pause(ctx, recordEvery) {
				m := n.moment(id)
				mu.Lock()
				all = append(all, m)
				mu.Unlock()
			}
		})
	}
	n.t.Cleanup(func() {
		cancel()
		done.Wait()
		if !n.t.Failed() {
			return
		}
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		for i := range all {
			if err := enc.Encode(&all[i]); err != nil {
				n.t.Logf("writing the record: %v", err)
				break
			}
		}
		n.save("moments.jsonl", b.Bytes())
	})
}

// moment looks at one replica.
func (n *nodes) moment(id int) moment {
	begin := time.Now()
	s, ok := n.status(id)
	return moment{
		At: begin, Took: ms(time.Since(begin)), ID: id, Missed: !ok, View: uint64(s.View), Active: s.Active,
		Committed: uint64(s.Committed), Executed: uint64(s.Executed), Assigned: uint64(s.Window.Assigned),
		Missing: s.Missing, Waiting: s.Waiting, Queues: s.Queues, Requests: s.Pool.Requests, Oldest: s.Pool.Oldest, RSS: s.Memory.RSS,
	}
}
