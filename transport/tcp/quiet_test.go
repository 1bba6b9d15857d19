package tcp

import (
	"testing"
	"time"
)

// TestQuiet: lines that others cause are bounded, none is lost without being counted, and who
// was quiet for long may say much at once again.
func TestQuiet(t *testing.T) {
	var q quiet
	now := time.Now()
	written, left := 0, 0
	for range 10 * 60 { // ten minutes of a hundred a second
		for range 100 {
			if skipped, ok := q.line(now); ok {
				written++
				left += skipped
			}
			now = now.Add(10 * time.Millisecond)
		}
	}
	if most := linesBurst + int(10*time.Minute/lineEvery); written > most || written < most-2 {
		t.Errorf("%d lines in ten minutes, want %d", written, most)
	}
	now = now.Add(time.Hour)
	skipped, ok := q.line(now)
	if !ok || written+left+skipped != 60000 {
		t.Errorf("%d written, %d and %d left out of 60000", written, left, skipped)
	}
	burst := 0
	for range 100 {
		if _, ok := q.line(now); ok {
			burst++
		}
	}
	if burst != linesBurst-1 {
		t.Errorf("%d more lines at once after an hour", burst)
	}
}
