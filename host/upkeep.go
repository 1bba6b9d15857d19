package host

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
)

// upkeep is what a look over the pool asks of the node.
type upkeep struct {
	lookup []*pending     // ask the execute stage whether they are executed
	doubt  []*pending     // ask it again, after T/2
	tell   []*pending     // relay to the primary
	spread []*pending     // relay to all
	cause  protocol.Cause // suspect the primary
}

// look goes over what has been pending for T/2 or longer, and after a view change over what
// clients asked for here, and says what is to be done about it, bft.RelaysMax things at most:
//
//   - what was only seen in a proposal of the primary may have been executed long ago, when it
//     was a copy; the execute stage is asked, and what it does not own up to by T is dropped;
//   - what the execute stage did not know T/2 ago it may know by now: a session that was not
//     open here when its request came may turn out to be another client's. It is asked again;
//   - the primary is told of everything it may not know, before it is blamed;
//   - what a client asked for here is told to everybody;
//   - the primary is told again of the request that waits longest for its turn. It may have dropped it
//     with a link, for want of room, or as executed, when it was an OPEN whose session was closed later.
//
// A request that was relayed to this replica is told on to the primary alone, once per view.
func (p *pool) look(now bft.Duration) upkeep {
	w := &p.waiting
	u := upkeep{}
	if w.patience == 0 || now < w.nextLook {
		return u
	}
	w.nextLook = now + w.patience/looksPerPatience
	room, everything := bft.RelaysMax, w.attention
	var starved, longest, denied *queue
	waits := false
	var since bft.Duration // of what waits longest
	for e := p.oldest; e != nil; {
		newer := e.newer
		old := now-e.since >= w.patience/2
		if !old && !everything {
			break // what came later is younger
		}
		switch {
		case p.stale(now, e):
			p.remove(e)
		case old || e.asked:
			done := p.attend(now, e, &u, room)
			room -= done
			if old && done == 0 && e.prev == nil && (longest == nil || e.queue.served < longest.served) {
				longest = e.queue
			}
			if p.doubtful(now, e) && len(u.doubt) < bft.RelaysMax {
				e.confirmedAt = now
				u.doubt = append(u.doubt, e)
			}
			if !p.ripe(now, e) {
				break
			}
			if !waits {
				waits, since = true, e.since
			}
			if e.prev == nil && (starved == nil || e.queue.served < starved.served) {
				starved = e.queue
			}
			if e.prev == nil && (denied == nil || e.queue.sure.served < denied.sure.served) {
				denied = e.queue
			}
		}
		e = newer
	}
	w.attention = room <= 0
	if longest != nil && p.mayRemind(now, longest.head) {
		u.tell = append(u.tell, longest.head)
	}
	guilty, ask := p.verdict(denied)
	if ask {
		u.doubt = append(u.doubt, denied.head)
	}
	u.cause = p.suspicion(now, since, waits, guilty, starved)
	return u
}

// attend adds what is to be done about one request and returns how much that was.
func (p *pool) attend(now bft.Duration, e *pending, u *upkeep, room int) int {
	if room <= 0 {
		return 0
	}
	switch {
	case !e.confirmed && !e.looked:
		e.looked = true
		u.lookup = append(u.lookup, e)
	case e.confirmed && e.asked && !e.spread && now-e.since >= p.waiting.patience/2:
		e.spread = true
		p.tell(e, now)
		u.spread = append(u.spread, e)
	case e.confirmed && !e.told:
		p.tell(e, now)
		u.tell = append(u.tell, e)
	default:
		return 0
	}
	return 1
}

// stale reports whether the execute stage was asked about e and has not returned it as
// unexecuted within T: it knows it.
func (p *pool) stale(now bft.Duration, e *pending) bool {
	return e.looked && !e.confirmed && now-e.since >= p.waiting.patience
}

// doubtful reports whether the execute stage should be asked about e again. If it knows e by now
// the node hears of it (Known) and drops it.
func (p *pool) doubtful(now bft.Duration, e *pending) bool {
	return e.confirmed && now-e.confirmedAt >= p.waiting.patience/2 && !mutant.On("pool-confirmed-once")
}
