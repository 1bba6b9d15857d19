package cli

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/themis-bft/themis/app/counter"
	"github.com/themis-bft/themis/bft"
)

func (s *session) callCommand() *cobra.Command {
	var a access
	var raw, asJSON bool
	cmd := &cobra.Command{
		Use: "call HEX | call - | call get | call add N", Short: "Execute one operation of any application and print its result",
		Long: "Execute one operation of any application and print its result in hexadecimal.\n" +
			"The operation is hexadecimal, or with - the bytes of standard input.\n" +
			"For the counter: get, and add N, which print the number.",
		Args: takes(1, 2, "one operation"),
	}
	a.flags(cmd)
	cmd.Flags().BoolVar(&raw, "raw", false, "print the result as it is")
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if op, ok, err := counterOp(cmd, args); ok || err != nil {
			if err != nil {
				return err
			}
			return s.callCounter(cmd, &a, op, asJSON)
		}
		op, err := s.operation(cmd, args)
		if err != nil {
			return err
		}
		result, err := a.invoke(cmd.Context(), "", op)
		switch {
		case err != nil:
			return err
		case asJSON:
			return s.print(map[string]string{"result": hex.EncodeToString(result)})
		case raw:
			_, err = s.out.Write(result)
			return err
		}
		s.line("%x", result)
		return nil
	}
	return cmd
}

// counterOp recognises the words for the counter.
func counterOp(cmd *cobra.Command, args []string) (op []byte, ok bool, err error) {
	switch {
	case args[0] == "get" && len(args) == 1:
		return counter.Get(), true, nil
	case args[0] == "add" && len(args) == 2:
		n, err := strconv.ParseUint(args[1], 10, 64)
		if err != nil {
			return nil, false, usagef(cmd, "%q is no number to add", args[1])
		}
		return counter.Add(n), true, nil
	case len(args) == 2:
		return nil, false, usagef(cmd, "one operation, or: add N")
	}
	return nil, false, nil
}

func (s *session) callCounter(cmd *cobra.Command, a *access, op []byte, asJSON bool) error {
	b, err := a.invoke(cmd.Context(), "counter", op)
	if err != nil {
		return err
	}
	n, err := counter.ParseResult(b)
	if err != nil {
		return err
	}
	if asJSON {
		return s.print(map[string]uint64{"result": n})
	}
	s.line("%d", n)
	return nil
}

// operation reads the bytes to execute.
func (s *session) operation(cmd *cobra.Command, args []string) ([]byte, error) {
	if args[0] != "-" {
		op, err := hex.DecodeString(args[0])
		if err != nil {
			return nil, usagef(cmd, "%q is not hexadecimal; for other bytes write - and give them on standard input", args[0])
		}
		return op, nil
	}
	op, err := io.ReadAll(io.LimitReader(s.in, bft.OpBytesMax+1))
	if err == nil && len(op) > bft.OpBytesMax {
		err = errors.New("too long")
	}
	if err != nil {
		return nil, &failure{code: exitFailed, what: "reading the operation", err: err, hint: fmt.Sprintf("an operation has at most %d bytes", bft.OpBytesMax)}
	}
	return op, nil
}
