package doctor

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/themis-bft/themis/app/kv"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/client"
	"github.com/themis-bft/themis/config"
	"github.com/themis-bft/themis/internal/cluster"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/replica"
)

// programs is the folder of the replica's programs, which TestMain builds.
var programs string

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("8") // the tests wait, and hardly compute
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "themis-programs-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	cmd := exec.Command("go", "build", "-o", dir+string(filepath.Separator),
		"github.com/themis-bft/themis/cmd/themisd", "github.com/themis-bft/themis/cmd/themisd-byz")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the replica's programs: %v\n%s", err, out)
		return 1
	}
	programs = dir
	return m.Run()
}

// patient is for how long the doctor may take to see what was done, however slow the machine is.
const patient = 2 * time.Minute

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ward is a cluster of processes to be examined.
type ward struct {
	*cluster.Cluster
	t      *testing.T
	client *client.Client
	puts   int
	busy   bool // something is asked for before each look
}

// admit lays out a cluster of four, without starting it. Neither a slow disk of this machine nor a slow
// start is anybody's fault: nothing waits for a sync, and no view is left while the doctor may still look.
func admit(t *testing.T, change func(*cluster.Plan)) *ward {
	t.Helper()
	p := cluster.Plan{
		Dir: filepath.Join(t.TempDir(), "c"), Replicas: 4, F: -1, Binaries: programs,
		Membership: bft.Membership{Protocol: "pbft", App: "kv", Open: true},
		Durability: config.Memory, Timeouts: config.DefaultTimeouts(),
	}
	p.Timeouts.Patience, p.Timeouts.PatienceMax = 2*patient, 4*patient
	if change != nil {
		change(&p)
	}
	must(t, cluster.Create(p))
	w := &ward{t: t}
	w.reopen(p.Dir)
	t.Cleanup(func() {
		if t.Failed() {
			w.logs()
		}
		for i := range w.Replicas {
			if err := w.Kill(i); err != nil {
				t.Error(err)
			}
		}
	})
	return w
}

// reopen reads the files again.
func (w *ward) reopen(dir string) {
	w.t.Helper()
	c, err := cluster.Open(dir, io.Discard)
	must(w.t, err)
	c.Binaries = programs
	w.Cluster = c
}

func (w *ward) logs() {
	for i := range w.Replicas {
		b, err := os.ReadFile(w.LogPath(bft.ReplicaID(i)))
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		w.t.Logf("r%d: %v\n%s", i, err, strings.Join(lines[max(0, len(lines)-8):], "\n"))
		b, err = w.Ask(i, "/statusz")
		w.t.Logf("%v %.2000s", err, b)
	}
}

// up starts everybody and connects a client.
func (w *ward) up() *ward {
	w.t.Helper()
	must(w.t, w.Up())
	key, err := keys.Generate("ed25519")
	must(w.t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	w.client, err = client.Open(ctx, client.Config{Membership: &w.Public.Membership, Replicas: w.Public.ClientAddrs, Key: key})
	must(w.t, err)
	w.t.Cleanup(func() { w.client.Close() })
	return w
}

// put asks for something; what becomes of it is not asked after the time given.
func (w *ward) put(size int, limit time.Duration) error {
	w.puts++
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_, err := w.client.Invoke(ctx, kv.Put(fmt.Appendf(nil, "k%d", w.puts), make([]byte, size)))
	return err
}

// ask puts so many small values one after the other, each with a short deadline.
func (w *ward) ask(n int) {
	for range n {
		_ = w.put(8, 300*time.Millisecond) // the cluster may stand still
	}
}

// until asks again and again, until something holds.
func (w *ward) until(what string, holds func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patient); !holds(); w.ask(1) {
		if time.Now().After(end) {
			w.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// status is what a replica says of itself; ok is false if it does not answer.
func (w *ward) status(id int) (s replica.Status, ok bool) {
	b, err := w.Ask(id, "/statusz")
	return s, err == nil && json.Unmarshal(b, &s) == nil
}

// want is one cause that is expected.
type want struct {
	code    string
	replica int // everybody: null
	says    string
	next    string
}

// finds waits until the doctor finds exactly these causes, in this order.
func (w *ward) finds(wants ...want) {
	w.t.Helper()
	codes := func(r *Report) (list []string) {
		for _, c := range r.Causes {
			list = append(list, fmt.Sprintf("%s %d", c.Code, number(c)))
		}
		return list
	}
	var goal []string
	for _, x := range wants {
		goal = append(goal, fmt.Sprintf("%s %d", x.code, x.replica))
	}
	var r Report
	var err error
	for end := time.Now().Add(patient); ; {
		if w.busy {
			w.ask(6)
		}
		r, err = Examine(context.Background(), w.Dir)
		if err == nil && reflect.DeepEqual(codes(&r), goal) {
			break
		}
		if time.Now().After(end) {
			w.t.Fatalf("%v: want %q, found %+v", err, goal, r)
		}
	}
	if r.Healthy != (len(wants) == 0) {
		w.t.Fatalf("healthy = %t with %d causes", r.Healthy, len(r.Causes))
	}
	for i, c := range r.Causes {
		w.t.Logf("%s: %s; next: %s", c.Code, c.Sentence, c.Next)
		if !regexp.MustCompile(wants[i].says).MatchString(c.Sentence) {
			w.t.Errorf("%s says %q, which does not match %q", c.Code, c.Sentence, wants[i].says)
		}
		if !regexp.MustCompile(wants[i].next).MatchString(c.Next) || c.Next == "" {
			w.t.Errorf("%s advises %q, which does not match %q", c.Code, c.Next, wants[i].next)
		}
	}
}

// edit changes the file of a replica.
func (w *ward) edit(id int, change func(*config.Config)) {
	w.t.Helper()
	path := w.Replicas[id].Config.Path
	b, err := os.ReadFile(path)
	must(w.t, err)
	c, err := config.Parse(path, b)
	must(w.t, err)
	change(c)
	must(w.t, config.Write(path, c))
	w.reopen(w.Dir)
}

// synced makes every vote of a replica wait for its disk.
func synced(c *config.Config) { c.Durability = config.Sync }

// hasty gives a replica the patience of a real cluster. It has it when it starts again: a cluster that
// starts with it may leave the first view before the test begins.
func hasty(c *config.Config) { c.Timeouts = config.DefaultTimeouts() }

// themisd runs themisd for a replica and returns what it said.
func (w *ward) themisd(args ...string) (string, error) {
	b, err := exec.Command(filepath.Join(programs, "themisd"), args...).CombinedOutput()
	return string(b), err
}
