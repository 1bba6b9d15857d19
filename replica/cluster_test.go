package replica_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/auth/sig"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/client"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/replica"
	"github.com/themis-bft/themis/storage/disk"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/transport/tcp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient is how long a test waits for what must happen, on a machine that is busy with other things.
const patient = time.Minute

// counter adds up what it is told and answers with the sum: a lost operation makes the sum too
// small, one executed twice too large.
func counter() app.Machine {
	var sum uint64
	value := func() []byte { return binary.LittleEndian.AppendUint64(nil, sum) }
	return app.Simple{
		Do: func(_ app.Call, op []byte) []byte {
			if len(op) == 8 {
				sum += binary.LittleEndian.Uint64(op)
			}
			return value()
		},
		Save: value,
		Load: func(b []byte) error { sum = binary.LittleEndian.Uint64(b); return nil },
	}.Machine()
}

// cluster is replicas of one process with real links and directories.
type cluster struct {
	t        testing.TB
	m        *bft.Membership
	family   protocol.Family
	keys     []*keys.Key
	dir      string
	peers    []string // listen addresses, fixed by the first start
	clients  []string
	open     [][2]net.Listener // of the first start, so that nobody takes the port before
	replicas []*replica.Replica
	exits    atomic.Int32
	unsynced bool
	wrap     func(i int, o *replica.Options)
	log      *slog.Logger
}

func newCluster(t testing.TB, n, f int) *cluster {
	c := &cluster{
		t: t, family: pbft.Family, dir: t.TempDir(), log: logger(t),
		keys: make([]*keys.Key, n), peers: make([]string, n), clients: make([]string, n),
		replicas: make([]*replica.Replica, n),
	}
	c.m = &bft.Membership{
		Cluster: bft.ClusterID{1, 2, 3}, Protocol: "pbft", App: "counter", F: f, Scheme: "ed25519",
		Open: true, CheckpointEvery: 16, Window: 64, InFlight: 4, BatchCount: 256, BatchBytes: 128 << 10,
		Sessions: 256, TimeSkew: 10 * bft.Second,
	}
	for i := range n {
		k, err := keys.Generate("ed25519")
		must(t, err)
		c.keys[i] = k
		c.m.Replicas = append(c.m.Replicas, bft.Replica{Key: k.PublicDER()})
		c.open = append(c.open, [2]net.Listener{listen(t), listen(t)})
		c.peers[i], c.clients[i] = c.open[i][0].Addr().String(), c.open[i][1].Addr().String()
	}
	for i := range n {
		must(t, os.MkdirAll(c.path(i), 0o700))
		files, err := disk.Open(c.path(i))
		must(t, err)
		must(t, replica.Init(files, c.m, bft.ReplicaID(i)))
	}
	t.Cleanup(func() {
		for i := range n {
			c.stop(i)
			for _, l := range c.open[i] {
				if l != nil {
					must(t, l.Close())
				}
			}
		}
	})
	return c
}

// logger shows what replicas log when THEMIS_TEST_LOG is set.
func logger(t testing.TB) *slog.Logger {
	if os.Getenv("THEMIS_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (c *cluster) path(i int) string { return filepath.Join(c.dir, strconv.Itoa(i)) }

func listen(t testing.TB) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	return l
}

// options builds replica i as cmd/themisd does.
func (c *cluster) options(i int) replica.Options {
	files, err := disk.Open(c.path(i))
	must(c.t, err)
	verifier, err := sig.New(c.m)
	must(c.t, err)
	defer func() { c.open[i] = [2]net.Listener{} }()
	links, err := tcp.New(tcp.Options{
		Self: bft.ReplicaID(i), Membership: c.m, Key: c.keys[i],
		ListenPeer: c.peers[i], ListenClient: c.clients[i], Dial: c.peers, Log: c.log,
		PeerListener: c.open[i][0], ClientListener: c.open[i][1],
	})
	must(c.t, err)
	o := replica.Options{
		Self: bft.ReplicaID(i), Membership: c.m, Family: c.family, Auth: verifier, Signer: c.keys[i].Signer(),
		Machine: counter(), Transport: links, Files: files, Unsynced: c.unsynced,
		Patience: 400 * bft.Millisecond, NewViewPatience: 400 * bft.Millisecond,
		PatienceMax: 5 * bft.Second, Resend: 100 * bft.Millisecond,
		Admin: "127.0.0.1:0", Log: c.log, Links: func() []replica.Link { return directions(links) },
		Exit: func(int) { c.exits.Add(1) },
	}
	if c.wrap != nil {
		c.wrap(i, &o)
	}
	return o
}

func directions(t *tcp.Transport) (list []replica.Link) {
	for _, p := range t.Stats().Peers {
		list = append(list, replica.Link{In: p.In, Out: p.Out, LastError: p.LastError})
	}
	return list
}

func (c *cluster) start(ids ...int) {
	c.t.Helper()
	for _, i := range ids {
		r, err := replica.Start(c.options(i))
		must(c.t, err)
		c.replicas[i] = r
	}
}

func (c *cluster) startAll() {
	c.t.Helper()
	for i := range c.replicas {
		c.start(i)
	}
}

func (c *cluster) stop(i int) {
	c.t.Helper()
	if c.replicas[i] == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	if err := c.replicas[i].Close(ctx); err != nil {
		c.t.Errorf("stop replica %d: %v", i, err)
	}
	c.replicas[i] = nil
}

func (c *cluster) kill(i int) {
	c.replicas[i].Kill()
	c.replicas[i] = nil
}

func (c *cluster) client() *client.Client {
	c.t.Helper()
	k, err := keys.Generate("ed25519")
	must(c.t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	cl, err := client.Open(ctx, client.Config{Membership: c.m, Replicas: c.clients, Key: k, Log: c.log})
	must(c.t, err)
	c.t.Cleanup(func() { cl.Close() })
	return cl
}

// add adds v and returns the sum.
func add(t testing.TB, cl *client.Client, v uint64) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	b, err := cl.Invoke(ctx, binary.LittleEndian.AppendUint64(nil, v))
	must(t, err)
	return binary.LittleEndian.Uint64(b)
}

// status is the status of a running replica. One that is only slow is asked again.
func (c *cluster) status(i int) (s replica.Status) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("replica %d tells its status", i), func() (ok bool) {
		s, ok = c.replicas[i].Status()
		return ok
	})
	return s
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	limit, tick := time.NewTimer(patient), time.NewTicker(5*time.Millisecond)
	defer limit.Stop()
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("never: %s", what)
		}
	}
}

// get asks the admin endpoint of replica i.
func (c *cluster) get(i int, path string) (int, string) {
	c.t.Helper()
	q, err := http.Get("http://" + c.replicas[i].Addr() + path)
	must(c.t, err)
	defer q.Body.Close()
	b, err := io.ReadAll(q.Body)
	must(c.t, err)
	http.DefaultClient.CloseIdleConnections()
	return q.StatusCode, string(b)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var _ transport.Transport = (*tcp.Transport)(nil)
