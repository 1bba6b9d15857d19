package cli_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/themis-bft/themis/internal/cli"
)

// containsArg reports whether one of the arguments of a command line lies under dir.
func containsArg(cmdline []byte, dir string) bool {
	for arg := range bytes.SplitSeq(cmdline, []byte{0}) {
		if bytes.HasPrefix(arg, []byte(dir+"/")) {
			return true
		}
	}
	return false
}

func run(args ...string) (code int, out, talk string) {
	var o, e bytes.Buffer
	code = cli.Main("v1", args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// TestExitCodes holds the codes that scripts rely on, where no cluster is needed.
func TestExitCodes(t *testing.T) {
	none := t.TempDir()
	for _, c := range []struct {
		line string
		code int
		say  string // in what is said
	}{
		{"", 2, "name a command"},
		{"help", 0, ""},
		{"--help", 0, ""},
		{"version", 0, ""},
		{"version --jsn", 2, "see: themis version --help"},
		{"version now", 2, "takes no arguments"},
		{"clutser", 2, `did you mean "cluster"`},
		{"cluster", 2, "name a command"},
		{"cluster upp", 2, `did you mean "up"`},
		{"cluster kill", 2, "takes the number of a replica"},
		{"cluster kill x --dir " + none, 2, "write 0 for r0"},
		{"cluster kill 0 --dir " + none, 1, "themis cluster up --dir"},
		{"cluster status --dir " + none, 1, "themis cluster up --dir"},
		{"cluster lie 0 --how badly --dir " + none, 2, "wrong-replies"},
		{"cluster up --replicas 3 --dir " + none + "/c", 1, "at least 4 replicas"},
		{"cluster up --durability often --dir " + none + "/c", 2, "sync or memory"},
		{"cluster up --app redis --dir " + none + "/c", 1, "known: [kv counter bench]"},
		{"kv get", 2, "takes KEY"},
		{"kv cas a b", 2, "--absent"},
		{"kv get a --timeout soon", 2, "no duration"},
		{"kv get a --dir " + none, 1, "themis cluster up --dir"},
		{"kv get a --cluster " + none + "/nothing.toml", 1, "themis init"},
		{"call zz", 2, "not hexadecimal"},
		{"call add many", 2, "no number"},
		{"bench run --clients 0 --dir " + none, 2, "must be positive"},
		{"sim run --seeds 5-1", 2, "write 1-2000"},
		{"sim run --replicas 3", 2, "at least 4"},
		{"sim run --protocol raft", 2, "pbft"},
		{"sim run --byzantine 9", 2, "-1 to 4"},
		{"sim replay x", 2, "no seed"},
		{"sim list", 0, ""},
		{"sim twins --part 3/2", 2, "write 3/8"},
		{"sim twins --twin x", 2, "write 0, 0+1 or all"},
		{"sim twins --replicas 7", 2, "draw samples"},
		{"sim twins --replicas 3 --samples 1", 2, "not 4 to"},
		{"sim twins --schedule 4:0:AAAA@commit", 2, "one letter each"},
		{"sim twins --twin 0+1 --samples 50", 1, "themis sim twins --schedule 4:0+1:"},
		{"keygen", 2, "name one FILE"},
		{"keygen --public " + none + "/k.pem", 1, "themis keygen FILE"},
		{"demo --replicas 3", 2, "at least 4"},
		{"config validate " + none + "/t.toml", 1, "themis init"},
		{"init --hosts a,b --replicas 4 --dir " + none + "/h", 1, "one host per replica"},
	} {
		code, _, talk := run(strings.Fields(c.line)...)
		if code != c.code || !strings.Contains(talk, c.say) {
			t.Errorf("themis %s: exit code %d, want %d, and %q in:\n%s", c.line, code, c.code, c.say, talk)
		}
		if code != 0 && !strings.Contains(talk, "hint: ") {
			t.Errorf("themis %s: no hint in:\n%s", c.line, talk)
		}
	}
}

func TestVersion(t *testing.T) {
	_, out, _ := run("version", "--json")
	var v struct{ Version, Go, Platform string }
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.Version != "v1" || v.Go == "" || v.Platform == "" {
		t.Errorf("%s: %v", out, err)
	}
}

// TestCompletion: the values of flags are offered.
func TestCompletion(t *testing.T) {
	_, out, _ := run("__complete", "cluster", "up", "--app", "")
	if !strings.Contains(out, "kv\ncounter\nbench\n") {
		t.Errorf("completion of --app offers:\n%s", out)
	}
}
