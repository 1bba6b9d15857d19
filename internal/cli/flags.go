package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// dirDefault is where a cluster stands when --dir is not given.
const dirDefault = "themis-dev"

func dirFlag(cmd *cobra.Command, dir *string) {
	standard := dirDefault
	if d := os.Getenv("THEMIS_DIR"); d != "" {
		standard = d
	}
	cmd.Flags().StringVar(dir, "dir", standard, "directory of the cluster (or $THEMIS_DIR)")
	_ = cmd.MarkFlagDirname("dir") // completion only
}

func jsonFlag(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "print one line of JSON")
}

// span is a duration on the command line; a plain number means seconds.
type span time.Duration

func (d *span) String() string { return time.Duration(*d).String() }
func (d *span) Type() string   { return "duration" }

// Set reads "10s", "1m30s" or "10".
func (d *span) Set(text string) error {
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		*d = span(n * float64(time.Second))
	} else if v, err := time.ParseDuration(text); err == nil {
		*d = span(v)
	} else {
		return fmt.Errorf(`%q is no duration, such as "10s"`, text)
	}
	if *d < 0 {
		return fmt.Errorf("%q is negative", text)
	}
	return nil
}

func spanFlag(cmd *cobra.Command, d *span, name string, standard time.Duration, usage string) {
	*d = span(standard)
	cmd.Flags().Var(d, name, usage)
}

// print writes a result as one line of JSON.
func (s *session) print(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = s.out.Write(append(b, '\n'))
	return err
}

// line writes a result for people.
func (s *session) line(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }
