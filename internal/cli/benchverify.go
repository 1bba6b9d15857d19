package cli

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/themis-bft/themis/bench/history"
)

// verdict is what "bench verify" prints.
type verdict struct {
	OK           bool     `json:"ok"`
	Operations   int      `json:"operations"`
	Unknown      int      `json:"unknown"`
	Linearizable bool     `json:"linearizable"`
	Undecided    bool     `json:"undecided"`
	Key          string   `json:"key,omitempty"`
	Audited      int      `json:"audited"`
	Lost         int      `json:"lost"`
	Duplicated   int      `json:"duplicated"`
	Complaints   []string `json:"complaints"`
}

func (s *session) benchVerify() *cobra.Command {
	var perKey span
	var asJSON bool
	cmd := &cobra.Command{
		Use: "verify HISTORY…", Short: "Check joined histories of kv: linearizable, nothing lost, nothing twice; exit code 1 if not",
		Long: "Check histories that \"bench run --history\" wrote, joined, against one register per key. They must\n" +
			"begin with the life of their keys: all keys are absent at first. An operation of unknown outcome may\n" +
			"have taken effect at any later time, or never.",
		Args: takes(1, -1, "files"),
	}
	jsonFlag(cmd, &asJSON)
	spanFlag(cmd, &perKey, "per-key", 30*time.Second, "how long to search the history of one key")
	cmd.RunE = func(_ *cobra.Command, files []string) error {
		events, err := join(files)
		if err != nil {
			return &failure{code: exitFailed, err: err, hint: "write one with: themis bench run --mix put=50,get=40,cas=10 --history FILE"}
		}
		v := judge(events, time.Duration(perKey))
		if asJSON {
			err = s.print(v)
		} else {
			s.line("%d operations, %d of unknown outcome; linearizable: %t; of %d audited writes %d lost, %d executed twice",
				v.Operations, v.Unknown, v.Linearizable, v.Audited, v.Lost, v.Duplicated)
			for _, c := range v.Complaints {
				s.line("  %s", c)
			}
		}
		if err == nil && !v.OK {
			return &failure{code: exitFailed, what: "the history is not that of one register per key", hint: "look at the operations on key " + v.Key}
		}
		return err
	}
	return cmd
}

// join reads histories and keeps the clients of different files apart.
func join(files []string) ([]history.Event, error) {
	var all []history.Event
	clients := 0
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		events, err := history.Read(f)
		_ = f.Close() // only read
		if err != nil {
			return nil, err
		}
		offset := clients
		for _, e := range events {
			e.Client += offset
			clients = max(clients, e.Client+1)
			all = append(all, e)
		}
	}
	return all, nil
}

func judge(events []history.Event, perKey time.Duration) verdict {
	check, account := history.Check(events, perKey), history.Audit(events)
	v := verdict{
		Operations: len(events), Linearizable: check.Linearizable, Undecided: check.Undecided, Key: check.Key,
		Audited: account.Acknowledged, Lost: account.Lost, Duplicated: account.Duplicated,
		Complaints: append([]string{}, account.Complaints...),
	}
	for _, e := range events {
		if e.Outcome == history.Unknown {
			v.Unknown++
		}
	}
	v.OK = v.Linearizable && v.Lost == 0 && v.Duplicated == 0
	return v
}
