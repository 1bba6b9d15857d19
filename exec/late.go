package exec

import (
	"fmt"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/wire"
)

// await registers a response that is not ready: its bytes join the session's cache, its client
// is answered and checkpoints that cover it go on when it comes.
func (e *Executor) await(slot bft.SeqNum, s *session, c call, future app.Future) {
	if e.late == nil {
		panic(fmt.Sprintf("exec: the response to operation %d of session %d in slot %d is late, and nothing was given to post it back",
			c.number, s.number, slot))
	}
	l := &lateReply{answer: c.answer, status: wire.StatusOK}
	e.table.store(s, cachedReply{number: c.number, late: l})
	e.open++
	p := promise{slot: slot, session: s, reply: l, epoch: e.epoch, number: c.number, post: e.late}
	future.Then(func(result []byte) {
		p.post(func(out *Output) { e.complete(&p, result, out) })
	})
}

// promise is what completing a late response needs to know.
type promise struct {
	slot    bft.SeqNum
	session *session
	number  uint64
	reply   *lateReply
	epoch   uint64
	post    Late
}

// complete runs on the execute goroutine when a late response has come.
func (e *Executor) complete(p *promise, result []byte, out *Output) {
	l := p.reply
	l.status, l.result = e.bounded(result)
	l.done = true
	if l.answer {
		out.Replies = append(out.Replies, wire.Reply{
			Client: p.session.client, Session: p.session.number, Number: p.number,
			View: e.view, Status: l.status, Result: l.result,
		})
	}
	if p.epoch != e.epoch {
		return // a state was installed since: the table is another
	}
	e.open--
	p.session.settle()
	if !p.session.gone {
		e.table.dirty(p.session)
	}
	e.resume(p.slot, out)
}
