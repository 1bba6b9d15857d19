package replica

import (
	"errors"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/catchup"
	"github.com/themis-bft/themis/exec"
	"github.com/themis-bft/themis/host"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// executable is one piece of work of the execute stage: an output, or a late response of the
// application.
type executable struct {
	out  *host.Output
	late func(*exec.Output)
}

// execute is the only goroutine that touches the executor and the application. It takes what
// was decided in order, answers clients once per round, and reports checkpoints to the order
// stage.
type execute struct {
	*Replica
	exec  *exec.Executor
	reply reply
	out   exec.Output
	work  []executable
	own   []host.Input

	repeats repeats
	// digests of the newest own checkpoints, to tell a state that was overtaken from one that
	// replaces a wrong one.
	digests map[bft.SeqNum]bft.Digest
}

// digestsKept is the number of own checkpoints remembered: more than a window holds of them
// when it is as small as it may be.
const digestsKept = 16

func (e *execute) run() {
	defer e.executing.close()
	for {
		work, ok := e.executing.take(e.work)
		if !ok {
			return
		}
		e.work = work
		for i := range work {
			if e.killed.Load() {
				return
			}
			if work[i].late != nil {
				work[i].late(&e.out)
			} else {
				e.output(work[i].out)
			}
			e.collect()
		}
		e.reply.flush()
	}
}

// output executes one output: commits in order, then a state that replaces them, then lookups,
// which thereby see everything that was decided before they came.
func (e *execute) output(o *host.Output) {
	for i := range o.Commit {
		e.vitals.executing(o.Commit[i].Seq, e.clock.sinceStart())
		e.exec.Execute(o.Commit[i], &e.out)
		e.vitals.executed()
		e.collect()
	}
	if o.Install != nil {
		e.install(o.Install)
	}
	for i := range o.Lookup {
		l, before := &o.Lookup[i], len(e.out.Replies)
		known := e.exec.Lookup(&l.Request, !l.Relay, wall(), &e.out)
		e.spare(l.Request.Client, before)
		switch {
		case !known:
			e.own = append(e.own, host.Unexecuted{Request: l.Request, Relay: l.Relay, Word: e.word(&l.Request)})
		case l.Doubt:
			e.own = append(e.own, host.Known{Key: l.Request.Key()})
		}
	}
	e.executed.Store(uint64(e.exec.Executed()))
	e.outputs.put(o)
}

// word is where the execute stage stands, for a request that it does not know.
func (e *execute) word(q *wire.Request) host.Word {
	worked, served := e.exec.Work(q)
	return host.Word{Executed: e.exec.Executed(), Worked: worked, Served: served}
}

// spare takes back the replies from an index on, all of them repeats, if the client has drawn too much
// of that. It asks again when it needs them.
func (e *execute) spare(id bft.ClientID, from int) {
	var n int64
	for i := range e.out.Replies[from:] {
		n += replyBytesMin + int64(len(e.out.Replies[from+i].Result))
	}
	if n == 0 || e.repeats.take(id, n*e.links.of(id), e.clock.sinceStart()) {
		return
	}
	clear(e.out.Replies[from:])
	e.out.Replies = e.out.Replies[:from]
	e.metrics.clientRejected[protocol.ReasonOverloaded].Inc()
}

// install replaces the state by a certified one. A state that execution has overtaken is
// dropped, unless the own checkpoint of its slot was another: then this replica has diverged
// and goes back.
func (e *execute) install(s *catchup.State) {
	own, known := e.digests[s.Seq]
	held, err := e.exec.Install(s, known && own != s.Digest)
	switch {
	case err == nil:
		e.digests[s.Seq] = s.Digest
		e.snapshots.add(held)
		e.own = append(e.own, host.Installed{Held: held})
	case errors.Is(err, exec.ErrNotNewer):
		e.log.Debug("a state was overtaken", "seq", uint64(s.Seq))
	default:
		e.fatal("install a certified state", err)
	}
}

// collect hands on what the executor has produced so far.
func (e *execute) collect() {
	for i := range e.out.Replies {
		e.reply.add(&e.out.Replies[i])
	}
	for _, c := range e.out.Checkpoints {
		e.digests[c.Seq()] = c.Digest()
		delete(e.digests, c.Seq()-digestsKept*e.options.Membership.CheckpointEvery)
		e.snapshots.add(c)
		e.own = append(e.own, host.Checkpoint{Held: c})
	}
	e.out.Reset()
	if len(e.own) > 0 {
		e.intake.feed(e.own...)
		clear(e.own)
		e.own = e.own[:0]
	}
}
