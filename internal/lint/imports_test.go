package lint

import (
	"go/ast"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// levels orders the packages; imports point down only (ARCHITECTURE.md). The longest prefix
// decides. Packages of one level do not import each other but as allowed says.
var levels = []struct {
	prefix string
	level  int
}{
	{"internal/mutant", 0}, {"internal/invariant", 0}, {"bft", 0},
	{"wire", 1},
	{"storage", 2}, {"protocol", 2}, {"app", 2}, {"auth", 2}, {"trusted", 2}, {"transport", 2},
	{"storage/", 3}, {"protocol/", 3}, {"app/", 3}, {"auth/", 3}, {"trusted/", 3}, {"transport/", 3}, {"keys", 3},
	{"exec", 4}, {"catchup", 4},
	{"host", 5}, {"client", 5},
	{"replica", 6}, {"sim", 6},
	{"assembly", 7},
	{"config", 8}, {"bench", 8}, {"internal/", 8}, {"examples/", 8},
	{"cmd/", 9},
}

// allowed are the imports inside a level, and the reason.
var allowed = map[string]string{
	"protocol > storage":              "records of a protocol are records of the log",
	"protocol/pbft > protocol/window": "a pure part that protocols share",
	"keys > auth/sig":                 "a key signs by its scheme",
	"transport/tcp > auth/sig":        "the peer's key is compared by its scheme",
	"transport/tcp > keys":            "links are authenticated by keys",
	"exec > catchup":                  "both sides of a checkpoint's manifest",
	"sim > sim/byz":                   "the simulator's own rooms",
	"sim > sim/check":                 "the simulator's own rooms",
	"sim > sim/rng":                   "the simulator's own rooms",
	"sim/byz > sim/rng":               "the simulator's own rooms",
	"sim/check > sim/rng":             "the simulator's own rooms",
	"sim/twins > sim/check":           "the simulator's own rooms",
	"sim/twins > sim/rng":             "the simulator's own rooms",
}

// levelOf returns the level of a package, -1 if it stands nowhere.
func levelOf(dir string) int {
	best, level := -1, -1
	for _, l := range levels {
		if dir == l.prefix || strings.HasPrefix(dir, l.prefix) && strings.HasSuffix(l.prefix, "/") || strings.HasPrefix(dir, l.prefix+"/") {
			if len(l.prefix) > best {
				best, level = len(l.prefix), l.level
			}
		}
	}
	return level
}

// family is the room a package belongs to: rooms inside one family may use each other above level 5.
func family(dir string) string {
	first, rest, _ := strings.Cut(dir, "/")
	if first == "internal" || first == "cmd" {
		second, _, _ := strings.Cut(rest, "/")
		return first + "/" + second
	}
	return first
}

// TestImportLevels: imports point downwards only.
func TestImportLevels(t *testing.T) {
	checked := 0
	for _, s := range sources(t) {
		if s.test {
			continue // tests may drive a package with whatever stands above it
		}
		from := levelOf(s.dir)
		if from < 0 {
			t.Errorf("package %s has no level: add it to levels, with its place in ARCHITECTURE.md", s.dir)
			continue
		}
		for _, imp := range s.file.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			dir, ours := strings.CutPrefix(path, module+"/")
			if !ours {
				continue
			}
			checked++
			to := levelOf(dir)
			switch {
			case to < from:
			case allowed[s.dir+" > "+dir] != "":
			case from >= 8 && to == from:
			case suite(s.dir) && to <= 3:
			default:
				t.Errorf("%s imports %s: level %d may not import level %d", s.path, dir, from, to)
			}
		}
	}
	if checked < 100 {
		t.Fatalf("checked %d imports: the test is broken", checked)
	}
}

// suite reports whether a package is a conformance suite: those may import the standard
// library's testing and the implementations they compare with.
func suite(dir string) bool { return strings.HasSuffix(dir, "test") }

// TestOracleStandsAlone: what judges the protocols shares no code with them. It reads bodies and
// digests as everybody does (wire), names things (bft), and counts quorums by itself.
func TestOracleStandsAlone(t *testing.T) {
	seen := 0
	for _, s := range sources(t) {
		if s.test || s.dir != "sim/check" {
			continue
		}
		seen++
		for _, imp := range s.file.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			if dir, ours := strings.CutPrefix(path, module+"/"); ours && dir != "bft" && dir != "wire" {
				t.Errorf("%s imports %s: the oracle knows neither protocol nor replica", s.path, dir)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && strings.HasPrefix(sel.Sel.Name, "Quorum") {
				t.Errorf("%s uses %s: the oracle has its own arithmetic", s.path, sel.Sel.Name)
			}
			return true
		})
	}
	if seen < 5 {
		t.Fatalf("found %d files of the oracle: the test is broken", seen)
	}
}

// pure are the packages without a world, and what they may import of the standard library.
var pure = []string{"bft", "wire", "protocol", "protocol/pbft", "protocol/window", "catchup", "exec", "host"}

var pureImports = map[string]bool{
	"bytes": true, "cmp": true, "encoding/binary": true, "errors": true, "fmt": true, "iter": true, "maps": true,
	"math": true, "math/bits": true, "slices": true, "sort": true, "strconv": true, "strings": true,
	"encoding/hex": true, "container/heap": true, "container/list": true,
}

// pureExceptions are imports of pure packages that need a reason.
var pureExceptions = map[string]string{
	"wire crypto/sha256":    "digests",
	"bft crypto/sha256":     "digests",
	"host sync":             "the verifier's cache is shared by the workers; Node has no lock",
	"host sync/atomic":      "the verifier's cache is shared by the workers; Node has no lock",
	"exec sync":             "reference counts of checkpoints that other goroutines serve",
	"exec sync/atomic":      "reference counts of checkpoints that other goroutines serve",
	"catchup sync/atomic":   "reference counts of checkpoints",
	"exec crypto/sha256":    "the seed of a call",
	"catchup crypto/sha256": "digests of pages",
}

// TestPurePackages: no clock, socket, file, logger or random source is in reach of a pure package.
func TestPurePackages(t *testing.T) {
	isPure := map[string]bool{}
	for _, p := range pure {
		isPure[p] = true
	}
	for _, s := range sources(t) {
		if s.test || !isPure[s.dir] {
			continue
		}
		for _, imp := range s.file.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			if strings.HasPrefix(path, module) || pureImports[path] || pureExceptions[s.dir+" "+path] != "" {
				continue
			}
			t.Errorf("%s imports %s: a pure package has no world in it", s.path, path)
		}
	}
}

// slim is what themisd may link beyond the standard library and this module (docs/dependencies.md).
var slim = []string{
	"github.com/pelletier/go-toml/v2", "github.com/VictoriaMetrics/metrics", "github.com/valyala/fastrand",
	"github.com/valyala/histogram", "github.com/oasisprotocol/curve25519-voi", "golang.org/x/crypto", "golang.org/x/sys",
}

// fat are packages of the standard library that cost a replica resident memory for nothing.
var fat = []string{"text/template", "html/template", "testing", "net/http/httptest"}

// TestThemisdIsSlim holds the imports of the replica's program against the allow-list.
func TestThemisdIsSlim(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{else}}std {{.ImportPath}}{{end}}", "./cmd/themisd")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	deps := strings.Fields(strings.ReplaceAll(string(out), "std ", "std:"))
	if len(deps) < 50 {
		t.Fatalf("themisd has %d dependencies: the list is broken", len(deps))
	}
	for _, d := range deps {
		if std, ok := strings.CutPrefix(d, "std:"); ok {
			for _, f := range fat {
				if std == f {
					t.Errorf("themisd links %s", std)
				}
			}
			continue
		}
		ok := strings.HasPrefix(d, module)
		for _, a := range slim {
			ok = ok || d == a || strings.HasPrefix(d, a+"/")
		}
		if !ok {
			t.Errorf("themisd links %s, which is not on the list", d)
		}
		for _, no := range []string{"/sim", "/client", "/bench", "/cmd/themis/", "/internal/cli", "/internal/lying"} {
			if strings.HasPrefix(d, module+no) {
				t.Errorf("themisd links %s, which belongs to the tools", d)
			}
		}
	}
}
