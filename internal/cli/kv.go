package cli

import (
	"fmt"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/themis-bft/themis/app/kv"
)

func (s *session) kvCommand() *cobra.Command {
	return s.group("kv", "Read and write the replicated key-value store",
		s.kvPut(), s.kvGet(), s.kvDel(), s.kvCAS(), s.kvScan())
}

// kvDo executes one operation and parses its result.
func (s *session) kvDo(cmd *cobra.Command, a *access, op []byte) (kv.Result, error) {
	b, err := a.invoke(cmd.Context(), "kv", op)
	if err != nil {
		return kv.Result{}, err
	}
	r, err := kv.ParseResult(b)
	if err != nil {
		return r, err
	}
	switch r.Code {
	case kv.TooLarge:
		return r, &failure{code: exitFailed, what: "key or value is too large", hint: fmt.Sprintf("a key has at most %d bytes, a value %d", kv.KeyBytesMax, kv.ValueBytesMax)}
	case kv.Full, kv.Malformed:
		return r, &failure{code: exitFailed, what: "the store answers: " + r.Code.String(), hint: "delete what is not needed: themis kv del KEY"}
	}
	return r, nil
}

// value adds bytes to a JSON object: as text if they are text.
func value(into map[string]any, name string, b []byte) {
	if utf8.Valid(b) {
		into[name] = string(b)
	} else {
		into[name+"_base64"] = b
	}
}

func (s *session) kvPut() *cobra.Command {
	var a access
	cmd := &cobra.Command{Use: "put KEY VALUE", Short: "Set a key", Args: takes(2, 2, "KEY VALUE")}
	a.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		_, err := s.kvDo(cmd, &a, kv.Put([]byte(args[0]), []byte(args[1])))
		return err
	}
	return cmd
}

func (s *session) kvGet() *cobra.Command {
	var a access
	var asJSON bool
	cmd := &cobra.Command{Use: "get KEY", Short: "Print the value of a key; exit code 1 if there is none", Args: takes(1, 1, "KEY")}
	a.flags(cmd)
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := s.kvDo(cmd, &a, kv.Get([]byte(args[0])))
		if err != nil {
			return err
		}
		if asJSON {
			o := map[string]any{"key": args[0], "found": r.Code == kv.Found}
			if r.Code == kv.Found {
				value(o, "value", r.Value)
			}
			err = s.print(o)
		} else if r.Code == kv.Found {
			s.line("%s", r.Value)
		}
		if err == nil && r.Code != kv.Found {
			s.sayf("there is no key %q", args[0])
			return errMissing
		}
		return err
	}
	return cmd
}

func (s *session) kvDel() *cobra.Command {
	var a access
	cmd := &cobra.Command{Use: "del KEY", Short: "Remove a key; exit code 1 if there is none", Args: takes(1, 1, "KEY")}
	a.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := s.kvDo(cmd, &a, kv.Delete([]byte(args[0])))
		if err == nil && r.Code == kv.Missing {
			s.sayf("there is no key %q", args[0])
			return errMissing
		}
		return err
	}
	return cmd
}

func (s *session) kvCAS() *cobra.Command {
	var a access
	var absent bool
	cmd := &cobra.Command{
		Use: "cas KEY OLD NEW", Short: "Set a key if its value is OLD; exit code 1 if it is not",
		Args:    takes(2, 3, "KEY OLD NEW, or --absent KEY NEW"),
		Example: "  themis kv cas colour blue green\n  themis kv cas --absent colour blue",
	}
	a.flags(cmd)
	cmd.Flags().BoolVar(&absent, "absent", false, "set the key if there is none; OLD is left out")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if absent != (len(args) == 2) {
			return usagef(cmd, "write KEY OLD NEW, or --absent KEY NEW")
		}
		var old []byte
		if !absent {
			old = append([]byte{}, args[1]...) // not nil, even if it is empty
		}
		r, err := s.kvDo(cmd, &a, kv.CAS([]byte(args[0]), old, []byte(args[len(args)-1])))
		if err != nil || r.Code == kv.Done {
			return err
		}
		if r.Present {
			s.sayf("key %q has another value: %q", args[0], r.Value)
		} else {
			s.sayf("there is no key %q", args[0])
		}
		return errMissing
	}
	return cmd
}

func (s *session) kvScan() *cobra.Command {
	var a access
	var from string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{Use: "scan [PREFIX]", Short: "List keys and values in order", Args: takes(0, 1, "at most a PREFIX")}
	a.flags(cmd)
	jsonFlag(cmd, &asJSON)
	cmd.Flags().StringVar(&from, "from", "", "first key to list")
	cmd.Flags().IntVar(&limit, "limit", kv.ScanMax, "how many keys, at most")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		prefix := ""
		if len(args) > 0 {
			prefix = args[0]
		}
		if limit < 1 || limit > kv.ScanMax {
			return usagef(cmd, "--limit is 1 to %d", kv.ScanMax)
		}
		r, err := s.kvDo(cmd, &a, kv.ScanPrefix([]byte(prefix), []byte(from), limit))
		if err != nil {
			return err
		}
		if asJSON {
			entries := make([]map[string]any, 0, len(r.Entries))
			for _, e := range r.Entries {
				o := map[string]any{}
				value(o, "key", e.Key)
				value(o, "value", e.Value)
				entries = append(entries, o)
			}
			return s.print(map[string]any{"entries": entries, "more": r.More})
		}
		for _, e := range r.Entries {
			s.line("%s\t%s", e.Key, e.Value)
		}
		if r.More && len(r.Entries) > 0 {
			s.sayf("there is more; go on with --from %q", string(r.Entries[len(r.Entries)-1].Key)+"\x00")
		}
		return nil
	}
	return cmd
}
