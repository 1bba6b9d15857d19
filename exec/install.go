package exec

import (
	"errors"
	"fmt"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/catchup"
)

// Errors of Install. Each of them leaves the Executor as it was, except ErrMachine.
var (
	// ErrNotNewer: the state is not ahead of what was executed; the caller drops it.
	ErrNotNewer = errors.New("exec: the state is not newer than what was executed")
	// ErrState: manifest, pages and digests do not fit together; the caller fetches again.
	ErrState = errors.New("exec: the state does not match its digest")
	// ErrConfiguration: the state belongs to another membership; the operator must look.
	ErrConfiguration = errors.New("exec: the state belongs to another configuration")
	// ErrMachine: the application refused the pages, or shows other pages after restoring them.
	// Its state is now unknown: the process must end.
	ErrMachine = errors.New("exec: the application does not restore the state")
)

// Install replaces the application's state, the session table and the clock by a checkpoint and
// returns that checkpoint, with a reference that belongs to the caller. Every page is held
// against the manifest, and the manifest against s.Digest, which the caller knows to be
// certified. A state that is not newer than what was executed is refused unless force is set
// (a restart, or a replica that diverged).
//
// Clients that wait here go on waiting. Responses and checkpoints that were still open are
// dropped; late responses are sent to who waits for them but change nothing.
func (e *Executor) Install(s *catchup.State, force bool) (*Checkpoint, error) {
	if s.Seq <= e.executed && !force {
		return nil, fmt.Errorf("%w: slot %d, executed %d", ErrNotNewer, s.Seq, e.executed)
	}
	m, err := e.verify(s)
	if err != nil {
		return nil, err
	}
	var sessions []*session
	for i, b := range s.Pages[len(m.App):] {
		more, err := decodePage(b, i*sessionsPerPage)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrState, err)
		}
		sessions = append(sessions, more...)
	}
	if err := e.machine.Restore(s.Pages[:len(m.App)]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMachine, err)
	}
	e.abandon()
	e.table.restore(sessions)
	e.executed, e.installed, e.time, e.worked = m.Seq, m.Seq, m.Time, m.Seq
	c := e.finish(e.picture())
	if c.digest != s.Digest {
		c.Release()
		return nil, fmt.Errorf("%w: slot %d has digest %s, after restoring it %s", ErrMachine, s.Seq, s.Digest, c.digest)
	}
	return c, nil
}

// verify holds every byte of s against s.Digest.
func (e *Executor) verify(s *catchup.State) (catchup.Manifest, error) {
	if catchup.ManifestDigest(s.Manifest) != s.Digest {
		return catchup.Manifest{}, fmt.Errorf("%w: manifest of slot %d", ErrState, s.Seq)
	}
	m, err := catchup.ParseManifest(s.Manifest)
	if err != nil || m.Seq != s.Seq || m.Pages() != len(s.Pages) {
		return catchup.Manifest{}, fmt.Errorf("%w: manifest of slot %d does not describe it", ErrState, s.Seq)
	}
	if m.Membership != e.config {
		return catchup.Manifest{}, fmt.Errorf("%w: %s, here %s", ErrConfiguration, m.Membership, e.config)
	}
	for i, b := range s.Pages {
		if app.PageDigest(b) != m.Page(i) {
			return catchup.Manifest{}, fmt.Errorf("%w: page %d of slot %d", ErrState, i, s.Seq)
		}
	}
	return m, nil
}

// abandon drops what waits for late responses of the state that is being replaced.
func (e *Executor) abandon() {
	e.epoch++
	e.open = 0
	for _, u := range e.waiting {
		u.app.Release()
	}
	e.waiting = nil
}

var _ catchup.Held = (*Checkpoint)(nil)
