package faultproxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/config"
	"github.com/themis-bft/themis/keys"
	"github.com/themis-bft/themis/wire"
)

// The files of a cluster directory, as "themis cluster up" and "themis init" lay it out.
const (
	clusterFile = "cluster.toml"
	replicaFile = "themis.toml"
	// ClientsFile is the cluster file that a mesh writes for clients, if their links are to pass
	// proxies too: themis client --cluster DIR/clients.toml.
	ClientsFile = "clients.toml"
)

// Plan says which links of a cluster pass proxies.
type Plan struct {
	Dir  string // of the cluster; its replicas must not run yet
	Seed uint64

	// Frames makes the proxies of replica links see frames, with the keys that lie in Dir.
	Frames bool

	// Clients gives the links of clients proxies too. They are opaque unless ClientKeys is set, which
	// returns the key of a client that dials, by its public key.
	Clients    bool
	ClientKeys func(der []byte) (*keys.Key, error)

	// Tap is shown every frame (Options.Tap), with the name of its link.
	Tap func(link string, d Direction, k wire.Kind, payload []byte)
}

// Mesh is the proxies of a cluster. A link has a name: "r0>r3" is what replica 0 sends replica 3,
// "c>r2" what clients and replica 2 send each other.
type Mesh struct {
	plan    Plan
	public  *config.Cluster // as clients see it
	private []*keys.Key
	proxies map[string]*Proxy
}

// LinkName is the name of what replica from sends replica to.
func LinkName(from, to bft.ReplicaID) string { return fmt.Sprintf("%s>%s", from, to) }

// ClientLinkName is the name of the links between clients and a replica.
func ClientLinkName(to bft.ReplicaID) string { return fmt.Sprintf("c>%s", to) }

// NewMesh starts the proxies of a cluster and rewrites the replicas' files so that they dial them.
// The cluster file stays as it is: clients that are to pass proxies use Public or ClientsFile.
// When the mesh is closed the replicas reach each other no more until Restore is called.
func NewMesh(plan Plan) (*Mesh, error) {
	m := &Mesh{plan: plan, proxies: map[string]*Proxy{}}
	if err := m.build(); err != nil {
		m.Close()
		return nil, fmt.Errorf("faultproxy: %w", err)
	}
	return m, nil
}

func (m *Mesh) build() error {
	public, err := config.LoadCluster(filepath.Join(m.plan.Dir, clusterFile))
	if err != nil {
		return err
	}
	copied := *public
	m.public = &copied
	m.public.ClientAddrs = slices.Clone(public.ClientAddrs)
	files := make([]*config.Config, public.Membership.N())
	for i := range files {
		c, err := config.Load(m.file(i))
		if err != nil {
			return err
		}
		files[i] = c
		if m.plan.Frames || m.plan.ClientKeys != nil {
			key, err := keys.Load(c.KeyFile)
			if err != nil {
				return err
			}
			m.private = append(m.private, key)
		}
	}
	for i := range files {
		if err := m.reroute(i); err != nil {
			return err
		}
	}
	if !m.plan.Clients {
		return nil
	}
	for i, addr := range public.ClientAddrs {
		to := bft.ReplicaID(i)
		p, err := m.add(ClientLinkName(to), addr, m.clientEnds(to))
		if err != nil {
			return err
		}
		m.public.ClientAddrs[i] = p.Addr()
	}
	return config.WriteCluster(filepath.Join(m.plan.Dir, ClientsFile), m.public)
}

func (m *Mesh) file(i int) string {
	return filepath.Join(m.plan.Dir, bft.ReplicaID(i).String(), replicaFile)
}

// reroute makes replica i dial proxies.
func (m *Mesh) reroute(i int) error {
	path := m.file(i)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	c, err := config.Parse(path, data) // and not Load, which makes its paths absolute
	if err != nil {
		return err
	}
	if err := keep(path, data); err != nil {
		return err
	}
	for j := range c.Peers {
		peer := &c.Peers[j]
		p, err := m.add(LinkName(bft.ReplicaID(i), peer.ID), peer.Dial, m.peerEnds(bft.ReplicaID(i), peer.ID))
		if err != nil {
			return err
		}
		peer.Dial = p.Addr()
	}
	return config.Write(path, c)
}

// before is where the file of a replica that dials directly is kept.
func before(path string) string { return path + ".direct" }

// keep saves a file for Restore.
func keep(path string, data []byte) error {
	if _, err := os.Stat(before(path)); err == nil {
		return fmt.Errorf("%s passes proxies already", path)
	}
	return os.WriteFile(before(path), data, 0o644)
}

// Restore makes the replicas dial each other directly again, from their next start on.
func (m *Mesh) Restore() error {
	var all []error
	for i := range m.public.Membership.N() {
		all = append(all, os.Rename(before(m.file(i)), m.file(i)))
	}
	return errors.Join(all...)
}

func (m *Mesh) add(name, target string, ends *Ends) (*Proxy, error) {
	o := Options{Name: name, Target: target, Seed: m.plan.Seed + uint64(len(m.proxies))<<32, Ends: ends}
	if tap := m.plan.Tap; tap != nil {
		o.Tap = func(d Direction, k wire.Kind, payload []byte) { tap(name, d, k, payload) }
	}
	p, err := New(o)
	if err != nil {
		return nil, err
	}
	m.proxies[name] = p
	return p, nil
}

// errStranger is returned for a dialler that the link is not for.
var errStranger = errors.New("faultproxy: whoever dials is not whose link this is")

func (m *Mesh) peerEnds(from, to bft.ReplicaID) *Ends {
	if !m.plan.Frames {
		return nil
	}
	der := m.public.Membership.Replicas[from].Key
	client := keys.ClientConfig(m.private[from], m.public.Membership.Replicas[to].Key)
	return &Ends{
		Server: keys.ServerConfig(m.private[to], func(theirs []byte) error {
			if !bytes.Equal(theirs, der) {
				return errStranger
			}
			return nil
		}),
		Client: func([]byte) (*tls.Config, error) { return client, nil },
	}
}

func (m *Mesh) clientEnds(to bft.ReplicaID) *Ends {
	if m.plan.ClientKeys == nil {
		return nil
	}
	return &Ends{
		Server: keys.ServerConfig(m.private[to], func(der []byte) error {
			_, err := m.plan.ClientKeys(der)
			return err
		}),
		Client: func(der []byte) (*tls.Config, error) {
			key, err := m.plan.ClientKeys(der)
			if err != nil {
				return nil, err
			}
			return keys.ClientConfig(key, m.public.Membership.Replicas[to].Key), nil
		},
	}
}

// Public is the cluster as clients see it: with the addresses of proxies, if Plan.Clients is set.
func (m *Mesh) Public() *config.Cluster { return m.public }

// Peer is the proxy of what replica from sends replica to.
func (m *Mesh) Peer(from, to bft.ReplicaID) *Proxy { return m.proxies[LinkName(from, to)] }

// Client is the proxy between clients and a replica, nil if there is none.
func (m *Mesh) Client(to bft.ReplicaID) *Proxy { return m.proxies[ClientLinkName(to)] }

// Proxy is the proxy of a link by its name, nil if there is none.
func (m *Mesh) Proxy(link string) *Proxy { return m.proxies[link] }

// Links are the names of all links, sorted.
func (m *Mesh) Links() []string {
	names := make([]string, 0, len(m.proxies))
	for name := range m.proxies {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Heal makes the weather fair on all links.
func (m *Mesh) Heal() {
	for _, p := range m.proxies {
		p.Heal()
	}
}

// Stats sums up what all proxies did.
func (m *Mesh) Stats() Stats {
	sum := Stats{Faults: map[string]uint64{}}
	for _, p := range m.proxies {
		s := p.Stats()
		sum.Connections, sum.Refused = sum.Connections+s.Connections, sum.Refused+s.Refused
		sum.Units, sum.Bytes = sum.Units+s.Units, sum.Bytes+s.Bytes
		for fault, n := range s.Faults {
			sum.Faults[fault] += n
		}
	}
	return sum
}

// Close ends all proxies.
func (m *Mesh) Close() {
	for _, p := range m.proxies {
		p.Close()
	}
}
