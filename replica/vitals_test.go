package replica_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"testing"
	"time"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/lying"
	"github.com/themis-bft/themis/replica"
)

// held is an application that hangs while hold is open.
type held struct {
	app.Machine
	hold chan struct{}
}

func (h held) Execute(c app.Call, op []byte) app.Future {
	<-h.hold
	return h.Machine.Execute(c, op)
}

// TestVitals: a replica that hangs in its application, waits for its disk or has a wrong clock
// says so, and tells the directions of its links.
func TestVitals(t *testing.T) {
	c := newCluster(t, 4, 1)
	hold := make(chan struct{})
	c.wrap = func(i int, o *replica.Options) {
		switch i {
		case 1:
			o.Machine = held{Machine: o.Machine, hold: hold}
		case 2:
			p, err := lying.New("slow-disk", o.Self, o.Family.Codec(o.Membership), o.Signer)
			must(t, err)
			o.Files = p.Files(o.Files)
		case 3:
			o.Wall = func() bft.Time { return bft.Time(time.Now().Add(-5 * time.Second).UnixNano()) }
		}
	}
	c.startAll()
	cl := c.client()
	add(t, cl, 1)
	eventually(t, "replica 1 is at a slot", func() bool { e := c.status(1).Executing; return e.Slot > 0 && e.Seconds > 0.1 })
	eventually(t, "replica 0, which hangs nowhere, is at no slot", func() bool { return c.status(0).Executing.Slot == 0 })
	close(hold)
	eventually(t, "replica 1 is through", func() bool { return c.status(1).Executing.Slot == 0 })
	eventually(t, "replica 2 waits for its disk", func() bool {
		s := c.status(2).LogSync
		return s.Count > 0 && s.Median >= 0.3 && s.Last >= 0.3
	})
	eventually(t, "a sync is seen under way", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		_, _ = cl.Invoke(ctx, binary.LittleEndian.AppendUint64(nil, 0)) // what comes of it is not asked
		return c.status(2).LogSync.Running > 0
	})
	before := time.Now().UnixMilli()
	clock := c.status(3).Clock
	if after := time.Now().UnixMilli(); clock < before-6000 || clock > after-4000 {
		t.Errorf("replica 3, whose clock is 5 s late, says %d between %d and %d ms", clock, before, after)
	}
	before = time.Now().UnixMilli()
	_, body := c.get(0, "/statusz")
	after := time.Now().UnixMilli()
	var s replica.Status
	must(t, json.Unmarshal([]byte(body), &s))
	if s.Clock < before-1000 || s.Clock > after+1000 {
		t.Errorf("replica 0 says %d between %d and %d ms", s.Clock, before, after)
	}
	if s.Membership == "" || s.Membership != c.status(1).Membership {
		t.Errorf("membership %q, at replica 1 %q", s.Membership, c.status(1).Membership)
	}
}

// TestLinkDirections: status tells who is heard and who is reached apart, and why somebody is
// not reached.
func TestLinkDirections(t *testing.T) {
	c := newCluster(t, 4, 1)
	c.startAll()
	link := func(of, with int) (l replica.PeerLink) {
		for _, p := range c.status(of).Links.Peers {
			if int(p.ID) == with {
				l = p
			}
		}
		return l
	}
	eventually(t, "both directions up", func() bool { l := link(0, 1); return l.In && l.Out && l.LastError == "" })
	eventually(t, "replica 1 is heard", func() bool { s := link(0, 1).Silence; return s >= 0 && s < 1 })
	c.stop(1)
	eventually(t, "both directions down", func() bool { l := link(0, 1); return !l.In && !l.Out && l.LastError != "" })
	eventually(t, "replica 1 is silent", func() bool { return link(0, 1).Silence > 0.5 })
}
