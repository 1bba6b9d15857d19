// Package config reads and writes the two files of a replica: themis.toml, which is its own
// (addresses, directory, timeouts), and cluster.toml, which is public and the same everywhere
// (bft.Membership and where clients find the replicas). Reading is strict: an unknown key, a
// wrong n for f, a duplicate key or address and a value out of range are errors that name the
// file, the line and what to do next.
//
// The package owns no state. It is called by programs alone, once, before anything runs;
// drivers take plain option structs and never see it. It opens no socket and starts nothing.
package config

import (
	"time"

	"github.com/themis-bft/themis/bft"
)

// Config is the file of one replica, themis.toml, together with the cluster file it names.
type Config struct {
	Path        string // where it was read; relative paths in it start from this file's folder
	Replica     bft.ReplicaID
	ClusterFile string // absolute after Load
	KeyFile     string // private key, PKCS#8 in PEM; absolute after Load
	Dir         string // log and snapshots; absolute after Load
	Durability  Durability
	MemoryLimit int64 // bytes the process should stay below; 0 sets none
	Listen      Listen
	Timeouts    Timeouts
	Log         Log
	Peers       []Peer // every other replica, ascending

	Cluster *Cluster // set by Load
}

// Durability says whether a vote is on disk before it counts.
type Durability string

// The two settings of Durability. With Memory a crash of the process forgets its votes, which
// makes it a faulty replica: it exists for comparison and says so at start.
const (
	Sync   Durability = "sync"
	Memory Durability = "memory"
)

// Listen holds the addresses at which a replica listens.
type Listen struct {
	Peer   string // other replicas
	Client string // clients
	Admin  string // status, metrics and profiles; loopback only
}

// Timeouts are the protocol's clocks.
type Timeouts struct {
	Patience    time.Duration // T: a pending request without any execution for this long raises suspicion
	NewView     time.Duration // how long a new primary may take to present its view; doubles
	PatienceMax time.Duration // where the doubling ends
	Resend      time.Duration // period of STATUS and with it of every retransmission
}

// Log says what is logged and how.
type Log struct {
	Level  string // "debug", "info", "warn", "error"
	Format string // "text", "json"
}

// Peer is another replica and where this one dials it. It may be the address of something in
// between, such as a proxy or a tunnel.
type Peer struct {
	ID   bft.ReplicaID
	Dial string
}

// Cluster is the public file, cluster.toml.
type Cluster struct {
	Path       string
	Membership bft.Membership
	// ClientAddrs is where clients dial each replica, by replica.
	ClientAddrs []string
}

// Dial returns the address at which this replica dials id.
func (c *Config) Dial(id bft.ReplicaID) (addr string, ok bool) {
	for _, p := range c.Peers {
		if p.ID == id {
			return p.Dial, true
		}
	}
	return "", false
}
