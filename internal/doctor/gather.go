package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/config"
	"github.com/themis-bft/themis/internal/cluster"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/replica"
	"github.com/themis-bft/themis/wire"
)

const (
	// lookPause is the time between two looks: long against a round of the protocol.
	lookPause = 500 * time.Millisecond
	// confirmPause is how long a cause must last to be told: a link that was just made anew, or a
	// view that is just being left, is none.
	confirmPause = time.Second
	// probeTime bounds an attempt to reach a port of this machine.
	probeTime = time.Second
	// logTailBytes is how much of a log is read for the error it ends with.
	logTailBytes = 64 << 10
)

// Examine looks at the cluster in dir and says what is wrong with it. It takes a second, or three
// when something is; a replica that hangs delays it by as much as the admin endpoint may take to answer.
func Examine(ctx context.Context, dir string) (Report, error) {
	c, err := cluster.Open(dir, io.Discard)
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		return unreadable(dir, problems), nil
	case err != nil:
		return Report{}, err
	}
	first := statuses(c)
	f, last, err := look(ctx, c, first, lookPause)
	if err != nil {
		return Report{}, err
	}
	r := Diagnose(f)
	if r.Healthy || !anyAnswers(f) {
		return r, nil
	}
	f, _, err = look(ctx, c, last, confirmPause)
	if err != nil {
		return Report{}, err
	}
	return Diagnose(f), nil
}

func anyAnswers(f *Facts) bool {
	for i := range f.Replicas {
		if f.Replicas[i].answers() {
			return true
		}
	}
	return false
}

// unreadable is the report on a cluster of which a file cannot be read.
func unreadable(dir string, ps config.Problems) Report {
	var r Report
	for _, p := range ps {
		where := p.File
		if p.Line > 0 {
			where = fmt.Sprintf("%s:%d", p.File, p.Line)
		}
		what := where + ": " + p.What
		if p.Hint != "" {
			what += " (" + p.Hint + ")"
		}
		r.Causes = append(r.Causes, Cause{Code: CodeConfig, Sentence: what, Next: "themis config validate --dir " + quoted(dir)})
	}
	return r
}

// answer is what one replica said at one look.
type answer struct {
	status *replica.Status
	at     time.Time     // the middle of asking
	off    time.Duration // its clock less ours
	err    error
}

// statuses asks all replicas that run, at once.
func statuses(c *cluster.Cluster) []answer {
	all := make([]answer, len(c.Replicas))
	processes := c.Processes()
	var running sync.WaitGroup
	for i := range all {
		if processes[i].Alive && !processes[i].Paused {
			running.Go(func() { all[i] = ask(c, i) })
		}
	}
	running.Wait()
	return all
}

func ask(c *cluster.Cluster, id int) (a answer) {
	begin := time.Now()
	b, err := c.Ask(id, "/statusz")
	took := time.Since(begin)
	if err != nil {
		a.err = err
		return a
	}
	a.status = &replica.Status{}
	if a.err = json.Unmarshal(b, a.status); a.err != nil {
		a.status = nil
		return a
	}
	a.at = begin.Add(took / 2)
	a.off = time.UnixMilli(a.status.Clock).Sub(a.at.Round(0)) // by the time of day
	return a
}

// look waits, asks again, and puts everything together.
func look(ctx context.Context, c *cluster.Cluster, before []answer, pause time.Duration) (*Facts, []answer, error) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case <-timer.C:
	}
	now := statuses(c)
	m := &c.Public.Membership
	f := &Facts{
		Dir: c.Dir, Quorums: m.Quorums(), Membership: wire.MembershipDigest(m).Hex(),
		Skew: time.Duration(m.TimeSkew), Every: m.CheckpointEvery,
	}
	for i, p := range c.Processes() {
		s := files(c, i)
		s.Alive, s.Paused, s.Died, s.Lies = p.Alive, p.Paused, p.Died, p.Lies
		switch a, b := before[i], now[i]; {
		case !s.Alive:
			s.LastWords, s.Taken = lastWords(tail(s.Log)), taken(&s)
		case a.status != nil && b.status != nil && a.status.PID == b.status.PID:
			s.First, s.Last, s.Between, s.ClockOff = a.status, b.status, b.at.Sub(a.at).Round(time.Millisecond), b.off
		case b.err != nil:
			s.Silence = b.err.Error()
		case a.err != nil:
			s.Silence = a.err.Error()
		default:
			s.Silence = "it has just started"
		}
		f.Replicas = append(f.Replicas, s)
	}
	return f, now, nil
}

// files is what the files of replica i say.
func files(c *cluster.Cluster, i int) Seen {
	r := c.Replicas[i]
	s := Seen{
		Config: r.Config.Path, ClusterFile: r.Config.ClusterFile, DataDir: r.Config.Dir, KeyFile: r.Config.KeyFile,
		Log: c.LogPath(r.ID), Peer: r.Config.Listen.Peer, Client: r.Config.Listen.Client, Admin: r.Config.Listen.Admin,
	}
	s.Differs = strings.Join(differences(&c.Public.Membership, &r.Config.Cluster.Membership), ", ")
	s.KeyProblem = keyProblem(c, r)
	var fs syscall.Statfs_t
	if syscall.Statfs(s.DataDir, &fs) == nil {
		s.Free, s.FreeKnown = uint64(fs.Bavail)*uint64(fs.Bsize), true
	}
	return s
}

func keyProblem(c *cluster.Cluster, r *cluster.Replica) string {
	key, err := keys.Load(r.Config.KeyFile)
	if err != nil {
		return err.Error()
	}
	if int(r.ID) < c.Public.Membership.N() && string(key.PublicDER()) != string(c.Public.Membership.Replicas[r.ID].Key) {
		return fmt.Sprintf("%s holds another key than %s lists for %s", r.Config.KeyFile, c.Public.Path, r.ID)
	}
	return ""
}

// differences names what two clusters do not agree on.
func differences(a, b *bft.Membership) (all []string) {
	for _, f := range []struct {
		name  string
		equal bool
	}{
		{"cluster", a.Cluster == b.Cluster}, {"epoch", a.Epoch == b.Epoch}, {"protocol", a.Protocol == b.Protocol},
		{"app", a.App == b.App}, {"f", a.F == b.F}, {"scheme", a.Scheme == b.Scheme}, {"open", a.Open == b.Open},
		{"number of replicas", a.N() == b.N()}, {"list of clients", len(a.Clients) == len(b.Clients)},
		{"checkpoint_every", a.CheckpointEvery == b.CheckpointEvery}, {"window", a.Window == b.Window},
		{"in_flight", a.InFlight == b.InFlight}, {"batch_count", a.BatchCount == b.BatchCount},
		{"batch_bytes", a.BatchBytes == b.BatchBytes}, {"sessions", a.Sessions == b.Sessions},
		{"time_skew", a.TimeSkew == b.TimeSkew},
	} {
		if !f.equal {
			all = append(all, f.name)
		}
	}
	for i := range min(a.N(), b.N()) {
		if string(a.Replicas[i].Key) != string(b.Replicas[i].Key) {
			all = append(all, "key of "+bft.ReplicaID(i).String())
		}
	}
	return all
}

// taken is the address of a replica that is down at which somebody listens all the same.
func taken(s *Seen) string {
	for _, addr := range []string{s.Peer, s.Client, s.Admin} {
		conn, err := net.DialTimeout("tcp", addr, probeTime)
		if err == nil {
			_ = conn.Close() // nothing was sent
			return addr
		}
	}
	return ""
}

// tail reads the end of a file; empty if it cannot be read, as when the replica never ran.
func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // only read
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	b := make([]byte, min(size, logTailBytes))
	n, err := f.ReadAt(b, size-int64(len(b)))
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	return string(b[:n])
}
