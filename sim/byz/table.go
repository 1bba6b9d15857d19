package byz

import "github.com/themis-bft/themis/sim/rng"

// Entry is one strategy of the table.
type Entry struct {
	Name string
	Does string // one line for the list
	Make func(r *rng.Source) Strategy
	// Conspires marks strategies that break agreement when more than f replicas follow them.
	Conspires bool
}

// Table is every strategy of faulty replicas, by name. The swarm draws from it.
var Table = []Entry{
	{Name: "mutate", Does: "changes single fields of outgoing messages", Make: newMutate},
	{Name: "split", Does: "changes messages for some receivers only", Make: newSplit},
	{Name: "omit", Does: "omits messages by kind and receiver", Make: newOmit},
	{Name: "delay", Does: "delays messages by kind", Make: newDelay},
	{Name: "repeat", Does: "repeats messages, now and long after", Make: newRepeat},
	{Name: "garbage", Does: "flips bits of frames and sends noise", Make: newGarbage},
	{Name: "equivocate", Does: "proposes different batches to different backups", Make: newEquivocate, Conspires: true},
	{Name: "usurp", Does: "proposes in the views of others", Make: newUsurp},
	{Name: "two-faced", Does: "votes for whatever its receiver voted for", Make: newTwoFaced, Conspires: true},
	{Name: "silent", Does: "falls silent and comes back", Make: newSilent},
	{Name: "silent-primary", Does: "never proposes", Make: newSilentPrimary},
	{Name: "selective", Does: "talks to a bare quorum only", Make: newSelective},
	{Name: "unfair", Does: "never hears one client", Make: newUnfair},
	{Name: "slow-primary", Does: "proposes just before patience ends", Make: newSlowPrimary},
	{Name: "view-spam", Does: "asks for near and far views", Make: newViewSpam},
	{Name: "false-claims", Does: "hides and invents claims in VIEW-CHANGE", Make: newFalseClaims},
	{Name: "false-new-view", Does: "sends a NEW-VIEW that does not follow from its set", Make: newFalseNewView},
	{Name: "forged-proofs", Does: "offers checkpoints that no quorum signed", Make: newForgedProofs},
	{Name: "false-checkpoint", Does: "signs false checkpoint digests", Make: newFalseCheckpoint},
	{Name: "false-decided", Does: "claims decisions that were never made", Make: newFalseDecided},
	{Name: "false-status", Does: "claims a state in STATUS that it does not have", Make: newFalseStatus},
	{Name: "lying-source", Does: "serves false pages and bodies, or none", Make: newLyingSource},
	{Name: "lying-replies", Does: "answers clients wrongly", Make: newLyingReplies, Conspires: true},
	{Name: "forged-requests", Does: "proposes requests that no client signed", Make: newForgedRequests},
	{Name: "state-flip", Does: "computes wrongly after a memory error", Make: newStateFlip},
	{Name: "future-flood", Does: "votes for slots and views far ahead", Make: newFutureFlood},
}

// Names lists the strategies of faulty replicas.
func Names() []string {
	var names []string
	for _, e := range Table {
		names = append(names, e.Name)
	}
	return names
}
