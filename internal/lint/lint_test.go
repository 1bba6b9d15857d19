// Package lint holds the rules of the house as ordinary tests on the standard library: import
// levels, banned calls in pure packages, sizes of functions and files, package comments and
// links between documents. CONTRIBUTING.md says why each exists.
package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const module = "github.com/themis-bft/themis"

// source is one parsed Go file.
type source struct {
	path string // relative to the root, with slashes
	dir  string // its package's folder
	test bool
	file *ast.File
	text string
}

var fset = token.NewFileSet()

// root is the folder of go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above this folder")
	return ""
}

// sources parses every Go file of the module.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	top := root(t)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") && path != top {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		rel = filepath.ToSlash(rel)
		all = append(all, source{path: rel, dir: filepath.ToSlash(filepath.Dir(rel)), test: strings.HasSuffix(rel, "_test.go"), file: f, text: string(text)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 100 {
		t.Fatalf("found %d Go files: the walk is broken", len(all))
	}
	return all
}

// TestSizes: no function over 70 lines, no file over 600 lines (tests 1,000).
func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		limit := 600
		if s.test {
			limit = 1000
		}
		if n := strings.Count(s.text, "\n"); n > limit {
			t.Errorf("%s has %d lines, more than %d: split it by what it does", s.path, n, limit)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			if n := fset.Position(f.End()).Line - fset.Position(f.Pos()).Line + 1; n > 70 {
				t.Errorf("%s: function %s has %d lines, more than 70", s.path, f.Name.Name, n)
			}
		}
	}
}

// TestPackageComments: every package says what it is; none is named after nothing.
func TestPackageComments(t *testing.T) {
	said, seen := map[string]bool{}, map[string]string{}
	for _, s := range sources(t) {
		if s.test && strings.HasSuffix(s.file.Name.Name, "_test") {
			continue
		}
		seen[s.dir] = s.file.Name.Name
		if s.file.Doc != nil && strings.Contains(s.file.Doc.Text(), " ") {
			said[s.dir] = true
		}
	}
	for dir, name := range seen {
		if !said[dir] {
			t.Errorf("package %s has no comment that says what it is, what it owns and who calls it", dir)
		}
		switch name {
		case "util", "utils", "common", "helper", "helpers", "misc", "base":
			t.Errorf("package %s is named %s: name it after what it does", dir, name)
		}
	}
}

// TestExportedAreDocumented: every exported declaration has a comment.
func TestExportedAreDocumented(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) && !trivialMethods[d.Name.Name] {
					t.Errorf("%s: %s is exported and undocumented", s.path, d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if ts, ok := spec.(*ast.TypeSpec); ok && ts.Name.IsExported() && d.Doc == nil && ts.Doc == nil && ts.Comment == nil {
						t.Errorf("%s: type %s is exported and undocumented", s.path, ts.Name.Name)
					}
				}
			}
		}
	}
}

// trivialMethods implement a documented interface and need no words of their own.
var trivialMethods = map[string]bool{
	"Error": true, "String": true, "Len": true, "Less": true, "Swap": true, "Unwrap": true,
	"MarshalText": true, "UnmarshalText": true, "MarshalJSON": true, "UnmarshalJSON": true,
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

// banned are words that must not stand in Go files, with what to do instead. The patterns are
// put together from pieces so that they do not find themselves.
var banned = []struct {
	pattern *regexp.Regexp
	tests   bool // tests only; else everywhere
	instead string
}{
	{regexp.MustCompile(`\btime\.` + `Sleep\(`), true, "wait for a condition, not for luck"},
	{regexp.MustCompile(`\bt\.` + `Skip\(\)`), true, "print the reason of a skip"},
	{regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`), false, "do it, or say in docs/roadmap.md that it is open"},
	{regexp.MustCompile(`(^|[^a-zA-Z0-9._-])/(wo` + `rk|ro` + `ot)/`), false, "no path of a machine"},
	{regexp.MustCompile(`proxy\.go` + `lang\.org|registry\.npm` + `js|pypi\.` + `org`), false, "no registry's host"},
}

// TestBannedWords keeps habits out that reviewers tire of naming.
func TestBannedWords(t *testing.T) {
	for _, s := range sources(t) {
		for i, line := range strings.Split(s.text, "\n") {
			for _, b := range banned {
				if (!b.tests || s.test) && b.pattern.MatchString(line) {
					t.Errorf("%s:%d: %q: %s", s.path, i+1, b.pattern.FindString(line), b.instead)
				}
			}
		}
	}
}
