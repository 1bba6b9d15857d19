package cli

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/themis-bft/themis/assembly"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/config"
	"github.com/themis-bft/themis/internal/cluster"
	"github.com/themis-bft/themis/keys"
)

// planFlags are the flags with which "init" and "cluster up" describe a new cluster.
func planFlags(cmd *cobra.Command, p *cluster.Plan) {
	f := cmd.Flags()
	f.IntVar(&p.Replicas, "replicas", 4, "number of replicas")
	f.IntVar(&p.F, "f", -1, "replicas that may be faulty; -1: as many as the protocol carries")
	f.StringVar(&p.Membership.Protocol, "protocol", "pbft", "protocol: "+strings.Join(assembly.Protocols(), ", "))
	f.StringVar(&p.Membership.App, "app", "kv", "application: "+strings.Join(assembly.Apps(), ", "))
	f.StringVar(&p.Membership.Scheme, "scheme", "ed25519", "signatures: ed25519, ecdsa, rsa")
	f.StringVar((*string)(&p.Durability), "durability", "sync", "sync, or memory (for comparison only)")
	choices(cmd, "protocol", assembly.Protocols()...)
	choices(cmd, "app", assembly.Apps()...)
	choices(cmd, "scheme", "ed25519", "ecdsa", "rsa")
	choices(cmd, "durability", "sync", "memory")
}

// choices completes the values of a flag.
func choices(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// checkPlan refuses what Create would not understand.
func checkPlan(cmd *cobra.Command, p *cluster.Plan) error {
	if p.Durability != config.Sync && p.Durability != config.Memory {
		return usagef(cmd, "--durability is sync or memory, not %q", p.Durability)
	}
	if p.Membership.Scheme != "ed25519" && len(p.Membership.Clients) == 0 {
		return usagef(cmd, "--scheme %s needs listed clients: name their public keys with --client", p.Membership.Scheme)
	}
	return nil
}

func (s *session) initCommand() *cobra.Command {
	p := cluster.Plan{}
	var hosts, clients []string
	cmd := &cobra.Command{
		Use: "init", Short: "Lay out a cluster: keys, configuration, one folder per replica", Args: takes(0, 0, ""),
		Example: "  themis init --dir D --replicas 4 --hosts a.example,b.example,c.example,d.example\n" +
			"  themis init --dir D --replicas 4    # all on this machine",
	}
	dirFlag(cmd, &p.Dir)
	planFlags(cmd, &p)
	cmd.Flags().StringSliceVar(&hosts, "hosts", nil, "one host per replica; none: this machine")
	cmd.Flags().IntVar(&p.Port, "port", 7000, "first port on each host; a replica uses three")
	cmd.Flags().StringArrayVar(&clients, "client", nil, "public key `FILE` or base64 of a client to list; none: the cluster is open")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p.Hosts = hosts
		for _, text := range clients {
			key, err := publicKey(text)
			if err != nil {
				return &failure{code: exitFailed, what: "--client " + text, err: err, hint: "print a public key with: themis keygen --public FILE"}
			}
			p.Membership.Clients = append(p.Membership.Clients, key)
		}
		if err := checkPlan(cmd, &p); err != nil {
			return err
		}
		if len(hosts) > 0 && !cmd.Flags().Changed("replicas") {
			p.Replicas = len(hosts)
		}
		if err := cluster.Create(p); err != nil {
			return err
		}
		s.nextSteps(&p)
		return nil
	}
	return cmd
}

// nextSteps says what to do with a layout.
func (s *session) nextSteps(p *cluster.Plan) {
	s.line("%s", filepath.Join(p.Dir, "cluster.toml"))
	if len(p.Hosts) == 0 {
		s.sayf("start it with: themis cluster up --dir %s", p.Dir)
		return
	}
	for i, host := range p.Hosts {
		r := bft.ReplicaID(i)
		s.sayf("%s: copy %s to %s, then run there, once and then always:", r, filepath.Join(p.Dir, r.String()), host)
		s.sayf("    themisd --init --config %s/themis.toml", r)
		s.sayf("    themisd --config %s/themis.toml", r)
	}
	s.sayf("clients need the public file only: themis kv get --cluster %s KEY", filepath.Join(p.Dir, "cluster.toml"))
}

// publicKey reads a client's public key: base64, or a file that holds it, or a private key file.
func publicKey(text string) (bft.ClientKey, error) {
	if b, err := os.ReadFile(text); err == nil {
		if k, err := keys.Load(text); err == nil {
			return bft.ClientKey{ID: k.ClientID(), Key: k.PublicDER()}, nil
		}
		text = string(b)
	}
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return bft.ClientKey{}, fmt.Errorf("neither a key file nor base64")
	}
	id, err := keys.ClientIDOf(der)
	return bft.ClientKey{ID: id, Key: der}, err
}

func (s *session) keygenCommand() *cobra.Command {
	var scheme, public string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "keygen FILE", Short: "Make a private key and print its public key", Args: takes(0, 1, "FILE, or --public FILE"),
		Example: "  themis keygen client.pem\n  themis keygen --public client.pem",
	}
	cmd.Flags().StringVar(&scheme, "scheme", "ed25519", "ed25519, ecdsa, rsa")
	cmd.Flags().StringVar(&public, "public", "", "print the public key of an existing key `FILE`")
	choices(cmd, "scheme", "ed25519", "ecdsa", "rsa")
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (public == "") == (len(args) == 0) {
			return usagef(cmd, "name one FILE to write, or one to read with --public")
		}
		key, err := makeOrLoad(scheme, public, args)
		if err != nil {
			return err
		}
		text := base64.StdEncoding.EncodeToString(key.PublicDER())
		if asJSON {
			id := key.ClientID()
			return s.print(map[string]string{"scheme": key.Scheme(), "public": text, "client": fmt.Sprintf("%x", id[:])})
		}
		s.line("%s", text)
		return nil
	}
	return cmd
}

func makeOrLoad(scheme, public string, args []string) (*keys.Key, error) {
	if public != "" {
		key, err := keys.Load(public)
		if err != nil {
			return nil, &failure{code: exitFailed, what: "reading " + public, err: err, hint: "make a key with: themis keygen FILE"}
		}
		return key, nil
	}
	key, err := keys.Generate(scheme)
	if err != nil {
		return nil, &failure{code: exitUsage, what: "--scheme " + scheme, err: err, hint: "choose ed25519, ecdsa or rsa"}
	}
	if err := key.Save(args[0]); err != nil {
		return nil, &failure{code: exitFailed, what: "writing " + args[0], err: err, hint: "keys are never overwritten: choose another name"}
	}
	return key, nil
}
