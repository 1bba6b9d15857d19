//go:build mutants

// Package mutant lets the test suite prove that it would notice a broken rule; see mutant.go.
package mutant

import "os"

var active = os.Getenv("THEMIS_MUTANT")

// On reports whether the named mutant is switched on.
func On(name string) bool { return name == active }
