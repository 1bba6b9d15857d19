package replica

import (
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/host"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
)

// outputsMax bounds the outputs between order and persist, and between persist and execute.
// Beyond it the order stage waits, and with it verify and receive: the links feel it.
const outputsMax = 256

// lookEvery is how often the view is compared with the one last logged, lookPeersEvery how
// often the rejections are.
const (
	lookEvery      = 10 * bft.Millisecond
	lookPeersEvery = bft.Second
)

// order is the step thread: the only goroutine that touches the node. Each round steps
// everything at hand, fires what is due, and hands one output on, so that all of a round
// shares one write of the log.
type order struct {
	*Replica
	node  *host.Node
	taken taken
	seen  protocol.Status // as last logged
	look  bft.Duration    // when to compare again

	lookPeers bft.Duration                   // the same for rejections
	rejected  [][protocol.ReasonCount]uint64 // as last logged
}

func (o *order) run(boot *host.Output) {
	defer close(o.ordered)
	defer o.node.Close()
	if !boot.Empty() {
		o.persisting.push(boot)
	}
	waiter := newWaiter()
	defer waiter.stop()
	for {
		select {
		case <-o.stopping:
			o.round() // what was taken in before the stop is still stepped
			return
		case reply := <-o.asked:
			reply <- o.node.Status()
		default:
		}
		idle := o.round()
		if !idle {
			continue
		}
		select {
		case <-o.woken:
		case <-waiter.after(o.nap()):
		case reply := <-o.asked:
			reply <- o.node.Status()
		case <-o.stopping:
		}
	}
}

// round steps what is at hand once and reports whether there was nothing.
func (o *order) round() (idle bool) {
	o.intake.take(&o.taken)
	now := o.clock.now()
	at := host.Instant{Mono: o.clock.before(now, o.taken.oldest), Wall: o.options.Wall()}
	out := o.outputs.get()
	for _, in := range o.taken.own {
		o.node.Handle(at, in, out)
	}
	stepped := len(o.taken.own)
	for i := range o.taken.arrivals {
		if in := o.taken.arrivals[i].in; in != nil {
			o.node.Handle(at, in, out)
			stepped++
		}
	}
	o.node.Tick(at, out)
	o.verifier.Publish(o.node.Hint())
	o.metrics.stepped.Add(stepped)
	o.notice()
	if out.Empty() {
		o.outputs.put(out)
		return len(o.taken.arrivals) == 0 && stepped == 0
	}
	o.persisting.push(out)
	return false
}

// nap is how long the order stage may sleep: until the next timer, and never longer than a
// heartbeat, which is how it notices time in which the process did not run.
func (o *order) nap() time.Duration {
	due, ok := o.node.Deadline()
	if !ok {
		return heartbeat
	}
	return max(0, min(heartbeat, time.Duration(due-o.clock.issued)))
}

// notice logs what a human should know: that the view changed and why, and that a peer sent
// what no correct replica sends. It looks now and then, so that logging costs the step thread
// little and nobody can flood the log.
func (o *order) notice() {
	if o.clock.issued < o.look {
		return
	}
	o.look = o.clock.issued + lookEvery
	s := o.node.Progress()
	if s.View != o.seen.View || s.Active != o.seen.Active {
		o.log.Info("view", "view", uint64(s.View), "primary", int(s.Primary), "active", s.Active,
			"seq", uint64(s.Committed), "cause", newCauses(&o.seen, &s))
		o.seen = s
	}
	if o.clock.issued < o.lookPeers {
		return
	}
	o.lookPeers = o.clock.issued + lookPeersEvery
	o.noticePeers(o.node.Status().Rejections)
}

// noticePeers logs what peers sent that no correct replica sends: the first time for each reason,
// and then whenever there is twice as much of it, so that nobody can flood the log.
func (o *order) noticePeers(now [][protocol.ReasonCount]uint64) {
	if o.rejected == nil {
		o.rejected = make([][protocol.ReasonCount]uint64, len(now))
	}
	for peer := range now {
		for reason, n := range now[peer] {
			why, logged := protocol.Reason(reason), &o.rejected[peer][reason]
			if !why.Faulty() || n == 0 || n < 2**logged && !mutant.On("replica-logs-every-rejection") {
				continue
			}
			*logged = n
			o.log.Warn("a peer sent what no correct replica sends", "peer", peer, "reason", why.String(), "count", n)
		}
	}
}

// newCauses names the causes of view changes that were counted since.
func newCauses(before, now *protocol.Status) string {
	text := ""
	for c := range now.ViewChanges {
		if now.ViewChanges[c] == before.ViewChanges[c] {
			continue
		}
		if text != "" {
			text += " "
		}
		text += protocol.Cause(c).String()
	}
	return text
}

// ask asks the order stage for its status; ok is false if it does not answer in time.
func (r *Replica) ask(patience time.Duration) (s host.Status, ok bool) {
	reply := make(chan host.Status, 1)
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case r.asked <- reply:
	case <-limit.C:
		return s, false
	case <-r.stopping:
		return s, false
	}
	select {
	case s = <-reply:
		return s, true
	case <-limit.C:
		return s, false
	}
}
