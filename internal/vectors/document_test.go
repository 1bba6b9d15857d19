package vectors

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocument: every block of hex in docs/wire.md is part of a vector, so that an example is
// never older than the code. A line's comment begins behind two spaces.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	names, _ := filepath.Glob(filepath.Join(folder, "*.json"))
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var all any
		if err := json.Unmarshal(b, &all); err != nil {
			t.Fatal(err)
		}
		collect(all, &known)
	}
	blocks := regexp.MustCompile("(?s)```hex\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 20 {
		t.Fatalf("%d blocks of hex in the document", len(blocks))
	}
	for _, block := range blocks {
		var example strings.Builder
		for _, line := range strings.Split(block[1], "\n") {
			bytes, _, _ := strings.Cut(line, "  ")
			example.WriteString(strings.ReplaceAll(bytes, " ", ""))
		}
		found := false
		for _, k := range known {
			found = found || strings.Contains(k, example.String())
		}
		if !found {
			t.Errorf("no vector holds the example %s", example.String())
		}
	}
}

// collect gathers the strings of a JSON value.
func collect(v any, into *[]string) {
	switch v := v.(type) {
	case string:
		*into = append(*into, v)
	case []any:
		for _, x := range v {
			collect(x, into)
		}
	case map[string]any:
		for _, x := range v {
			collect(x, into)
		}
	}
}
