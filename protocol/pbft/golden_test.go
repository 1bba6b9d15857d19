package pbft

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

var rewrite = flag.Bool("rewrite", false, "write the golden conversations anew; commit only what you understand")

// TestConversations runs the golden conversations in testdata. Each block is commands, a line
// "----", and what was said because of them. The verbs are at conversation.do.
func TestConversations(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d conversations in testdata: %v", len(files), err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) { runConversation(t, f) })
	}
}

func runConversation(t *testing.T, file string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	v := &conversation{t: t}
	var out strings.Builder
	for _, block := range strings.Split(strings.TrimRight(string(raw), "\n"), "\n\n") {
		commands, _, _ := strings.Cut(block, "\n----")
		var said strings.Builder
		v.say = func(format string, args ...any) { fmt.Fprintf(&said, format+"\n", args...) }
		for _, line := range strings.Split(commands, "\n") {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				v.do(strings.Fields(line))
			}
		}
		fmt.Fprintf(&out, "%s\n----\n%s\n", commands, v.named(said.String()))
	}
	got := strings.TrimRight(out.String(), "\n") + "\n"
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != string(raw) {
		t.Errorf("%s: the conversation changed; run with -rewrite and read the diff\n%s", file, firstDifference(string(raw), got))
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d\nwant %s\ngot  %s", i+1, w[i], g[i])
		}
	}
	return fmt.Sprintf("want %d lines, got %d", len(w), len(g))
}

// conversation is a cluster under the command of a golden file.
type conversation struct {
	t     *testing.T
	c     *cluster
	say   func(string, ...any)
	names []string // digest, name, digest, name, …
	cut   map[string]bool
	quiet map[wire.Kind]bool
}

// named replaces digests by the names of their batches.
func (v *conversation) named(s string) string { return strings.NewReplacer(v.names...).Replace(s) }

// do runs one command:
//
//	cluster N F          starts N replicas
//	request              gives the primary a batch, b1, b2, …
//	equivocate A B C …   as the primary: another batch for each of the replicas named, "-" for none
//	deliver              delivers until nothing is on its way
//	drop r0>r1 KIND …    loses matching messages from now on: either side may be *; KIND may be *
//	heal                 loses nothing any more
//	overdue r1 …         the pool's patience ends at these replicas
//	timeout NAME r1 …    fires a timer: status, new-view, fetch
//	crash r0 / start r0  stops a replica, starts it from its log
//	hide KIND …          does not print these kinds
//	show                 prints where each replica stands
func (v *conversation) do(args []string) {
	switch args[0] {
	case "cluster":
		n, _ := strconv.Atoi(args[1])
		f, _ := strconv.Atoi(args[2])
		v.c = newCluster(v.t, n, f)
		v.cut, v.quiet = map[string]bool{}, map[wire.Kind]bool{}
		v.c.drop = v.dropped
	case "request":
		v.c.request()
		v.name(v.c.counter)
	case "equivocate":
		v.equivocate(args[1:])
	case "deliver":
		v.c.run()
		v.c.agree()
	case "drop":
		for _, k := range args[2:] {
			v.cut[args[1]+" "+k] = true
		}
	case "heal":
		clear(v.cut)
	case "overdue":
		v.each(args[1:], func(id bft.ReplicaID) { v.c.fire(id, protocol.TimerPatience) })
	case "timeout":
		timer := map[string]protocol.Timer{"status": timerStatus, "new-view": timerNewView, "fetch": timerFetch}[args[1]]
		v.each(args[2:], func(id bft.ReplicaID) { v.c.fire(id, timer) })
	case "crash":
		v.each(args[1:], func(id bft.ReplicaID) { v.c.nodes[id].dead = true })
	case "start":
		v.each(args[1:], v.c.boot)
	case "hide":
		for _, k := range args[1:] {
			v.quiet[kindOf(v.t, k)] = true
		}
	case "show":
		v.show()
	default:
		v.t.Fatalf("no command %q", args[0])
	}
}

func (v *conversation) each(names []string, f func(bft.ReplicaID)) {
	for _, s := range names {
		id, err := strconv.Atoi(strings.TrimPrefix(s, "r"))
		if err != nil || id >= len(v.c.nodes) {
			v.t.Fatalf("no replica %q", s)
		}
		f(bft.ReplicaID(id))
	}
}

func batch(i uint64) []byte { return binary.LittleEndian.AppendUint64(make([]byte, 12), i) }

func (v *conversation) name(i uint64) {
	v.names = append(v.names, wire.BodyDigest(batch(i)).String(), fmt.Sprintf("b%d", i))
}

// equivocate sends PRE-PREPAREs for the next slot that no correct primary sends.
func (v *conversation) equivocate(to []string) {
	var liar *node
	for _, x := range v.c.nodes {
		if x.wants && x.core.leads() {
			liar = x
		}
	}
	n := liar.core.assigned + 1
	for i, s := range to {
		if s == "-" {
			continue
		}
		v.c.counter++
		v.name(v.c.counter)
		b := batch(v.c.counter)
		m := &PrePrepare{View: liar.core.view, Seq: n, Digest: wire.BodyDigest(b), Batch: b}
		_ = i
		v.each([]string{s}, func(id bft.ReplicaID) {
			v.c.net = append(v.c.net, packet{from: liar.id, to: id, kind: m.Kind(), payload: v.c.codec.Append(nil, m)})
		})
	}
}

// dropped decides about a packet and prints it.
func (v *conversation) dropped(p packet) bool {
	m, err := v.c.codec.Decode(p.kind, p.payload)
	if err != nil {
		v.t.Fatal(err)
	}
	text := Describe(m)
	kind, _, _ := strings.Cut(text, " ")
	lost := false
	for _, from := range []string{p.from.String(), "*"} {
		for _, to := range []string{p.to.String(), "*"} {
			lost = lost || v.cut[from+">"+to+" "+kind] || v.cut[from+">"+to+" *"]
		}
	}
	if !v.quiet[p.kind] {
		arrow := "→"
		if lost {
			arrow = "✗"
		}
		v.say("%s %s %s  %s", p.from, arrow, p.to, text)
	}
	return lost
}

func (v *conversation) show() {
	for _, x := range v.c.nodes {
		if x.dead {
			v.say("%s dead", x.id)
			continue
		}
		st := x.core.Status()
		line := fmt.Sprintf("%s view=%d active=%t committed=%d stable=%d", x.id, st.View, st.Active, st.Committed, st.Stable)
		if st.Missing != "" {
			line += fmt.Sprintf(" missing=%s of %s", st.Missing, setName(st.Waiting))
		}
		if st.Equivocations > 0 {
			line += fmt.Sprintf(" contradictions=%d", st.Equivocations)
		}
		if x.catchUp != nil && x.catchUp.Seq > st.Committed {
			line += fmt.Sprintf(" wants-state=%d", x.catchUp.Seq)
		}
		v.say("%s", line)
	}
}

func kindOf(t *testing.T, name string) wire.Kind {
	kinds := map[string]wire.Kind{
		"PRE-PREPARE": KindPrePrepare, "PREPARE": KindPrepare, "COMMIT": KindCommit, "STATUS": KindStatus,
		"CHECKPOINT": KindCheckpoint, "VIEW-CHANGE": KindViewChange, "NEW-VIEW": KindNewView,
		"DECIDED": KindDecided, "STABLE": KindStable,
	}
	k, ok := kinds[name]
	if !ok {
		t.Fatalf("no kind %q", name)
	}
	return k
}
