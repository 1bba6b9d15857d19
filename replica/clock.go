package replica

import (
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
)

// pauseMax is how much running time one look at the clock may add. The order stage looks at
// least every heartbeat, so that a longer gap means that the process did not run: it was
// stopped, its machine slept, or it got no processor. Such time counts for no timer, else a
// replica that was paused for a second would suspect a primary that did nothing wrong.
const (
	pauseMax  = 100 * time.Millisecond
	heartbeat = 50 * time.Millisecond
)

// clock gives running time: monotonic time less the time in which the process did not run.
// Only the order stage uses it, save for sinceStart.
type clock struct {
	start  time.Time
	last   bft.Duration // sinceStart at the last look
	lost   bft.Duration // time that did not count so far
	issued bft.Duration // the last instant given out: they never go back
}

func newClock() *clock { return &clock{start: time.Now()} }

// sinceStart is monotonic time. It is safe from any goroutine; receive stamps frames with it.
func (c *clock) sinceStart() bft.Duration { return bft.Duration(time.Since(c.start)) }

// now looks at the clock and returns running time.
func (c *clock) now() bft.Duration { return c.observe(c.sinceStart()) }

func (c *clock) observe(raw bft.Duration) bft.Duration {
	if gap := raw - c.last; gap > bft.Duration(pauseMax) && !mutant.On("replica-pause-counts") {
		c.lost += gap - bft.Duration(pauseMax)
	}
	c.last = raw
	return raw - c.lost
}

// before limits the running time now to the receipt of the oldest frame that is not stepped
// yet (its stamp from sinceStart, or none if negative): a timer that became due after the
// frame arrived fires after the frame was stepped. It never goes back.
func (c *clock) before(now, oldest bft.Duration) bft.Duration {
	if oldest >= 0 {
		now = min(now, oldest-c.lost)
	}
	c.issued = max(c.issued, now)
	return c.issued
}

// wall is the time of day as the system knows it.
func wall() bft.Time { return bft.Time(time.Now().UnixNano()) }
