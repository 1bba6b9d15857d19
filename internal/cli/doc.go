// Package cli is the command line of themis: one file per verb, which turns arguments into one
// call of the package that does the work, and its outcome into output and an exit code.
//
// Output rules. Results go to stdout, one form for people and, with --json, one line of JSON;
// everything that is said on the way goes to stderr. An error says what failed, where, and
// which command to type next. Exit codes: 0 done; 1 failed, or what was asked for is missing;
// 2 usage; 3 no quorum of replicas answered in time.
//
// Main is called once per process, on the main goroutine. The package owns no state beyond the
// command that runs, and keeps nothing running when it returns, except the replicas that
// "cluster up" leaves behind on purpose.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/themis-bft/themis/client"
)

// The exit codes.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNoQuorum = 3
)

// failure is an error with its exit code and advice.
type failure struct {
	code int
	what string // empty: say nothing, the exit code is the answer
	hint string
	err  error
}

func (f *failure) Error() string {
	if f.err == nil {
		return f.what
	}
	if f.what == "" {
		return f.err.Error()
	}
	return f.what + ": " + f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// Advice is what to do next.
func (f *failure) Advice() string { return f.hint }

// errMissing ends a command whose question was answered with no.
var errMissing = &failure{code: exitFailed}

func usagef(cmd *cobra.Command, format string, args ...any) error {
	return &failure{code: exitUsage, what: fmt.Sprintf(format, args...), hint: "see: " + cmd.CommandPath() + " --help"}
}

// session is what the verbs share: where they write.
type session struct {
	in        io.Reader
	out, talk io.Writer
	version   string
}

func (s *session) sayf(format string, args ...any) { fmt.Fprintf(s.talk, format+"\n", args...) }

// Main runs one command and returns its exit code.
func Main(version string, args []string, in io.Reader, out, talk io.Writer) int {
	s := &session{in: in, out: out, talk: talk, version: version}
	root := s.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(talk)
	return s.conclude(root.ExecuteContext(context.Background()))
}

// interruptible is for commands that have something to finish or to clean up when they are
// interrupted; the others just end. A second interrupt ends these too.
func interruptible(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// conclude says what went wrong and chooses the exit code.
func (s *session) conclude(err error) int {
	if err == nil {
		return exitOK
	}
	code, hint := exitFailed, ""
	var f *failure
	if errors.As(err, &f) {
		code = f.code
	}
	var advised interface{ Advice() string }
	if errors.As(err, &advised) {
		hint = advised.Advice()
	}
	if code == exitFailed && (errors.Is(err, client.ErrNoQuorum) || errors.Is(err, client.ErrOutcomeUnknown)) {
		code = exitNoQuorum
	}
	if code == exitNoQuorum && hint == "" {
		hint = "see which replicas run: themis cluster status --dir D"
	}
	if errors.Is(err, context.Canceled) {
		s.sayf("themis: interrupted")
		return code
	}
	if text := strings.TrimRight(err.Error(), "\n"); text != "" {
		s.sayf("themis: %s", text)
	}
	if hint != "" {
		s.sayf("  hint: %s", hint)
	}
	return code
}

// root is the tree of commands.
func (s *session) root() *cobra.Command {
	root := s.group("themis", "Themis orders requests among replicas of which some may lie",
		s.initCommand(), s.keygenCommand(), s.configCommand(), s.clusterCommand(),
		s.kvCommand(), s.callCommand(), s.benchCommand(), s.simCommand(), s.demoCommand(), s.doctorCommand(), s.versionCommand())
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usagef(cmd, "%v", err) })
	root.Long = root.Short + ".\n\nExit codes: 0 done; 1 failed or missing; 2 usage; 3 no quorum of replicas answered."
	root.Example = "  themis demo\n" +
		"  themis cluster up --dir D --replicas 4\n  themis kv put --dir D colour blue\n  themis kv get --dir D colour\n  themis cluster down --dir D"
	return root
}

// group is a command that only holds others.
func (s *session) group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	cmd.Args = cobra.ArbitraryArgs // RunE tells the unknown ones
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			s.sayf("%s", strings.TrimRight(cmd.UsageString(), "\n"))
			return usagef(cmd, "name a command")
		}
		near := cmd.SuggestionsFor(args[0])
		if len(near) > 0 {
			return usagef(cmd, "there is no %q, did you mean %q?", cmd.CommandPath()+" "+args[0], near[0])
		}
		return usagef(cmd, "there is no %q", cmd.CommandPath()+" "+args[0])
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(verbs...)
	return cmd
}

// takes checks the number of arguments and names them in the error.
func takes(low, high int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < low || high >= 0 && len(args) > high {
			if names == "" {
				return usagef(cmd, "%s takes no arguments, not %q", cmd.CommandPath(), strings.Join(args, " "))
			}
			return usagef(cmd, "%s takes %s, got %d arguments", cmd.CommandPath(), names, len(args))
		}
		return nil
	}
}
