package faultproxy

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/config"
	"github.com/themis-bft/themis/internal/cluster"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/transport/tcp"
	"github.com/themis-bft/themis/wire"
)

// handler counts the frames that a transport receives.
type handler struct{ frames atomic.Int64 }

func (h *handler) PeerUp(bft.ReplicaID)                                  {}
func (h *handler) PeerFrame(bft.ReplicaID, transport.Frame)              { h.frames.Add(1) }
func (h *handler) PeerDown(bft.ReplicaID)                                {}
func (h *handler) ClientUp(transport.ClientLink)                         {}
func (h *handler) ClientFrame(l transport.ClientLink, _ transport.Frame) { h.frames.Add(1) }
func (h *handler) ClientDown(transport.ClientLink)                       {}

// layout writes the files of a cluster of four. Nothing listens at its ports.
func layout(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "c")
	must(t, cluster.Create(cluster.Plan{
		Dir: dir, Replicas: 4, F: -1, Membership: bft.Membership{Protocol: "pbft", App: "kv", Open: true},
		Hosts: slices.Repeat([]string{"127.0.0.1"}, 4), Port: 20000,
	}))
	text, err := os.ReadFile(filepath.Join(dir, clusterFile))
	must(t, err)
	for i := range 4 {
		must(t, os.WriteFile(filepath.Join(dir, bft.ReplicaID(i).String(), clusterFile), text, 0o644))
	}
	return dir
}

func replicaFiles(t *testing.T, dir string) (all [][]byte) {
	t.Helper()
	for i := range 4 {
		b, err := os.ReadFile(filepath.Join(dir, bft.ReplicaID(i).String(), replicaFile))
		must(t, err)
		all = append(all, b)
	}
	return all
}

// TestMeshFiles: the replicas dial proxies, each link its own, and nothing else changes.
func TestMeshFiles(t *testing.T) {
	dir := layout(t)
	direct := replicaFiles(t, dir)
	m, err := NewMesh(Plan{Dir: dir, Frames: true, Clients: true})
	must(t, err)
	defer m.Close()
	if links := m.Links(); len(links) != 16 {
		t.Fatalf("%d links: %v", len(links), links)
	}
	for i := range 4 {
		from := bft.ReplicaID(i)
		c, err := config.Load(m.file(i))
		must(t, err)
		was, err := config.Parse(m.file(i), direct[i])
		must(t, err)
		for j, peer := range c.Peers {
			if p := m.Peer(from, peer.ID); peer.Dial != p.Addr() || p.o.Target != was.Peers[j].Dial {
				t.Errorf("%s dials %s for %s; its proxy is %s and goes to %s", from, peer.Dial, peer.ID, p.Addr(), p.o.Target)
			}
			was.Peers[j].Dial = peer.Dial
		}
		if text := config.Render(was); !bytes.Equal(text, replicaFiles(t, dir)[i]) {
			t.Errorf("more than the addresses changed:\n%s", text)
		}
	}
	seen, err := config.LoadCluster(filepath.Join(dir, ClientsFile))
	must(t, err)
	if !slices.Equal(seen.ClientAddrs, m.Public().ClientAddrs) || seen.ClientAddrs[2] != m.Client(2).Addr() {
		t.Errorf("clients dial %v", seen.ClientAddrs)
	}
	if _, err := NewMesh(Plan{Dir: dir}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second mesh over the first: %v", err)
	}
	must(t, m.Restore())
	if !reflect.DeepEqual(direct, replicaFiles(t, dir)) {
		t.Error("Restore did not bring the files back")
	}
}

// TestMeshTransports joins two real transports by a mesh and cuts one direction.
func TestMeshTransports(t *testing.T) {
	dir := layout(t)
	listeners := make([]net.Listener, 4)
	for i := range 2 { // the plan's ports may be taken: use free ones
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		listeners[i] = ln
		for j := range 2 {
			path := filepath.Join(dir, bft.ReplicaID(j).String(), replicaFile)
			b, err := os.ReadFile(path)
			must(t, err)
			old := bytes.ReplaceAll(b, []byte(`dial = "127.0.0.1:`+[]string{"20000", "20003"}[i]+`"`), []byte(`dial = "`+ln.Addr().String()+`"`))
			must(t, os.WriteFile(path, old, 0o644))
		}
	}
	m, err := NewMesh(Plan{Dir: dir, Frames: true})
	must(t, err)
	defer m.Close()
	var ends []*tcp.Transport
	var handlers []*handler
	for i := range 2 {
		c, err := config.Load(m.file(i))
		must(t, err)
		key, err := keys.Load(c.KeyFile)
		must(t, err)
		dials := make([]string, 4)
		for _, p := range c.Peers {
			dials[p.ID] = p.Dial
		}
		tr, err := tcp.New(tcp.Options{
			Self: c.Replica, Membership: &c.Cluster.Membership, Key: key, PeerListener: listeners[i], ListenClient: "127.0.0.1:0", Dial: dials,
		})
		must(t, err)
		h := &handler{}
		must(t, tr.Start(h))
		defer tr.Close(context.Background()) //nolint:errcheck // the test is over
		ends, handlers = append(ends, tr), append(handlers, h)
	}
	arrives := func(from, to int) bool {
		before := handlers[to].frames.Load()
		return eventually(func() bool {
			ends[from].SendPeer(bft.ReplicaID(to), wire.AppendFrame(nil, 35, []byte("status")))
			return handlers[to].frames.Load() > before
		})
	}
	if !arrives(0, 1) || !arrives(1, 0) {
		t.Fatal("the transports do not reach each other through the mesh")
	}
	m.Peer(0, 1).Set(Forward, Condition{Cut: true})
	if !eventually(func() bool { return !ends[0].Stats().Peers[1].Out }) {
		t.Fatal("the cut link is up")
	}
	if s := ends[0].Stats().Peers[1]; !s.In || !arrives(1, 0) {
		t.Errorf("the other direction suffered from the cut: %+v", s)
	}
	m.Heal()
	if !arrives(0, 1) {
		t.Error("the link did not come back")
	}
}
