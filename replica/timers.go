package replica

import "time"

// waiter is one reusable timer of the order stage. The timers of protocol and pool live in the
// node; this one only says how long the stage may sleep.
type waiter struct{ timer *time.Timer }

func newWaiter() *waiter {
	w := &waiter{timer: time.NewTimer(time.Hour)}
	w.timer.Stop()
	return w
}

// after returns a channel that is ready in d.
func (w *waiter) after(d time.Duration) <-chan time.Time {
	w.timer.Reset(d)
	return w.timer.C
}

func (w *waiter) stop() { w.timer.Stop() }
