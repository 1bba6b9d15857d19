package mutant

// Mutant is one rule broken on purpose.
type Mutant struct {
	Name  string // as given to On
	Rule  string // the rule that it breaks
	Where string // "sim" if the simulator must kill it, else the package whose tests must
}

// List is every mutant, by package.
var List = []Mutant{
	{"verify-digest-not-recomputed", "a batch has the digest that was computed here", "host"},
	{"verify-request-signature-skipped", "every request of a batch is authentic", "host"},
	{"verify-cache-keyed-by-number", "a verification is remembered for the very bytes, signature included", "host"},
	{"pool-not-fair", "sessions take turns in a batch", "host"},
	{"pool-forgets-on-view-change", "in a new view everything not executed is proposed again", "host"},
	{"pool-no-reserved-place", "the oldest request of a session has a place of its own", "host"},
	{"pool-repeats-are-progress", "executing what was executed before ends no silence", "host"},
	{"pool-suspects-untold", "nobody is blamed for a request that he was not told of", "host"},
	{"pool-unfairness-never", "a primary that starves a session is suspected", "host"},
	{"node-silence-never", "a silent primary is suspected", "host"},
	{"node-orders-unknown-sessions", "what comes first of a session is looked up before it is ordered", "host"},
	{"node-keeps-false-time", "proposed time stays near the wall clock after a jump of it", "host"},
	{"verify-batch-limits-skipped", "a batch is no larger than the membership allows", "host"},
	{"verify-waste-not-bounded", "what a peer makes us check for nothing is bounded", "host"},
	{"transfer-ended-by-diverged", "execution in a diverged state ends no transfer", "host"},
	{"wal-no-checksum", "a record counts only if its checksum holds", "storage"},
	{"wal-sync-error-ignored", "after a failed sync nothing counts any more", "storage"},
	{"wal-cut-drops-latest", "a cut carries the newest view, new-view and checkpoint forward", "storage"},
	{"wal-damage-is-tail", "damage in front of synced records is never taken for the end of the log", "storage"},
	{"wal-tail-not-cleared", "a torn tail is overwritten before anything is appended", "storage"},
	{"wal-reuse-before-sync", "a segment is used again only after the cut that freed it is synced", "storage"},
	{"wal-open-not-synced", "what Open found is synced before it counts as durable", "storage"},
	{"snapshot-not-synced", "a snapshot has its name only after its contents are synced", "storage"},
	{"exec-runs-twice", "an executed number never runs again", "exec"},
	{"exec-number-skipped", "every ordered number of a session runs", "exec"},
	{"exec-session-table-not-in-checkpoint", "a checkpoint covers the session table", "exec"},
	{"wire-window-not-checked", "a number beyond the window that its request states is malformed", "wire"},
	{"wire-count-not-bounded", "a count is held against what can follow before anything is allocated", "wire"},
	{"exec-window-not-checked", "a number beyond the session's window does not alias the bit of another", "exec"},
	{"exec-session-number-twice", "a session is not closed in the slot of its own OPEN", "exec"},
	{"exec-caches-not-bounded", "the caches of all sessions together are bounded", "exec"},
	{"exec-reply-not-cached", "a repeat is answered with the first result", "exec"},
	{"catchup-page-not-checked", "a page counts only with the digest of the manifest", "catchup"},
	{"catchup-manifest-not-checked", "a manifest counts only with the certified digest", "catchup"},
	{"catchup-asks-too-much", "a fetcher asks for no more than the budget of a server gives", "catchup"},
	{"catchup-nobody-overtakes", "a source that drips does not hold up a transfer", "catchup"},
	{"kv-snapshot-not-copied", "operations do not change what a snapshot shows", "app/kv"},
	{"kv-entries-not-bounded", "the entries of a page are bounded, not only their bytes", "app/kv"},
	{"client-f-replies", "a client accepts a result from f+1 replicas, not f", "client"},
	{"client-same-replica-twice", "replies of one replica count once", "client"},
	{"client-view-hint-from-one", "the presumed primary moves when f+1 replicas claim the view", "client"},
	{"client-window-ignored", "no number at or above the oldest unfinished + W is sent", "client"},
	{"replica-sync-skipped", "nothing leaves before the log has synced what it rests on", "replica"},
	{"replica-pause-counts", "time in which the process did not run counts for no timer", "replica"},
	{"replica-link-order", "the frames of a link are stepped in the order of their arrival", "replica"},
	{"pool-confirmed-once", "the execute stage is asked again before a request leads to suspicion", "host"},
}
