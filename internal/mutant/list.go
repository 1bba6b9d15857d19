package mutant

// Mutant is one rule broken on purpose.
type Mutant struct {
	Name  string // as given to On
	Rule  string // the rule that it breaks
	Where string // "sim" if the simulator must kill it, else the package whose tests must
}

// List is every mutant, by package.
var List = []Mutant{
	{"wal-no-checksum", "a record counts only if its checksum holds", "storage"},
	{"wal-sync-error-ignored", "after a failed sync nothing counts any more", "storage"},
	{"wal-cut-drops-latest", "a cut carries the newest view, new-view and checkpoint forward", "storage"},
	{"wal-damage-is-tail", "damage in front of synced records is never taken for the end of the log", "storage"},
	{"wal-tail-not-cleared", "a torn tail is overwritten before anything is appended", "storage"},
	{"wal-reuse-before-sync", "a segment is used again only after the cut that freed it is synced", "storage"},
	{"wal-open-not-synced", "what Open found is synced before it counts as durable", "storage"},
	{"snapshot-not-synced", "a snapshot has its name only after its contents are synced", "storage"},
}
