package cluster

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Where says where a replica is to be found. The JSON names are an interface.
type Where struct {
	ID         int    `json:"id"`
	PID        *int   `json:"pid"`
	PeerAddr   string `json:"peer_addr"`
	ClientAddr string `json:"client_addr"`
	AdminAddr  string `json:"admin_addr"`
	DataDir    string `json:"data_dir"`
	Config     string `json:"config"`
}

// Layout is what "cluster up" prints.
type Layout struct {
	Dir      string  `json:"dir"`
	Replicas []Where `json:"replicas"`
}

// Condition is what "cluster status" prints of a replica. Fields are null when the replica
// does not run, and those that only it knows also when it does not answer.
type Condition struct {
	Where
	Alive       bool    `json:"alive"`
	Ready       *bool   `json:"ready"`
	View        *uint64 `json:"view"`
	Primary     *int    `json:"primary"`
	Executed    *uint64 `json:"executed"`
	Stable      *uint64 `json:"stable"`
	StateDigest *string `json:"state_digest"`
	RSS         *uint64 `json:"rss_bytes"`
	Paused      bool    `json:"paused"`
	Lies        *string `json:"lies"` // how it lies, null if it does not
}

// Status is what "cluster status" prints.
type Status struct {
	Dir      string      `json:"dir"`
	Replicas []Condition `json:"replicas"`
}

// answerTime is how long a status waits for a replica that may be stuck.
const answerTime = 3 * time.Second

// answerBytesMax bounds what an admin endpoint may answer.
const answerBytesMax = 8 << 20

// Layout describes the cluster.
func (c *Cluster) Layout() Layout {
	l := Layout{Dir: c.Dir}
	for _, r := range c.Replicas {
		where, _, _ := r.where()
		l.Replicas = append(l.Replicas, where)
	}
	return l
}

func (r *Replica) where() (w Where, p *process, s Stat) {
	w = Where{
		ID: int(r.ID), PeerAddr: r.Config.Listen.Peer, ClientAddr: r.Config.Listen.Client,
		AdminAddr: r.Config.Listen.Admin, DataDir: r.Config.Dir, Config: r.Config.Path,
	}
	p = r.process()
	s, ok := p.alive()
	if !ok {
		return w, nil, s
	}
	w.PID = &p.PID
	return w, p, s
}

// Status asks the system and every replica for its condition.
func (c *Cluster) Status() Status {
	s := Status{Dir: c.Dir, Replicas: make([]Condition, len(c.Replicas))}
	_ = c.each(func(r *Replica) error { // nothing to go wrong: what does not answer is null
		s.Replicas[r.ID] = r.condition()
		return nil
	})
	return s
}

func (r *Replica) condition() Condition {
	where, p, stat := r.where()
	k := Condition{Where: where, Alive: p != nil}
	if p == nil {
		return k
	}
	if p.How != "" {
		k.Lies = &p.How
	}
	if rss, _, err := MemoryOf(p.PID); err == nil {
		k.RSS = &rss
	}
	k.Ready = new(bool)
	if k.Paused = stat.State == 'T'; k.Paused {
		return k
	}
	var z struct {
		Ready       bool   `json:"ready"`
		View        uint64 `json:"view"`
		Primary     int    `json:"primary"`
		Executed    uint64 `json:"executed"`
		Stable      uint64 `json:"stable"`
		StateDigest string `json:"state_digest"`
	}
	b, err := r.ask("/statusz", answerTime)
	if err != nil || json.Unmarshal(b, &z) != nil {
		return k
	}
	k.Ready, k.View, k.Primary = &z.Ready, &z.View, &z.Primary
	k.Executed, k.Stable, k.StateDigest = &z.Executed, &z.Stable, &z.StateDigest
	return k
}

// ask gets a path of the admin endpoint.
func (r *Replica) ask(path string, limit time.Duration) ([]byte, error) {
	client := http.Client{Timeout: limit, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + r.Config.Listen.Admin + path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close() //nolint:errcheck // read to its end below
	b, err := io.ReadAll(io.LimitReader(answer.Body, answerBytesMax))
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, answer.Status)
	}
	return b, nil
}

// Ask gets a path of the admin endpoint of replica id.
func (c *Cluster) Ask(id int, path string) ([]byte, error) {
	r, err := c.Replica(id)
	if err != nil {
		return nil, err
	}
	return r.ask(path, answerTime)
}

// MemoryOf returns the resident memory of a process and the most it ever was, in bytes.
func MemoryOf(pid int) (rss, high uint64, err error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		kib, perr := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch {
		case perr != nil:
		case name == "VmRSS":
			rss = kib << 10
		case name == "VmHWM":
			high = kib << 10
		}
	}
	return rss, high, nil
}
