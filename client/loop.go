package client

import (
	"context"
	"fmt"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// event is what happens on the link to one replica.
type event struct {
	from  bft.ReplicaID
	up    *link // the link was made
	down  bool  // the link is gone
	reply wire.Reply
}

// loop is the goroutine that owns the Session. It takes all that waits before it sends, so that
// concurrent calls share bundles and writes.
type loop struct {
	c       *Client
	session *Session
	opened  chan error // receives the outcome of the first OPEN; nil afterwards
	calls   map[Token]*call
	to      []*link // by replica; nil without a link
	out     Output
}

// roundMax bounds what is taken in one round, so that answers are not held back under load.
const roundMax = 64

func (l *loop) run(ctx context.Context) {
	defer close(l.c.ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	l.session.Open(l.c.now(), &l.out)
	for {
		l.finishRound(timer)
		select {
		case <-ctx.Done():
			l.end()
			return
		case k := <-l.c.calls:
			l.submit(k)
		case e := <-l.c.events:
			l.event(e)
		case k := <-l.c.cancels:
			l.session.Cancel(k.token, &l.out)
		case answer := <-l.c.asks:
			answer <- l.session.Stats()
		case <-timer.C:
		}
		for range roundMax {
			if !l.more() {
				break
			}
		}
	}
}

// more takes one input that waits already.
func (l *loop) more() bool {
	select {
	case k := <-l.c.calls:
		l.submit(k)
	case e := <-l.c.events:
		l.event(e)
	default:
		return false
	}
	return true
}

// finishRound sends, delivers and sets the timer for what the session wants next.
func (l *loop) finishRound(timer *time.Timer) {
	now := l.c.now()
	l.session.Tick(now, &l.out)
	for _, s := range l.out.Sends {
		for id := range s.To.All() {
			if to := l.to[id]; to != nil {
				to.push(s.Frame)
			}
		}
	}
	l.deliver(nil)
	l.out.Reset()
	l.reportOpen()
	wait := time.Hour
	if at, ok := l.session.Deadline(); ok {
		wait = time.Duration(max(at-now, 0))
	}
	timer.Reset(wait)
}

// deliver hands results to their callers; why, if not nil, is joined to their errors.
func (l *loop) deliver(why error) {
	for _, r := range l.out.Results {
		k := l.calls[r.Token]
		delete(l.calls, r.Token)
		if why != nil {
			r.Err = fmt.Errorf("%w: %w", r.Err, why)
		}
		r.Err = explain(k.ctx, r.Err)
		l.give(k, r)
	}
}

// give answers a call. It never blocks: the channel holds the one result.
func (l *loop) give(k *call, r Result) {
	if k.release != nil {
		k.release()
	}
	k.done <- r
}

func (l *loop) submit(k *call) {
	if k.ctx.Err() != nil { // its cancellation may have come before it
		l.give(k, Result{Err: explain(k.ctx, ErrNoQuorum)})
		return
	}
	token, err := l.session.Submit(k.op, k.deadline)
	if err != nil {
		l.give(k, Result{Err: err})
		return
	}
	k.token = token
	l.calls[token] = k
}

func (l *loop) event(e event) {
	now := l.c.now()
	switch {
	case e.up != nil:
		l.to[e.from] = e.up
		l.session.LinkUp(e.from, now, &l.out)
	case e.down:
		l.to[e.from] = nil
		l.session.LinkDown(e.from, now, &l.out)
	default:
		l.session.Reply(e.from, e.reply, now, &l.out)
	}
}

// reportOpen tells Open how the first OPEN ended.
func (l *loop) reportOpen() {
	if l.opened == nil {
		return
	}
	if l.session.Ready() {
		l.opened <- nil
		l.opened = nil
	} else if l.session.counters.refused > 0 {
		l.opened <- ErrRefused
		l.opened = nil
	}
}

// end delivers a result to every call. Later ones find the loop gone.
func (l *loop) end() {
	l.session.End(&l.out)
	l.deliver(ErrClosed)
}
