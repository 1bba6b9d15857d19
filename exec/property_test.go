package exec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// model says what execution must answer, in the simplest way: it keeps everything for ever.
type model struct {
	limit    int
	sessions []*modelSession // open ones, from the least to the most recently executed
	ran      int
	ever     map[string]int // how often an operation of a session ran
}

type modelSession struct {
	client  int
	number  uint64
	nonce   uint64
	done    uint64
	results []modelResult // in the order of execution
}

type modelResult struct {
	number uint64
	bytes  []byte
}

func (m *model) find(client int, number uint64) *modelSession {
	for _, s := range m.sessions {
		if s.client == client && s.number == number {
			return s
		}
	}
	return nil
}

func (m *model) open(client int, slot, nonce uint64) string {
	for _, s := range m.sessions {
		if s.client == client && s.nonce == nonce {
			return fmt.Sprintf("%d=%d", nonce, s.number)
		}
	}
	if m.find(client, slot) != nil {
		return fmt.Sprintf("%d!closed", nonce)
	}
	if len(m.sessions) == m.limit {
		victim, most := -1, 0
		for i, s := range m.sessions { // least recently executed first
			held := 0
			for _, o := range m.sessions {
				if o.client == s.client {
					held++
				}
			}
			if (client < 100 || s.client >= 100) && held > most {
				victim, most = i, held
			}
		}
		if victim < 0 {
			return fmt.Sprintf("%d!refused", nonce)
		}
		if m.sessions[victim].number == slot {
			return fmt.Sprintf("%d!closed", nonce)
		}
		m.sessions = append(m.sessions[:victim:victim], m.sessions[victim+1:]...)
	}
	m.sessions = append(m.sessions, &modelSession{client: client, number: slot, nonce: nonce})
	return fmt.Sprintf("%d=%d", nonce, slot)
}

func (m *model) op(s *modelSession, number uint64, op []byte) string {
	if number < s.done {
		return fmt.Sprintf("%d!dropped", number)
	}
	if number >= s.done+bft.SessionOpsMax {
		return fmt.Sprintf("%d!window", number)
	}
	after := 0
	for i := len(s.results) - 1; i >= 0; i-- {
		r := s.results[i]
		after += len(r.bytes)
		if r.number != number {
			continue
		}
		if after > bft.SessionReplyBytesMax {
			return fmt.Sprintf("%d!dropped", number)
		}
		return fmt.Sprintf("%d=%s", number, r.bytes)
	}
	m.ran++
	m.ever[fmt.Sprint(s.client, " ", s.number, " ", number)]++
	result := answerOf(m.ran, op)
	s.results = append(s.results, modelResult{number, result})
	for i, o := range m.sessions { // now the most recently executed
		if o == s {
			m.sessions = append(append(m.sessions[:i:i], m.sessions[i+1:]...), s)
			break
		}
	}
	return fmt.Sprintf("%d=%s", number, result)
}

func answerOf(turn int, op []byte) []byte {
	b := fmt.Appendf(nil, "%d:%s", turn, op)
	if strings.HasPrefix(string(op), "large") {
		b = append(b, bytes.Repeat([]byte("."), bft.ResultBytesMax-len(b))...)
	}
	return b
}

func (m *model) execute(slot uint64, reqs []wire.Request) (want []string) {
	for _, r := range reqs {
		c := int(r.Client[0])
		if r.IsOpen() {
			want = append(want, m.open(c, slot, r.First))
			continue
		}
		s := m.find(c, r.Session)
		if s != nil {
			s.done = max(s.done, r.Done)
		}
		for i, op := range r.Ops {
			if s == nil {
				want = append(want, fmt.Sprintf("%d!closed", r.First+uint64(i)))
			} else {
				want = append(want, m.op(s, r.First+uint64(i), op))
			}
		}
	}
	return want
}

// requests draws a batch: OPENs, bundles that overlap, repeats, numbers beyond every bound.
func requests(rt *rapid.T, slot uint64) []wire.Request {
	clients := []int{1, 2, 101, 102, 103}
	reqs := make([]wire.Request, rapid.IntRange(0, 4).Draw(rt, "requests"))
	for i := range reqs {
		c := rapid.SampledFrom(clients).Draw(rt, "client")
		if rapid.IntRange(0, 3).Draw(rt, "kind") == 0 {
			reqs[i] = openReq(c, rapid.Uint64Range(0, 3).Draw(rt, "nonce"))
			continue
		}
		first := rapid.Uint64Range(0, 6).Draw(rt, "first")
		if rapid.IntRange(0, 9).Draw(rt, "far") == 0 {
			first += bft.SessionOpsMax - 3
		}
		done := uint64(0)
		if rapid.IntRange(0, 3).Draw(rt, "done") == 0 {
			done = rapid.Uint64Range(0, first).Draw(rt, "done")
		}
		ops := make([]string, rapid.IntRange(1, 3).Draw(rt, "ops"))
		for j := range ops {
			ops[j] = rapid.SampledFrom([]string{"a", "large"}).Draw(rt, "op")
		}
		if over := first + uint64(len(ops)); over > done+bft.SessionOpsMax {
			done = over - bft.SessionOpsMax // beyond that no envelope decodes
		}
		reqs[i] = opReq(c, rapid.Uint64Range(1, max(slot, 1)).Draw(rt, "session"), first, done, ops...)
	}
	return reqs
}

// TestAgainstModel: under any sequence of requests the replies are those of the model, nothing
// runs twice, and three replicas agree on every checkpoint: one whose responses are ready, one
// whose responses come late and in any order, and one that installs a checkpoint on the way.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{limit: 3, ever: map[string]int{}}
		a, late, installed := newFixture(t, 3), newFixture(t, 3), newFixture(t, 3)
		for _, f := range []*fixture{a, late, installed} {
			f.app.reply = func(op []byte) []byte { return answerOf(len(f.app.lines), op) }
		}
		late.app.futures = true
		slots := rapid.IntRange(4, 24).Draw(rt, "slots")
		jump := bft.SeqNum(rapid.IntRange(1, slots/4).Draw(rt, "jump") * 4)
		for slot := uint64(1); slot <= uint64(slots); slot++ {
			reqs := requests(rt, slot)
			sameReplies(rt, a.slot(reqs...), m.execute(slot, reqs))
			late.slot(reqs...)
			late.answerSome(rt, false)
			switch seq := bft.SeqNum(slot); {
			case seq == jump:
				if _, err := installed.e.Install(copyState(a.out.Checkpoints[len(a.out.Checkpoints)-1]), false); err != nil {
					rt.Fatal(err)
				}
			case seq > jump:
				installed.slot(reqs...)
			}
		}
		late.answerSome(rt, true)
		for id, n := range m.ever {
			if n != 1 {
				rt.Fatalf("the model ran %s %d times", id, n)
			}
		}
		if len(a.app.lines) != m.ran || len(late.app.lines) != m.ran || len(installed.app.lines) != m.ran {
			rt.Fatalf("%d, %d and %d operations ran, want %d", len(a.app.lines), len(late.app.lines), len(installed.app.lines), m.ran)
		}
		sameCheckpoints(rt, a, late)
		sameCheckpoints(rt, a, installed)
	})
}

// answerSome completes late responses in a drawn order, all or some.
func (f *fixture) answerSome(rt *rapid.T, all bool) {
	var open []int
	for i, complete := range f.app.open {
		if complete != nil {
			open = append(open, i)
		}
	}
	n := len(open)
	if !all {
		n = rapid.IntRange(0, n).Draw(rt, "answers")
	}
	for ; n > 0; n-- {
		k := rapid.IntRange(0, len(open)-1).Draw(rt, "answer")
		f.answer(open[k])
		f.app.open[open[k]] = nil
		open = append(open[:k], open[k+1:]...)
	}
}

func sameReplies(rt *rapid.T, got []wire.Reply, want []string) {
	if len(got) != len(want) {
		rt.Fatalf("%d replies, want %d", len(got), len(want))
	}
	for i, r := range got {
		s := show(r)
		if r.Session == 0 && r.Status == wire.StatusOK {
			s = fmt.Sprintf("%d=%d", r.Number, binary.LittleEndian.Uint64(r.Result))
		}
		if s != want[i] {
			rt.Fatalf("reply %d of client %s session %d: %.60s, want %.60s", i, r.Client, r.Session, s, want[i])
		}
	}
}

// sameCheckpoints compares the checkpoints that both have announced; b may have begun later.
func sameCheckpoints(rt *rapid.T, a, b *fixture) {
	skipped := len(a.out.Checkpoints) - len(b.out.Checkpoints)
	if skipped < 0 {
		rt.Fatalf("%d and %d checkpoints", len(a.out.Checkpoints), len(b.out.Checkpoints))
	}
	for i, c := range b.out.Checkpoints {
		if other := a.out.Checkpoints[skipped+i]; c.Seq() != other.Seq() || c.Digest() != other.Digest() {
			rt.Fatalf("checkpoint %d is %s, and %d is %s", c.Seq(), c.Digest(), other.Seq(), other.Digest())
		}
	}
}

// BenchmarkExecute is a batch of 64 one-operation requests of as many sessions.
func BenchmarkExecute(b *testing.B) {
	f := newFixture(b, 64)
	f.app.reply = func([]byte) []byte { return []byte("12345678") }
	for i := range 64 {
		f.open(i)
	}
	n := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		reqs := make([]wire.Request, 64)
		for i := range reqs {
			reqs[i] = opReq(i, uint64(i+1), n, n, strings.Repeat("x", 100))
		}
		n++
		f.out.Reset()
		f.app.lines = nil
		body := encode(0, reqs...)
		c := protocol.Committed{Seq: f.e.Executed() + 1, Digest: wire.BodyDigest(body), Body: body}
		b.StartTimer()
		f.e.Execute(c, &f.out)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*64), "ns/request")
}
