//go:build mutants

package twins

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// killed are mutants of protocol/pbft that TestEveryPartition alone must notice: their rules are
// what protects honest replicas from a twin and a partition.
var killed = []string{
	"pbft-prepared-early", "pbft-committed-early", "pbft-vote-digest-ignored", "pbft-second-preprepare",
	"pbft-stable-small", "pbft-new-view-small-set", "pbft-start-lowest", "pbft-null-weak",
	"pbft-a2-weak", "pbft-p-dropped", "pbft-p-of-last-view-only", "pbft-q-dropped",
}

// TestMutantsDie runs TestEveryPartition with each of them switched on.
func TestMutantsDie(t *testing.T) {
	if os.Getenv("THEMIS_MUTANT") != "" {
		t.Skip("a mutant is switched on already")
	}
	for _, name := range killed {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestEveryPartition$")
		cmd.Env = append(os.Environ(), "THEMIS_MUTANT="+name)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "violations") {
			t.Errorf("%s survives: %v\n%s", name, err, out)
		}
	}
}
