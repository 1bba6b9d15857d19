package live

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/themis-bft/themis/cmd/themisd/daemon"
	"github.com/themis-bft/themis/internal/assault"
)

var (
	runLive      = flag.Bool("live", false, "run the campaigns; they take minutes")
	kills        = flag.Int("kills", 20, "kills of the primary in TestKillPrimary")
	rounds       = flag.Int("rounds", 5, "kills of the whole cluster in TestKillAll")
	duration     = flag.Duration("for", 0, "how long the load of a campaign lasts (0: the campaign's own choice)")
	seed         = flag.Uint64("seed", 0, "of all that a campaign draws (0: from the clock, and printed)")
	binaries     = flag.String("bin", "", "folder of themisd and themisd-byz (empty: they are built)")
	clients      = flag.Int("clients", 8, "clients of the key-value workload")
	only         = flag.String("how", "", "the only way to lie in TestLiar (empty: all)")
	floodClients = flag.Int("flood-clients", 100, "clients of TestOverload")
	floodWindow  = flag.Int("flood-window", 32, "requests that each of them has outstanding at most")
	sizes        = flag.String("sizes", "4,7,10", "numbers of replicas in TestSizes")
	onlyFlood    = flag.String("only", "", "the only attack in TestFloods, or several, with commas (empty: all)")
	attackRate   = flag.Int("rate", 0, "of the attacks in TestFloods and TestFrames, per second (0: each its own)")
	memoryBound  = flag.Uint64("memory-bound", 0, "bytes that no replica may exceed in TestFloods (0: what it says itself)")
	scheduled    = flag.String("schedule", "", "file of the faults in TestWeather, as a failed run leaves it in -keep (empty: they are drawn)")
	keep         = flag.String("keep", "", "folder that receives the logs and the history of a campaign that fails")
)

// built is the folder of the binaries when -bin is empty.
var built string

// attackerEnv makes this program the process of an attacker.
const attackerEnv = "THEMIS_LIVE_ATTACKER"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(attackerEnv) != "":
		if err := assault.Serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case filepath.Base(os.Args[0]) == "themisd": // a replica of a short run, see ourselves
		os.Exit(daemon.Main(daemon.Program{Name: "themisd"}, os.Args[1:]))
	}
	flag.Parse()
	os.Exit(run(m))
}

// ourselves is a folder with this program under the name of themisd: a short run builds nothing.
func ourselves() (dir string, err error) {
	self, err := os.Executable()
	if err == nil {
		dir, err = os.MkdirTemp("", "themis-live-bin")
	}
	if err == nil {
		err = os.Symlink(self, filepath.Join(dir, "themisd"))
	}
	return dir, err
}

func run(m *testing.M) int {
	if !*runLive {
		dir, err := ourselves()
		if err != nil {
			fmt.Fprintln(os.Stderr, "live:", err)
			return 1
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
		built = dir
		defer endAll()
		return m.Run()
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-told
		endAll()
		os.Exit(1)
	}()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	if *binaries == "" {
		dir, err := os.MkdirTemp("", "themis-live-bin")
		if err != nil {
			fmt.Fprintln(os.Stderr, "live:", err)
			return 1
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
		cmd := exec.Command("go", "build", "-trimpath", "-o", dir+string(filepath.Separator), "../../cmd/themisd", "../../cmd/themisd-byz")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "live: building the replicas: %v\n%s", err, out)
			return 1
		}
		built = dir
	} else if dir, err := filepath.Abs(*binaries); err == nil {
		built = dir
	}
	defer endAll()
	return m.Run()
}

// campaign skips a test unless campaigns were asked for.
func campaign(t *testing.T) *rand.Rand {
	t.Helper()
	if !*runLive {
		t.Skip("long campaign, run with scripts/live")
	}
	fmt.Printf("%s: seed %d\n", t.Name(), *seed)
	return rand.New(rand.NewPCG(*seed, 1))
}

// lasting is the time that -for gives, or the campaign's own.
func lasting(own time.Duration) time.Duration {
	if *duration > 0 {
		return *duration
	}
	return own
}

// figures are what a campaign measured.
type figures map[string]any

// print writes a line for a person and a line of JSON.
func (f figures) print(t *testing.T, format string, args ...any) {
	t.Helper()
	f["campaign"], f["seed"], f["cores"], f["failed"] = t.Name(), *seed, runtime.NumCPU(), t.Failed()
	b, err := json.Marshal(map[string]any(f))
	if err != nil {
		t.Fatalf("figures: %v", err)
	}
	fmt.Printf("%s: %s\n%s\n", t.Name(), fmt.Sprintf(format, args...), b)
}

// spread is a distribution of times.
type spread []time.Duration

func (s spread) at(quantile float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(int(math.Ceil(quantile*float64(len(sorted))))-1, 0)] // nearest rank
}

func (s spread) String() string {
	return fmt.Sprintf("p50 %s, p95 %s, max %s", round(s.at(0.5)), round(s.at(0.95)), round(s.at(1)))
}

// put adds the distribution to figures, in milliseconds.
func (s spread) put(f figures, name string) {
	f[name+"_ms"] = map[string]float64{"p50": ms(s.at(0.5)), "p95": ms(s.at(0.95)), "max": ms(s.at(1))}
}

func ms(d time.Duration) float64                { return float64(d.Microseconds()) / 1000 }
func round(d time.Duration) time.Duration       { return d.Round(100 * time.Microsecond) }
func mega(bytes uint64) float64                 { return float64(bytes) / 1e6 }
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// pollTime is the time between two looks at a condition.
const pollTime = 20 * time.Millisecond

// eventually waits until done, and fails the test after limit.
func eventually(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for !done() {
		if !pause(ctx, pollTime) {
			t.Fatalf("after %s still waiting for: %s", limit, what)
		}
	}
}

// pause waits and reports whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// must fails the test because of an error of the harness.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// running are the clusters that have not been ended, for the end of the program.
var running struct {
	sync.Mutex
	all map[*nodes]bool
}

func endAll() {
	running.Lock()
	defer running.Unlock()
	for n := range running.all {
		n.killAll()
	}
}
