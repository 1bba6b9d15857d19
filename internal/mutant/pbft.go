package mutant

import "slices"

// All is every mutant.
func All() []Mutant { return slices.Concat(pbft, List) }

// pbft are the mutants of protocol/pbft.
var pbft = []Mutant{
	{"pbft-prepared-early", "prepared needs a quorum of votes", "sim"},
	{"pbft-committed-early", "committed needs a quorum of COMMITs", "sim"},
	{"pbft-vote-digest-ignored", "votes count for one digest only", "sim"},
	{"pbft-vote-overwritten", "the first vote of a sender in a view counts", "sim"},
	{"pbft-primary-prepares", "the primary sends no PREPARE", "protocol/pbft"},
	{"pbft-any-primary", "only the primary of the view proposes", "sim"},
	{"pbft-second-preprepare", "the first PRE-PREPARE of a view and slot counts", "sim"},
	{"pbft-no-high-mark", "no slot above the window is opened", "protocol/pbft"},
	{"pbft-claims-small", "f+1 claims of commitment decide, not f", "sim"},
	{"pbft-stable-small", "a checkpoint is stable with a quorum", "protocol/pbft"},
	{"pbft-checkpoint-digest-ignored", "CHECKPOINTs count for one digest only", "sim"},
	{"pbft-divergence-ignored", "a state that a quorum contradicts is replaced", "protocol/pbft"},
	{"pbft-proof-small", "a stable proof has a quorum of signatures", "protocol/pbft"},
	{"pbft-signature-unchecked", "signatures are verified", "protocol/pbft"},
	{"pbft-new-view-small-set", "NEW-VIEW needs a quorum of VIEW-CHANGEs", "sim"},
	{"pbft-new-view-unchecked", "NEW-VIEW is recomputed from its set", "protocol/pbft"},
	{"pbft-start-lowest", "a view starts at the highest proven checkpoint", "sim"},
	{"pbft-null-weak", "null needs a quorum without a claim", "protocol/pbft"},
	{"pbft-lower-view-wins", "the claim of the highest view wins", "protocol/pbft"},
	{"pbft-a1-same-view", "A1: another digest of the same view speaks against a claim", "protocol/pbft"},
	{"pbft-a1-weak", "A1: a quorum has no higher claim", "protocol/pbft"},
	{"pbft-a2-weak", "A2: f+1 members pre-prepared the digest", "protocol/pbft"},
	{"pbft-p-dropped", "P outlives its view", "sim"},
	{"pbft-p-of-last-view-only", "P holds claims of all views above the stable checkpoint", "protocol/pbft"},
	{"pbft-q-dropped", "Q outlives its view", "sim"},
	{"pbft-no-join", "f+1 replicas that leave a view are followed", "sim"},
	{"pbft-waits-for-claims", "where claims do not come the state is fetched", "protocol/pbft"},
	{"pbft-executed-not-agreed-again", "votes are resent for executed slots that a new view brought up again", "protocol/pbft"},
	{"pbft-behind-suspects", "who is behind f+1 peers does not suspect the primary", "protocol/pbft"},
	{"pbft-primary-never-stalls", "a primary whose slots do not commit leaves its view", "protocol/pbft"},
	{"pbft-old-votes-not-resent", "votes of a view that was left are repeated to who is still in it", "protocol/pbft"},
	{"pbft-screen-lets-old-views", "proposals of a view that was left are refused unverified", "protocol/pbft"},
	{"pbft-screen-refuses-coming-views", "what the core of a later moment may use is verified", "protocol/pbft"},
	{"pbft-view-change-not-resent", "VIEW-CHANGE and NEW-VIEW are resent", "sim"},
}
