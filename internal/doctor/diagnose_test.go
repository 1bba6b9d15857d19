package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/replica"
)

// healthy are the facts of four replicas that serve.
func healthy() *Facts {
	f := &Facts{Dir: "/d", Quorums: bft.Quorums{N: 4, F: 1}, Membership: "m", Skew: 10 * time.Second, Every: 64}
	for i := range 4 {
		s := Seen{
			Config: fmt.Sprintf("/d/r%d/themis.toml", i), ClusterFile: "/d/cluster.toml", DataDir: fmt.Sprintf("/d/r%d/data", i),
			KeyFile: fmt.Sprintf("/d/r%d/key.pem", i), Alive: true,
			Peer: fmt.Sprintf("127.0.0.1:%d", 1000+i), Client: fmt.Sprintf("127.0.0.1:%d", 2000+i), Admin: fmt.Sprintf("127.0.0.1:%d", 3000+i),
		}
		look := func() *replica.Status {
			st := &replica.Status{
				Replica: bft.ReplicaID(i), Membership: "m", Version: "v1", Active: true, Committed: 100, Executed: 100, Stable: 64,
				Window: replica.WindowStatus{Low: 64, High: 320}, ViewChanges: map[string]uint64{},
				LogSync: replica.SyncStatus{Count: 50, Last: 0.002, Median: 0.002},
				Memory:  replica.MemoryStatus{Heap: 40 << 20, Limit: 256 << 20},
				Links:   replica.LinkStatus{Refused: map[string]uint64{}},
			}
			for j := range 4 {
				if j != i {
					st.Links.Peers = append(st.Links.Peers, replica.PeerLink{ID: bft.ReplicaID(j), Linked: true, In: true, Out: true, Silence: 0.05})
				}
			}
			return st
		}
		s.First, s.Last, s.Between = look(), look(), 500*time.Millisecond
		f.Replicas = append(f.Replicas, s)
	}
	return f
}

// both changes what replica i says at both looks.
func (f *Facts) both(i int, change func(*replica.Status)) {
	change(f.Replicas[i].First)
	change(f.Replicas[i].Last)
}

// stop makes replica i one that does not run.
func (f *Facts) stop(i int) *Seen {
	s := &f.Replicas[i]
	s.Alive, s.First, s.Last = false, nil, nil
	return s
}

// peer is what replica i says of its link with another, to be changed.
func (f *Facts) peer(i, with int) *replica.PeerLink {
	all := f.Replicas[i].Last.Links.Peers
	for j := range all {
		if int(all[j].ID) == with {
			return &all[j]
		}
	}
	panic("no such peer")
}

// mute makes b not hear a.
func (f *Facts) mute(a, b int) { f.peer(b, a).Silence = unheardAfter + 1 }

// TestDiagnose holds every rule against facts that differ from healthy ones in one thing.
func TestDiagnose(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := healthy()
			c.change(f)
			r := Diagnose(f)
			var codes, goal []string
			for _, x := range r.Causes {
				codes = append(codes, fmt.Sprintf("%s %d", x.Code, number(x)))
				if x.Next == "" || strings.Contains(x.Next, "%!") || strings.Contains(x.Sentence, "%!") {
					t.Errorf("%s: %q, next %q", x.Code, x.Sentence, x.Next)
				}
			}
			for _, w := range c.want {
				goal = append(goal, strings.Join(strings.SplitN(w, " ", 3)[:2], " "))
			}
			if !reflect.DeepEqual(codes, goal) || r.Healthy != (len(goal) == 0) {
				t.Fatalf("want %q, found %+v (healthy: %t)", goal, r.Causes, r.Healthy)
			}
			for i, w := range c.want {
				if part := strings.SplitN(w, " ", 3)[2]; !strings.Contains(r.Causes[i].Sentence, part) {
					t.Errorf("%q lacks %q", r.Causes[i].Sentence, part)
				}
			}
			for _, w := range c.want {
				seen[strings.SplitN(w, " ", 2)[0]] = true
			}
		})
	}
	for _, code := range Codes() {
		if code != CodeConfig && !seen[code] { // which is found before there are facts
			t.Errorf("no facts lead to %s", code)
		}
	}
}

// seen are the codes that TestDiagnose expected.
var seen = map[string]bool{}

// TestLastWords: only the end of the last run counts.
func TestLastWords(t *testing.T) {
	for log, want := range map[string]string{
		"": "",
		"time=x level=INFO msg=started replica=1\n":                                                     "",
		"themisd: listen: in use\n":                                                                     "themisd: listen: in use",
		"themisd: a.toml:3: unknown key\n  hint: did you mean it?\n":                                    "themisd: a.toml:3: unknown key (hint: did you mean it?)",
		"themisd: listen: in use\ntime=x level=INFO msg=started replica=1\n":                            "",
		"{\"msg\":\"started\"}\npanic: slot 7\n\ngoroutine 1 [running]:\nmain.main()\n":                 "panic: slot 7",
		"msg=started replica=1\nlevel=ERROR msg=\"this replica cannot go on\" error=io\n":               "level=ERROR msg=\"this replica cannot go on\" error=io",
		"panic: old\nmsg=started replica=1\nmsg=stopping replica=1\n":                                   "",
		"msg=started x=1\nfatal error: all is lost\n" + strings.Repeat("goroutine 5 [select]:\n", 1000): "fatal error: all is lost",
		"themisd: " + strings.Repeat("x", 1000):                                                         "themisd: " + strings.Repeat("x", wordsMax-9) + "…",
	} {
		if got := lastWords(log); got != want {
			t.Errorf("%.80q: %q, want %q", log, got, want)
		}
	}
}

// TestQuoted: a command can be pasted, whatever the directory is called.
func TestQuoted(t *testing.T) {
	for in, want := range map[string]string{"/a/b-1": "/a/b-1", "a b": "'a b'", "": "''", "a'b": `'a'\''b'`, "$(x)": "'$(x)'", "ü": "'ü'"} {
		if got := quoted(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// TestPage: the operator's page explains every code, and no other.
func TestPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| [^|]+ \\| [^|]+ \\|$").FindAllStringSubmatch(string(page), -1) {
		rows = append(rows, m[1])
	}
	if !reflect.DeepEqual(rows, Codes()) {
		t.Errorf("docs/operations.md explains\n%q\nthe codes are\n%q", rows, Codes())
	}
}
