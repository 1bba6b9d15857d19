package cli

import (
	"github.com/spf13/cobra"

	"github.com/themis-bft/themis/internal/doctor"
)

func (s *session) doctorCommand() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Say why a cluster stands still, and what to type next", Args: takes(0, 0, ""),
		Long: "Look at the files, the processes and the status of a local cluster and say why it stands still, or what it\n" +
			"has lost of its strength: a sentence per cause, root causes first, and the command to type next. It changes\n" +
			"nothing. A cluster is healthy when it serves and tolerates f further faults.\n\n" +
			"With --json: {\"healthy\": true or false, \"causes\": [{\"code\", \"replica\", \"sentence\", \"next\"}]}; replica is null\n" +
			"for the cluster as a whole. docs/operations.md explains the codes.\n\n" +
			"Exit codes: 0 healthy; 1 causes were found, or there is no cluster; 2 usage.",
		Example: "  themis doctor --dir D",
	}
	dirFlag(cmd, &dir)
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := doctor.Examine(cmd.Context(), dir)
		if err != nil {
			return err
		}
		for _, note := range r.Notes {
			s.sayf("note: %s", note)
		}
		if asJSON {
			if err := s.print(r); err != nil {
				return err
			}
		} else {
			s.diagnosis(&r)
		}
		if !r.Healthy {
			return errMissing
		}
		return nil
	}
	return cmd
}

// diagnosis prints a report for a person: one line per cause.
func (s *session) diagnosis(r *doctor.Report) {
	if r.Healthy {
		s.line("healthy")
	}
	for _, c := range r.Causes {
		s.line("%s: %s; next: %s", c.Code, c.Sentence, c.Next)
	}
}
