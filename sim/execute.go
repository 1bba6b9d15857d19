package sim

import (
	"errors"
	"fmt"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/exec"
	"github.com/themis-bft/themis/host"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// execute is the execute stage for one slot.
func (r *replica) execute(c protocol.Committed) {
	if c.Seq <= r.exec.Executed() {
		r.exec.Execute(c, &r.replies) // decided while a later state was installed: nothing happens
		return
	}
	r.w.watch.commits(r, &c)
	r.machine.runs = r.machine.runs[:0]
	r.replies.Reset()
	r.exec.Execute(c, &r.replies)
	r.w.watch.executed(r, &c, r.machine.runs)
	if r.flipAt != 0 && c.Seq >= r.flipAt {
		r.flipAt = 0
		r.w.workload.corrupt(r.machine.Machine)
	}
	r.answer(&r.replies)
	for _, ck := range r.replies.Checkpoints {
		r.w.watch.checkpoint(r, ck)
		r.digests[ck.Seq()] = ck.Digest()
		r.keepHeld(ck)
		r.later(host.Checkpoint{Held: ck}, bft.Duration(r.w.swarm.execDelay))
	}
	r.saveSnapshot()
}

// answer sends replies to their clients.
func (r *replica) answer(out *exec.Output) {
	for i := range out.Replies {
		rep := &out.Replies[i]
		r.w.watch.answers(r, rep)
		if r.strategy != nil {
			if rep = r.strategy.Reply(r.env, *rep); rep == nil {
				continue
			}
		}
		if c := r.w.clientByID(rep.Client); c != nil {
			r.w.send(replyComes, int(r.id), c.end, wire.KindReply, rep.Append(nil))
		}
	}
}

// word is where the execute stage stands, for a request that it does not know.
func (r *replica) word(q *wire.Request) host.Word {
	worked, served := r.exec.Work(q)
	return host.Word{Executed: r.exec.Executed(), Worked: worked, Served: served}
}

// lookup asks the execute stage for what may have been executed.
func (r *replica) lookup() {
	for _, l := range r.out.Lookup {
		var out exec.Output
		known := r.exec.Lookup(&l.Request, !l.Relay, r.at().Wall, &out)
		if known && len(out.Replies) > 0 && !r.faulty() {
			r.w.watch.hit(repeatFromCache)
		}
		r.answer(&out)
		switch {
		case !known:
			r.later(host.Unexecuted{Request: l.Request, Relay: l.Relay, Word: r.word(&l.Request)}, bft.Duration(r.w.swarm.execDelay))
		case l.Doubt:
			r.later(host.Known{Key: l.Request.Key()}, bft.Duration(r.w.swarm.execDelay))
		}
	}
}

// install replaces the state by one that was fetched from peers.
func (r *replica) install(out *host.Output) {
	s := out.Install
	before := r.exec.Executed()
	own, known := r.digests[s.Seq] // as the real execute stage: only a state that contradicts ours goes back
	ck, err := r.exec.Install(s, known && own != s.Digest)
	switch {
	case err == nil:
		r.digests[s.Seq] = s.Digest
	case errors.Is(err, exec.ErrNotNewer):
		return
	default:
		panic(fmt.Sprintf("sim: %v cannot install the state of slot %d: %v", r.id, s.Seq, err))
	}
	r.w.watch.installs(r, ck, before)
	r.keepHeld(ck)
	r.later(host.Installed{Held: ck}, bft.Duration(r.w.swarm.execDelay))
	r.saveSnapshot()
}

// keepHeld keeps a reference for the snapshot on disk.
func (r *replica) keepHeld(ck *exec.Checkpoint) { r.held = append(r.held, ck.Retain()) }
