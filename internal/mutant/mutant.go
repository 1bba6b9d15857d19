//go:build !mutants

// Package mutant lets the test suite prove that it would notice a broken rule. Each rule of
// the protocol has a named mutant that breaks it; a build with the tag "mutants" can switch one
// on with the environment variable THEMIS_MUTANT. Without the tag On is a constant and the
// compiler removes the branch. docs/roadmap.md says how many there are.
package mutant

// On reports whether the named mutant is switched on. Without the build tag it never is.
func On(string) bool { return false }
