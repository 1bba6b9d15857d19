// Command mutantlist switches on each mutant of internal/mutant in turn and finds out what
// notices: first the simulator, where it runs the rule, with all its checkers; then the tests of
// the package that holds the rule. It prints a table; scripts/mutants calls it.
//
// A mutant that nothing notices ends it with code 1, and so does a complaint without any mutant:
// the first row of the table is the control.
package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/themis-bft/themis/internal/mutant"
)

func main() {
	var (
		list  = flag.Bool("list", false, "print name, package and place of every mutant, and run nothing")
		jobs  = flag.Int("j", 2, "mutants at once")
		limit = flag.Duration("cap", time.Minute, "time of the simulator for one mutant")
		every = flag.Bool("sim", false, "try the simulator on every mutant, also where only tests are expected to notice")
		only  = flag.String("where", "", "only those hunted in the simulator (sim), or only the others (unit)")
		part  = flag.String("part", "1/1", "which share of the mutants, such as 2/3")
		save  = flag.String("save", "", "add the results to this file, and take the table and the document from all of it")
		doc   = flag.String("doc", "", "write the results into the generated section of this file")
	)
	flag.Parse()
	if err := run(options{*list, *every, *jobs, *limit, *only, *part, *save, *doc, flag.Args()}); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

type options struct {
	list  bool
	every bool
	jobs  int
	limit time.Duration
	only  string
	part  string
	save  string
	doc   string
	names []string
}

func run(o options) error {
	all, err := chosen(o)
	if err != nil {
		return err
	}
	if o.list {
		for _, m := range all {
			fmt.Printf("%s\t%s\t%s\n", m.Name, m.pkg, m.Where)
		}
		return nil
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if len(all) == 1 && o.save != "" { // no mutant has such a name: the document alone is asked for
		all = nil
	}
	h := &hunter{dir: dir, limit: o.limit, built: map[string]*build{}}
	begin := time.Now()
	fmt.Println(header)
	results := h.all(all, o.jobs)
	fmt.Println(summary(results, time.Since(begin)))
	if o.save != "" {
		if results, err = saved(o.save, results); err != nil {
			return err
		}
	}
	if o.doc != "" {
		if err := document(o, results); err != nil {
			return err
		}
	}
	for _, r := range results {
		if r.Survived == (r.Name != control) {
			return fmt.Errorf("%s: %s", r.Name, r.By)
		}
	}
	return nil
}

// placed is a mutant and the package whose code it breaks.
type placed struct {
	mutant.Mutant
	pkg string
}

// control is the row without a mutant, which must survive.
const control = "none"

// chosen are the mutants that the options name, the control in front.
func chosen(o options) ([]placed, error) {
	var part, of int
	if n, err := fmt.Sscanf(o.part, "%d/%d", &part, &of); n != 2 || err != nil || part < 1 || part > of {
		return nil, fmt.Errorf("-part %q is not such as 2/3", o.part)
	}
	all := []placed{}
	if !o.list {
		all = append(all, placed{Mutant: mutant.Mutant{Name: control, Where: "sim"}})
	}
	for i, m := range mutant.All() {
		named := len(o.names) == 0 || slices.ContainsFunc(o.names, func(s string) bool { return strings.Contains(m.Name, s) })
		if !named || i%of != part-1 || o.only != "" && (o.only == "sim") != (m.Where == "sim") {
			continue
		}
		pkg, err := packageOf(m.Name)
		if err != nil {
			return nil, fmt.Errorf("mutant %s: %w", m.Name, err)
		}
		if o.every {
			m.Where = "sim"
		}
		all = append(all, placed{m, pkg})
	}
	return all, nil
}

// packageOf finds the package whose code names the mutant.
func packageOf(name string) (string, error) {
	found := ""
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || found != "" || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), `mutant.On("`+name+`")`) {
			found = filepath.ToSlash(filepath.Dir(path))
		}
		return err
	})
	if err == nil && found == "" {
		err = fmt.Errorf("no code names it")
	}
	return found, err
}

// all hunts the mutants, some at once, and prints each as it ends.
func (h *hunter) all(list []placed, jobs int) []result {
	results := make([]result, len(list))
	next := make(chan int)
	var done sync.WaitGroup
	for range max(jobs, 1) {
		done.Add(1)
		go func() {
			defer done.Done()
			for i := range next {
				results[i] = h.hunt(list[i], list)
				h.mu.Lock()
				fmt.Println(results[i])
				h.mu.Unlock()
			}
		}()
	}
	for i := range list {
		next <- i
	}
	close(next)
	done.Wait()
	return results
}
