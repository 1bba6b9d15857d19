package host

import (
	"fmt"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/wire"
)

// duties holds what a core owes its driver against every step (protocol.Effects). The core is
// our own code: whatever breaks here is a defect, and a replica that goes on after one could lie.
type duties struct {
	self      bft.ReplicaID
	all       bft.ReplicaSet
	committed bft.SeqNum
	installed bft.SeqNum // a state was installed here: commits may go on from it
	jump      bool
}

// timersMax is the number of timers a protocol may have.
const timersMax = 64

func (d *duties) check(e *protocol.Effects) {
	for i := range e.Commit {
		d.commit(&e.Commit[i])
	}
	for i := range e.Send {
		d.send(&e.Send[i])
	}
	for _, t := range e.Timers {
		if t.Timer >= timersMax || t.After < 0 {
			panic(fmt.Sprintf("host: %v sets timer %d of %d to %d ns", d.self, t.Timer, timersMax, t.After))
		}
	}
	for _, f := range e.Fetch {
		if !d.all.Has(f.From) || f.From == d.self || f.Digest.IsNull() {
			panic(fmt.Sprintf("host: %v fetches %v from %v of %b", d.self, f.Digest, f.From, d.all))
		}
	}
	for _, r := range e.Persist {
		if r.Kind == 0 || r.Kind > storage.RecordKindMax || r.Seq > bft.SeqMax {
			panic(fmt.Sprintf("host: %v persists kind %d of %d at slot %d", d.self, r.Kind, storage.RecordKindMax, r.Seq))
		}
	}
}

// commit holds the order of commits: one after the other, each once. After a state was
// installed they go on behind it, or where they were if the core was ahead of it.
func (d *duties) commit(c *protocol.Committed) {
	gapless := c.Seq == d.committed+1 || d.jump && c.Seq == d.installed+1
	if !gapless {
		panic(fmt.Sprintf("host: %v commits slot %d after %d (installed %d, %t)",
			d.self, c.Seq, d.committed, d.installed, d.jump))
	}
	if c.Digest.IsNull() != (len(c.Body) == 0) {
		panic(fmt.Sprintf("host: %v commits slot %d with digest %v and %d bytes", d.self, c.Seq, c.Digest, len(c.Body)))
	}
	d.committed, d.jump = c.Seq, false
}

func (d *duties) send(o *protocol.Outgoing) {
	if o.Msg == nil || o.Msg.Kind() < wire.KindProtocol {
		panic(fmt.Sprintf("host: %v sends %v, which is no message of a protocol", d.self, o.Msg))
	}
	if o.To.Has(d.self) || o.To&^d.all != 0 {
		panic(fmt.Sprintf("host: %v sends kind %d to %b of %b", d.self, o.Msg.Kind(), o.To, d.all))
	}
	if _, signed := o.Msg.(protocol.Signed); o.Certify && !signed {
		panic(fmt.Sprintf("host: %v wants kind %d certified, which has no signature", d.self, o.Msg.Kind()))
	}
}
