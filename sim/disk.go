package sim

import (
	"errors"
	"fmt"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/catchup"
	"github.com/themis-bft/themis/exec"
	"github.com/themis-bft/themis/host"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/storage/mem"
	"github.com/themis-bft/themis/storage/snapshot"
	"github.com/themis-bft/themis/storage/wal"
	"github.com/themis-bft/themis/wire"
)

// errPower is what the file system says when the power fails in the middle of a sync.
var errPower = errors.New("sim: the power fails")

func (r *replica) owner() storage.Owner {
	m := &r.w.swarm.membership
	return storage.Owner{
		Cluster: m.Cluster, Epoch: m.Epoch, Replica: r.id, Key: wire.DigestOf("sim-key", m.Replicas[r.id].Key),
	}
}

// append writes records into the log's buffer.
func (r *replica) append(recs []storage.Record) {
	if err := r.log.Append(recs...); err != nil {
		panic(fmt.Sprintf("sim: %v cannot append to its log: %v", r.id, err))
	}
}

// startSync begins a sync of all that waits, unless one runs.
func (r *replica) startSync() {
	if r.syncing || len(r.unsynced) == 0 {
		return
	}
	r.syncing, r.covered = true, len(r.unsynced)
	d := r.w.swarm.syncDelay
	if d > 0 {
		d = r.rand.Tailed(d, r.w.net.doublings)
	}
	if r.slowSync > 0 {
		d += r.rand.Tail(r.slowSync)
	}
	r.w.queue.push(event{at: r.w.now + bft.Duration(d), what: syncEnds, to: int32(r.id), life: r.life})
}

// synced releases what the sync covered and begins the next.
func (r *replica) synced() {
	if err := r.log.Sync(); err != nil {
		panic(fmt.Sprintf("sim: %v cannot sync its log: %v", r.id, err))
	}
	done := r.unsynced[:r.covered]
	r.unsynced = append([]*stage(nil), r.unsynced[r.covered:]...)
	r.syncing = false
	for _, s := range r.unsynced {
		r.w.watch.durable(r, s.records) // the sync took along what was appended while it ran
	}
	r.startSync()
	for _, s := range done {
		r.w.watch.durable(r, s.records)
	}
	for _, s := range done {
		if !r.alive {
			return
		}
		r.low = s.progress.Stable
		r.release(&s.out)
		r.w.watch.shows(r, s.progress)
	}
	r.w.watch.stepped(r)
}

// saveSnapshot begins to save the stable checkpoint once it is held.
func (r *replica) saveSnapshot() {
	if r.saving || r.find(r.stable.Seq) == nil {
		return
	}
	r.saving = true
	d := r.w.swarm.syncDelay + r.w.swarm.execDelay
	r.w.queue.push(event{at: r.w.now + bft.Duration(d), what: snapshotSaved, to: int32(r.id), life: r.life})
}

func (r *replica) find(seq bft.SeqNum) *exec.Checkpoint {
	for _, ck := range r.held {
		if ck.Seq() == seq && seq > 0 {
			return ck
		}
	}
	return nil
}

// snapshotDone saves, cuts the log, and gives up what is older.
func (r *replica) snapshotDone() {
	r.saving = false
	ck := r.find(r.stable.Seq)
	if ck == nil {
		return
	}
	if err := snapshot.Save(r.fs, ck); err != nil {
		panic(fmt.Sprintf("sim: %v cannot save the snapshot of slot %d: %v", r.id, ck.Seq(), err))
	}
	if err := r.log.Cut(ck.Seq()); err != nil {
		panic(fmt.Sprintf("sim: %v cannot cut its log at %d: %v", r.id, ck.Seq(), err))
	}
	upTo := ck.Seq()
	kept := r.held[:0]
	for _, h := range r.held {
		if h.Seq() <= upTo {
			h.Release()
			continue
		}
		kept = append(kept, h)
	}
	r.held = kept
}

// format makes the disk of a new replica.
func (r *replica) format() {
	r.fs = mem.New()
	if err := wal.Init(r.fs, r.owner(), r.walOptions()); err != nil {
		panic(fmt.Sprintf("sim: %v cannot initialise its disk: %v", r.id, err))
	}
}

func (r *replica) walOptions() wal.Options {
	return wal.Options{SegmentBytes: int(r.w.swarm.segmentSize)}
}

// start starts the process from its disk.
func (r *replica) start() {
	w := r.w
	r.life++
	r.alive, r.paused, r.began, r.stolen = true, false, w.now, 0
	r.alarm, r.syncing, r.saving, r.unsynced, r.covered = 0, false, false, nil, 0
	r.backlog, r.inbox, r.held, r.stable = nil, nil, nil, protocol.Stable{}
	r.out = host.Output{}
	r.digests = make(map[bft.SeqNum]bft.Digest)

	r.machine = w.workload.machine()
	admits := func(id bft.ClientID) (bool, bool) { return w.keys.verifier.Admits(id) }
	r.exec = exec.New(&w.swarm.membership, r.id, r.machine, admits, nil)
	held := r.restore()
	log, err := wal.Open(r.fs, r.owner(), r.walOptions())
	if err != nil {
		panic(fmt.Sprintf("sim: %v cannot open its log: %v", r.id, err))
	}
	r.log = log
	records := r.records()
	r.w.watch.restarted(r, held, records)
	r.checks = &counter{Verifier: w.keys.verifier}
	r.verify = host.NewVerifier(&w.swarm.membership, w.codec, r.checks, 1024)
	at := r.at()
	r.node = host.New(host.Options{
		Protocol: protocol.Config{
			Self: r.id, Membership: &w.swarm.membership, Patience: w.swarm.patience,
			NewViewPatience: w.swarm.newView, PatienceMax: w.swarm.patienceMax, Resend: w.swarm.resend,
		},
		New:  r.keepCore,
		Boot: protocol.Boot{Records: records, Executed: held.Seq(), State: held.Digest()},
		Held: held, Now: at.Mono, Wall: at.Wall,
	}, &r.out)
	r.handling = true
	r.meet()
	r.handling = false
	r.rearm()
	r.w.watch.stepped(r)
}

// keepCore builds the protocol and remembers it, for its invariants.
func (r *replica) keepCore(cfg protocol.Config, boot protocol.Boot, out *protocol.Effects) protocol.Protocol {
	core := r.w.family.New(cfg, boot, out)
	r.invariants, _ = core.(invariants)
	return core
}

// invariants is a protocol that can hold its state against its own rules.
type invariants interface{ CheckInvariants() error }

// restore loads the newest snapshot, or begins with nothing.
func (r *replica) restore() *exec.Checkpoint {
	s, err := snapshot.Load(r.fs)
	if errors.Is(err, snapshot.ErrNone) {
		return r.exec.Genesis()
	}
	if err != nil {
		panic(fmt.Sprintf("sim: %v cannot load its snapshot: %v", r.id, err))
	}
	ck, err := r.exec.Install(&catchup.State{Seq: s.Seq, Digest: s.Digest, Manifest: s.Manifest, Pages: s.Pages}, true)
	if err != nil {
		panic(fmt.Sprintf("sim: %v cannot install its own snapshot of slot %d: %v", r.id, s.Seq, err))
	}
	return ck
}

// records reads the log.
func (r *replica) records() []storage.Record {
	var recs []storage.Record
	err := r.log.Replay(func(rec storage.Record) error {
		rec.Data = append([]byte(nil), rec.Data...)
		recs = append(recs, rec)
		return nil
	})
	if err != nil {
		panic(fmt.Sprintf("sim: %v cannot read its log: %v", r.id, err))
	}
	return recs
}

// crash ends the process. With power the machine goes down too, and of what was not synced
// only a random part stays.
func (r *replica) crash(power bool) {
	if !r.alive {
		return
	}
	r.w.watch.crashes(r)
	r.alive, r.paused = false, false
	r.life++
	if power {
		if r.syncing && r.rand.Intn(2) == 0 { // in the middle of a sync: written, not durable
			r.fs.OnOp(func(op mem.Op, _ string) error {
				if op == mem.OpSync {
					return errPower
				}
				return nil
			})
			if r.log.Sync() == nil {
				r.w.chart.note("%v had nothing left to sync", r.id) // a cut or a full segment did it
			}
		}
		r.fs.Crash(r.rand.Intn)
	} else {
		r.fs.Kill()
	}
	r.node, r.log, r.exec = nil, nil, nil
	r.w.sever(int(r.id))
}

// pause freezes the process; resume lets it go on with all that came meanwhile.
func (r *replica) pause() {
	if r.alive && !r.paused {
		r.paused, r.stopped = true, r.w.now
	}
}

func (r *replica) resume() {
	if !r.alive || !r.paused {
		return
	}
	r.stolen += r.w.now - r.stopped
	r.paused = false
	waiting := r.backlog
	r.backlog = nil
	r.alarm = 0
	for i := range waiting {
		r.w.deliver(&waiting[i])
	}
	if r.alive && !r.paused {
		r.tick()
	}
}
