package check

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// ofTheSimulator are the checkers whose complaint begins in package sim; their canaries are there
// (TestCanaries of package sim).
var ofTheSimulator = []string{"I", "client"}

// TestSwitchedOffCheckersAreMissed: for every checker there is a canary which it sees alone. With
// the checker switched off that canary dies unnoticed, and no other checker makes up for it; so a
// checker that stopped working would not be missed by any of the others.
func TestSwitchedOffCheckersAreMissed(t *testing.T) {
	for _, name := range Names() {
		if slices.Contains(ofTheSimulator, name) {
			continue
		}
		alone := 0
		for _, c := range canaries() {
			if c.checker != name {
				continue
			}
			got := complaints(t, c, name)
			if slices.Contains(got, name) {
				t.Errorf("%s is switched off and complains of %q", name, c.name)
			}
			if len(got) == 0 {
				alone++
			}
		}
		if alone == 0 {
			t.Errorf("%s has no canary that only it sees", name)
		}
	}
}

// TestEveryCheckerIsNamed derives the checkers from the code of the oracle and of the simulator:
// each is in Names, so that it can be switched off and must have a canary.
func TestEveryCheckerIsNamed(t *testing.T) {
	found := map[string]bool{}
	for _, dir := range []string{".", ".."} {
		for name := range complained(t, dir) {
			found[name] = true
		}
	}
	if len(found) < 15 {
		t.Fatalf("found only %d checkers in the code: this test is broken", len(found))
	}
	for name := range found {
		if !slices.Contains(Names(), name) {
			t.Errorf("the code complains as %q, which Names does not list", name)
		}
	}
	for _, name := range Names() {
		if !found[name] {
			t.Errorf("Names lists %q, as which no code complains", name)
		}
	}
}

// complained collects the first arguments of the calls of Complain in the sources of a folder.
func complained(t *testing.T, dir string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, file := range sources(t, dir) {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if s, ok := call.Fun.(*ast.SelectorExpr); !ok || s.Sel.Name != "Complain" {
				return true
			}
			lit, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				t.Errorf("%s: a complaint whose checker is not written out cannot be found here", dir)
				return true
			}
			name, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			names[name] = true
			return true
		})
	}
	return names
}

// sources parses the sources of a folder, without its tests.
func sources(t *testing.T, dir string) (files []*ast.File) {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(list) == 0 {
		t.Fatalf("no sources in %s: %v", dir, err)
	}
	for _, path := range list {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}
