package ideal_test

import (
	"bytes"
	"testing"

	"github.com/themis-bft/themis/auth/authtest"
	"github.com/themis-bft/themis/auth/ideal"
	"github.com/themis-bft/themis/bft"
)

func world(seed uint64, open bool) authtest.World {
	m := &bft.Membership{Replicas: make([]bft.Replica, 4), Open: open}
	for i := range 3 {
		m.Clients = append(m.Clients, bft.ClientKey{ID: bft.ClientID{byte(i + 1)}})
	}
	a := ideal.New(seed, m)
	w := authtest.World{Verifier: a}
	for i := range 4 {
		w.Replicas = append(w.Replicas, a.Replica(bft.ReplicaID(i)))
	}
	for _, c := range m.Clients {
		w.Clients = append(w.Clients, authtest.Client{ID: c.ID, Signer: a.Client(c.ID), Listed: true})
	}
	other := authtest.Client{ID: bft.ClientID{9}, Signer: a.Client(bft.ClientID{9})}
	if open {
		w.Clients = append(w.Clients, other)
	} else {
		w.Strangers = append(w.Strangers, other)
	}
	return w
}

func TestConformance(t *testing.T) {
	t.Run("listed", func(t *testing.T) { authtest.Run(t, world(1, false)) })
	t.Run("open", func(t *testing.T) { authtest.Run(t, world(2, true)) })
}

func TestSeeds(t *testing.T) {
	m := &bft.Membership{Replicas: make([]bft.Replica, 4), Open: true}
	a, again, b := ideal.New(1, m), ideal.New(1, m), ideal.New(2, m)
	msg := []byte("message")
	tag := a.Replica(0).Sign(nil, msg)
	if !bytes.Equal(tag, again.Replica(0).Sign(nil, msg)) {
		t.Error("the same seed gives another tag")
	}
	if b.VerifyReplica(0, msg, tag) {
		t.Error("the tag of one seed verifies under another")
	}
	if len(tag) != ideal.TagBytes {
		t.Errorf("a tag has %d bytes", len(tag))
	}
}

// TestNoCollisions makes tags of messages that are close to each other.
func TestNoCollisions(t *testing.T) {
	a := ideal.New(3, &bft.Membership{Replicas: make([]bft.Replica, 4)})
	seen := make(map[string]bool)
	n := 0
	add := func(msg []byte) {
		for r := range bft.ReplicaID(4) {
			seen[string(a.Replica(r).Sign(nil, msg))] = true
			n++
		}
	}
	for size := range 64 {
		add(make([]byte, size)) // zeros of every length
		for bit := range 8 * size {
			msg := make([]byte, size)
			msg[bit/8] = 1 << (bit % 8)
			add(msg)
		}
	}
	if len(seen) != n {
		t.Errorf("%d messages have %d tags", n, len(seen))
	}
}

func BenchmarkSignAndVerify(b *testing.B) {
	a := ideal.New(1, &bft.Membership{Replicas: make([]bft.Replica, 4)})
	s, msg, sig := a.Replica(1), make([]byte, 200), make([]byte, 0, 8)
	for b.Loop() {
		sig = s.Sign(sig[:0], msg)
		if !a.VerifyReplica(1, msg, sig) {
			b.Fatal("own tag does not verify")
		}
	}
}
