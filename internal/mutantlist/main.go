// Command mutantlist prints every mutant with the package that holds its rule: name, package and
// where it must be killed, separated by tabs. scripts/mutants reads it.
package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/themis-bft/themis/internal/mutant"
)

func main() {
	for _, m := range mutant.All() {
		pkg, err := packageOf(m.Name)
		if err != nil {
			fmt.Fprintf(os.Stderr, "mutant %s: %v\n", m.Name, err)
			os.Exit(1)
		}
		fmt.Printf("%s\t%s\t%s\n", m.Name, pkg, m.Where)
	}
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
