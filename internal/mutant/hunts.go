package mutant

// Hunts are the options with which the simulator looks first for a mutant that its ordinary swarm
// meets too seldom: what the rule defends against must happen.
var Hunts = map[string]string{
	"pbft-any-primary":             "--replicas 4 --byzantine 1 --strategy usurp",
	"pbft-signature-unchecked":     "--replicas 4 --byzantine 1 --strategy false-new-view",
	"pbft-null-weak":               "--replicas 4 --byzantine 1 --strategy false-claims",
	"pbft-a1-same-view":            "--replicas 4 --byzantine 1 --strategy false-claims",
	"pbft-a1-weak":                 "--replicas 4 --byzantine 1 --strategy false-claims",
	"pbft-a2-weak":                 "--replicas 4 --byzantine 1 --strategy false-claims",
	"pbft-base-unproven":           "--replicas 4 --byzantine 1 --strategy forged-proofs",
	"pbft-proof-small":             "--replicas 4 --byzantine 1 --strategy forged-proofs",
	"pbft-new-view-overruled":      "--replicas 4 --byzantine 1 --strategy overrule",
	"pbft-accepts-before-new-view": "--replicas 4 --byzantine 1 --strategy overrule",
	"pbft-proof-repeats":           "--replicas 4 --byzantine 1 --strategy forged-proofs",
	"pbft-set-repeats":             "--replicas 4 --byzantine 1 --strategy self-crowned",
	"pbft-new-view-by-anyone":      "--replicas 4 --byzantine 1 --strategy self-crowned",
	"pbft-claims-of-later-views":   "--replicas 4 --byzantine 1 --strategy false-claims",
	"pbft-view-from-status":        "--replicas 4 --byzantine 1 --strategy false-status",
	"verify-digest-not-recomputed": "--replicas 4 --byzantine 1 --strategy false-body",
	"verify-cache-keyed-by-number": "--replicas 4 --byzantine 1 --strategy forged-requests",
	"node-silence-never":           "--replicas 4 --byzantine 1 --strategy silent-primary",
	"client-same-replica-twice":    "--replicas 4 --byzantine 1 --strategy lying-replies",
	"client-results-not-compared":  "--replicas 4 --byzantine 1 --strategy lying-replies",
	"pbft-primary-prepares":        "--replicas 4 --byzantine 1 --strategy two-faced",
	"catchup-page-not-checked":     "--replicas 4 --byzantine 1 --strategy false-index",
	"catchup-manifest-not-checked": "--replicas 4 --byzantine 1 --strategy lying-source",
	"pbft-messages-counted":        "--replicas 4 --byzantine 1 --strategy stutter",
}
