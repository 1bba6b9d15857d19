package mutant

// Mutant is one rule broken on purpose.
type Mutant struct {
	Name  string // as given to On
	Rule  string // the rule that it breaks
	Where string // "sim" if the simulator must kill it, else the package whose tests must
}

// List is every mutant, by package.
var List = []Mutant{}
