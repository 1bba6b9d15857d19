package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/themis-bft/themis/app/kv"
	"github.com/themis-bft/themis/client"
	"github.com/themis-bft/themis/internal/cluster"
	"github.com/themis-bft/themis/keys"
)

// script is what happens to the cluster while the load runs.
func (d *demo) script(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		d.watch, d.killPrimary, d.watch, d.bringBack, d.lie, d.watch, d.lieDifferently, d.watch, d.count,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// watch lets the load run for a while.
func (d *demo) watch(ctx context.Context) error {
	t := time.NewTimer(d.o.Phase)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// await asks all replicas until done is content with the answers.
func (d *demo) await(ctx context.Context, what string, done func([]cluster.Condition) bool) error {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		if done(d.cluster.Status().Replicas) {
			return nil
		}
		select {
		case <-again.C:
		case <-limit.C:
			return fmt.Errorf("demo: waited %s in vain for %s", patience, what)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// client opens a new client.
func (d *demo) client(ctx context.Context) (*client.Client, error) {
	key, err := keys.Generate("ed25519")
	if err != nil {
		return nil, err
	}
	public := d.cluster.Public
	c, err := client.Open(ctx, client.Config{Membership: &public.Membership, Replicas: public.ClientAddrs, Key: key})
	if err != nil {
		return nil, fmt.Errorf("demo: one more client: %w", err)
	}
	return c, nil
}

// answered keeps the replicas that said how far they are.
func answered(all []cluster.Condition) (some []cluster.Condition) {
	for _, r := range all {
		if r.Alive && r.Executed != nil {
			some = append(some, r)
		}
	}
	return some
}

// newest returns the highest view and slot among replicas.
func newest(all []cluster.Condition) (view, executed uint64, primary int) {
	for _, r := range answered(all) {
		if executed = max(executed, *r.Executed); *r.View >= view {
			view, primary = *r.View, *r.Primary
		}
	}
	return view, executed, primary
}

func (d *demo) killPrimary(ctx context.Context) error {
	view, _, primary := newest(d.cluster.Status().Replicas)
	d.liar = primary // for now: who was killed
	d.sayf("kill -9 of r%d, the primary of view %d, under load", primary, view)
	if err := d.cluster.Kill(primary); err != nil {
		return err
	}
	died := time.Now()
	_, executed, _ := newest(d.cluster.Status().Replicas)
	err := d.await(ctx, "the others to go on without their primary", func(all []cluster.Condition) bool {
		v, e, _ := newest(all)
		return v > view && e > executed
	})
	if err == nil {
		d.report.Outage = time.Since(died)
		v, _, p := newest(d.cluster.Status().Replicas)
		d.sayf("  view %d, primary r%d: executing again after %d ms", v, p, d.report.Outage.Milliseconds())
	}
	return err
}

func (d *demo) bringBack(ctx context.Context) error {
	dead := d.liar
	d.sayf("r%d comes back with its log", dead)
	_, executed, _ := newest(d.cluster.Status().Replicas)
	if err := d.cluster.Start(dead); err != nil {
		return err
	}
	begin := time.Now()
	err := d.await(ctx, fmt.Sprintf("r%d to catch up", dead), func(all []cluster.Condition) bool {
		r := all[dead]
		return r.Executed != nil && *r.Executed >= executed && r.Ready != nil && *r.Ready
	})
	if err == nil {
		d.sayf("  it executed what it had missed within %d ms", time.Since(begin).Milliseconds())
	}
	return err
}

// lie makes a backup lie to clients.
func (d *demo) lie(ctx context.Context) error {
	_, _, primary := newest(d.cluster.Status().Replicas)
	d.liar = (primary + 1) % d.o.Replicas
	var err error
	if d.base, err = d.refused(ctx); err != nil {
		return err
	}
	if err := d.deceive(ctx, "wrong-replies", "answers clients with wrong results"); err != nil {
		return err
	}
	return d.catch(ctx)
}

// catch lets one more client read until it has noticed a lie: after a restart of the liar it takes
// the others a while to be linked to it again. If it notices none, the verdict will say so.
func (d *demo) catch(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := d.client(limited)
	if err != nil {
		return err
	}
	defer c.Close()
	for d.report.Lies == 0 && err == nil {
		_, err = c.Invoke(limited, kv.Get([]byte("demo/any")))
		d.report.Lies = c.Stats().Replicas[d.liar].Deviations
	}
	return ctx.Err()
}

// lieDifferently makes the same replica lie to the others.
func (d *demo) lieDifferently(ctx context.Context) error {
	return d.deceive(ctx, "bad-votes", "votes for what nobody proposed")
}

func (d *demo) deceive(ctx context.Context, how, meaning string) error {
	d.sayf("r%d turns: it %s", d.liar, meaning)
	if err := d.cluster.Lie(d.liar, how); err != nil {
		return err
	}
	_, executed, _ := newest(d.cluster.Status().Replicas)
	return d.await(ctx, "execution to go on beside the liar", func(all []cluster.Condition) bool {
		_, e, _ := newest(all)
		return e > executed
	})
}

// count adds up what the correct replicas refused of the liar.
func (d *demo) count(ctx context.Context) error {
	n, err := d.refused(ctx)
	d.report.Lies += max(n, d.base) - d.base
	d.report.ViewChanges, _, _ = newest(d.cluster.Status().Replicas)
	return err
}

// refused is rejections when all others have told them.
func (d *demo) refused(ctx context.Context) (n uint64, err error) {
	var last error
	err = d.await(ctx, "the others to tell what they refused", func([]cluster.Condition) bool {
		n, last = d.rejections()
		return last == nil
	})
	return n, errors.Join(err, last)
}

// rejections is how many messages of the liar the others refused for reasons that no correct
// replica gives.
func (d *demo) rejections() (sum uint64, err error) {
	for id := range d.o.Replicas {
		if id == d.liar {
			continue
		}
		b, err := d.cluster.Ask(id, "/statusz")
		if err != nil {
			return 0, fmt.Errorf("demo: asking r%d: %w", id, err)
		}
		var z struct {
			Rejections []struct {
				Peer   int    `json:"peer"`
				Faulty bool   `json:"faulty"`
				Count  uint64 `json:"count"`
			} `json:"rejections"`
		}
		if err := json.Unmarshal(b, &z); err != nil {
			return 0, fmt.Errorf("demo: status of r%d: %w", id, err)
		}
		for _, r := range z.Rejections {
			if r.Peer == d.liar && r.Faulty {
				sum += r.Count
			}
		}
	}
	return sum, nil
}
