package bft

// Every limit of Themis stands here with its reason. Units are in the name, the word Max
// stands last, and relations between limits do not compile when they break.
const (
	// ReplicasMax is the width of ReplicaSet. Beyond some tens of replicas all-to-all
	// voting is the wrong protocol anyway.
	ReplicasMax = 64

	// ViewMax and SeqMax end the usable range far below the overflow of uint64: sums with
	// windows and intervals cannot wrap. At a million slots a second SeqMax lasts 146,000 years.
	ViewMax View   = 1 << 62
	SeqMax  SeqNum = 1 << 62

	// WindowSlotsMax bounds Membership.Window, and by it every per-slot structure.
	WindowSlotsMax = 1024

	// OpBytesMax is one operation; RequestBytesMax one envelope of operations with its
	// authenticator (an RSA-4096 signature has 512 bytes).
	OpBytesMax      = 64 << 10
	RequestBytesMax = OpBytesMax + 4<<10

	// RequestOpsMax bounds a bundle; it must fit the session's window.
	RequestOpsMax = 64

	// SignatureBytesMax holds RSA-4096.
	SignatureBytesMax = 512

	// ResultBytesMax is one result; a larger one becomes an error reply.
	ResultBytesMax = 64 << 10

	// BatchRequestsMax and BatchBytesMax bound Membership.BatchCount and BatchBytes.
	BatchRequestsMax = 1024
	BatchBytesMax    = 1 << 20

	// QEntriesMax bounds the digests per slot that a VIEW-CHANGE may claim as
	// pre-prepared: one for each view in which the slot was proposed and not prepared
	// since. f faulty primaries in a row and a correct one make f+1; timeouts double, so that
	// more are never met by accident.
	QEntriesMax = 22

	// ClaimBytes is the size of a claim, EndorsementBytesMax the largest one of an endorsement, and
	// ViewHeadBytesMax is more than what else a VIEW-CHANGE or NEW-VIEW holds beside its lists.
	ClaimBytes          = 48
	EndorsementBytesMax = 4 + SignatureBytesMax
	ViewHeadBytesMax    = 128 + SignatureBytesMax

	// SessionOpsMax is W: a client never sends a number ≥ its oldest unfinished + W.
	SessionOpsMax = 256

	// SessionReplyBytesMax bounds the cached replies of one session; beyond it the oldest
	// bytes go, and a repeat is told that its result was dropped.
	SessionReplyBytesMax = 256 << 10

	// ReplyCacheBytesMax bounds the cached replies of all sessions: with many sessions each keeps
	// less, but one result at least (Membership.SessionReplyBytes). Every checkpoint that is held
	// may have other pages of them.
	ReplyCacheBytesMax = 64 << 20

	// SessionsMax bounds Membership.Sessions.
	SessionsMax = 1 << 16

	// PeerFrameBytesMax bounds a frame between replicas: a NEW-VIEW of 16 replicas with full
	// windows, or one body, or one fragment of state. ClientFrameBytesMax bounds one from a client.
	PeerFrameBytesMax   = 8 << 20
	ClientFrameBytesMax = RequestBytesMax + 64

	// StateItemBytesMax is one page of state; StateFragmentBytesMax one fragment of it on the wire.
	StateItemBytesMax     = 16 << 20
	StateFragmentBytesMax = 64 << 10
	// StatePagesMax bounds the pages of a snapshot, application and sessions together.
	StatePagesMax = 1 << 14

	// PoolBytesMax and PoolRequestsMax bound the pending requests of a replica; the oldest
	// request of every session has a place of its own beyond that.
	PoolBytesMax    = 4 << 20
	PoolRequestsMax = 8192

	// RequestsPerSessionMax bounds what one session may have pending at a replica.
	RequestsPerSessionMax = SessionOpsMax

	// OpenSpan is how far the time in an OPEN may be from the agreed one, besides Membership.TimeSkew or as
	// much again if that is less:
	// an OPEN of longer ago, whose session may have been closed since, opens no other one.
	OpenSpan = 30 * Second

	// OpensPendingMax is the room of the pool for sessions that wait beyond Membership.Sessions:
	// those whose OPEN is pending.
	OpensPendingMax = 256

	// RelaysMax bounds the requests that one look over the pool relays or looks up, so that a
	// view change under load does not become a burst of everything that is pending.
	RelaysMax = 64

	// VerifiedRequestsMax is the number of request digests whose verification is remembered: a
	// request is verified when its client or a relay brings it and again inside PRE-PREPARE, and
	// between the two lies at most what the pool holds.
	VerifiedRequestsMax = 2 * PoolRequestsMax

	// FetchesMax bounds the digests whose bodies are awaited; a core asks for one per slot and
	// for each digest claimed in it.
	FetchesMax = 2 * WindowSlotsMax

	// ServeBytesPerSecond is what one peer may draw of bodies and state; ServeBurstBytes what it
	// may draw at once: a peer that asks again and again costs a bounded share of the network.
	ServeBytesPerSecond = 32 << 20
	ServeBurstBytes     = 4 << 20

	// RepeatBytesPerSecond is what one client may draw of answers that it was given before, on all
	// its links together; RepeatBurstBytes what it may draw at once: all that its session keeps,
	// since a client whose links broke asks for that, and some times over.
	RepeatBytesPerSecond = 512 << 10
	RepeatBurstBytes     = 4 * SessionReplyBytesMax

	// WastedChecksPerSecond is how many signatures one peer may make a replica check for nothing,
	// or for messages that it can make in any number: about a tenth of one core. WastedChecksBurst
	// lets it do so in a burst, since after a view change a correct peer sends much at once.
	WastedChecksPerSecond = 2048
	WastedChecksBurst     = 4 * WastedChecksPerSecond
)

// What must hold between them.
const (
	_ = uint(RequestBytesMax - OpBytesMax - SignatureBytesMax - 256) // one operation always fits an envelope
	_ = uint(BatchBytesMax - RequestBytesMax - 64)                   // one envelope always fits a batch
	_ = uint(PeerFrameBytesMax - BatchBytesMax - 256)                // a body always fits a frame
	_ = uint(PeerFrameBytesMax - StateFragmentBytesMax - 256)        // a fragment always fits a frame
	_ = uint(SessionOpsMax - RequestOpsMax)                          // a bundle always fits the session's window
	_ = uint(QEntriesMax - (ReplicasMax-1)/3 - 1)                    // as many as faulty primaries in a row can make
	_ = uint(SessionReplyBytesMax - ResultBytesMax)                  // one result always fits the cache
	_ = uint(StateItemBytesMax - 32*StatePagesMax)                   // a manifest is an item
	_ = uint(64 - ReplicasMax)                                       // ReplicaSet is a uint64
	_ = uint(PoolBytesMax - 2*BatchBytesMax)                         // a full batch can wait while another is built
	_ = uint(ServeBurstBytes - BatchBytesMax - 64)                   // a body can always be served once
	_ = uint(ServeBurstBytes - StateFragmentBytesMax - 64)           // and a fragment
	_ = uint(WastedChecksBurst - 2*BatchRequestsMax)                 // the largest frame fits the burst
	_ = uint(RepeatBurstBytes - SessionReplyBytesMax)                // and a session's replies can be repeated
	_ = uint64(SeqMax>>1 - WindowSlotsMax)                           // sums cannot wrap
)
