package protocol

import "github.com/themis-bft/themis/bft"

// Hint is what a core lets the verify stage know of itself, so that what it would reject is not
// verified at great cost first. It may be older than the core, never newer: of View and Stable
// the core has the same or a higher one, and if View is the same Active can only have become
// true where it was false.
type Hint struct {
	View   bft.View
	Active bool
	Stable bft.SeqNum // last stable checkpoint
	High   bft.SeqNum // highest slot of the window
}

// Screened is what a Screener makes of a message.
type Screened struct {
	// Refuse is why the core is sure to reject the message, whatever the signatures in it say;
	// ReasonNone if it may be of use.
	Refuse Reason
	// Costly says that nothing bounds how many such messages a peer can send that are good and of
	// no use: the caller verifies them only as far as the peer's budget goes. A correct peer sends
	// few, and again when a STATUS shows that they are missing.
	Costly bool
}

// Screener is a Codec that can tell from a Hint what its core would reject. Refused is only what
// the core of every later moment rejects with no effect but the Rejection: what a core answers
// or keeps, such as votes that overtake NEW-VIEW, is not.
type Screener interface {
	Codec
	Screen(m Message, h Hint) Screened
}
