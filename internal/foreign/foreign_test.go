package foreign

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/keys"
)

// TestPython runs the tests of clients/python: the vectors in both directions, and a session
// against replicas that lie.
func TestPython(t *testing.T) {
	cmd := exec.Command(python(t), "-W", "error", "-m", "unittest", "-v")
	cmd.Dir = scripts
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := strings.Count(string(out), "... ok\n"); n < 30 {
		t.Fatalf("only %d tests ran\n%s", n, out)
	}
}

// TestClient reads and writes by the Python client while replicas are well, down, lying, paused.
func TestClient(t *testing.T) {
	t.Parallel()
	r := up(t)
	r.commands()

	must(t, r.Kill(3))
	r.roundTrip("a backup is down")
	r.back(3)

	must(t, r.Lie(2, "wrong-replies"))
	r.roundTrip("a backup lies")
	r.want("one\n", 0, "get", "well")
	must(t, r.Kill(2))
	r.back(2)

	paused := r.primary()
	must(t, r.Pause(paused))
	r.roundTrip("the primary is silent")
	must(t, r.Resume(paused))

	liar := r.primary()
	must(t, r.Lie(liar, "wrong-replies"))
	r.roundTrip("the primary lies to clients")
	must(t, r.Kill(liar))
	r.want("one\n", 0, "get", "well")
	r.goes("a backup is down")

	must(t, r.Kill((liar+1)%4))
	out, talk, code := r.run("--timeout", "1", "get", "well")
	if out != "" || code != 3 || !strings.Contains(talk, "themis cluster status") {
		t.Errorf("without a quorum the client prints %q, ends with %d and says %q", out, code, talk)
	}
}

// commands holds the command line against its promise: what it prints and how it ends.
func (r *rig) commands() {
	r.t.Helper()
	r.want("", 0, "put", "well", "green")
	r.want("green\n", 0, "get", "well")
	r.want("", 0, "cas", "well", "green", "one")
	r.want("", 1, "cas", "well", "green", "two")
	r.want("one\n", 0, "get", "well")
	r.want("", 1, "get", "nothing")
	r.want("", 1, "del", "nothing")
	r.want("", 2, "get")
	r.want("", 1, "--dir", r.Dir+"/none", "get", "well")
}

// keyFile makes a key and the file that holds it.
func keyFile(t *testing.T, scheme string) (*keys.Key, string) {
	t.Helper()
	key, err := keys.Generate(scheme)
	must(t, err)
	path := filepath.Join(t.TempDir(), "key.pem")
	must(t, key.Save(path))
	return key, path
}

// TestSchemes uses clusters of the other schemes, which admit one listed client.
func TestSchemes(t *testing.T) {
	for _, scheme := range []string{"ecdsa", "rsa"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			key, listed := keyFile(t, scheme)
			_, stranger := keyFile(t, scheme)
			r := upAs(t, bft.Membership{Scheme: scheme, Clients: []bft.ClientKey{{ID: key.ClientID(), Key: key.PublicDER()}}})
			r.want("", 0, "--key", listed, "put", "a", "1")
			r.want("1\n", 0, "--key", listed, "get", "a")
			r.want("", 1, "--key", stranger, "get", "a")
			r.want("", 1, "get", "a")
		})
	}
}

// TestRogueBackup puts every rogue in the place of replica 3, one after the other.
func TestRogueBackup(t *testing.T) {
	t.Parallel()
	r := up(t)
	for _, way := range []struct {
		how, reason string // a reason for which the others must have rejected it
	}{
		{"silent", ""},
		{"wrong-replies", ""},
		{"bad-votes", "conflict"},
		{"view-spam", ""},
		{"false-new-view", "bad-proof"},
		{"false-checkpoint", "bad-signature"},
		{"future", "above-window"},
		{"replay", "wrong-sender"},
		{"garbage", "malformed"},
	} {
		end := r.rogue(3, way.how)
		r.roundTrip("a backup is rogue: " + way.how)
		r.goes("a backup is rogue: " + way.how)
		if way.how == "wrong-replies" {
			r.hears()
		}
		if way.reason != "" {
			r.eventually(way.how+" to be rejected", func() bool { return r.against(3).rejections[way.reason] > 0 })
		}
		t.Logf("%s: %+v", way.how, r.against(3))
		end()
	}
}

// TestRoguePrimary puts rogues in the place of the primary of the moment: replica 0 at first.
func TestRoguePrimary(t *testing.T) {
	t.Parallel()
	r := up(t)
	r.equivocates()
	for _, how := range []string{"silent", "false-new-view"} {
		id := r.primary()
		end := r.rogue(id, how)
		r.roundTrip("the primary is rogue: " + how)
		r.goes("the primary is rogue: " + how)
		t.Logf("%s: %+v", how, r.against(id))
		if r.primary() == id {
			t.Errorf("%s: replica %d is the primary still", how, id)
		}
		end()
		r.back(id)
	}
}

// equivocates has a primary propose two batches for a slot until somebody has noticed. If it does not
// before the patience of the others ends, the next view is another's, and it must begin anew there.
func (r *rig) equivocates() {
	r.t.Helper()
	noticed := false
	for try := 0; try < 5 && !noticed; try++ {
		id := r.primary()
		key := fmt.Sprintf("the primary is rogue: equivocate %d", try)
		end := r.rogue(id, "equivocate")
		r.roundTrip(key)
		r.goes(key)
		r.eventually("evidence or another primary", func() bool {
			over := r.primary() != id // it may stay: two backups got the same batch
			noticed = r.against(id).evidence > 0
			return noticed || over
		})
		r.t.Logf("equivocate: %+v", r.against(id))
		end()
		r.back(id)
	}
	if !noticed {
		r.t.Error("nobody noticed that a primary equivocates")
	}
}
