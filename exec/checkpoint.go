package exec

import (
	"fmt"
	"sync/atomic"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/catchup"
	"github.com/themis-bft/themis/internal/mutant"
)

// Checkpoint is the state after a slot: the application's snapshot, the session table and the
// manifest that names every page. It implements catchup.Held, is immutable, and may be used
// from any goroutine while a reference to it is held.
type Checkpoint struct {
	seq      bft.SeqNum
	digest   bft.Digest
	manifest []byte
	app      app.Snapshot
	appPages int
	sessions []page
	refs     atomic.Int32
}

// Seq is the slot after which the state was taken.
func (c *Checkpoint) Seq() bft.SeqNum { return c.seq }

// Digest is what CHECKPOINT signs: the digest of Manifest.
func (c *Checkpoint) Digest() bft.Digest { return c.digest }

// Manifest is the canonical list of all pages (catchup.ParseManifest).
func (c *Checkpoint) Manifest() []byte { return c.manifest }

// Pages is the number of pages, of the application and of the session table together.
func (c *Checkpoint) Pages() int { return c.appPages + len(c.sessions) }

// Page returns the bytes of page i, which must not be changed.
func (c *Checkpoint) Page(i int) []byte {
	if i < c.appPages {
		return c.app.Page(i)
	}
	return c.sessions[i-c.appPages].bytes
}

// PageDigest returns the digest of page i.
func (c *Checkpoint) PageDigest(i int) bft.Digest {
	if i < c.appPages {
		return c.app.Digest(i)
	}
	return c.sessions[i-c.appPages].digest
}

// Retain adds a reference for one more holder, who must already be protected by another.
func (c *Checkpoint) Retain() *Checkpoint {
	if refs := c.refs.Add(1); refs < 2 {
		panic(fmt.Sprintf("exec: checkpoint %d retained with %d references", c.seq, refs-1))
	}
	return c
}

// Release gives a reference back; the last one gives the snapshot back to the application.
func (c *Checkpoint) Release() {
	switch refs := c.refs.Add(-1); {
	case refs == 0:
		c.app.Release()
	case refs < 0:
		panic(fmt.Sprintf("exec: checkpoint %d released with %d references", c.seq, refs+1))
	}
}

// unfinished is a checkpoint whose slot was executed while responses up to it are awaited. The
// state it covers is fixed already; only the bytes of those responses are missing.
type unfinished struct {
	seq    bft.SeqNum
	time   bft.Time
	app    app.Snapshot
	pages  []page
	frozen [][]*session // by page, of those that miss a response
	open   int          // responses that have not come
}

// takeCheckpoint pictures the state as it is now and announces it, at once or when the last
// response up to it has come.
func (e *Executor) takeCheckpoint(out *Output) {
	u := e.picture()
	if u.open > 0 {
		e.waiting = append(e.waiting, u)
		return
	}
	out.Checkpoints = append(out.Checkpoints, e.finish(u))
}

// picture fixes the state as it is now, without waiting for responses.
func (e *Executor) picture() *unfinished {
	u := &unfinished{
		seq: e.executed, time: e.time, app: e.machine.Snapshot(),
		pages: make([]page, len(e.table.pages)), open: e.open,
	}
	for i := range u.pages {
		if e.table.awaits(i) {
			if u.frozen == nil {
				u.frozen = make([][]*session, len(u.pages))
			}
			u.frozen[i] = e.table.frozen(i)
			continue
		}
		u.pages[i] = e.table.encoded(i)
	}
	if mutant.On("exec-session-table-not-in-checkpoint") {
		u.pages, u.frozen = nil, nil
	}
	return u
}

// resume notes that a response of this slot has come, and announces what waited for it alone.
func (e *Executor) resume(slot bft.SeqNum, out *Output) {
	for _, u := range e.waiting {
		if slot <= u.seq {
			u.open--
		}
	}
	for len(e.waiting) > 0 && e.waiting[0].open == 0 {
		out.Checkpoints = append(out.Checkpoints, e.finish(e.waiting[0]))
		e.waiting = e.waiting[1:]
	}
}

// finish builds the checkpoint of a picture whose responses are all there.
func (e *Executor) finish(u *unfinished) *Checkpoint {
	for i, places := range u.frozen {
		if places == nil {
			continue
		}
		for _, s := range places {
			if s != nil {
				s.settle()
			}
		}
		u.pages[i] = encodePage(places)
	}
	n := u.app.Pages()
	if n < 0 || n > bft.StatePagesMax/2 {
		panic(fmt.Sprintf("exec: the application's snapshot has %d pages, at most %d are allowed", n, bft.StatePagesMax/2))
	}
	m := catchup.Manifest{
		Seq: u.seq, Time: u.time, Membership: e.config,
		App: make([]bft.Digest, n), Sessions: make([]bft.Digest, len(u.pages)),
	}
	for i := range m.App {
		m.App[i] = u.app.Digest(i)
	}
	for i := range m.Sessions {
		m.Sessions[i] = u.pages[i].digest
	}
	c := &Checkpoint{seq: u.seq, app: u.app, appPages: n, sessions: u.pages}
	c.manifest = catchup.AppendManifest(nil, &m)
	c.digest = catchup.ManifestDigest(c.manifest)
	c.refs.Store(1)
	return c
}

// Genesis is the checkpoint of slot 0: the state before anything was executed. Its reference
// belongs to the caller.
func (e *Executor) Genesis() *Checkpoint {
	if e.executed != 0 {
		panic(fmt.Sprintf("exec: genesis asked for at slot %d", e.executed))
	}
	return e.finish(e.picture())
}
