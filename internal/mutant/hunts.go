package mutant

// Hunts are the options with which the simulator looks first for a mutant that its ordinary swarm
// meets too seldom: what the rule defends against must happen.
var Hunts = map[string]string{
	"pbft-any-primary": "--replicas 4 --byzantine 1 --strategy usurp",
}
