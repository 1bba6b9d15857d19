package replica

import (
	"errors"
	"slices"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/host"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/storage"
)

const (
	// While the device is full, what needs no vote is served every noSpacePoll, and writing is
	// tried again every noSpaceRetry of these.
	noSpacePoll  = 50 * time.Millisecond
	noSpaceRetry = 20
	// heldBytesMax bounds the records that wait for a full device. Beyond it the replica ends:
	// nothing that it promised is lost, and its peers bring it back up.
	heldBytesMax = 32 << 20
)

// persist owns the log. It takes all outputs that wait, appends their records, syncs once if
// any of them needs it, and only then lets them go on: nothing leaves this replica, and
// nothing is executed, that rests on a vote which is not durable. On the same goroutine, so
// that a vote costs one hand-over less, follow the stages certify and send.
type persist struct {
	*Replica
	wal      storage.Log
	certify  certify
	send     send
	batch    []*host.Output
	appended int        // outputs of the batch whose records are in the log already
	owed     bool       // one of them is not lazy and not synced yet
	full     error      // why the log took nothing more, the last time
	cutAt    bft.SeqNum // the log was cut here
}

func (p *persist) run() {
	defer p.end()
	for {
		batch, ok := p.persisting.take(p.batch)
		if !ok {
			return
		}
		p.batch, p.appended = batch, 0
		if p.killed.Load() {
			continue
		}
		p.send.frames(batch)
		if !p.durable() && !p.retry() && !p.waitForRoom() {
			return
		}
		p.release()
	}
}

// end lets the stages on both sides go and closes the log behind everything it was given.
func (p *persist) end() {
	p.persisting.close()
	p.executing.close()
	if err := p.wal.Close(); err != nil && !p.killed.Load() {
		p.log.Error("close the log", "error", err)
	}
}

// durable appends and syncs the records of the batch, from where it stopped the last time.
// False means that the device is full; any other error ends the process at once, because what
// a failed sync left behind is unknown.
func (p *persist) durable() bool {
	for ; p.appended < len(p.batch); p.appended++ {
		recs := p.batch[p.appended].Persist
		if len(recs) == 0 {
			continue
		}
		if err := p.wal.Append(recs...); err != nil {
			return p.failed("append to the log", err)
		}
		p.metrics.records.Add(len(recs))
		for i := range recs {
			p.owed = p.owed || !recs[i].Lazy
		}
	}
	if !p.owed || mutant.On("replica-sync-skipped") {
		return true
	}
	begin := time.Now()
	p.vitals.syncBegins(p.clock.sinceStart())
	err := p.wal.Sync()
	p.vitals.syncEnds(p.clock.sinceStart())
	if err != nil {
		return p.failed("sync the log", err)
	}
	p.owed = false
	p.metrics.syncSeconds.UpdateDuration(begin)
	return true
}

// failed ends the process unless only room is missing. A sync that found none left behind what
// nobody knows: the log never goes on after that, and says so to an empty Append.
func (p *persist) failed(what string, err error) bool {
	if p.full = err; !errors.Is(err, storage.ErrNoSpace) || p.wal.Append() != nil {
		p.fatal(what, err)
	}
	return false
}

// retry goes on where durable found no room, with what room the log has in itself: a snapshot
// that was written meanwhile lets segments be cut, and those are free after a sync, which
// durable does not make before everything is appended.
func (p *persist) retry() bool {
	if p.killed.Load() {
		return false
	}
	p.cut()
	if p.killed.Load() {
		return false
	}
	if err := p.wal.Sync(); err != nil {
		return p.failed("sync the log", err)
	}
	return p.durable()
}

// waitForRoom holds the batch, and all that follow, until the device has room again, or the
// process has a descriptor for the next segment. Nothing that rests on a vote leaves meanwhile;
// frames and lookups, which rest on none, still do, so that peers and clients are served. False
// means that the replica stops.
func (p *persist) waitForRoom() bool {
	if p.killed.Load() {
		return false
	}
	p.log.Error("the data directory takes nothing more; voting stops until it does", "error", p.full)
	p.noSpace.Store(true)
	defer p.noSpace.Store(false)
	p.serve(p.batch)
	tick := time.NewTicker(noSpacePoll)
	defer tick.Stop()
	for round := 1; ; round++ {
		select {
		case <-p.stopping:
			return false
		case <-tick.C:
		}
		more := p.persisting.takeNow(nil)
		p.send.frames(more)
		p.serve(more)
		p.batch = append(p.batch, p.worthHolding(more)...)
		if n := heldBytes(p.batch[p.appended:]); n > heldBytesMax {
			p.fatal("hold records for a full device", storage.ErrNoSpace)
			return false
		}
		if round%noSpaceRetry != 0 {
			continue
		}
		if p.retry() {
			p.log.Info("the data directory takes records again; voting goes on")
			return true
		}
		if p.killed.Load() {
			return false
		}
	}
}

// worthHolding are those outputs that must wait for room. Messages of an output without a record, and
// which are not to be signed yet, are repeats: they are dropped like on a broken link, for peers can ask
// for any number, and STATUS brings back what is needed. What is decided meanwhile is bounded by the window.
func (p *persist) worthHolding(outs []*host.Output) []*host.Output {
	kept := outs[:0]
	for _, o := range outs {
		if len(o.Persist) == 0 && !mutant.On("persist-holds-repeats") {
			o.Send = slices.DeleteFunc(o.Send, func(m protocol.Outgoing) bool { return !m.Certify })
		}
		if o.Empty() {
			p.outputs.put(o)
			continue
		}
		kept = append(kept, o)
	}
	return kept
}

// serve hands the lookups of outputs on ahead of everything else in them.
func (p *persist) serve(outs []*host.Output) {
	for _, o := range outs {
		if len(o.Lookup) == 0 {
			continue
		}
		early := p.outputs.get()
		early.Lookup = append(early.Lookup, o.Lookup...)
		clear(o.Lookup)
		o.Lookup = o.Lookup[:0]
		p.executing.push(executable{out: early})
	}
}

func heldBytes(outs []*host.Output) (n int) {
	for _, o := range outs {
		for i := range o.Persist {
			n += len(o.Persist[i].Data)
		}
	}
	return n
}

// release lets outputs go on in order: messages to peers, commits to the execute stage.
func (p *persist) release() {
	for _, o := range p.batch {
		for i := range o.Send {
			p.send.message(&o.Send[i], &p.certify)
		}
		if o.Stable != nil {
			p.snapshots.stable(*o.Stable)
		}
	}
	p.send.flush()
	p.cut()
	p.metrics.logBytes.Store(p.wal.Bytes())
	for _, o := range p.batch {
		if len(o.Commit)+len(o.Lookup) == 0 && o.Install == nil {
			p.outputs.put(o)
			continue
		}
		p.executing.push(executable{out: o})
	}
}

// cut drops from the log what a durable snapshot of a stable checkpoint covers.
func (p *persist) cut() {
	at := bft.SeqNum(p.snapshots.durable.Load())
	if at <= p.cutAt {
		return
	}
	if err := p.wal.Cut(at); err != nil {
		if !p.failed("cut the log", err) {
			return // no room to note the cut: the log keeps more than it must
		}
	}
	p.cutAt = at
}
