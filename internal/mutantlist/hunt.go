package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/themis-bft/themis/internal/mutant"
)

// hunter builds with the tag "mutants", once each, and runs what it built.
type hunter struct {
	dir   string
	limit time.Duration
	mu    sync.Mutex
	built map[string]*build
}

type build struct {
	once sync.Once
	path string
	err  error
}

// binary builds a package's program or, for a package without one, its tests.
func (h *hunter) binary(pkg string) (string, error) {
	h.mu.Lock()
	b := h.built[pkg]
	if b == nil {
		b = &build{path: filepath.Join(h.dir, strings.ReplaceAll(pkg, "/", "_"))}
		h.built[pkg] = b
	}
	h.mu.Unlock()
	b.once.Do(func() {
		args := []string{"test", "-c"}
		if strings.HasPrefix(pkg, "cmd/") {
			args = []string{"build"}
		}
		out, err := exec.Command("go", append(args, "-tags", "mutants", "-o", b.path, "./"+pkg)...).CombinedOutput()
		if err != nil {
			b.err = fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		} else if _, err := os.Stat(b.path); err != nil {
			b.err = fmt.Errorf("%s has no tests", pkg)
		}
	})
	return b.path, b.err
}

// result is what became of one mutant.
type result struct {
	Name     string
	Place    string        // where it is expected to be noticed
	Sim      bool          // the simulator noticed
	By       string        // a checker, or a test
	Also     string        // what else complains of that seed
	Seeds    int           // that the simulator needed, or ran in vain
	How      string        // its options and the seed
	Took     time.Duration // of wall time, beside other mutants
	Survived bool
}

// sweeps are the options with which the simulator hunts a mutant for which mutant.Hunts names none,
// and how many seeds of each it tries.
var sweeps = []sweep{
	{"--replicas 4", 600},
	{"--replicas 4 --byzantine 1", 1200},
	{"--replicas 7 --byzantine 2", 200},
}

type sweep struct {
	options string
	seeds   int
}

// huntSeeds is how many seeds are tried with the options of mutant.Hunts.
const huntSeeds = 3000

// hunt tries one mutant.
func (h *hunter) hunt(m placed, all []placed) result {
	begin := time.Now()
	r := result{Name: m.Name, Place: m.Where}
	plan := sweeps
	if options, some := mutant.Hunts[m.Name]; some {
		plan = append([]sweep{{options, huntSeeds}}, sweeps...)
	}
	if m.Name == control { // what every hunt looks at must be in order without a mutant
		for _, options := range distinct(mutant.Hunts) {
			plan = append(plan, sweep{options, controlSeeds})
		}
	}
	if m.Where == "sim" {
		for _, s := range plan {
			if left := h.limit - time.Since(begin); (left > 0 || m.Name == control) && r.By == "" {
				h.simulate(&r, s, left)
			}
		}
	}
	if m.Name == control {
		for _, p := range packages(all) {
			h.test(&r, p)
		}
	} else {
		h.test(&r, m.pkg)
		if m.Where != "sim" && m.Where != m.pkg {
			h.test(&r, m.Where)
		}
	}
	if r.By == "" {
		r.By, r.Survived = "SURVIVED", true
	}
	r.Took = time.Since(begin)
	return r
}

// controlSeeds is how many seeds of each hunt the control runs.
const controlSeeds = 40

func distinct(hunts map[string]string) []string {
	return slices.Compact(slices.Sorted(maps.Values(hunts)))
}

// packages are those whose tests a run needs.
func packages(all []placed) []string {
	var list []string
	for _, m := range all {
		for _, p := range []string{m.pkg, m.Where} {
			if m.Where != "sim" && p != "" && !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	return list
}

// report is what the hunter reads of the simulator's report.
type report struct {
	Seeds      int `json:"seeds"`
	Violations []struct {
		Seed    uint64 `json:"seed"`
		Checker string `json:"checker"`
	} `json:"violations"`
}

// simulate runs seeds until one fails; then that seed without the mutant, for it must pass, and
// without the checker that complained.
func (h *hunter) simulate(r *result, s sweep, left time.Duration) {
	args := strings.Fields(fmt.Sprintf("sim run --json --first --jobs 1 --for %s --seeds 1-%d %s", max(left.Round(time.Second), time.Second), s.seeds, s.options))
	rep, err := h.themis(r.Name, args)
	r.Seeds += rep.Seeds
	if err != nil {
		r.Sim, r.By = true, "crash: "+firstLine(err.Error())
		return
	}
	if len(rep.Violations) == 0 {
		return
	}
	first := rep.Violations[0]
	r.Sim, r.By, r.How = true, first.Checker, fmt.Sprintf("%s --seeds %d", s.options, first.Seed)
	args = strings.Fields(fmt.Sprintf("sim run --json --jobs 1 --seeds %d %s", first.Seed, s.options))
	if rep, err = h.themis(control, args); r.Name != control && (err != nil || len(rep.Violations) > 0) {
		r.Sim, r.By = false, fmt.Sprintf("NOT BY THE MUTANT: seed %d fails without it", first.Seed)
		r.Survived = true
		return
	}
	if first.Checker == "panic" {
		return
	}
	args = strings.Fields(fmt.Sprintf("sim run --json --jobs 1 --seeds %d --without %s %s", first.Seed, first.Checker, s.options))
	if rep, err = h.themis(r.Name, args); err != nil {
		return
	}
	r.Also = "–"
	if len(rep.Violations) > 0 {
		r.Also = rep.Violations[0].Checker
	}
}

func (h *hunter) themis(name string, args []string) (report, error) {
	var rep report
	bin, err := h.binary("cmd/themis")
	if err != nil {
		return rep, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), h.limit+testLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = append(os.Environ(), "THEMIS_MUTANT="+name)
	var out, text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &text
	err = cmd.Run()
	if bad := json.Unmarshal(out.Bytes(), &rep); bad != nil {
		return rep, fmt.Errorf("%w: %s", errors.Join(err, ctx.Err(), bad), text.String())
	}
	return rep, nil
}

// testLimit ends the tests of one package under one mutant.
const testLimit = 3 * time.Minute

// failure finds in a test's output what noticed.
var failure = regexp.MustCompile(`--- FAIL: [A-Za-z0-9_/]+|panic: .{0,60}|fatal error: .{0,60}`)

// test runs a package's tests until one fails.
func (h *hunter) test(r *result, pkg string) {
	if r.By != "" {
		return
	}
	bin, err := h.binary(pkg)
	if err != nil {
		r.By, r.Survived = firstLine(err.Error()), true
		return
	}
	what, failed := tests(bin, pkg, r.Name, ".")
	if !failed {
		return
	}
	r.By = pkg + " " + what
	top, _, _ := strings.Cut(what, "/")
	if !strings.HasPrefix(top, "Test") || r.Name == control {
		return
	}
	if _, failed = tests(bin, pkg, control, "^"+top+"$"); failed {
		r.By, r.Survived = "NOT BY THE MUTANT: "+r.By+" fails without it", true
	}
}

// tests runs those tests of a package that match, under a mutant, and says which failed first.
func tests(bin, pkg, name, match string) (what string, failed bool) {
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "-test.short", "-test.failfast", "-test.run", match)
	cmd.Dir = pkg
	cmd.Env = append(os.Environ(), "THEMIS_MUTANT="+name)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return "", false
	}
	if what = failure.FindString(string(out)); what == "" {
		what = "no end within " + testLimit.String()
	}
	return strings.TrimPrefix(what, "--- FAIL: "), true
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
