package demo

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/themis-bft/themis/app/kv"
	"github.com/themis-bft/themis/bench"
	"github.com/themis-bft/themis/bench/history"
	"github.com/themis-bft/themis/internal/cluster"
)

// judge reads every key once more and holds the joined history against its meaning.
func (d *demo) judge(ctx context.Context, load *bench.Report) error {
	if err := d.readAll(ctx); err != nil {
		return err
	}
	r := d.report
	r.Requests, r.Throughput = load.Requests, load.Throughput
	r.Lies += load.Deviations[d.liar]
	events := d.events.Events()
	for _, e := range events {
		if e.Outcome == history.Unknown {
			r.Unknown++
		}
	}
	verdict := history.Check(events, searchTime)
	account := history.Audit(events)
	r.Linearizable, r.Acknowledged = verdict.Linearizable, account.Acknowledged
	r.Lost, r.Duplicated, r.Complaints = account.Lost, account.Duplicated, account.Complaints
	if !verdict.Linearizable {
		r.Complaints = append(r.Complaints, fmt.Sprintf("the history of key %q is not linearizable (undecided: %t)", verdict.Key, verdict.Undecided))
	}
	if err := d.await(ctx, "the correct replicas to agree on a checkpoint", d.agree); err != nil {
		r.Complaints = append(r.Complaints, err.Error())
	} else {
		r.Equal = true
	}
	if r.Lies == 0 {
		r.Complaints = append(r.Complaints, "nobody noticed the liar")
	}
	if r.ViewChanges == 0 {
		r.Complaints = append(r.Complaints, "the death of the primary changed no view")
	}
	r.OK = r.Linearizable && r.Lost == 0 && r.Duplicated == 0 && r.Equal && r.Lies > 0 && r.ViewChanges > 0 && account.Acknowledged > 0
	return nil
}

// agree reports whether the correct replicas show the same digest for the same checkpoint.
func (d *demo) agree(all []cluster.Condition) bool {
	var first *cluster.Condition
	for i := range all {
		r := &all[i]
		if r.ID == d.liar {
			continue
		}
		if r.Stable == nil || first != nil && (*r.Stable != *first.Stable || *r.StateDigest != *first.StateDigest) {
			return false
		}
		first = r
	}
	return first != nil
}

// readAll lets a new client read every key that the history names.
func (d *demo) readAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := d.client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	var names []string
	for _, e := range d.events.Events() {
		names = append(names, e.Key)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		e := history.Event{Client: d.o.Clients, Op: history.Get, Key: name, Call: history.Now()}
		b, err := c.Invoke(ctx, kv.Get([]byte(name)))
		if err != nil {
			return fmt.Errorf("demo: reading key %q: %w", name, err)
		}
		r, err := kv.ParseResult(b)
		if err != nil {
			return err
		}
		e.Return, e.Outcome, e.Result = history.Now(), history.OK, r.Code.String()
		if r.Code == kv.Found {
			v := string(r.Value)
			e.Value = &v
		}
		d.events.Add(e)
	}
	return nil
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) {
	yes := func(b bool) string {
		if b {
			return "yes"
		}
		return "NO"
	}
	fmt.Fprintf(w, "requests            %d (%.0f/s), %d of them with unknown outcome\n", r.Requests, r.Throughput, r.Unknown)
	fmt.Fprintf(w, "outage              %d ms from the death of the primary to the next execution\n", r.Outage.Round(time.Millisecond).Milliseconds())
	fmt.Fprintf(w, "view changes        %d\n", r.ViewChanges)
	fmt.Fprintf(w, "lies detected       %d\n", r.Lies)
	fmt.Fprintf(w, "writes lost         %d of %d audited\n", r.Lost, r.Acknowledged)
	fmt.Fprintf(w, "executed twice      %d\n", r.Duplicated)
	fmt.Fprintf(w, "linearizable        %s\n", yes(r.Linearizable))
	fmt.Fprintf(w, "equal states        %s\n", yes(r.Equal))
	for _, c := range r.Complaints {
		fmt.Fprintf(w, "PROBLEM             %s\n", c)
	}
	if r.OK {
		fmt.Fprintf(w, "All is well after %.1f s.\n", r.Seconds)
	}
}
