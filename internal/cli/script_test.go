package cli_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/themis-bft/themis/internal/cli"
	"github.com/themis-bft/themis/internal/cluster"
)

// programs is the folder of the replica's programs, which TestMain builds: the sessions run
// the real ones.
var programs string

type suite struct{ m *testing.M }

func (s suite) Run() int {
	dir, err := os.MkdirTemp("", "themis-programs-")
	if err == nil {
		programs = dir
		defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return s.m.Run()
}

func build(dir string) error {
	cmd := exec.Command("go", "build", "-o", dir+string(filepath.Separator),
		"github.com/themis-bft/themis/cmd/themisd", "github.com/themis-bft/themis/cmd/themisd-byz")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the replica's programs: %w\n%s", err, out)
	}
	return nil
}

func TestMain(m *testing.M) {
	testscript.Main(suite{m}, map[string]func(){
		"themis": func() { os.Exit(cli.Main("v0.0.0-test", os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScript runs the sessions of testdata/script: what an operator types, and what happens.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", programs+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Defer(func() { stopAll(t, env.WorkDir) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  exits,
			"nobody": nobody,
			"until":  until,
		},
		RequireExplicitExec: true,
	})
}

// stopAll ends what a session that failed left behind.
func stopAll(t *testing.T, dir string) {
	found, err := filepath.Glob(filepath.Join(dir, "*", "cluster.toml"))
	if err != nil {
		t.Error(err)
	}
	for _, f := range found {
		if c, err := cluster.Open(filepath.Dir(f), os.Stderr); err == nil {
			if err := c.Down(); err != nil {
				t.Error(err)
			}
		}
	}
}

// exits runs "exits CODE PROGRAM ARGS…" and fails unless the program ends with that code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if have := exitCode(ts, args[1:]); have != want {
		ts.Fatalf("%v ended with exit code %d, want %d", args[1:], have, want)
	}
}

// until runs "until CODE PATTERN PROGRAM ARGS…": the program again and again, until it ends with
// that code and its output matches. It fails after a minute.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: until CODE PATTERN PROGRAM ARGS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	for end := time.Now().Add(time.Minute); ; {
		have := exitCode(ts, args[2:])
		if have == want && pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%v ended with exit code %d, want %d and output like %s", args[2:], have, want, args[1])
		}
		<-time.After(100 * time.Millisecond)
	}
}

// exitCode runs a program to its end.
func exitCode(ts *testscript.TestScript, args []string) int {
	err := ts.Exec(args[0], args[1:]...)
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended):
		return ended.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	return 0
}

// nobody runs "nobody DIR" and fails if a process that was started for DIR is left.
func nobody(ts *testscript.TestScript, _ bool, args []string) {
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	ts.Check(err)
	dir := ts.MkAbs(args[0])
	for _, f := range all {
		b, err := os.ReadFile(f)
		if err == nil && containsArg(b, dir) {
			ts.Fatalf("%s is left: %q", filepath.Dir(f), b)
		}
	}
}
