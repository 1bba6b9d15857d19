package doctor

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/themis-bft/themis/config"
	"github.com/themis-bft/themis/internal/cluster"
	"github.com/themis-bft/themis/internal/faultproxy"
	"github.com/themis-bft/themis/keys"
)

// TestProcesses: what can happen to processes, one thing after the other.
func TestProcesses(t *testing.T) {
	t.Parallel()
	w := admit(t, nil).up()
	w.finds()
	must(t, w.Kill(2))
	w.finds(want{CodeDown, 2, `^r2 is down: 3 of 4 are left and 3 are needed, so that none may fail any more`, `^themis cluster start 2 --dir /`})
	must(t, w.Kill(1))
	w.finds(want{CodeTooFew, everybody, `^only 2 of 4 .*\(r1 and r2 are down\); 3 are needed`, `^themis cluster start 1 --dir /`})
	must(t, w.Start(1))
	must(t, w.Start(2))
	must(t, w.Pause(3))
	w.finds(want{CodePaused, 3, `^r3 is paused`, `^themis cluster resume 3 --dir /`})
	must(t, w.Resume(3))
	w.finds()

	pid := *w.Layout().Replicas[3].PID
	must(t, syscall.Kill(pid, syscall.SIGKILL)) // and not by the command that notes it
	w.finds(want{CodeCrashed, 3, `^r3 ended without a word`, `start 3`})
	other, err := net.Listen("tcp", w.Replicas[3].Config.Listen.Peer)
	must(t, err)
	w.finds(want{CodePortTaken, 3, `another program listens on its address ` + other.Addr().String(), `^ss -ltnp`})
	if err := w.Start(3); err == nil {
		t.Error("r3 started without its port")
	}
	must(t, other.Close())

	must(t, w.Down())
	w.finds(want{CodeTooFew, everybody, `^only 0 of 4`, `^themis cluster up --dir /`})
}

// TestRefusesToStart: replicas that end at once, and say why in their logs.
func TestRefusesToStart(t *testing.T) {
	t.Parallel()
	w := admit(t, nil)
	w.edit(3, synced)
	w.up()
	w.until("a log to damage", func() bool {
		s, ok := w.status(3)
		return ok && s.Executed >= 4
	})
	for i, c := range []struct {
		spoil func(dir string)
		want  want
	}{
		{func(dir string) { // the middle of the log, which was synced
			path, b := segment(t, dir)
			for j := range 64 {
				b[200+j] ^= 0x55
			}
			must(t, os.WriteFile(path, b, 0o600))
		}, want{CodeLogDamaged, 3, `^r3 refuses to start, because its log is damaged`, `^cp -a /.*/r3/data /.*/r3/data.damaged$`}},
		{func(dir string) {
			must(t, os.RemoveAll(dir))
			must(t, os.CopyFS(dir, os.DirFS(w.Replicas[2].Config.Dir)))
		}, want{CodeWrongDirectory, 3, `^r3 refuses .*data belong to another replica`, `^themis config show /.*/r3/themis.toml$`}},
		{func(dir string) {
			must(t, os.RemoveAll(dir))
			must(t, os.Mkdir(dir, 0o700))
		}, want{CodeNoData, 3, `^r3 refuses .*data directory is empty`, `^ls -la /.*/r3/data$`}},
	} {
		must(t, w.Kill(3))
		c.spoil(w.Replicas[3].Config.Dir)
		if err := w.Start(3); err == nil {
			t.Fatalf("%d: r3 started all the same", i)
		}
		w.finds(c.want)
	}
	key := w.Replicas[3].Config.KeyFile
	must(t, os.Remove(key))
	other, err := keys.Generate("ed25519")
	must(t, err)
	must(t, other.Save(key))
	if err := w.Start(3); err == nil {
		t.Fatal("r3 started with another key")
	}
	w.finds(want{CodeWrongKey, 3, `^r3 is down and cannot start: .*key.pem holds another key than`, `^themis keygen --public /.*/r3/key.pem$`})
	must(t, os.WriteFile(w.Replicas[3].Config.Path, []byte("replica = 3\nlisten = 7\n"), 0o600))
	w.finds(want{CodeConfig, everybody, `r3/themis.toml:2: `, `^themis config validate --dir /`})
}

// segment is the file of a log that holds its records.
func segment(t *testing.T, dir string) (path string, contents []byte) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	for _, path := range all {
		b, err := os.ReadFile(path)
		if err == nil && len(b) >= 1<<20 && len(bytes.Trim(b[64:2048], "\x00")) > 0 {
			return path, b
		}
	}
	t.Fatalf("%s has no segment: %q", dir, all)
	return "", nil
}

// TestMachines: replicas that run on machines with a fault, or lie.
func TestMachines(t *testing.T) {
	t.Parallel()
	w := admit(t, nil)
	w.edit(3, synced)
	w.up()
	for _, c := range []struct {
		how  string
		want want
	}{
		// First, before r3 has left a view alone for what ails it, and comes back to that.
		{"wrong-replies", want{CodeLiar, 3, `^r3 was made to lie on purpose \(wrong-replies\)`, `kill 3 .*start 3`}},
		{"wrong-clock", want{CodeClock, 3, `^the clock of r3 is (1h0m\d(\.\d)?s|59m5\d(\.\d)?s) ahead of the others; 10s are allowed`, `^timedatectl`}},
		{"slow-disk", want{CodeSlowDisk, 3, `^the disk of r3 is slow: (recently ([3-9]\d\d|\d{4,}) ms|\d+\.\d s) for`, `vmstat`}},
		{"stuck-app", want{CodeAppStuck, 3, `^the application of r3 has been at slot \d+ for \d+\.\d s and does not return`, `^curl -s 'http://127.*goroutine`}},
		{"silent", want{CodeOneWay, 3, `^r3 hears the others, but none of them hears it`, `^themis config show /.*/r3/themis.toml$`}},
	} {
		must(t, w.Lie(3, c.how))
		w.busy = true
		w.finds(c.want)
		w.busy = false
		must(t, w.Kill(3))
	}
}

// TestStrangers: a replica whose cluster file is another one than the others'.
func TestStrangers(t *testing.T) {
	t.Parallel()
	w := admit(t, nil).up()
	own := filepath.Join(w.Replicas[3].Dir, "cluster.toml")
	for _, c := range []struct {
		change func(*config.Cluster)
		want   want
	}{
		{func(c *config.Cluster) { c.Membership.Epoch++ },
			want{CodeWrongCluster, 3, `^r3 runs with another cluster file than the others in r3/cluster.toml \(another epoch\); they refuse its links`, `^themis config show /.*/r3/cluster.toml$`}},
		{func(c *config.Cluster) { c.Membership.CheckpointEvery /= 2 },
			want{CodeWrongCluster, 3, `^r3 .*\(another checkpoint_every\); its state cannot be the one of the others`, `^themis config show`}},
		{func(c *config.Cluster) {
			key, err := keys.Generate("ed25519")
			must(t, err)
			must(t, os.Remove(w.Replicas[3].Config.KeyFile))
			must(t, key.Save(w.Replicas[3].Config.KeyFile))
			c.Membership.Replicas[3].Key = key.PublicDER()
		}, want{CodeWrongKey, 3, `^r3 runs with another key than the one that r0, r1 and r2 know, .*\(another key of r3\)`, `^themis config show /.*/r3/cluster.toml$`}},
	} {
		must(t, w.Kill(3))
		public, err := config.LoadCluster(filepath.Join(w.Dir, "cluster.toml"))
		must(t, err)
		c.change(public)
		must(t, os.RemoveAll(own))
		must(t, config.WriteCluster(own, public))
		w.edit(3, func(c *config.Config) { c.ClusterFile = "cluster.toml" })
		must(t, os.RemoveAll(w.Replicas[3].Config.Dir))
		if out, err := w.themisd("--init", "--config", w.Replicas[3].Config.Path); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		must(t, w.Start(3))
		w.finds(c.want)
	}
}

// TestLinks: links that are broken one way, both ways, and all of one replica.
func TestLinks(t *testing.T) {
	t.Parallel()
	w := admit(t, nil)
	mesh, err := faultproxy.NewMesh(faultproxy.Plan{Dir: w.Dir})
	must(t, err)
	t.Cleanup(mesh.Close)
	w.reopen(w.Dir)
	w.up()
	w.finds()
	cut := faultproxy.Condition{Cut: true}
	mesh.Peer(0, 1).Set(faultproxy.Forward, cut)
	w.finds(want{CodeOneWay, 0, `^r0 hears r1, but r1 does not hear r0: .*\(r0 says: .+\)`, `^themis config show /.*/r0/themis.toml$`})
	mesh.Peer(1, 0).Set(faultproxy.Forward, cut)
	w.finds(want{CodeLinkCut, 0, `^r0 and r1 do not reach each other`, `r0/themis.toml$`})
	mesh.Heal()
	mesh.Peer(2, 3).Set(faultproxy.Forward, faultproxy.Condition{Hold: true}) // both ends see a link
	w.finds(want{CodeOneWay, 2, `^r2 hears r3, but r3 does not hear r2: what r2 sends is lost`, `r2/themis.toml$`})
	mesh.Heal()
	for i := range 3 {
		mesh.Proxy(faultproxy.LinkName(3, w.Replicas[i].ID)).Set(faultproxy.Forward, cut)
		mesh.Proxy(faultproxy.LinkName(w.Replicas[i].ID, 3)).Set(faultproxy.Forward, cut)
	}
	w.finds(want{CodeIsolated, 3, `^r3 runs, but is linked with no other replica`, `r3/themis.toml$`})
	mesh.Heal()
	w.finds()
}

// TestViews: a cluster without a view that works.
func TestViews(t *testing.T) {
	t.Parallel()
	w := admit(t, nil).up()
	for i := 1; i < 4; i++ {
		w.edit(i, hasty)
	}
	must(t, w.Lie(1, "no-view-changes"))
	must(t, w.Lie(2, "no-view-changes"))
	must(t, w.Kill(3))
	must(t, w.Start(3))
	must(t, w.Kill(0))
	w.busy = true
	w.finds(
		want{CodeDown, 0, `^r0 is down`, `start 0`},
		want{CodeLiar, 1, `no-view-changes`, `kill 1`}, want{CodeLiar, 2, `no-view-changes`, `kill 2`},
		want{CodeSplitViews, everybody, `^no view has the 3 active replicas that it needs: r1 is in view 1 without its NEW-VIEW \(waits for the VIEW-CHANGE of`, `^themis cluster logs --dir /`})
}

// TestApart: one replica has no patience with a slow primary, and leaves the view alone.
func TestApart(t *testing.T) {
	t.Parallel()
	w := admit(t, nil)
	w.edit(0, synced)
	w.edit(3, func(c *config.Config) { c.Timeouts.Patience = 10 * time.Millisecond })
	w.up()
	must(t, w.Lie(0, "slow-disk"))
	for range 4 {
		must(t, w.put(8, patient))
	}
	w.finds(
		want{CodeSlowDisk, 0, ``, ``},
		want{CodeViewApart, 3, `^r3 is in view 1 without its NEW-VIEW \(waits for the VIEW-CHANGE of r0, r1 and r2\), the others are active in view 0`, `^themis cluster status --dir`})
}

// TestViewAfterView: no primary presents its view.
func TestViewAfterView(t *testing.T) {
	t.Parallel()
	w := admit(t, nil).up()
	for i := 1; i < 4; i++ {
		w.edit(i, func(c *config.Config) {
			hasty(c)
			c.Timeouts.PatienceMax = c.Timeouts.Patience
		})
		must(t, w.Lie(i, "no-new-view"))
	}
	must(t, w.Kill(0))
	w.busy = true
	w.finds(
		want{CodeDown, 0, ``, ``}, want{CodeLiar, 1, ``, ``}, want{CodeLiar, 2, ``, ``}, want{CodeLiar, 3, ``, ``},
		want{CodeViewChanges, everybody, `^view follows view and nothing is decided after slot \d+ \(counted since the start: .*new-view \d+`, `^themis cluster logs --dir /`})
}

// TestVotes: two of four vote for nothing that anybody proposed, and no rule knows that.
func TestVotes(t *testing.T) {
	t.Parallel()
	w := admit(t, nil).up()
	must(t, w.Lie(2, "bad-votes"))
	must(t, w.Lie(3, "bad-votes"))
	w.busy = true
	w.finds(
		want{CodeLiar, 2, `bad-votes`, `kill 2`}, want{CodeLiar, 3, `bad-votes`, `kill 3`},
		want{CodeStalled, everybody, `^nothing was decided after slot \d+ .*it is not known why: r0 waits for the PREPARE of r2 and r3`, `^curl -s http://127.*/statusz$`})
}

// TestNoBody: three of four keep a batch from the fourth, which has the patience to wait for it until
// the doctor has come, however slow the machine is: it suspects nobody before.
func TestNoBody(t *testing.T) {
	t.Parallel()
	w := admit(t, nil).up()
	for i := range 3 {
		must(t, w.Lie(i, "no-bodies"))
	}
	must(t, w.put(8, patient))
	w.finds(
		want{CodeLiar, 0, ``, ``}, want{CodeLiar, 1, ``, ``}, want{CodeLiar, 2, ``, ``},
		want{CodeBody, 3, `^r3 knows that slot \d+ is decided, but lacks the batch itself`, `^themis cluster logs 3`})
}

// TestNoCheckpoint: three of four sign checkpoints of a state that nobody has. The fourth takes
// that for the state of all others; the three, who have the true state, find no quorum for it.
func TestNoCheckpoint(t *testing.T) {
	t.Parallel()
	w := admit(t, func(p *cluster.Plan) { p.Membership.CheckpointEvery, p.Membership.Window = 4, 8 }).up()
	for i := 1; i < 4; i++ {
		must(t, w.Lie(i, "false-checkpoint"))
	}
	w.until("windows that are used up", func() bool {
		full := 0
		for i := 1; i < 4; i++ {
			if s, ok := w.status(i); ok && s.Committed > 0 && s.Committed == s.Window.High {
				full++
			}
		}
		return full == 3
	})
	w.finds(
		want{CodeDiverged, 0, `^the state of r0 differs from the one that the others certified`, `^themis cluster logs 0`},
		want{CodeLiar, 1, ``, ``}, want{CodeLiar, 2, ``, ``}, want{CodeLiar, 3, ``, ``},
		want{CodeCheckpoint, everybody, `^no checkpoint becomes stable after slot 0, because no 3 replicas have the same state: (r0, )?r1, r2 and r3 used the whole window, up to slot 8`, `^themis cluster logs --dir`})
}

// TestNoSpace fills the disk of a replica: a file system of its own, in memory. It is large enough
// for what the log still needs when it is emptied: 12 MiB would not do, for two segments of 4 MiB
// and a file of 4 KiB leave no room for a third.
func TestNoSpace(t *testing.T) {
	t.Parallel()
	w := admit(t, nil)
	w.edit(3, synced)
	dir := w.Replicas[3].Config.Dir
	must(t, os.RemoveAll(dir))
	must(t, os.Mkdir(dir, 0o700))
	if err := syscall.Mount("themis-test", dir, "tmpfs", 0, "size=32m"); err != nil {
		t.Skipf("a small file system can be mounted by root only: %v", err)
	}
	t.Cleanup(func() {
		must(t, w.Kill(3))
		must(t, syscall.Unmount(dir, 0))
	})
	if out, err := w.themisd("--init", "--config", w.Replicas[3].Config.Path); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.up()
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	must(t, err)
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	must(t, f.Close())
	if !strings.Contains(err.Error(), "no space") {
		t.Fatal(err)
	}
	for end := time.Now().Add(patient); time.Now().Before(end); {
		must(t, w.put(48<<10, patient))
		if b, err := w.Ask(3, "/statusz"); err == nil && strings.Contains(string(b), `"no_space": true`) {
			break
		}
	}
	w.finds(want{CodeNoSpace, 3, `^the disk of r3 is full \(\d+\.\d MiB free\): it votes for nothing until there is room in r3/data for the log, at least 4 MiB$`, `^df -h /.*/r3/data$`})
	must(t, os.Remove(filler))
	w.busy = true // until syncs that took long, while there was no room, are no longer recent
	w.finds()
}
