package config

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/themis-bft/themis/assembly"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/keys"
)

// rawCluster is cluster.toml as it is written.
type rawCluster struct {
	Cluster    string        `toml:"cluster"`
	Epoch      uint64        `toml:"epoch"`
	Protocol   string        `toml:"protocol"`
	App        string        `toml:"app"`
	F          int64         `toml:"f"`
	Scheme     string        `toml:"scheme"`
	Open       bool          `toml:"open"`
	Parameters rawParameters `toml:"parameters"`
	Replicas   []rawReplica  `toml:"replicas"`
	Clients    []rawClient   `toml:"clients"`
}

type rawParameters struct {
	CheckpointEvery int64  `toml:"checkpoint_every"`
	Window          int64  `toml:"window"`
	InFlight        int64  `toml:"in_flight"`
	BatchCount      int64  `toml:"batch_count"`
	BatchBytes      string `toml:"batch_bytes"`
	Sessions        int64  `toml:"sessions"`
	TimeSkew        string `toml:"time_skew"`
}

type rawReplica struct {
	ID     int64  `toml:"id"`
	Key    string `toml:"key"`
	Client string `toml:"client"`
}

type rawClient struct {
	Key string `toml:"key"`
}

var clusterKeys = []string{
	"cluster", "epoch", "protocol", "app", "f", "scheme", "open",
	"parameters.checkpoint_every", "parameters.window", "parameters.in_flight", "parameters.batch_count",
	"parameters.batch_bytes", "parameters.sessions", "parameters.time_skew",
	"replicas.id", "replicas.key", "replicas.client", "clients.key",
}

// LoadCluster reads and checks the public file.
func LoadCluster(path string) (*Cluster, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, Problems{{File: path, What: reason(err), Hint: "a cluster is made by: themis init, or for this machine: themis cluster up"}}
	}
	return ParseCluster(path, data)
}

// ParseCluster checks the contents of a public file; name is used in errors only. The error is
// of type Problems.
func ParseCluster(name string, data []byte) (*Cluster, error) {
	var raw rawCluster
	f, err := parse(name, data, &raw, clusterKeys)
	if err != nil {
		return nil, err
	}
	f.require("cluster", "protocol", "app", "f", "scheme", "replicas")
	c := &Cluster{Path: name, Membership: bft.Membership{
		Epoch: raw.Epoch, Protocol: raw.Protocol, App: raw.App, F: int(raw.F), Scheme: raw.Scheme, Open: raw.Open,
	}}
	m := &c.Membership
	f.clusterID(raw.Cluster, m)
	f.choice("protocol", raw.Protocol, assembly.Protocols()...)
	f.choice("app", raw.App, assembly.Apps()...)
	f.choice("scheme", raw.Scheme, "ed25519", "ecdsa", "rsa")
	f.parameters(&raw.Parameters, m)
	f.replicas(raw.Replicas, c)
	f.clients(raw.Clients, m)
	f.quorums(raw.F, m)
	if err := f.err(); err != nil {
		return nil, err
	}
	return c, nil
}

func (f *file) clusterID(text string, m *bft.Membership) {
	b, err := hex.DecodeString(text)
	if f.has("cluster") && (err != nil || len(b) != len(m.Cluster)) {
		f.bad("cluster", "it is made by: themis init", "want %d hexadecimal digits", 2*len(m.Cluster))
	}
	copy(m.Cluster[:], b)
}

func (f *file) parameters(raw *rawParameters, m *bft.Membership) {
	const p = "parameters."
	f.number(p+"checkpoint_every", raw.CheckpointEvery, 1, bft.WindowSlotsMax/2)
	f.number(p+"window", raw.Window, 2, bft.WindowSlotsMax)
	f.number(p+"in_flight", raw.InFlight, 1, bft.WindowSlotsMax)
	f.number(p+"batch_count", raw.BatchCount, 1, bft.BatchRequestsMax)
	f.number(p+"sessions", raw.Sessions, 1, bft.SessionsMax)
	var batchBytes int64
	f.size(p+"batch_bytes", raw.BatchBytes, &batchBytes, bft.RequestBytesMax+64, bft.BatchBytesMax)
	var skew time.Duration
	f.duration(p+"time_skew", raw.TimeSkew, &skew, time.Millisecond, 24*time.Hour)
	m.CheckpointEvery, m.Window = bft.SeqNum(raw.CheckpointEvery), bft.SeqNum(raw.Window)
	m.InFlight, m.BatchCount = bft.SeqNum(raw.InFlight), int(raw.BatchCount)
	m.BatchBytes, m.Sessions, m.TimeSkew = int(batchBytes), int(raw.Sessions), bft.Duration(skew)
	SetDefaults(m)
	if m.Window < 2*m.CheckpointEvery {
		f.bad(p+"window", "raise window or lower checkpoint_every",
			"%d is less than twice checkpoint_every (%d)", m.Window, m.CheckpointEvery)
	}
	if m.InFlight > m.Window {
		f.bad(p+"in_flight", "", "%d is more than window (%d)", m.InFlight, m.Window)
	}
}

func (f *file) replicas(raw []rawReplica, c *Cluster) {
	if len(raw) > bft.ReplicasMax {
		f.bad("replicas", "", "%d replicas; at most %d are possible", len(raw), bft.ReplicasMax)
		return
	}
	seen, addrs := map[string]string{}, map[string]string{}
	for i, r := range raw {
		at := fmt.Sprintf("replicas[%d]", i)
		f.require(at+".id", at+".key", at+".client")
		if f.has(at+".id") && r.ID != int64(i) {
			f.bad(at+".id", "replicas stand in the order of their ids, from 0", "%d stands where %d belongs", r.ID, i)
		}
		f.address(at+".client", r.Client, addrs)
		c.Membership.Replicas = append(c.Membership.Replicas, bft.Replica{Key: f.key(at+".key", r.Key, c.Membership.Scheme, seen)})
		c.ClientAddrs = append(c.ClientAddrs, r.Client)
	}
}

func (f *file) clients(raw []rawClient, m *bft.Membership) {
	if len(raw) > bft.SessionsMax {
		f.bad("clients", "", "%d clients; at most %d can have sessions", len(raw), bft.SessionsMax)
		return
	}
	seen := map[string]string{}
	for i, c := range raw {
		path := fmt.Sprintf("clients[%d].key", i)
		f.require(path)
		der := f.key(path, c.Key, m.Scheme, seen)
		if id, err := keys.ClientIDOf(der); err == nil {
			m.Clients = append(m.Clients, bft.ClientKey{ID: id, Key: der})
		}
	}
	if m.Open && m.Scheme != "ed25519" {
		f.bad("open", `list the clients, or use scheme = "ed25519"`, "open clients need a key that is its own name")
	}
	if len(raw) == 0 && !m.Open {
		f.bad("open", "list clients under [[clients]], or set open = true", "nobody could use this cluster")
	}
}

func (f *file) quorums(faulty int64, m *bft.Membership) {
	family, err := assembly.Protocol(m.Protocol)
	if err != nil || !f.has("f") {
		return // reported already
	}
	if faulty < 0 || faulty > math.MaxInt16 {
		f.bad("f", "", "%d is out of range", faulty)
	} else if err := family.Replicas(len(m.Replicas), m.F); err != nil {
		f.bad("f", "list more replicas or lower f; for a new cluster run: themis init --replicas N", "%v", err)
	} else if !m.Quorums().WindowFits(m.Window) && !mutant.On("config-window-of-many-not-checked") {
		f.bad("parameters.window", "lower window, and checkpoint_every to half of it or less",
			"%d is too large for %d replicas: a VIEW-CHANGE has no room for what f = %d faulty primaries in a row can make it claim", m.Window, m.N(), m.F)
	}
}

// key parses a public key, of the right scheme and seen once.
func (f *file) key(path, text, scheme string, seen map[string]string) []byte {
	if !f.has(path) {
		return nil
	}
	der, err := parseKey(text, scheme)
	if err != nil {
		f.bad(path, "print the public key of a key file with: themis keygen --public FILE", "%v", err)
		return nil
	}
	if other, dup := seen[string(der)]; dup {
		f.bad(path, fmt.Sprintf("%s (line %d) has it already; make another with: themis keygen", other, f.line(other)), "the key is used twice")
		return nil
	}
	seen[string(der)] = path
	return der
}

func parseKey(text, scheme string) ([]byte, error) {
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if strings.Contains(text, "-----BEGIN") {
		block, _ := pem.Decode([]byte(text))
		if block == nil || block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("no PUBLIC KEY in PEM")
		}
		der, err = block.Bytes, nil
	}
	if err != nil {
		return nil, fmt.Errorf("neither base64 nor PEM")
	}
	have, err := keys.SchemeOf(der)
	if err != nil {
		return nil, fmt.Errorf("no public key in PKIX encoding of a known scheme")
	}
	if have != scheme {
		return nil, fmt.Errorf("the key is for %s, the cluster uses %s", have, scheme)
	}
	return der, nil
}
