// Package doctor says why a cluster stands still, or what it has lost of its strength. It owns
// no state: Examine looks at the files, the processes and the admin endpoints of a local cluster
// (gather.go), and Diagnose turns what was seen into causes (diagnose.go, a pure function, so that
// every rule is tested without a cluster). The command line calls it.
//
// A cluster is healthy when it serves and tolerates f further faults. So a replica that is down is
// a cause even while the others serve. Root causes come first; what merely follows from one that
// is named is left out. Where nothing is known the doctor says so, with what it saw.
//
// It changes nothing, sends no request to the replicated service, and waits for nobody longer
// than a few seconds. It believes what replicas say of themselves only as far as that goes: what
// one replica says of another counts when f+1 say it.
package doctor

// Cause is one reason why the cluster does not serve, or would not after f faults. The JSON names
// are an interface.
type Cause struct {
	Code     string `json:"code"`
	Replica  *int   `json:"replica"` // null: the cluster as a whole
	Sentence string `json:"sentence"`
	Next     string `json:"next"` // the command to type next
}

// Report is what was found.
type Report struct {
	Healthy bool     `json:"healthy"`
	Causes  []Cause  `json:"causes"` // never null
	Notes   []string `json:"-"`      // what is worth knowing and no cause, for a person
}

// The codes. docs/operations.md says what to do about each; a test holds the page against them.
const (
	CodeTooFew         = "too-few"         // fewer replicas run than a quorum needs
	CodeDown           = "replica-down"    // stopped, or never started
	CodeCrashed        = "crashed"         // it ended by itself
	CodePaused         = "paused"          // its process is stopped by a signal
	CodeNoAnswer       = "no-answer"       // its process runs and does not answer
	CodePortTaken      = "port-taken"      // another program has one of its ports
	CodeLogDamaged     = "log-damaged"     // it refuses to vote on a damaged log
	CodeWrongDirectory = "wrong-directory" // its data belong to another replica
	CodeNoData         = "no-data"         // its data directory was never initialised, or is empty
	CodeInUse          = "directory-used"  // another process holds its data directory
	CodeConfig         = "config"          // a file of the configuration cannot be read
	CodeWrongKey       = "wrong-key"       // its key is not the one that the others know
	CodeWrongCluster   = "wrong-cluster"   // it has another cluster file than the others
	CodeNoSpace        = "no-space"        // its disk is full
	CodeSlowDisk       = "slow-disk"       // its disk takes long to make the log durable
	CodeMemory         = "memory"          // it is at its memory limit
	CodeClock          = "clock"           // its clock is off by more than proposals may be
	CodeAppStuck       = "app-stuck"       // its application does not return
	CodeDiverged       = "diverged"        // its state differs from a certified one
	CodeFaulty         = "faulty-replica"  // others refuse what it sends, as no correct replica sends it
	CodeLiar           = "liar"            // it was made to lie on purpose
	CodeIsolated       = "isolated"        // it is linked with nobody
	CodeLinkCut        = "link-cut"        // two replicas do not reach each other
	CodeOneWay         = "one-way-link"    // one replica is not heard by another that it hears
	CodeViewChanges    = "view-changes"    // view follows view and nothing is decided
	CodeSplitViews     = "split-views"     // no view has a quorum that is active in it
	CodeViewApart      = "view-apart"      // it is not active in the view of the others
	CodeBody           = "body-missing"    // it lacks the contents of a decided slot
	CodeBehind         = "behind"          // it is far behind and does not come closer
	CodeCheckpoint     = "no-checkpoint"   // no checkpoint becomes stable, the window is full
	CodeClients        = "clients-refused" // clients are turned away because of limits
	CodeStalled        = "stalled"         // work waits, nothing moves, and no other rule knows why
)

// Codes lists every code, in the order in which causes are listed.
func Codes() []string {
	return []string{
		CodeConfig, CodeWrongKey, CodePortTaken, CodeLogDamaged, CodeWrongDirectory, CodeNoData, CodeInUse,
		CodeNoSpace, CodeCrashed, CodePaused, CodeNoAnswer, CodeWrongCluster, CodeIsolated, CodeLinkCut, CodeOneWay,
		CodeClock, CodeAppStuck, CodeSlowDisk, CodeMemory, CodeDiverged, CodeFaulty, CodeTooFew, CodeDown, CodeLiar,
		CodeCheckpoint, CodeViewChanges, CodeSplitViews, CodeViewApart, CodeBody, CodeBehind, CodeClients, CodeStalled,
	}
}
