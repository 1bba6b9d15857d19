package sim

import (
	"fmt"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/exec"
	"github.com/themis-bft/themis/host"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/sim/byz"
	"github.com/themis-bft/themis/sim/check"
	"github.com/themis-bft/themis/sim/rng"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/storage/mem"
	"github.com/themis-bft/themis/storage/wal"
	"github.com/themis-bft/themis/wire"
)

// backlogMax bounds what waits at a process that does not run; beyond it links drop.
const backlogMax = 4096

// replica is one process: the stages of the real one without its threads.
type replica struct {
	w    *world
	id   bft.ReplicaID
	rand *rng.Source

	fs      *mem.FS
	log     *wal.Log
	node    *host.Node
	exec    *exec.Executor
	machine *recorder

	invariants invariants // of the protocol, if it has some

	verify  *host.Verifier
	checks  *counter
	out     host.Output
	replies exec.Output

	alive   bool
	paused  bool
	frozen  bool   // the faults of the heal phase hold it down until the join
	life    uint32 // number of starts
	began   bft.Duration
	stolen  bft.Duration // of this life: time in which the process did not run
	stopped bft.Duration // since when it is paused
	skew    bft.Duration // of its wall clock
	backlog []event
	alarm   bft.Duration // the next timer event in the queue; 0 is none

	syncing  bool
	unsynced []*stage // their records are appended, not synced
	covered  int      // of unsynced: what the sync that runs covers
	slowSync int64    // added latency of the disk, in multiples

	held     []*exec.Checkpoint // driver's own references, oldest first
	digests  map[bft.SeqNum]bft.Digest
	low      bft.SeqNum // stable checkpoint behind the messages that leave
	stable   protocol.Stable
	saving   bool
	inbox    []host.Input
	handling bool
	busy     bool // something came of the last step

	env      *byz.Env
	strategy byz.Strategy
	entry    byz.Entry
	flipAt   bft.SeqNum
}

// stage is the output of one step that waits for a sync.
type stage struct {
	out      host.Output
	records  []storage.Record
	progress check.Progress // what the replica may show once the stage is released
}

func (r *replica) faulty() bool { return r.w.swarm.faulty.Has(r.id) }

// at is the instant as this process sees it.
func (r *replica) at() host.Instant {
	mono := r.w.now - r.began - r.stolen
	if r.paused {
		mono = r.stopped - r.began - r.stolen
	}
	return host.Instant{Mono: mono + bft.Second, Wall: bft.Time(r.w.now+r.skew) + wallStart}
}

// wallStart is the wall clock at the start of a run.
const wallStart = bft.Time(1_700_000_000_000_000_000)

// runs reports whether the process handles an event now; if it is only paused the event waits.
func (r *replica) runs(e *event) bool {
	if !r.alive {
		return false
	}
	if r.paused {
		if len(r.backlog) < backlogMax {
			r.backlog = append(r.backlog, *e)
		}
		return false
	}
	return true
}

// peerFrame is receive, decode, verify and step for a frame of a replica.
func (r *replica) peerFrame(from bft.ReplicaID, k wire.Kind, payload []byte) {
	if r.strategy != nil && !r.strategy.Hears(r.env, int(from), k, payload) {
		return
	}
	r.verify.Publish(r.node.Hint())
	r.input(r.verify.Peer(from, k, payload, r.at().Wall))
}

// clientFrame is the same for a frame of a client.
func (r *replica) clientFrame(id bft.ClientID, k wire.Kind, payload []byte) {
	if r.strategy != nil && !r.strategy.Hears(r.env, -1, k, payload) {
		return
	}
	if in, reason := r.verify.Client(id, k, payload); reason == protocol.ReasonNone {
		r.input(in)
	}
}

// input steps the node with in, and with what follows from it at once.
func (r *replica) input(in host.Input) {
	r.inbox = append(r.inbox, in)
	if r.handling {
		return
	}
	r.handling = true
	for len(r.inbox) > 0 && r.alive {
		in := r.inbox[0]
		r.inbox = r.inbox[1:]
		at := r.at()
		r.node.Handle(at, in, &r.out)
		r.node.Tick(at, &r.out)
		r.meet()
	}
	r.inbox = r.inbox[:0]
	r.handling = false
	r.rearm()
	r.w.watch.stepped(r)
}

// tick fires what is due.
func (r *replica) tick() {
	r.handling = true
	r.node.Tick(r.at(), &r.out)
	r.meet()
	r.handling = false
	if len(r.inbox) > 0 {
		in := r.inbox[len(r.inbox)-1]
		r.inbox = r.inbox[:len(r.inbox)-1]
		r.input(in)
		return
	}
	r.rearm()
	r.w.watch.stepped(r)
}

// rearm puts the node's next deadline into the queue of events.
func (r *replica) rearm() {
	if !r.alive || r.paused {
		return
	}
	d, ok := r.node.Deadline()
	if !ok {
		return
	}
	at := max(r.w.now+d-r.at().Mono, r.w.now)
	if r.alarm != 0 && r.alarm <= at && r.alarm > r.w.now {
		return // an earlier event looks again
	}
	r.alarm = at
	r.w.queue.push(event{at: at, what: timerDue, to: int32(r.id), life: r.life})
}

// meet meets the obligations of one step in their order (host.Output).
func (r *replica) meet() {
	if r.out.Empty() {
		return
	}
	r.busy = true
	for _, f := range r.out.Frames {
		r.sendFrame(f.To, wire.Kind(f.Bytes[4]), f.Bytes[wire.FrameHeaderBytes:])
	}
	r.lookup()
	needsSync := false
	for i := range r.out.Persist {
		needsSync = needsSync || !r.out.Persist[i].Lazy
	}
	if len(r.out.Persist) > 0 {
		r.append(r.out.Persist)
	}
	if needsSync || len(r.unsynced) > 0 {
		s := &stage{out: r.out, records: append([]storage.Record(nil), r.out.Persist...), progress: r.progress()}
		s.keep()
		r.out = host.Output{}
		r.unsynced = append(r.unsynced, s)
		r.startSync()
		return
	}
	out := r.out
	r.out = host.Output{}
	p := r.progress()
	r.low = p.Stable
	r.release(&out)
	r.w.watch.shows(r, p)
}

func (r *replica) progress() check.Progress {
	st := r.node.Status().Protocol
	return check.Progress{View: st.View, Stable: st.Stable}
}

// keep copies the records: their data is valid during the step only.
func (s *stage) keep() {
	for i := range s.records {
		s.records[i].Data = append([]byte(nil), s.records[i].Data...)
	}
	s.out.Frames, s.out.Lookup, s.out.Persist = nil, nil, nil
}

// release lets out what rests on durable votes: messages, commits, states.
func (r *replica) release(out *host.Output) {
	for i := range out.Send {
		r.sendMessage(&out.Send[i])
	}
	for i := range out.Commit {
		r.execute(out.Commit[i])
	}
	if out.Install != nil {
		r.install(out)
	}
	if out.Stable != nil {
		r.stable = *out.Stable
		r.w.watch.stable(r, *out.Stable)
		r.saveSnapshot()
	}
}

// sendMessage is certify and send.
func (r *replica) sendMessage(o *protocol.Outgoing) {
	m := o.Msg
	if o.Certify {
		m = r.w.certify(r.id, m.(protocol.Signed))
		r.later(host.Certified{Msg: m}, 0)
	}
	r.w.watch.sends(r, o.To, m)
	if r.strategy == nil {
		payload := r.w.codec.Append(nil, m)
		for to := range o.To.All() {
			r.w.send(frameArrives, int(r.id), int(to), m.Kind(), payload)
			r.w.overheard(r.id, to, m)
		}
		return
	}
	for to := range o.To.All() {
		r.strategy.Outgoing(r.env, byz.Parcel{To: to, Msg: m}, r.emit)
		r.w.overheard(r.id, to, m)
	}
}

// sendFrame sends a frame of the host.
func (r *replica) sendFrame(to bft.ReplicaID, k wire.Kind, payload []byte) {
	r.w.watch.frame(r, to, k, payload)
	if r.strategy == nil {
		r.w.send(frameArrives, int(r.id), int(to), k, payload)
		return
	}
	r.strategy.Outgoing(r.env, byz.Parcel{To: to, Kind: k, Payload: payload}, r.emit)
}

// emit puts what a strategy made onto the link.
func (r *replica) emit(p byz.Parcel) {
	if int(p.To) >= r.w.n || p.To == r.id {
		return
	}
	if p.Msg != nil {
		r.w.presents(p.Msg)
		p.Kind, p.Payload = p.Msg.Kind(), r.w.codec.Append(nil, p.Msg)
	}
	if p.After > 0 {
		r.w.queue.push(event{
			at: r.w.now + p.After, what: parcelLeaves, kind: p.Kind, from: int32(r.id), to: int32(p.To), life: r.life, data: p.Payload,
		})
		return
	}
	r.w.send(frameArrives, int(r.id), int(p.To), p.Kind, p.Payload)
}

// later brings an input back to the step after a while, unless the process dies before.
func (r *replica) later(in host.Input, after bft.Duration) {
	r.w.queue.push(event{at: r.w.now + after, what: inputComes, to: int32(r.id), life: r.life, in: in})
}

// standing says in a few words where the replica stands.
func (r *replica) standing() string {
	kind := ""
	if r.faulty() {
		kind = " faulty"
	}
	if !r.alive {
		return fmt.Sprintf("%v%s dead", r.id, kind)
	}
	if r.paused {
		kind += " paused"
	}
	st := r.node.Status()
	s := &st.Protocol
	return fmt.Sprintf("%v%s view %d active %v executed %d stable %d missing %q waiting %b vc %b pending %d (%d ms) catch-up %d causes %v",
		r.id, kind, s.View, s.Active, r.exec.Executed(), s.Stable, s.Missing, s.Waiting, s.ViewChangesHeld, st.Pending, st.OldestFor/bft.Millisecond, st.CatchUp.Target, s.ViewChanges)
}
