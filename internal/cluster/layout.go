package cluster

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/themis-bft/themis/assembly"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/config"
	"github.com/themis-bft/themis/keys"
)

// The names inside a cluster's directory.
const (
	clusterFile = "cluster.toml"
	replicaFile = "themis.toml"
	keyFile     = "key.pem"
	dataDir     = "data"
	logFile     = "log"
	pidFile     = "pid"
	lockFile    = "lock"
)

// Plan is a cluster to be laid out.
type Plan struct {
	Dir        string
	Replicas   int
	Membership bft.Membership // protocol, application, scheme and parameters; zero values get defaults
	F          int            // negative: the most that the protocol carries with so many replicas
	Durability config.Durability
	Timeouts   config.Timeouts // zero: defaults
	Hosts      []string        // one per replica; empty: this machine, free loopback ports
	Port       int             // first port on each host
	Binaries   string          // folder of themisd, as in Cluster

	made []string // folders that did not exist before
}

// Create lays out a new cluster. For this machine the data directories are initialised too;
// for other hosts that is done there, once, by themisd --init.
func Create(p Plan) error {
	if Exists(p.Dir) {
		return &Error{What: p.Dir + " holds a cluster already", Hint: "choose another directory, or remove it with: themis cluster down --purge --dir " + p.Dir}
	}
	public, err := p.public()
	if err != nil {
		return err
	}
	addrs, err := p.addresses()
	if err != nil {
		return err
	}
	if len(p.Hosts) == 0 {
		if _, err := program(p.Binaries, honest); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		return fmt.Errorf("making the cluster's directory: %w", err)
	}
	if err := p.write(public, addrs); err != nil {
		p.undo()
		return err
	}
	return nil
}

// write makes all files, the data directories last.
func (p *Plan) write(public *config.Cluster, addrs []addresses) error {
	for i, a := range addrs {
		public.ClientAddrs = append(public.ClientAddrs, a.dialClient)
		key, err := p.key(i)
		if err != nil {
			return err
		}
		public.Membership.Replicas[i].Key = key.PublicDER()
	}
	written := make([]*config.Config, len(addrs))
	for i := range addrs {
		c, err := p.replica(public, addrs, i)
		if err != nil {
			return err
		}
		written[i] = c
	}
	if err := config.WriteCluster(filepath.Join(p.Dir, clusterFile), public); err != nil {
		return err
	}
	if len(p.Hosts) > 0 {
		return nil
	}
	for _, c := range written {
		if err := p.initialise(c); err != nil {
			return err
		}
	}
	return nil
}

// undo removes what write has made, the mark of a cluster first.
func (p *Plan) undo() {
	_ = os.Remove(filepath.Join(p.Dir, clusterFile)) // may not be there yet
	for _, folder := range p.made {
		_ = os.RemoveAll(folder) // what remains is named when the command is repeated
	}
}

// public is the cluster file without keys and addresses.
func (p *Plan) public() (*config.Cluster, error) {
	c := &config.Cluster{Membership: p.Membership}
	m := &c.Membership
	defaults := m.Window == 0 && m.CheckpointEvery == 0
	config.SetDefaults(m)
	family, err := assembly.Protocol(m.Protocol)
	if err != nil {
		return nil, &Error{What: err.Error(), Hint: "choose one of them with --protocol"}
	}
	if _, err := assembly.App(m.App); err != nil {
		return nil, &Error{What: err.Error(), Hint: "choose one of them with --app"}
	}
	if m.F = p.F; m.F < 0 {
		for m.F = p.Replicas; m.F > 0 && family.Replicas(p.Replicas, m.F) != nil; m.F-- {
		}
	}
	if p.Replicas > bft.ReplicasMax {
		return nil, &Error{What: fmt.Sprintf("%d replicas; at most %d are possible", p.Replicas, bft.ReplicasMax), Hint: "lower --replicas"}
	}
	if err := family.Replicas(p.Replicas, m.F); err != nil {
		return nil, &Error{What: err.Error(), Hint: "raise --replicas or lower --f"}
	}
	m.Replicas = make([]bft.Replica, p.Replicas)
	for defaults && !m.Quorums().WindowFits(m.Window) {
		m.CheckpointEvery, m.Window = m.CheckpointEvery/2, m.Window/2
	}
	if !m.Quorums().WindowFits(m.Window) {
		return nil, &Error{What: fmt.Sprintf("a window of %d is too large for %d replicas", m.Window, p.Replicas), Hint: "lower it, or leave it out"}
	}
	m.Open = m.Open || len(m.Clients) == 0
	if _, err := rand.Read(m.Cluster[:]); err != nil {
		return nil, fmt.Errorf("naming the cluster: %w", err)
	}
	return c, nil
}

func (p *Plan) folder(i int) string { return filepath.Join(p.Dir, bft.ReplicaID(i).String()) }

// key makes the private key of replica i.
func (p *Plan) key(i int) (*keys.Key, error) {
	scheme := p.Membership.Scheme
	if scheme == "" {
		scheme = "ed25519"
	}
	key, err := keys.Generate(scheme)
	if err != nil {
		return nil, &Error{What: "making a key", Err: err, Hint: "choose a scheme: ed25519, ecdsa, rsa"}
	}
	if err := os.Mkdir(p.folder(i), 0o700); err != nil {
		hint := "check that the disk has room and the directory may be written"
		if errors.Is(err, fs.ErrExist) {
			hint = "a layout was interrupted here: remove " + p.Dir + " and run the command again"
		}
		return nil, &Error{What: "making the replica's folder", Err: err, Hint: hint}
	}
	p.made = append(p.made, p.folder(i))
	if err := key.Save(filepath.Join(p.folder(i), keyFile)); err != nil {
		return nil, &Error{What: "writing a key", Err: err, Hint: "check that the disk has room"}
	}
	return key, nil
}

// replica writes the file of replica i.
func (p *Plan) replica(public *config.Cluster, addrs []addresses, i int) (*config.Config, error) {
	c := &config.Config{
		Path: filepath.Join(p.folder(i), replicaFile), Replica: bft.ReplicaID(i),
		ClusterFile: "../" + clusterFile, KeyFile: keyFile, Dir: dataDir,
		Durability: p.Durability, MemoryLimit: config.MemoryLimitDefault,
		Listen: addrs[i].listen, Timeouts: p.Timeouts, Log: config.Log{Level: "info", Format: "text"},
	}
	if c.Durability == "" {
		c.Durability = config.Sync
	}
	if c.Timeouts == (config.Timeouts{}) {
		c.Timeouts = config.DefaultTimeouts()
	}
	for j, a := range addrs {
		if j != i {
			c.Peers = append(c.Peers, config.Peer{ID: bft.ReplicaID(j), Dial: a.dialPeer})
		}
	}
	if len(p.Hosts) > 0 {
		c.ClusterFile = clusterFile // the folder is carried to its host, so it holds a copy
		if err := config.WriteCluster(filepath.Join(p.folder(i), clusterFile), public); err != nil {
			return nil, err
		}
	}
	return c, config.Write(c.Path, c)
}

// initialise makes the data directory by the program that will use it.
func (p *Plan) initialise(c *config.Config) error {
	path, err := program(p.Binaries, honest)
	if err != nil {
		return err
	}
	if out, err := exec.Command(path, "--init", "--config", c.Path).CombinedOutput(); err != nil {
		return &Error{
			What: fmt.Sprintf("initialising the data of %s: %s", c.Replica, bytes.TrimSpace(out)), Err: err,
			Hint: "check that the disk has room and the directory may be written",
		}
	}
	return nil
}

// addresses are those of one replica.
type addresses struct {
	listen               config.Listen
	dialPeer, dialClient string
}

// addresses gives every replica its ports.
func (p *Plan) addresses() ([]addresses, error) {
	if len(p.Hosts) == 0 {
		return loopback(p.Replicas)
	}
	if len(p.Hosts) != p.Replicas {
		return nil, &Error{
			What: fmt.Sprintf("%d hosts for %d replicas", len(p.Hosts), p.Replicas),
			Hint: "name one host per replica: --hosts a,b,c,d",
		}
	}
	all := make([]addresses, p.Replicas)
	used := map[string]int{}
	for i, host := range p.Hosts {
		port := p.Port + 3*used[host]
		used[host]++
		if host == "" || port < 1 || port+2 > 65535 {
			return nil, &Error{What: fmt.Sprintf("host %q with port %d is no address", host, port), Hint: "name hosts with --hosts a,b,c,d and the first port with --port"}
		}
		at := func(host string, offset int) string { return net.JoinHostPort(host, strconv.Itoa(port+offset)) }
		all[i] = addresses{
			listen:   config.Listen{Peer: at("", 0), Client: at("", 1), Admin: at("127.0.0.1", 2)},
			dialPeer: at(host, 0), dialClient: at(host, 1),
		}
	}
	return all, nil
}
