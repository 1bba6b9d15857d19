package byz

import "github.com/themis-bft/themis/sim/rng"

// Entry is one strategy of the table.
type Entry struct {
	Name string
	Does string // one line for the list
	Make func(r *rng.Source) Strategy
	// Weight is how often it is drawn; 0 stands for once.
	Weight int
	// Conspires marks strategies that break agreement when more than f replicas follow them.
	Conspires bool
}

// Table is every strategy of faulty replicas, by name. The swarm draws from it.
var Table = []Entry{
	{Name: "mutate", Does: "changes single fields of outgoing messages and frames", Make: newMutate, Weight: 4},
	{Name: "split", Does: "changes messages for some receivers only", Make: newSplit, Weight: 2},
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
	{Name: "self-crowned", Does: "starts views of others, or its own with one VIEW-CHANGE named often", Make: newSelfCrowned},
	{Name: "overrule", Does: "proposes other batches in the slots that its NEW-VIEW fixed", Make: newOverrule},
	{Name: "false-body", Does: "proposes the digest of one batch with the bytes of another", Make: newFalseBody},
	{Name: "forged-proofs", Does: "offers checkpoints that no quorum signed", Make: newForgedProofs},
	{Name: "false-checkpoint", Does: "signs false checkpoint digests", Make: newFalseCheckpoint},
	{Name: "false-decided", Does: "claims decisions that were never made", Make: newFalseDecided},
	{Name: "false-status", Does: "claims a state in STATUS that it does not have", Make: newFalseStatus},
	{Name: "lying-source", Does: "serves false pages and bodies, or none", Make: newLyingSource},
	{Name: "lying-replies", Does: "answers clients wrongly", Make: newLyingReplies, Conspires: true},
	{Name: "forged-requests", Does: "proposes requests that no client signed", Make: newForgedRequests},
	{Name: "state-flip", Does: "computes wrongly after a memory error", Make: newStateFlip, Weight: 2},
	{Name: "future-flood", Does: "votes for slots and views far ahead", Make: newFutureFlood},
	{Name: "false-batch", Does: "reorders, repeats, replays and invents requests in its batches", Make: newFalseBatch},
	{Name: "archive", Does: "keeps requests, and repeats what was executed long ago instead of serving", Make: newArchive},
	{Name: "null-flood", Does: "proposes nothing, as fast as it can", Make: newNullFlood},
	{Name: "withheld-body", Does: "shows batches to few and serves none", Make: newWithheldBody},
	{Name: "wrong-digest", Does: "votes in the right slot for the wrong digest", Make: newWrongDigest},
	{Name: "stutter", Does: "sends each vote a quorum of times", Make: newStutter},
	{Name: "name-thief", Does: "votes in another's name", Make: newNameThief},
	{Name: "extremes", Does: "sends numbers from the ends of their range and the edges of the window", Make: newExtremes},
	{Name: "view-flap", Does: "asks for the next view, the second next and the millionth at once", Make: newViewFlap},
	{Name: "old-views", Does: "plays recorded view changes back", Make: newOldViews},
	{Name: "tainted-view-change", Does: "puts one invalid part among valid ones", Make: newTaintedViewChange},
	{Name: "chosen-set", Does: "chooses the set of its NEW-VIEW so that it hides most, or differs by receiver", Make: newChosenSet, Weight: 2},
	{Name: "rushing", Does: "answers before the honest and splits their votes at the edge of quorums", Make: newRushing, Weight: 2},
	{Name: "brink", Does: "lets one replica decide and all others leave the view at once", Make: newBrink, Weight: 2},
	{Name: "slow-drip", Does: "serves state and bodies part by part, just in time", Make: newSlowDrip},
	{Name: "false-index", Does: "serves pages under false numbers", Make: newFalseIndex},
	{Name: "lonely-proof", Does: "shows a certificate to one replica alone, then serves it nothing", Make: newLonelyProof},
}

// Draw draws an entry by weight.
func Draw(r *rng.Source, from []Entry) Entry {
	total := 0
	for i := range from {
		total += max(from[i].Weight, 1)
	}
	p := r.Intn(total)
	for i := range from {
		if p -= max(from[i].Weight, 1); p < 0 {
			return from[i]
		}
	}
	return from[0]
}

// Names lists the strategies of faulty replicas.
func Names() []string {
	var names []string
	for _, e := range Table {
		names = append(names, e.Name)
	}
	return names
}
