package lint

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var link = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)

// documents returns every Markdown file outside hidden folders, relative to the root.
func documents(t *testing.T) []string {
	t.Helper()
	var docs []string
	top := root(t)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin") && path != top {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".md") {
			rel, err := filepath.Rel(top, path)
			docs = append(docs, filepath.ToSlash(rel))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

// TestLinks: every relative link of a document leads somewhere, and every document is linked.
func TestLinks(t *testing.T) {
	top := root(t)
	linked := map[string]bool{"README.md": true}
	docs := documents(t)
	for _, doc := range docs {
		text, err := os.ReadFile(filepath.Join(top, doc))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			target := filepath.Join(filepath.Dir(doc), m[1])
			if _, err := os.Stat(filepath.Join(top, target)); err != nil {
				t.Errorf("%s links to %s, which does not exist", doc, m[1])
			}
			linked[filepath.ToSlash(target)] = true
		}
	}
	for _, doc := range docs {
		if !linked[doc] {
			t.Errorf("%s is linked from nowhere", doc)
		}
	}
}

// TestDocumentsNameRealCode: a path in back-quotes that looks like one of ours exists, or names code.
func TestDocumentsNameRealCode(t *testing.T) {
	top, code := root(t), collectCode(t)
	path := regexp.MustCompile("`((?:bft|wire|protocol|app|auth|trusted|transport|storage|exec|catchup|host|replica|client|sim|assembly|config|keys|bench|cmd|internal|examples|docs)/[a-z0-9_/.-]+)`")
	for _, doc := range documents(t) {
		text, err := os.ReadFile(filepath.Join(top, doc))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range path.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(top, strings.TrimSuffix(m[1], "/"))); err != nil && code.resolve(top, m[1]) == "" {
				t.Errorf("%s names `%s`, which does not exist", doc, m[1])
			}
		}
	}
}

// TestPathsInDocuments: nothing in the repository names a path of a machine or a registry's host.
func TestPathsInDocuments(t *testing.T) {
	top := root(t)
	for _, doc := range documents(t) {
		text, err := os.ReadFile(filepath.Join(top, doc))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			for _, b := range banned {
				if !b.tests && b.pattern.MatchString(line) {
					t.Errorf("%s:%d: %q: %s", doc, i+1, b.pattern.FindString(line), b.instead)
				}
			}
		}
	}
}
