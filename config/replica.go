package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/themis-bft/themis/bft"
)

// rawConfig is themis.toml as it is written.
type rawConfig struct {
	Replica     int64       `toml:"replica"`
	Cluster     string      `toml:"cluster"`
	Key         string      `toml:"key"`
	Dir         string      `toml:"dir"`
	Durability  string      `toml:"durability"`
	MemoryLimit string      `toml:"memory_limit"`
	Listen      rawListen   `toml:"listen"`
	Timeouts    rawTimeouts `toml:"timeouts"`
	Log         rawLog      `toml:"log"`
	Peers       []rawPeer   `toml:"peers"`
}

type rawListen struct {
	Peer   string `toml:"peer"`
	Client string `toml:"client"`
	Admin  string `toml:"admin"`
}

type rawTimeouts struct {
	Patience    string `toml:"patience"`
	NewView     string `toml:"new_view"`
	PatienceMax string `toml:"patience_max"`
	Resend      string `toml:"resend"`
}

type rawLog struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
}

type rawPeer struct {
	ID   int64  `toml:"id"`
	Dial string `toml:"dial"`
}

var replicaKeys = []string{
	"replica", "cluster", "key", "dir", "durability", "memory_limit",
	"listen.peer", "listen.client", "listen.admin",
	"timeouts.patience", "timeouts.new_view", "timeouts.patience_max", "timeouts.resend",
	"log.level", "log.format", "peers.id", "peers.dial",
}

// Load reads and checks a replica's file and the cluster file it names. The error is of type
// Problems.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, Problems{{File: path, What: reason(err), Hint: "name the file with --config; one is made by: themis init"}}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, Problems{{File: path, What: reason(err)}}
	}
	c, f, err := parseConfig(path, data)
	if err != nil {
		return nil, err
	}
	c.Path = abs
	for _, p := range []*string{&c.ClusterFile, &c.KeyFile, &c.Dir} {
		if !filepath.IsAbs(*p) {
			*p = filepath.Join(filepath.Dir(abs), *p)
		}
	}
	if c.Cluster, err = LoadCluster(c.ClusterFile); err != nil {
		return nil, err
	}
	if f.members(c); f.err() != nil {
		return nil, f.err()
	}
	return c, nil
}

// Parse checks the contents of a replica's file by themselves: paths stay as they are written
// and the cluster file is not read. name is used in errors only.
func Parse(name string, data []byte) (*Config, error) {
	c, _, err := parseConfig(name, data)
	return c, err
}

func parseConfig(name string, data []byte) (*Config, *file, error) {
	var raw rawConfig
	f, err := parse(name, data, &raw, replicaKeys)
	if err != nil {
		return nil, nil, err
	}
	f.require("replica", "cluster", "key", "dir", "listen.peer", "listen.client", "listen.admin")
	f.number("replica", raw.Replica, 0, bft.ReplicasMax-1)
	c := &Config{
		Path: name, Replica: bft.ReplicaID(raw.Replica), ClusterFile: raw.Cluster, KeyFile: raw.Key, Dir: raw.Dir,
		Durability: Sync, MemoryLimit: MemoryLimitDefault, Listen: Listen(raw.Listen),
		Timeouts: DefaultTimeouts(), Log: Log{Level: "info", Format: "text"},
	}
	f.paths(&raw)
	f.settings(&raw, c)
	f.timeouts(&raw.Timeouts, &c.Timeouts)
	addrs := map[string]string{}
	f.address("listen.peer", raw.Listen.Peer, addrs)
	f.address("listen.client", raw.Listen.Client, addrs)
	f.address("listen.admin", raw.Listen.Admin, addrs)
	f.loopback("listen.admin", raw.Listen.Admin)
	f.peers(&raw, c, addrs)
	if err := f.err(); err != nil {
		return nil, nil, err
	}
	return c, f, nil
}

func (f *file) paths(raw *rawConfig) {
	for _, p := range []struct{ path, value string }{{"cluster", raw.Cluster}, {"key", raw.Key}, {"dir", raw.Dir}} {
		if f.has(p.path) && p.value == "" {
			f.bad(p.path, "", "is empty")
		}
	}
}

func (f *file) settings(raw *rawConfig, c *Config) {
	f.choice("durability", raw.Durability, string(Sync), string(Memory))
	f.choice("log.level", raw.Log.Level, "debug", "info", "warn", "error")
	f.choice("log.format", raw.Log.Format, "text", "json")
	if f.has("durability") {
		c.Durability = Durability(raw.Durability)
	}
	if f.has("log.level") {
		c.Log.Level = raw.Log.Level
	}
	if f.has("log.format") {
		c.Log.Format = raw.Log.Format
	}
	if f.has("memory_limit") && raw.MemoryLimit == "none" {
		c.MemoryLimit = 0
		return
	}
	f.size("memory_limit", raw.MemoryLimit, &c.MemoryLimit, 16<<20, 1<<40)
}

func (f *file) timeouts(raw *rawTimeouts, t *Timeouts) {
	f.duration("timeouts.patience", raw.Patience, &t.Patience, 10*time.Millisecond, time.Hour)
	f.duration("timeouts.new_view", raw.NewView, &t.NewView, 10*time.Millisecond, time.Hour)
	f.duration("timeouts.patience_max", raw.PatienceMax, &t.PatienceMax, 10*time.Millisecond, 24*time.Hour)
	f.duration("timeouts.resend", raw.Resend, &t.Resend, time.Millisecond, time.Minute)
	if t.PatienceMax < max(t.Patience, t.NewView) {
		f.bad("timeouts.patience_max", "it is where the doubling of patience and new_view ends",
			"%s is less than patience (%s) or new_view (%s)", t.PatienceMax, t.Patience, t.NewView)
	}
}

func (f *file) peers(raw *rawConfig, c *Config, addrs map[string]string) {
	if len(raw.Peers) >= bft.ReplicasMax {
		f.bad("peers", "", "%d peers; at most %d are possible", len(raw.Peers), bft.ReplicasMax-1)
		return
	}
	ids := map[int64]string{}
	for i, p := range raw.Peers {
		at := fmt.Sprintf("peers[%d]", i)
		f.require(at+".id", at+".dial")
		f.number(at+".id", p.ID, 0, bft.ReplicasMax-1)
		if other, dup := ids[p.ID]; dup {
			f.bad(at+".id", fmt.Sprintf("it stands in line %d already", f.line(other)), "replica %d is listed twice", p.ID)
		}
		ids[p.ID] = at + ".id"
		if p.ID == raw.Replica {
			f.bad(at+".id", "list the other replicas only", "replica %d is this one", p.ID)
		}
		f.address(at+".dial", p.Dial, addrs)
		c.Peers = append(c.Peers, Peer{ID: bft.ReplicaID(p.ID), Dial: p.Dial})
	}
	sort.SliceStable(c.Peers, func(i, j int) bool { return c.Peers[i].ID < c.Peers[j].ID })
}

// members holds the replica's file against the membership.
func (f *file) members(c *Config) {
	n := c.Cluster.Membership.N()
	if int(c.Replica) >= n {
		f.bad("replica", "", "%s lists replicas 0 to %d", c.Cluster.Path, n-1)
		return
	}
	for _, p := range c.Peers {
		if int(p.ID) >= n {
			f.bad("peers", "remove it, or check that both files belong to one cluster", "replica %d is not in %s", p.ID, c.Cluster.Path)
		}
	}
	for id := range bft.AllReplicas(n).Without(c.Replica).All() {
		if _, ok := c.Dial(id); !ok {
			f.bad("peers", fmt.Sprintf("add: [[peers]] with id = %d and dial", id), "replica %d of %s is missing", id, c.Cluster.Path)
		}
	}
}

// reason is what the operating system said, without the path that stands before it anyway.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}
