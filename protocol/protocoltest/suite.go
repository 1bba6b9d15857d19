package protocoltest

import (
	"bytes"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
)

// Run holds a protocol against its contract with n replicas of which f may be faulty. Each
// failure names the sentence of the contract that was broken.
func Run(t *testing.T, family protocol.Family, n, f int) {
	if err := family.Replicas(n, f); err != nil {
		t.Fatalf("the suite was called with too few replicas: %v", err)
	}
	members := func() *bft.Membership {
		return &bft.Membership{
			Protocol: family.Name, App: "test", F: f, Scheme: "test", Replicas: make([]bft.Replica, n),
			CheckpointEvery: 4, Window: 8, InFlight: 3, BatchCount: 8, BatchBytes: 1 << 16, Sessions: 8,
		}
	}
	t.Run("orders and executes the same everywhere", func(t *testing.T) { testOrder(start(t, family, members())) })
	t.Run("is deterministic", func(t *testing.T) { testDeterminism(t, family, members()) })
	t.Run("serves the bodies of what it committed", func(t *testing.T) { testBodies(start(t, family, members())) })
	t.Run("survives the primary", func(t *testing.T) { testPrimary(start(t, family, members()), f) })
	t.Run("restarts from its records", func(t *testing.T) { testRestart(start(t, family, members())) })
	t.Run("encodes canonically", func(t *testing.T) { testCodec(t, family, members()) })
	t.Run("refuses too few replicas", func(t *testing.T) {
		if f > 0 && family.Replicas(f+1, f) == nil {
			t.Errorf("f+1 = %d replicas carry f = %d faults: no protocol does that", f+1, f)
		}
	})
}

func (d *driver) reach(slots int) {
	d.t.Helper()
	for _, x := range d.nodes {
		if !x.dead && len(x.done) < slots {
			d.t.Fatalf("%s committed %d slots, want %d: %+v", x.id, len(x.done), slots, x.core.Status())
		}
	}
}

func testOrder(d *driver) {
	for range 21 {
		d.request()
	}
	d.reach(21)
	for _, x := range d.nodes {
		if st := x.core.Status(); st.Stable != 20 || st.Committed != 21 {
			d.t.Errorf("%s: stable %d and committed %d after 21 slots with a checkpoint every 4", x.id, st.Stable, st.Committed)
		}
	}
}

// script is a conversation with everything in it: requests, a dead primary, a restart.
func script(d *driver) {
	for range 6 {
		d.request()
	}
	d.nodes[0].dead = true
	d.pass(true)
	for range 6 {
		d.request()
	}
	d.boot(d.nodes[0])
	for range 4 {
		d.pass(false)
	}
	d.request()
}

func testDeterminism(t *testing.T, family protocol.Family, m *bft.Membership) {
	a, b := start(t, family, m), start(t, family, m)
	script(a)
	script(b)
	if !bytes.Equal(a.trace, b.trace) {
		t.Fatal("the same events led to other messages: Step is a function of its events alone")
	}
}

func testBodies(d *driver) {
	for range 5 {
		d.request()
	}
	for _, x := range d.nodes {
		for _, digest := range x.done[len(x.done)-2:] {
			if x.core.Body(digest) == nil {
				d.t.Errorf("%s cannot serve %s, which it committed last", x.id, digest)
			}
		}
	}
}

// testPrimary kills the primary f times in a row; every time somebody else orders.
func testPrimary(d *driver, f int) {
	slots := 3
	for range slots {
		d.request()
	}
	for range f {
		d.nodes[d.nodes[d.t0()].core.Status().Primary].dead = true
		for range 2 * (f + 1) {
			d.pass(true)
			before := len(d.nodes[d.t0()].done)
			d.request()
			if len(d.nodes[d.t0()].done) > before {
				break
			}
		}
		slots++
		d.reach(slots)
	}
}

// t0 is the first live node.
func (d *driver) t0() int {
	for i, x := range d.nodes {
		if !x.dead {
			return i
		}
	}
	d.t.Fatal("nobody is alive")
	return 0
}

func testRestart(d *driver) {
	for range 3 {
		d.request()
	}
	for _, x := range d.nodes {
		x.dead = true
	}
	d.net = nil
	for _, x := range d.nodes {
		d.boot(x)
	}
	d.run()
	for range 4 {
		d.pass(false)
	}
	d.reach(3)
	d.request()
	d.reach(4)
}

func testCodec(t *testing.T, family protocol.Family, m *bft.Membership) {
	d := start(t, family, m)
	script(d)
	if len(d.seen) < 4 {
		t.Fatalf("the script provoked %d kinds of messages: the suite tests nothing", len(d.seen))
	}
	for kind, payload := range d.seen {
		m, err := d.codec.Decode(kind, payload)
		if err != nil {
			t.Fatalf("kind %d: %v", kind, err)
		}
		if again := d.codec.Append(nil, m); !bytes.Equal(again, payload) {
			t.Errorf("%T: encode after decode changes the bytes", m)
		}
		for i := range payload {
			if _, err := d.codec.Decode(kind, payload[:i]); err == nil {
				t.Errorf("%T: %d of %d bytes decode", m, i, len(payload))
			}
		}
		if _, err := d.codec.Decode(kind, append(bytes.Clone(payload), 0)); err == nil {
			t.Errorf("%T: a trailing byte decodes", m)
		}
		if s, ok := m.(protocol.Signed); ok {
			forged := s.WithSignature(tags{}.sign(s.Signer()+1, d.codec.AppendSigned(nil, s)))
			if _, reason := protocol.Verify(d.codec, s.Signer(), forged, tags{}); reason != protocol.ReasonBadSignature {
				t.Errorf("%T with another's signature: %v", m, reason)
			}
		}
	}
}
