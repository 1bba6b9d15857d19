package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/themis-bft/themis/bench/demo"
)

func (s *session) demoCommand() *cobra.Command {
	var o demo.Options
	var phase span
	var asJSON bool
	cmd := &cobra.Command{
		Use: "demo", Short: "Show it: real replicas, a killed primary, a liar, and what the clients saw", Args: takes(0, 0, ""),
		Long: "Start four replicas, drive load from real clients, kill the primary, bring it back, let another\n" +
			"replica lie, and check that nothing was lost, nothing executed twice, and all was linearizable.\n" +
			"Everything it starts and writes is gone when it ends.",
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().IntVar(&o.Replicas, "replicas", 4, "number of replicas")
	cmd.Flags().IntVar(&o.Clients, "clients", 8, "number of clients")
	cmd.Flags().StringVar(&o.Dir, "dir", "", "directory for the cluster, which must not exist; none: a temporary one")
	spanFlag(cmd, &phase, "phase", 3*time.Second, "how long each phase is watched")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.Replicas < 4 || o.Clients < 1 || phase <= 0 {
			return usagef(cmd, "at least 4 replicas, 1 client and a phase longer than nothing")
		}
		o.Phase, o.Talk = time.Duration(phase), s.talk
		ctx, stop := interruptible(cmd)
		defer stop()
		r, err := demo.Run(ctx, o)
		if err != nil {
			return err
		}
		r.Print(s.out)
		if asJSON {
			if err := s.print(r); err != nil {
				return err
			}
		}
		if !r.OK {
			return &failure{code: exitFailed, what: "the demonstration shows a defect", hint: "look for it with: themis sim run --seeds 1-2000"}
		}
		return nil
	}
	return cmd
}
