package exec

import (
	"testing"

	"github.com/themis-bft/themis/bft"
)

// TestCachesOfAllSessionsAreBounded: clients that fill every session's cache cannot make a
// replica keep more than ReplyCacheBytesMax, or one result of each session if that is more.
func TestCachesOfAllSessionsAreBounded(t *testing.T) {
	for _, sessions := range []int{1, 256, 512, 1024, 4096, bft.SessionsMax} {
		m := membership(sessions)
		all, one := int64(sessions)*int64(m.SessionReplyBytes()), int64(sessions)*bft.ResultBytesMax
		if all > max(bft.ReplyCacheBytesMax, one) || m.SessionReplyBytes() < bft.ResultBytesMax || m.SessionReplyBytes() > bft.SessionReplyBytesMax {
			t.Errorf("%d sessions of %d bytes", sessions, m.SessionReplyBytes())
		}
	}
	const sessions = 2048
	f := newFixture(t, sessions)
	f.app.reply = func([]byte) []byte { return make([]byte, bft.ResultBytesMax/2) }
	s := f.open(101)
	for i := range uint64(9) {
		f.slot(opReq(101, s, i, 0, "x"))
	}
	kept := func(e *Executor) (bytes int) {
		for _, c := range e.table.find(client(101), s).replies {
			bytes += len(c.result)
		}
		return bytes
	}
	if got := kept(f.e); got != bft.ResultBytesMax {
		t.Fatalf("a session among %d keeps %d bytes", sessions, got)
	}
	held := f.toCheckpoint()
	other := newFixture(t, sessions)
	if _, err := other.e.Install(copyState(held), false); err != nil {
		t.Fatal(err)
	}
	other.app.reply = f.app.reply
	for _, x := range []*fixture{f, other} { // what was installed keeps as much as what was not
		x.slot(opReq(101, s, 9, 0, "x"))
		if got := kept(x.e); got != bft.ResultBytesMax {
			t.Fatalf("%d bytes after one more", got)
		}
	}
	if f.toCheckpoint().Digest() != other.toCheckpoint().Digest() {
		t.Fatal("the caches differ")
	}
}
