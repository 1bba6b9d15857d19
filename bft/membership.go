package bft

// Membership is what all replicas and clients of a cluster agree on before they start: who
// takes part, with which keys, and the parameters that must be equal everywhere. It never
// changes within an epoch. Its digest is part of every checkpoint.
type Membership struct {
	Cluster  ClusterID
	Epoch    uint64 // configuration number, from 0
	Protocol string // "pbft"
	App      string // "kv", "counter", "bench"
	F        int    // replicas that may be faulty in any way
	Scheme   string // signature scheme of replicas and listed clients: "ed25519", "ecdsa", "rsa"
	Replicas []Replica
	Clients  []ClientKey // listed clients
	Open     bool        // clients that are not listed may open sessions too

	CheckpointEvery SeqNum   // K: checkpoints fall after slots that are multiples of K
	Window          SeqNum   // L ≥ 2K: slots above the stable checkpoint that may be in use
	InFlight        SeqNum   // slots a primary may have open at once
	BatchCount      int      // requests in a batch, at most
	BatchBytes      int      // bytes of a batch, at most
	Sessions        int      // open sessions, at most
	TimeSkew        Duration // a fresh proposal whose time is farther off is refused
}

// Replica is one member: its public key in PKIX (DER) encoding.
type Replica struct {
	Key []byte
}

// ClientKey is one listed client.
type ClientKey struct {
	ID  ClientID
	Key []byte // PKIX (DER)
}

// N is the number of replicas.
func (m *Membership) N() int { return len(m.Replicas) }

// SessionReplyBytes is how many bytes of cached replies a session keeps. It is a function of the
// membership, since what is kept is part of the agreed state.
func (m *Membership) SessionReplyBytes() int {
	return min(max(ReplyCacheBytesMax/max(m.Sessions, 1), ResultBytesMax), SessionReplyBytesMax)
}

// Quorums returns the quorum arithmetic of m.
func (m *Membership) Quorums() Quorums { return Quorums{N: len(m.Replicas), F: m.F} }

// Quorums computes every quorum size from n and f, here and nowhere else (Castro and
// Liskov, TOCS'02, section 2; for n > 3f+1 as in reference literature on dissemination
// quorums: any two sets of Quorum replicas share at least f+1).
type Quorums struct {
	N, F int
}

// ClaimsMax bounds the claims of one VIEW-CHANGE so that a NEW-VIEW with one of every replica
// fits a frame, whatever the faulty ones claim.
func (q Quorums) ClaimsMax(window SeqNum) int {
	choices := 32*int(window) + ViewHeadBytesMax
	share := (PeerFrameBytesMax-1-choices)/max(q.N, 1) - ViewHeadBytesMax - EndorsementBytesMax*q.Quorum()
	return min(share/ClaimBytes, int(window)*(1+QEntriesMax))
}

// WindowFits reports whether a VIEW-CHANGE has room for what f faulty primaries in a row can make
// a correct replica claim: in every slot of the window P and f+1 digests of Q. With less it would
// leave out what another replica needs to have its own P chosen, and no later view could decide.
func (q Quorums) WindowFits(window SeqNum) bool {
	return q.ClaimsMax(window) >= int(window)*(q.F+2)
}

// Quorum is ⌊(n+f)/2⌋+1: any two such sets share a correct replica.
func (q Quorums) Quorum() int { return (q.N+q.F)/2 + 1 }

// Weak is f+1: at least one member is correct.
func (q Quorums) Weak() int { return q.F + 1 }

// Primary is the replica that proposes in view v.
func (q Quorums) Primary(v View) ReplicaID { return ReplicaID(uint64(v) % uint64(q.N)) }

// All is the set of all replicas.
func (q Quorums) All() ReplicaSet { return AllReplicas(q.N) }
