package config

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/alloctest"
	"github.com/themis-bft/themis/keys"
)

// testCluster is a cluster of n replicas with keys of fixed seeds.
func testCluster(tb testing.TB, n int) *Cluster {
	tb.Helper()
	c := &Cluster{Membership: bft.Membership{F: (n - 1) / 3, Open: true}}
	SetDefaults(&c.Membership)
	for i := range n {
		c.Membership.Replicas = append(c.Membership.Replicas, bft.Replica{Key: testKey(tb, byte(i))})
		c.ClientAddrs = append(c.ClientAddrs, fmt.Sprintf("127.0.0.1:%d", 7100+i))
	}
	return c
}

func b64(der []byte) string { return base64.StdEncoding.EncodeToString(der) }

func testKey(tb testing.TB, seed byte) []byte {
	tb.Helper()
	k, err := keys.FromSeed([32]byte{seed})
	if err != nil {
		tb.Fatal(err)
	}
	return k.PublicDER()
}

func testConfig() *Config {
	c := &Config{
		ClusterFile: "cluster.toml", KeyFile: "key.pem", Dir: "data", Durability: Sync,
		MemoryLimit: MemoryLimitDefault, Timeouts: DefaultTimeouts(), Log: Log{Level: "info", Format: "text"},
		Listen: Listen{Peer: "127.0.0.1:7000", Client: "127.0.0.1:7100", Admin: "127.0.0.1:7200"},
	}
	for id := bft.ReplicaID(1); id < 4; id++ {
		c.Peers = append(c.Peers, Peer{ID: id, Dial: fmt.Sprintf("127.0.0.1:%d", 7000+id)})
	}
	return c
}

func TestClusterRoundTrip(t *testing.T) {
	for _, n := range []int{4, 7, 10} {
		want := testCluster(t, n)
		der := testKey(t, 200)
		id, err := keys.ClientIDOf(der)
		if err != nil {
			t.Fatal(err)
		}
		want.Membership.Clients = []bft.ClientKey{{ID: id, Key: der}}
		got, err := ParseCluster("", RenderCluster(want))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("n = %d: wrote %+v, read %+v", n, want, got)
		}
	}
}

func TestLoadRoundTrip(t *testing.T) {
	dir := t.TempDir()
	want := testConfig()
	want.Path = filepath.Join(dir, "themis.toml")
	want.Durability, want.MemoryLimit, want.Log.Format = Memory, 0, "json"
	if err := WriteCluster(filepath.Join(dir, "cluster.toml"), testCluster(t, 4)); err != nil {
		t.Fatal(err)
	}
	if err := Write(want.Path, want); err != nil {
		t.Fatal(err)
	}
	got, err := Load(want.Path)
	if err != nil {
		t.Fatal(err)
	}
	if got.ClusterFile != filepath.Join(dir, "cluster.toml") || got.Dir != filepath.Join(dir, "data") || got.KeyFile != filepath.Join(dir, "key.pem") {
		t.Errorf("paths do not start from the file's folder: %+v", got)
	}
	if got.Cluster == nil || got.Cluster.Membership.N() != 4 {
		t.Errorf("cluster file was not read: %+v", got.Cluster)
	}
	got.Cluster, got.ClusterFile, got.Dir, got.KeyFile = nil, want.ClusterFile, want.Dir, want.KeyFile
	if !reflect.DeepEqual(got, want) {
		t.Errorf("wrote %+v, read %+v", want, got)
	}
}

// edit is a change of a good file and the whole message that it must cause.
type edit struct{ name, old, with, want string }

func (e edit) apply(t *testing.T, good string) string {
	t.Helper()
	if !strings.Contains(good, e.old) {
		t.Fatalf("the good file has no %q:\n%s", e.old, good)
	}
	return strings.Replace(good, e.old, e.with, 1)
}

const again = "\n  hint: correct the line, then run: themis config validate themis.toml"

var replicaProblems = []edit{
	{
		"unknown key", "peer = \"127.0.0.1:7000\"", "pear = \"127.0.0.1:7000\"",
		"themis.toml:12: unknown key \"listen.pear\"\n  hint: did you mean \"listen.peer\"?",
	},
	{
		"missing key", "key = \"key.pem\"", "#",
		"themis.toml: missing key \"key\"\n  hint: add it, then run: themis config validate themis.toml",
	},
	{
		"missing key in a table", "admin = \"127.0.0.1:7200\"", "#",
		"themis.toml:11: missing key \"listen.admin\"\n  hint: add it, then run: themis config validate themis.toml",
	},
	{
		"wrong type", "replica = 0", "replica = \"zero\"",
		"themis.toml:4: replica: cannot decode TOML string into int64" + again,
	},
	{"no toml", "[listen]", "[listen", "themis.toml:11: expected ']' to close table name" + again},
	{
		"duplicate address", "client = \"127.0.0.1:7100\"", "client = \"127.0.0.1:7000\"",
		"themis.toml:13: listen.client: address 127.0.0.1:7000 is used twice\n  hint: listen.peer (line 12) has it already; give each its own",
	},
	{
		"duplicate dial", "dial = \"127.0.0.1:7003\"", "dial = \"127.0.0.1:7001\"",
		"themis.toml:36: peers[2].dial: address 127.0.0.1:7001 is used twice\n  hint: peers[0].dial (line 28) has it already; give each its own",
	},
	{
		"no port", "\"127.0.0.1:7100\"", "\"127.0.0.1\"",
		"themis.toml:13: listen.client: \"127.0.0.1\" is no address\n  hint: write host:port, such as \"127.0.0.1:7000\" or \"[::1]:7000\"",
	},
	{
		"port out of range", "\"127.0.0.1:7100\"", "\"127.0.0.1:70000\"",
		"themis.toml:13: listen.client: \"127.0.0.1:70000\" is no address\n  hint: write host:port, such as \"127.0.0.1:7000\" or \"[::1]:7000\"",
	},
	{
		"admin in the open", "admin = \"127.0.0.1:7200\"", "admin = \"0.0.0.0:7200\"",
		"themis.toml:14: listen.admin: 0.0.0.0:7200 is not a loopback address\n  hint: use \"127.0.0.1:PORT\" and a tunnel: whoever reaches this address may profile the process",
	},
	{
		"durability", "\"sync\"", "\"maybe\"",
		"themis.toml:8: durability: \"maybe\" is not known\n  hint: allowed: sync, memory",
	},
	{
		"duration without unit", "patience = \"400ms\"", "patience = \"400\"",
		"themis.toml:17: timeouts.patience: \"400\" is no duration\n  hint: write a number with its unit, such as \"400ms\" or \"10s\"",
	},
	{
		"duration out of range", "patience = \"400ms\"", "patience = \"1ms\"",
		"themis.toml:17: timeouts.patience: 1ms is out of range (10ms to 1h0m0s)" + again,
	},
	{
		"doubling ends before it begins", "patience_max = \"30s\"", "patience_max = \"100ms\"",
		"themis.toml:19: timeouts.patience_max: 100ms is less than patience (400ms) or new_view (400ms)\n  hint: it is where the doubling of patience and new_view ends",
	},
	{
		"size", "\"256MiB\"", "\"256\"",
		"themis.toml:9: memory_limit: \"256\" is no size\n  hint: write a number with its unit, such as \"128KiB\" or \"64MiB\"",
	},
	{
		"peer twice", "id = 2", "id = 1",
		"themis.toml:31: peers[1].id: replica 1 is listed twice\n  hint: it stands in line 27 already",
	},
	{
		"itself", "id = 3", "id = 0",
		"themis.toml:35: peers[2].id: replica 0 is this one\n  hint: list the other replicas only",
	},
}

func TestReplicaProblems(t *testing.T) {
	good := string(Render(testConfig()))
	for _, e := range replicaProblems {
		t.Run(e.name, func(t *testing.T) {
			_, err := Parse("themis.toml", []byte(e.apply(t, good)))
			if err == nil || err.Error() != e.want {
				t.Errorf("got:\n%v\nwant:\n%s", err, e.want)
			}
		})
	}
}

func TestClusterProblems(t *testing.T) {
	good := string(RenderCluster(testCluster(t, 4)))
	const again = "\n  hint: correct the line, then run: themis config validate cluster.toml"
	other := testCluster(t, 4).Membership.Replicas[1].Key
	for _, e := range []edit{
		{
			"n too small for f", "f = 1 ", "f = 2 ",
			"cluster.toml:8: f: pbft needs n ≥ 3f+1 and n ≥ 4: for f = 2 at least 7 replicas, not 4\n" +
				"  hint: list more replicas or lower f; for a new cluster run: themis init --replicas N",
		},
		{"protocol", "\"pbft\"", "\"raft\"", "cluster.toml:6: protocol: \"raft\" is not known\n  hint: allowed: pbft"},
		{
			"window", "window = 256", "window = 100",
			"cluster.toml:14: parameters.window: 100 is less than twice checkpoint_every (64)\n  hint: raise window or lower checkpoint_every",
		},
		{
			"window of many replicas", string(RenderCluster(testCluster(t, 4))), string(RenderCluster(testCluster(t, 46))),
			"cluster.toml:14: parameters.window: 256 is too large for 46 replicas: a VIEW-CHANGE has no room for what f = 15 faulty primaries in a row can make it claim\n" +
				"  hint: lower window, and checkpoint_every to half of it or less",
		},
		{"window beyond the limit", "window = 256", "window = 4096", "cluster.toml:14: parameters.window: 4096 is out of range (2 to 1024)" + again},
		{"batch smaller than a request", "\"128KiB\"", "\"1KiB\"", "cluster.toml:17: parameters.batch_bytes: 1KiB is out of range (69696B to 1MiB)" + again},
		{
			"order of ids", "id = 2", "id = 3",
			"cluster.toml:32: replicas[2].id: 3 stands where 2 belongs\n  hint: replicas stand in the order of their ids, from 0",
		},
		{
			"duplicate key", b64(testCluster(t, 4).Membership.Replicas[2].Key), b64(other),
			"cluster.toml:33: replicas[2].key: the key is used twice\n  hint: replicas[1].key (line 28) has it already; make another with: themis keygen",
		},
		{
			"duplicate address", "127.0.0.1:7103", "127.0.0.1:7100",
			"cluster.toml:39: replicas[3].client: address 127.0.0.1:7100 is used twice\n  hint: replicas[0].client (line 24) has it already; give each its own",
		},
		{
			"no key", b64(other), "AAAA",
			"cluster.toml:28: replicas[1].key: no public key in PKIX encoding of a known scheme\n  hint: print the public key of a key file with: themis keygen --public FILE",
		},
		{
			"nobody may use it", "open = true", "open = false",
			"cluster.toml:10: open: nobody could use this cluster\n  hint: list clients under [[clients]], or set open = true",
		},
		{
			"name", "cluster = \"00", "cluster = \"",
			"cluster.toml:4: cluster: want 32 hexadecimal digits\n  hint: it is made by: themis init",
		},
	} {
		t.Run(e.name, func(t *testing.T) {
			_, err := ParseCluster("cluster.toml", []byte(e.apply(t, good)))
			if err == nil || err.Error() != e.want {
				t.Errorf("got:\n%v\nwant:\n%s", err, e.want)
			}
		})
	}
}

// TestAllProblemsAtOnce: an operator corrects a file in one go.
func TestAllProblemsAtOnce(t *testing.T) {
	text := strings.NewReplacer("\"sync\"", "\"x\"", "127.0.0.1:7200", "x", "id = 3", "id = 99").Replace(string(Render(testConfig())))
	_, err := Parse("themis.toml", []byte(text))
	ps, ok := err.(Problems)
	if !ok || len(ps) != 3 || ps[0].Line != 8 || ps[1].Line != 14 || ps[2].Line != 35 {
		t.Errorf("want three problems in lines 8, 14 and 35, got:\n%v", err)
	}
}

func TestMembersAgainstCluster(t *testing.T) {
	dir := t.TempDir()
	if err := WriteCluster(filepath.Join(dir, "cluster.toml"), testCluster(t, 7)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "themis.toml")
	if err := Write(path, testConfig()); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	if err == nil || !strings.Contains(err.Error(), "replica 4 of "+filepath.Join(dir, "cluster.toml")+" is missing") {
		t.Errorf("three peers of six, and: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "cluster.toml")); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no cluster file, and: %v", err)
	}
}

func TestSizes(t *testing.T) {
	for _, s := range []string{"0B", "1B", "1023B", "1KiB", "128KiB", "3MiB", "2GiB"} {
		if n, err := parseSize(s); err != nil || formatSize(n) != s {
			t.Errorf("%s became %d, %v, %s", s, n, err, formatSize(n))
		}
	}
	for _, s := range []string{"", "1", "KiB", "-1KiB", "9999999999999GiB"} {
		if n, err := parseSize(s); err == nil {
			t.Errorf("%q was taken for %d", s, n)
		}
	}
}

// FuzzConfig: no file panics or passes unless what it means can be written and read again.
func FuzzConfig(f *testing.F) {
	f.Add(Render(testConfig()))
	f.Add(RenderCluster(testCluster(f, 4)))
	f.Add([]byte("peers = [{id = 1, dial = \"a:1\"}, {id = 1, dial = [{}]}]\nlisten.peer = \"x\""))
	f.Fuzz(func(t *testing.T, data []byte) {
		alloctest.Reader(t, 4*len(data), 1<<20, func() { // a table of TOML is larger than its text
			Parse("f", data)
			ParseCluster("f", data)
		})
		if c, err := Parse("f", data); err == nil {
			again, err := Parse("f", Render(c))
			if err != nil || !reflect.DeepEqual(c, again) {
				t.Fatalf("written and read again: %v\n%+v\n%+v", err, c, again)
			}
		}
		if c, err := ParseCluster("f", data); err == nil {
			again, err := ParseCluster("f", RenderCluster(c))
			if err != nil || !reflect.DeepEqual(c, again) {
				t.Fatalf("written and read again: %v\n%+v\n%+v", err, c, again)
			}
		}
	})
}
