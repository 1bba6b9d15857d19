package tcp

import (
	"log/slog"
	"sync"
	"time"

	"github.com/themis-bft/themis/internal/mutant"
)

const (
	// linesBurst and lineEvery bound what one peer, or all strangers, can make us log: some lines
	// at once and then twenty a minute.
	linesBurst = 20
	lineEvery  = 3 * time.Second
)

// quiet is a log for lines that others can cause as often as they like. What it leaves out it
// counts in the next line; the counters of Stats tell all.
type quiet struct {
	mu      sync.Mutex
	began   time.Time // when the burst would be full
	skipped int
}

// logTo writes a line with log, or leaves it out.
func (q *quiet) logTo(log func(msg string, args ...any), msg string, args ...any) {
	if skipped, ok := q.line(time.Now()); ok {
		if skipped > 0 {
			args = append(args, slog.Int("left_out", skipped))
		}
		log(msg, args...)
	}
}

// line reports whether a line may be written at an instant, and how many were left out before.
func (q *quiet) line(now time.Time) (skipped int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if full := now.Add(-linesBurst * lineEvery); q.began.Before(full) {
		q.began = full
	}
	if q.began.Add(lineEvery).After(now) && !mutant.On("tcp-log-not-limited") {
		q.skipped++
		return 0, false
	}
	q.began = q.began.Add(lineEvery)
	skipped, q.skipped = q.skipped, 0
	return skipped, true
}
