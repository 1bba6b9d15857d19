package config

import (
	"time"

	"github.com/themis-bft/themis/bft"
)

// DefaultTimeouts returns the clocks of a cluster on one site. T is far above a round trip and
// a disk's sync, so that only a fault reaches it, and below half a second, so that clients of
// a dead primary wait little.
func DefaultTimeouts() Timeouts {
	return Timeouts{
		Patience:    400 * time.Millisecond,
		NewView:     400 * time.Millisecond,
		PatienceMax: 30 * time.Second,
		Resend:      100 * time.Millisecond,
	}
}

// SetDefaults fills in the parameters of m that must be equal everywhere and are zero.
//
// A checkpoint hashes what changed, so K is chosen for about a thousand requests under load,
// when a batch holds some sixteen. L = 4K leaves a slow replica three checkpoints before it
// needs state transfer; L times BatchBytes (32 MiB) bounds the bodies a replica may be made to
// keep. Four slots in flight hide the sync of the log behind the vote of the next slot; more
// would only cut the load into smaller batches. 256 requests of 100 bytes fit 128 KiB.
func SetDefaults(m *bft.Membership) {
	set(&m.Protocol, "pbft")
	set(&m.App, "kv")
	set(&m.Scheme, "ed25519")
	set(&m.CheckpointEvery, 64)
	set(&m.Window, 256)
	set(&m.InFlight, 4)
	set(&m.BatchCount, 256)
	set(&m.BatchBytes, 128<<10)
	set(&m.Sessions, 1024)
	set(&m.TimeSkew, 10*bft.Second)
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// MemoryLimitDefault is what a replica asks its collector to stay below: four times what it
// needs under load, half of a small ARM board.
const MemoryLimitDefault = 256 << 20
