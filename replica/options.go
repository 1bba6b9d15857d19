package replica

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/auth"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/transport"
)

// Options is everything a replica is built from. Start takes ownership of Transport, Files and
// Machine: nobody else calls them from then on.
type Options struct {
	Self       bft.ReplicaID
	Membership *bft.Membership
	Family     protocol.Family
	Auth       auth.Verifier
	Signer     auth.Signer
	Machine    app.Machine
	Transport  transport.Transport
	Files      storage.FS // the data directory, made by Init

	// Unsynced leaves every sync to the operating system: votes survive a crash of the process,
	// not one of the machine. It exists for comparison and is logged at start.
	Unsynced bool

	Patience        bft.Duration // T of design decision 6
	NewViewPatience bft.Duration
	PatienceMax     bft.Duration
	Resend          bft.Duration

	Admin       string // address of the admin endpoint, loopback only; empty for none
	MemoryLimit int64  // bytes the process is to stay below; 0 sets no limit
	LinkBytes   int64  // what Transport may hold at most, for the memory table
	Version     string // shown in status
	// Refused counts the connections the transport refused, by reason; nil if it does not tell.
	Refused func() map[string]uint64
	// Links tells of the links with each replica, by its number; nil if the transport does not tell.
	Links func() []Link
	// Wall is the time of day, which batches propose and backups compare; nil for the system's.
	Wall func() bft.Time
	Log  *slog.Logger
	Exit func(code int) // ends the process after an unrecoverable fault; os.Exit if nil
}

func (o *Options) check() error {
	m := o.Membership
	switch {
	case m == nil, o.Family.New == nil, o.Family.Codec == nil, o.Auth == nil, o.Signer == nil,
		o.Machine == nil, o.Transport == nil, o.Files == nil:
		return errors.New("replica: options are incomplete")
	case int(o.Self) >= m.N():
		return fmt.Errorf("replica: %s is not one of the %d members", o.Self, m.N())
	case o.Patience <= 0 || o.NewViewPatience <= 0 || o.Resend <= 0 || o.PatienceMax < o.Patience:
		return fmt.Errorf("replica: patience %d, for a new view %d, at most %d, resend %d: all must be positive",
			o.Patience, o.NewViewPatience, o.PatienceMax, o.Resend)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Exit == nil {
		o.Exit = os.Exit
	}
	if o.Wall == nil {
		o.Wall = wall
	}
	return nil
}

func (o *Options) protocol() protocol.Config {
	return protocol.Config{
		Self: o.Self, Membership: o.Membership, Patience: o.Patience,
		NewViewPatience: o.NewViewPatience, PatienceMax: o.PatienceMax, Resend: o.Resend,
	}
}

// Owner is who the data directory of replica self belongs to.
func Owner(m *bft.Membership, self bft.ReplicaID) storage.Owner {
	return storage.Owner{
		Cluster: m.Cluster, Epoch: m.Epoch, Replica: self,
		Key: sha256.Sum256(m.Replicas[self].Key),
	}
}
