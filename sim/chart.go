package sim

import (
	"fmt"
	"io"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// chart prints a run as a message chart. A nil chart prints nothing and costs nothing.
type chart struct {
	out io.Writer
	w   *world
}

// bind tells the chart whose clock and messages it prints.
func (c *chart) bind(w *world) {
	if c != nil {
		c.w = w
	}
}

func (c *chart) now() string {
	if c.w == nil {
		return "       0.000"
	}
	return fmt.Sprintf("%12.3f", float64(c.w.now)/float64(bft.Millisecond))
}

func (c *chart) note(format string, args ...any) {
	if c == nil {
		return
	}
	fmt.Fprintf(c.out, "%s  -- %s\n", c.now(), fmt.Sprintf(format, args...))
}

func (c *chart) end(i int) string {
	if c.w != nil && i >= c.w.n {
		return fmt.Sprintf("c%d", i-c.w.n)
	}
	return fmt.Sprintf("r%d", i)
}

func (c *chart) frame(e *event) {
	if c == nil {
		return
	}
	fmt.Fprintf(c.out, "%s  %s -> %s  %s\n", c.now(), c.end(int(e.from)), c.end(int(e.to)), c.describe(e.kind, e.data))
}

func (c *chart) lost(from, to int, k wire.Kind, data []byte) {
	if c == nil {
		return
	}
	fmt.Fprintf(c.out, "%s  %s -x %s  lost: %s\n", c.now(), c.end(from), c.end(to), c.describe(k, data))
}

func (c *chart) sends(id bft.ReplicaID, to bft.ReplicaSet, m protocol.Message) {
	if c == nil {
		return
	}
	fmt.Fprintf(c.out, "%s  %v sends to %b: %s\n", c.now(), id, to, c.w.dialect.describe(m))
}

func (c *chart) commit(id bft.ReplicaID, k *protocol.Committed) {
	if c == nil {
		return
	}
	what := k.Digest.String()
	if k.Digest.IsNull() {
		what = "null"
	}
	fmt.Fprintf(c.out, "%s  ** %v executes slot %d: %s (view %d)\n", c.now(), id, k.Seq, what, k.View)
}

// describe is one frame in a few words.
func (c *chart) describe(k wire.Kind, data []byte) string {
	switch k {
	case wire.KindRequest, wire.KindRetry, wire.KindRelay:
		name := [...]string{wire.KindRequest: "REQUEST", wire.KindRetry: "RETRY", wire.KindReply: "", wire.KindRelay: "RELAY"}[k]
		q, err := wire.DecodeRequest(data)
		if err != nil {
			return name + " malformed"
		}
		return fmt.Sprintf("%s %v %d/%d x%d flags=%d", name, q.Client, q.Session, q.First, len(q.Ops), q.Flags)
	case wire.KindReply:
		r, err := wire.DecodeReply(data)
		if err != nil {
			return "REPLY malformed"
		}
		return fmt.Sprintf("REPLY %d/%d v%d status=%d %q", r.Session, r.Number, r.View, r.Status, r.Result)
	case wire.KindFetch:
		return fmt.Sprintf("FETCH %x", data[:min(6, len(data))])
	case wire.KindBody:
		return fmt.Sprintf("BODY %v", wire.BodyDigest(data))
	case wire.KindStateWant:
		s, _ := wire.DecodeStateWant(data)
		return fmt.Sprintf("STATE-WANT n%d item %d at %d", s.Seq, int32(s.Item), s.Offset)
	case wire.KindStateItem:
		f, _ := wire.DecodeStateFragment(data)
		return fmt.Sprintf("STATE-ITEM n%d item %d at %d: %d of %d bytes", f.Want.Seq, int32(f.Want.Item), f.Want.Offset, len(f.Bytes), f.Total)
	}
	m, err := c.w.codec.Decode(k, data)
	if err != nil {
		return fmt.Sprintf("kind %d malformed, %d bytes", k, len(data))
	}
	return c.w.dialect.describe(m)
}
