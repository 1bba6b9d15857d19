package transporttest

import (
	"testing"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/transport"
)

// clientLinks: two-way, in order, under the client's name; several links of one client differ.
func clientLinks(t *testing.T, s *suite) {
	s.rec[0].Client = func(l transport.ClientLink, f transport.Frame) {
		l.Send(Frame(kind, number(f)+1000, 20)) // an echo
	}
	s.start(t)
	const each = 200
	seen := make(map[bft.ClientID]int)
	var open []Client
	for _, i := range []int{0, 1, 1} {
		id, c, err := s.Client(i, 0)
		if err != nil {
			t.Fatal(err)
		}
		seen[id]++
		open = append(open, c)
		var buf []byte
		for k := range uint64(each) {
			buf = append(buf, Frame(kind, k+1, 30)...)
		}
		if err := c.WriteFrames(buf); err != nil {
			t.Fatal(err)
		}
		for k := range uint64(each) {
			f, err := Next(t, c)
			if err != nil || number(f) != k+1001 {
				t.Fatalf("client %d: echo %d is %d, %v", i, k, number(f), err)
			}
		}
	}
	r := s.rec[0]
	var links []transport.ClientLink
	r.Look(func() {
		for l := range r.Links {
			links = append(links, l)
			if seen[l.Client()]--; seen[l.Client()] < 0 {
				t.Errorf("a link under the name of %s, who has fewer", l.Client())
			}
		}
		if len(links) != len(open) {
			t.Errorf("%d links for %d connections", len(links), len(open))
		}
	})
	open[0].Close()
	r.Wait(t, "ClientDown after the client closed", func() bool { return r.down() == 1 })
	for _, l := range links {
		l.Close()
	}
	r.Wait(t, "ClientDown after the replica closed", func() bool { return r.down() == len(links) })
	for _, l := range links {
		if l.Send(Frame(kind, 1, 8)) {
			t.Error("a link that is down took a buffer")
		}
	}
	if _, err := Next(t, open[1]); err == nil {
		t.Error("the client reads from a link that the replica closed")
	}
	open[1].Close()
	open[2].Close()
}

// Next is the next frame of a link, or the error with which it ended. If the link lives and no frame
// comes, the test fails.
func Next(t *testing.T, c Client) (transport.Frame, error) {
	t.Helper()
	late := time.AfterFunc(patience, func() { c.Close() }) // wakes the reader
	f, err := c.ReadFrame()
	if !late.Stop() {
		t.Fatal("waited in vain: a frame, or the end of the link")
	}
	return f, err
}

func (r *Recorder) down() int {
	n := 0
	for _, up := range r.Links {
		if !up {
			n++
		}
	}
	return n
}

// deafClient: a client that does not read costs a bound, and nobody waits for it.
func deafClient(t *testing.T, s *suite) {
	s.start(t)
	_, c, err := s.Client(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var link transport.ClientLink
	s.rec[0].Wait(t, "ClientUp", func() bool {
		for l := range s.rec[0].Links {
			link = l
		}
		return link != nil
	})
	const size, most = 32 << 10, 2000 // 64 MiB
	sent := 0
	for ; sent < most && link.Send(Frame(kind, 1, size)); sent++ {
	}
	if sent == most || sent == 0 {
		t.Errorf("a client that does not read was sent %d frames of %d bytes", sent, size)
	}
	if link.Send(Frame(kind, 1, bft.ClientFrameBytesMax)) {
		t.Error("Send took a frame over the limit of its link")
	}
	s.probe(t, s.Transports[0], 0, 1) // others are served meanwhile
}
