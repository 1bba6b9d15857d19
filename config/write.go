package config

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Write writes a replica's file, with the meaning of every key beside it.
func Write(path string, c *Config) error {
	return writeFile(path, Render(c))
}

// WriteCluster writes the public file, with the meaning of every key beside it.
func WriteCluster(path string, c *Cluster) error {
	return writeFile(path, RenderCluster(c))
}

// Render returns the text of a replica's file.
func Render(c *Config) []byte {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# One replica of a Themis cluster. Paths start from the folder of this file.")
	line("# Check it with: themis config validate %s", filepath.Base(c.Path))
	line("")
	line("replica = %d", c.Replica)
	line("cluster = %s # the public file, the same on every machine", quote(c.ClusterFile))
	line("key = %s # this replica's private key; nobody else may read it", quote(c.KeyFile))
	line("dir = %s # its log and snapshots; back it up never, lose it never", quote(c.Dir))
	line("durability = %q # sync: every vote is on disk before it counts; memory: for comparison only", c.Durability)
	if c.MemoryLimit == 0 {
		line(`memory_limit = "none" # what the garbage collector tries to stay below`)
	} else {
		line("memory_limit = %q # what the garbage collector tries to stay below", formatSize(c.MemoryLimit))
	}
	line("")
	line("[listen]")
	line("peer = %s # other replicas", quote(c.Listen.Peer))
	line("client = %s # clients", quote(c.Listen.Client))
	line("admin = %s # /statusz, /metrics, /readyz, /livez, pprof; loopback only", quote(c.Listen.Admin))
	line("")
	line("[timeouts]")
	line("patience = %q # nothing executed for this long while a request waits: suspect the primary", short(c.Timeouts.Patience))
	line("new_view = %q # how long a new primary may take; doubles with each that fails", short(c.Timeouts.NewView))
	line("patience_max = %q # where the doubling ends", short(c.Timeouts.PatienceMax))
	line("resend = %q # period of STATUS and of everything that was lost", short(c.Timeouts.Resend))
	line("")
	line("[log]")
	line("level = %q # debug, info, warn, error", c.Log.Level)
	line("format = %q # text, json", c.Log.Format)
	for _, p := range c.Peers {
		line("")
		line("[[peers]]")
		line("id = %d", p.ID)
		line("dial = %s # its listen.peer, or what stands before it", quote(p.Dial))
	}
	return []byte(b.String())
}

// RenderCluster returns the text of the public file.
func RenderCluster(c *Cluster) []byte {
	m := &c.Membership
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# A Themis cluster. This file is public and must be the same for every replica and client:")
	line("# its digest is part of every checkpoint. Check it with: themis config validate cluster.toml")
	line("")
	line("cluster = %q # random name, part of everything that is signed", m.Cluster.String())
	line("epoch = %d", m.Epoch)
	line("protocol = %q", m.Protocol)
	line("app = %q", m.App)
	line("f = %d # replicas that may be faulty in any way", m.F)
	line("scheme = %q # ed25519, ecdsa, rsa", m.Scheme)
	line("open = %t # clients that are not listed may open sessions too", m.Open)
	line("")
	line("[parameters]")
	line("checkpoint_every = %d # slots", m.CheckpointEvery)
	line("window = %d # slots in use above the last stable checkpoint; at least twice checkpoint_every", m.Window)
	line("in_flight = %d # slots that the primary may have open at once", m.InFlight)
	line("batch_count = %d # requests in a batch, at most", m.BatchCount)
	line("batch_bytes = %q # bytes of a batch, at most", formatSize(int64(m.BatchBytes)))
	line("sessions = %d # open sessions, at most", m.Sessions)
	line("time_skew = %q # a proposal whose time is farther off is refused", short(time.Duration(m.TimeSkew)))
	for i, r := range m.Replicas {
		line("")
		line("[[replicas]]")
		line("id = %d", i)
		line("key = %q", base64.StdEncoding.EncodeToString(r.Key))
		line("client = %s # where clients dial it", quote(c.ClientAddrs[i]))
	}
	for _, k := range m.Clients {
		line("")
		line("[[clients]]")
		line("key = %q", base64.StdEncoding.EncodeToString(k.Key))
	}
	return []byte(b.String())
}

// short prints a duration without the zero units that Duration.String leaves.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// writeFile writes a file whole or not at all.
func writeFile(path string, data []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// quote writes a string as TOML does: Go's escapes are not all known there.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, "\\u%04X", r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
