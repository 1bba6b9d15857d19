package cli

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/themis-bft/themis/sim"
)

// simShrink is the command that takes a failing seed apart.
func (s *session) simShrink() *cobra.Command {
	var o sim.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use: "shrink SEED", Short: "Switch off the parts of a failing seed, one at a time, that its failure does not need", Args: takes(1, 1, "a SEED"),
	}
	simFlags(cmd, &o)
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		seed, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil {
			return usagef(cmd, "%q is no seed", args[0])
		}
		if err := checkSim(cmd, &o); err != nil {
			return err
		}
		small, result, err := sim.Shrink(o, seed)
		if err != nil {
			return &failure{code: exitFailed, err: err, hint: "run it with: " + replayLine(&o, seed)}
		}
		v := result.Violations[0]
		if asJSON {
			return s.print(map[string]any{"seed": seed, "leave": small.Leave, "violation": v, "replay": replayLine(&small, seed)})
		}
		s.line("%s: %s", v.Checker, v.Detail)
		s.line("not needed for it: %s", strings.Join(small.Leave, ", "))
		s.line("%s", replayLine(&small, seed))
		return nil
	}
	return cmd
}
