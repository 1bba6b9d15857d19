package exec

import (
	"encoding/binary"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/wire"
)

// position is where in the agreed order execution stands.
type position struct {
	slot    bft.SeqNum
	digest  bft.Digest // of the batch
	request uint32     // index in the batch
	op      uint32     // index of the operation, over the whole batch
}

// request executes one ordered envelope: it is answered here if it asks for that, or if its
// client came here before and waits.
func (e *Executor) request(at *position, r *wire.Request, out *Output) {
	e.counts.Requests++
	waited := e.interest.take(r.Key())
	answer := waited || r.Answer.Has(e.self)
	if r.IsOpen() {
		reply := e.openSession(at, r)
		at.op++
		if answer {
			out.Replies = append(out.Replies, reply)
		}
		return
	}
	s := e.table.find(r.Client, r.Session)
	if s == nil {
		e.counts.Closed += uint64(len(r.Ops))
		at.op += uint32(len(r.Ops))
		if answer {
			e.closed(r, out)
		}
		return
	}
	e.table.advance(s, r.Done)
	for i, op := range r.Ops {
		e.operation(at, s, call{r: r, number: r.First + uint64(i), op: op, answer: answer}, out)
		at.op++
	}
}

// call is one operation of an envelope.
type call struct {
	r      *wire.Request
	number uint64
	op     []byte
	answer bool
}

// operation executes one operation unless its number was executed before or lies outside the
// session's window.
func (e *Executor) operation(at *position, s *session, c call, out *Output) {
	switch s.state(c.number) {
	case numberFresh:
		e.table.touch(s, at.slot, at.request)
		e.run(at, s, c, out)
	case numberExecuted:
		if mutant.On("exec-runs-twice") {
			e.run(at, s, c, out)
			return
		}
		e.counts.Repeated++
		if c.answer {
			e.cached(s, c.r.Client, c.number, out)
		}
	case numberOutside:
		e.counts.OutOfWindow++
		if c.answer {
			out.Replies = append(out.Replies, e.reply(c, wire.StatusWindow, nil))
		}
	}
}

// run gives the operation to the application and stores its response, now or later.
func (e *Executor) run(at *position, s *session, c call, out *Output) {
	e.counts.Executed++
	e.worked = at.slot
	future := e.machine.Execute(app.Call{
		Client: c.r.Client, Seq: at.slot, Time: e.time, Seed: e.seed(at),
	}, c.op)
	result, ready := future.Bytes()
	if !ready {
		e.await(at.slot, s, c, future)
		return
	}
	status, result := e.bounded(result)
	if status == wire.StatusOK {
		e.table.store(s, cachedReply{number: c.number, result: result})
	} else {
		e.table.skip(s, c.number)
	}
	if c.answer {
		out.Replies = append(out.Replies, e.reply(c, status, result))
	}
}

// bounded replaces a result that is too large by an error reply: the operation executed, its
// result cannot be had.
func (e *Executor) bounded(result []byte) (wire.Status, []byte) {
	if len(result) > bft.ResultBytesMax {
		e.counts.Oversized++
		return wire.StatusDropped, nil
	}
	return wire.StatusOK, result
}

// seed is H(cluster, slot, batch, index of the operation): agreed, and neither secret nor
// unbiased.
func (e *Executor) seed(at *position) bft.Digest {
	var b [16 + 8 + 32 + 4]byte
	copy(b[:], e.membership.Cluster[:])
	binary.LittleEndian.PutUint64(b[16:], uint64(at.slot))
	copy(b[24:], at.digest[:])
	binary.LittleEndian.PutUint32(b[56:], at.op)
	return wire.DigestOf("seed", b[:])
}

// openSession executes an OPEN and returns its answer.
func (e *Executor) openSession(at *position, r *wire.Request) wire.Reply {
	admitted, listed := e.admits(r.Client)
	if !admitted {
		e.counts.Refused++
		return e.openReply(r, wire.StatusRefused, 0)
	}
	if s := e.table.opened(r.Client, r.First); s != nil {
		e.counts.Repeated++
		return e.openReply(r, wire.StatusOK, s.number)
	}
	if e.openAge(r, e.time) != 0 {
		e.counts.Expired++
		return e.expiredReply(r, e.time)
	}
	if e.table.find(r.Client, uint64(at.slot)) != nil {
		// The number is taken by the client's own OPEN in this slot: it asks again.
		e.counts.Closed++
		return e.openReply(r, wire.StatusClosed, 0)
	}
	if v := e.table.makesRoom(listed); v != nil && v.number == uint64(at.slot) && !mutant.On("exec-session-number-twice") {
		// Who is closed in the slot of its own OPEN leaves its number to a later OPEN of the same
		// client in that slot; the one that comes asks again instead.
		e.counts.Closed++
		return e.openReply(r, wire.StatusClosed, 0)
	}
	evicted, ok := e.table.open(session{
		client: r.Client, number: uint64(at.slot), nonce: r.First, listed: listed,
		lastSlot: at.slot, lastRequest: at.request,
	})
	if !ok {
		e.counts.Refused++
		return e.openReply(r, wire.StatusRefused, 0)
	}
	if evicted {
		e.counts.Evicted++
	}
	e.counts.Opened++
	e.worked = at.slot
	return e.openReply(r, wire.StatusOK, uint64(at.slot))
}

// openAge says whether the time in an OPEN is too long ago (-1), too far ahead (1) or good (0). What was
// too long ago once stays so: whoever kept the OPENs of others must not open sessions in their name
// again and again, each of which closes one of theirs when the table is full.
func (e *Executor) openAge(r *wire.Request, now bft.Time) int {
	if mutant.On("exec-open-never-expires") {
		return 0
	}
	return wire.OpenAge(r.First, now, bft.OpenSpan+min(e.membership.TimeSkew, bft.OpenSpan))
}

// expiredReply tells the client what time it is.
func (e *Executor) expiredReply(r *wire.Request, now bft.Time) wire.Reply {
	reply := e.openReply(r, wire.StatusClosed, 0)
	reply.Result = binary.LittleEndian.AppendUint64(nil, uint64(wire.OpenHint(now)))
	return reply
}

func (e *Executor) openReply(r *wire.Request, status wire.Status, number uint64) wire.Reply {
	reply := wire.Reply{Client: r.Client, Number: r.First, View: e.view, Status: status}
	if status == wire.StatusOK {
		reply.Result = binary.LittleEndian.AppendUint64(nil, number)
	}
	return reply
}

func (e *Executor) reply(c call, status wire.Status, result []byte) wire.Reply {
	return wire.Reply{
		Client: c.r.Client, Session: c.r.Session, Number: c.number,
		View: e.view, Status: status, Result: result,
	}
}

// closed answers every operation of r with StatusClosed.
func (e *Executor) closed(r *wire.Request, out *Output) {
	for i := range r.Ops {
		c := call{r: r, number: r.First + uint64(i)}
		out.Replies = append(out.Replies, e.reply(c, wire.StatusClosed, nil))
	}
}

// cached answers an operation that was executed before: from the cache, or with StatusDropped.
// If its response has not come yet, the answer follows when it does.
func (e *Executor) cached(s *session, client bft.ClientID, number uint64, out *Output) {
	reply := wire.Reply{Client: client, Session: s.number, Number: number, View: e.view, Status: wire.StatusDropped}
	if c := s.find(number); c != nil {
		if c.late != nil && !c.late.done {
			c.late.answer = true
			return
		}
		reply.Status, reply.Result = c.response()
	}
	out.Replies = append(out.Replies, reply)
}
