package lint

import (
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// regressionIDs are the rows that docs/regressions.md must have.
var regressionIDs = map[string]int{"S": 16, "L": 14, "C": 10, "B": 21, "T": 10, "O": 13}

var (
	quoted   = regexp.MustCompile("`([^`]+)`")
	testName = regexp.MustCompile(`^([a-z][a-z/]*)\.((?:Test|Fuzz)\w+)(?:/(.+))?$`)
	codeName = regexp.MustCompile(`^([a-z][a-z/]*)\.(\w+)(?:\.(\w+))?$`)
	filePath = regexp.MustCompile(`^[a-z]+/[a-z/]+\.go$`)
)

// namedCode is what documents may name, as package.Identifier or package.Type.Member.
type namedCode struct {
	tests    map[string]bool   // package.TestName
	idents   map[string]bool   // of code that is no test
	literals map[string]string // by package: every string in its tests, each on a line of its own
	mutants  string            // every string in internal/mutant
}

func collectCode(t *testing.T) *namedCode {
	c := &namedCode{tests: map[string]bool{}, idents: map[string]bool{}, literals: map[string]string{}}
	for _, s := range sources(t) {
		if s.test || s.dir == "internal/mutant" {
			c.literals[s.dir] += stringsIn(s.file)
		}
		for _, d := range s.file.Decls {
			f, isFunc := d.(*ast.FuncDecl)
			switch {
			case s.test && isFunc && f.Recv == nil:
				c.tests[s.dir+"."+f.Name.Name] = true
			case s.test:
			case isFunc && f.Recv != nil:
				c.idents[s.dir+"."+receiver(f.Recv.List[0].Type)+"."+f.Name.Name] = true
			case isFunc:
				c.idents[s.dir+"."+f.Name.Name] = true
			default:
				c.declare(s.dir, d.(*ast.GenDecl))
			}
		}
	}
	c.mutants = c.literals["internal/mutant"]
	return c
}

// declare enters types with their members, constants and variables.
func (c *namedCode) declare(dir string, d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.ValueSpec:
			for _, n := range spec.Names {
				c.idents[dir+"."+n.Name] = true
			}
		case *ast.TypeSpec:
			name := dir + "." + spec.Name.Name
			c.idents[name] = true
			var members *ast.FieldList
			switch typ := spec.Type.(type) {
			case *ast.StructType:
				members = typ.Fields
			case *ast.InterfaceType:
				members = typ.Methods
			default:
				continue
			}
			for _, m := range members.List {
				for _, n := range m.Names {
					c.idents[name+"."+n.Name] = true
				}
			}
		}
	}
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

func stringsIn(f *ast.File) string {
	var b strings.Builder
	b.WriteByte('\n')
	ast.Inspect(f, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
			if s, err := strconv.Unquote(l.Value); err == nil {
				b.WriteString(s + "\n")
			}
		}
		return true
	})
	return b.String()
}

// resolve says what a quoted name of the document is, or "" if there is no such thing.
func (c *namedCode) resolve(top, name string) string {
	if filePath.MatchString(name) {
		if _, err := os.Stat(filepath.Join(top, name)); err == nil {
			return "file"
		}
		return ""
	}
	if m := testName.FindStringSubmatch(name); m != nil {
		if !c.tests[m[1]+"."+m[2]] || m[3] != "" && !c.hasCase(top, m[1], m[3]) {
			return ""
		}
		return "test"
	}
	if codeName.MatchString(name) && c.idents[name] {
		return "code"
	}
	if strings.Contains(c.mutants, "\n"+name+"\n") {
		return "mutant"
	}
	return ""
}

// hasCase reports whether a package's tests have an entry of that name, or a file in testdata.
func (c *namedCode) hasCase(top, dir, name string) bool {
	if strings.Contains(c.literals[dir], "\n"+name+"\n") {
		return true
	}
	_, err := os.Stat(filepath.Join(top, dir, "testdata", name+".txt"))
	return err == nil
}

// TestRegressions: every defect has its row in docs/regressions.md, every row a test or code that
// makes the defect impossible, and every test, identifier and mutant named there exists.
func TestRegressions(t *testing.T) {
	top, code := root(t), collectCode(t)
	text, err := os.ReadFile(filepath.Join(top, "docs", "regressions.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`^\| ([SLCBTO]\d+) \|`)
	seen := map[string]bool{}
	for _, line := range strings.Split(string(text), "\n") {
		m := row.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		id, cells := m[1], strings.Split(strings.Trim(line, "| "), " | ")
		if seen[id] || len(cells) != 4 {
			t.Errorf("%s: %d cells, want 4; seen before: %t", id, len(cells), seen[id])
			continue
		}
		seen[id] = true
		kinds := map[string]int{}
		for at, cell := range cells[2:] {
			for _, q := range quoted.FindAllStringSubmatch(cell, -1) {
				kind := code.resolve(top, q[1])
				if kind == "" {
					t.Errorf("%s names `%s`, which does not exist", id, q[1])
				}
				if at == 1 && kind != "" && kind != "test" {
					t.Errorf("%s names `%s` in the last column, which is for tests", id, q[1])
				}
				kinds[kind]++
			}
		}
		impossible := strings.Contains(cells[2], "*Impossible*") && kinds["code"] > 0
		if kinds["test"] == 0 && !impossible {
			t.Errorf("%s has neither a test nor code that makes it impossible", id)
		}
		if len(cells[1]) < 20 {
			t.Errorf("%s does not say what went wrong", id)
		}
	}
	for family, n := range regressionIDs {
		for i := 1; i <= n; i++ {
			if id := family + strconv.Itoa(i); !seen[id] {
				t.Errorf("%s has no row", id)
			}
			delete(seen, family+strconv.Itoa(i))
		}
	}
	for id := range seen {
		t.Errorf("%s is not a defect of the list", id)
	}
	checkReplayed(t, string(text))
}

// checkReplayed wants a row for every test in a file named for regressions.
func checkReplayed(t *testing.T, text string) {
	var missing []string
	for _, s := range sources(t) {
		if base := filepath.Base(s.path); !strings.HasPrefix(base, "regression_") || !s.test {
			continue
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				if name := s.dir + "." + f.Name.Name; !strings.Contains(text, "`"+name+"`") {
					missing = append(missing, name)
				}
			}
		}
	}
	slices.Sort(missing)
	for _, name := range missing {
		t.Errorf("%s is in no row of docs/regressions.md", name)
	}
}
