package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/client"
	"github.com/themis-bft/themis/config"
	"github.com/themis-bft/themis/internal/cluster"
	"github.com/themis-bft/themis/keys"
)

// deadlineDefault ends every command that asks the cluster for something.
const deadlineDefault = 10 * time.Second

// access is how a command reaches a cluster.
type access struct {
	dir, file, key string
	deadline       span
}

func (a *access) flags(cmd *cobra.Command) {
	dirFlag(cmd, &a.dir)
	cmd.Flags().StringVar(&a.file, "cluster", "", "public `FILE` of the cluster, instead of --dir")
	cmd.Flags().StringVar(&a.key, "key", "", "private key `FILE` of this client; none: a new one (open clusters)")
	spanFlag(cmd, &a.deadline, "timeout", deadlineDefault, "when to give up")
}

// public reads the cluster's public file.
func (a *access) public() (*config.Cluster, error) {
	if a.file != "" {
		return config.LoadCluster(a.file)
	}
	if !cluster.Exists(a.dir) {
		_, err := cluster.Open(a.dir, nil) // which says what to do
		return nil, err
	}
	return config.LoadCluster(filepath.Join(a.dir, "cluster.toml"))
}

// invoke opens a session, sends one operation and returns its result, all within the deadline.
func (a *access) invoke(ctx context.Context, app string, op []byte) ([]byte, error) {
	public, err := a.public()
	if err != nil {
		return nil, err
	}
	if app != "" && public.Membership.App != app {
		return nil, &failure{code: exitFailed, what: public.Path + ": the cluster runs " + public.Membership.App + ", not " + app, hint: "use: themis call"}
	}
	c, err := a.open(ctx, public)
	if err != nil {
		return nil, err
	}
	defer c.client.Close()
	defer c.cancel()
	result, err := c.client.Invoke(c.ctx, op)
	return result, a.explain(err)
}

// opened is a client with the deadline of its command.
type opened struct {
	client *client.Client
	ctx    context.Context
	cancel context.CancelFunc
}

func (a *access) open(ctx context.Context, public *config.Cluster) (*opened, error) {
	key, err := a.identity(public)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(a.deadline))
	c, err := client.Open(ctx, client.Config{Membership: &public.Membership, Replicas: public.ClientAddrs, Key: key})
	if err != nil {
		cancel()
		return nil, a.explain(err)
	}
	return &opened{c, ctx, cancel}, nil
}

func (a *access) identity(public *config.Cluster) (*keys.Key, error) {
	if a.key != "" {
		key, err := keys.Load(a.key)
		if err != nil {
			return nil, &failure{code: exitFailed, what: "reading " + a.key, err: err, hint: "make a key with: themis keygen FILE"}
		}
		// The replicas would not even shake hands with a stranger, which looks like no quorum.
		if m := &public.Membership; !m.Open && !slices.ContainsFunc(m.Clients, func(c bft.ClientKey) bool { return c.ID == key.ClientID() }) {
			return nil, &failure{code: exitFailed, what: fmt.Sprintf("%s does not list the client of %s", public.Path, a.key), hint: "name the key of a listed client with --key FILE"}
		}
		return key, nil
	}
	if !public.Membership.Open {
		return nil, &failure{code: exitFailed, what: public.Path + ": the cluster admits listed clients only", hint: "name the key of one with --key FILE"}
	}
	return keys.Generate("ed25519")
}

// explain adds what to do to the errors of the client library.
func (a *access) explain(err error) error {
	hint := ""
	where := "--dir " + a.dir
	if a.file != "" {
		where = "--dir D (on the replicas' machines)"
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, client.ErrOutcomeUnknown):
		hint = "it may have been executed or may still be; read the state before you repeat it. Replicas: themis cluster status " + where
		return &failure{code: exitNoQuorum, err: err, hint: hint}
	case errors.Is(err, client.ErrNoQuorum):
		return &failure{code: exitNoQuorum, err: err, hint: "nothing was executed. Which replicas run: themis cluster status " + where}
	case errors.Is(err, client.ErrRefused):
		hint = "list the client's public key in cluster.toml, or name another key with --key"
	case errors.Is(err, client.ErrTooLarge):
		hint = "an operation has at most 64 KiB"
	}
	return &failure{code: exitFailed, err: err, hint: hint}
}
