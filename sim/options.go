package sim

import (
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/sim/byz"
)

// Options says which runs a campaign makes.
type Options struct {
	Protocol  string // "pbft"
	Replicas  int
	From, To  uint64 // seeds, both included
	Byzantine int    // faulty replicas; -1 draws 0 … f for each seed
	Jobs      int    // goroutines; at least one
	// Strategies restricts what faulty replicas and clients do; nil draws from the tables of byz.
	Strategies []string
	// Leave switches parts of a seed off by name (Parts): a fault, a liar, the faulty clients.
	Leave []string

	client byz.ClientStrategy // what a faulty client does, in tests
	// First ends a campaign at the first seed, in their order, that fails; Enough ends it when it
	// reports true. Either way Report.Seeds says how many seeds were run.
	First  bool
	Enough func() bool
	// Without switches checkers off by name (check.Names), to show what only they see.
	Without []string
}

// liesReplicas reports whether Strategies names some of replicas; liesClients of clients.
func (o *Options) liesReplicas() bool { return o.names(byz.Names()) }

func (o *Options) liesClients() bool { return o.client != nil || o.names(byz.ClientNames()) }

func (o *Options) names(of []string) bool {
	for _, name := range o.Strategies {
		if contains(of, name) {
			return true
		}
	}
	return false
}

// Failure is one complaint of a checker.
type Failure struct {
	Seed    uint64 `json:"seed"`
	Checker string `json:"checker"`
	Detail  string `json:"detail"`
}

// Report is the outcome of a campaign or, with one seed, of a run. Everything in it is a
// function of the options and the seeds alone.
type Report struct {
	Seeds          int            `json:"seeds"`
	Violations     []Failure      `json:"violations"`
	Events         uint64         `json:"events"`
	VirtualSeconds float64        `json:"virtual_seconds"`
	Commits        uint64         `json:"commits"`
	ViewChanges    uint64         `json:"view_changes"`
	StateTransfers uint64         `json:"state_transfers"`
	Operations     uint64         `json:"operations"`
	Sometimes      map[string]int `json:"sometimes"`
	// Unreached names what a campaign of UnreachedFrom seeds or more never met although every
	// seed could draw it: such a campaign shows nothing about it.
	Unreached []string `json:"unreached"`
	// Strategies and Faults say in how many seeds each was drawn and began; Mutators how often
	// a field was changed, by KIND.field/scope.
	Strategies map[string]int `json:"strategies"`
	Mutators   map[string]int `json:"mutators"`
	Faults     map[string]int `json:"faults"`
	// RealCryptoSeeds ran with Ed25519, all others with ideal tags.
	RealCryptoSeeds int         `json:"real_crypto_seeds"`
	InvalidTags     InvalidTags `json:"invalid_tags"`
	TraceHash       string      `json:"trace_hash"`
}

// InvalidTags counts, for each mode of authentication, what the adversary showed and what the
// replicas refused. A NEW-VIEW or a batch may hold many, so that the two need not be equal.
type InvalidTags struct {
	Ideal TagCount `json:"ideal"`
	Real  TagCount `json:"real"`
}

// TagCount is the number of tags that hold nothing: on their way to a replica, and refused.
type TagCount struct {
	Presented uint64 `json:"presented"`
	Refused   uint64 `json:"refused"`
}

// Faults lists what happens to network, disks and processes.
func Faults() []string {
	names := make([]string, faultCount)
	for f := range faultCount {
		names[f] = f.String()
	}
	return names
}

// Strategies lists what faulty replicas and clients do.
func Strategies() []string { return append(byz.Names(), byz.ClientNames()...) }

// faultsOf is the largest f that n replicas carry.
func faultsOf(n int) int { return (n - 1) / 3 }

// Result is the outcome of one run.
type Result struct {
	Seed       uint64
	Violations []Failure
	Events     uint64
	Virtual    bft.Duration
	Counts     Counts
	Sometimes  [sometimesCount]int
	Hash       uint64

	Strategies []string // of this run's faulty replicas and clients
	Mutators   map[string]int
	Faults     [faultCount]bool
	RealCrypto bool
	Tags       TagCount
}

// Counts is what a run did.
type Counts struct {
	Commits, ViewChanges, StateTransfers, Operations uint64
}
