// Package client is how a program uses a replicated service: it opens a session with the
// cluster, sends signed operations, and accepts an answer when f+1 distinct replicas vouch for it.
//
// Session (session*.go) is the pure part: numbers, window, retries, the vote on replies. It has
// no clock, goroutine or socket, and the simulator drives the same code. Client is the rest:
// one TLS connection per replica, and one goroutine that owns the Session.
//
// # What a caller gets
//
// An operation that returns a result was executed exactly once, and at least one correct
// replica vouches for the result. Within a session exactly once also holds for every resend
// that the session makes by itself. Every call ends by its deadline, with one of two errors:
//
//   - ErrNoQuorum: the operation was never sent. It was not and will not be executed.
//   - ErrOutcomeUnknown: it was sent. It was executed once, or will be, or never is. It keeps its
//     number until the replicas answer or close the session: the session goes on asking for the
//     answer, so that the window moves on, but the caller does not hear of it any more. Repeating
//     the call is a new operation; exactly once does not join the two.
//
// When the replicas close a session (they hold a limited number, and evict the one that was
// used least recently), the client opens another by itself. Operations in doubt then end with
// ErrOutcomeUnknown, operations not sent yet go to the new session.
//
// # Faults
//
// Up to f replicas may be down, silent or lying from the start on. A lie is never accepted; it
// is counted (Stats, Deviations), and who lied is not asked to answer for a while. Requests go
// to the presumed primary first, and to all replicas when it does not answer in time, when the link
// to it breaks, or when those asked to answer disagree. The presumed primary follows the view
// that f+1 replicas claim.
//
// The methods of Client are safe for concurrent use; those of Session belong to one goroutine.
package client
