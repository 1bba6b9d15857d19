// Package history is what clients of the key-value store saw: one event per operation, with the
// instants of its call and its return, as JSON lines that several processes may write and
// others read. Check holds a history against the meaning of a register per key (porcupine);
// Audit looks for writes that were lost or took effect twice, without any search.
//
// A Writer may be used from any goroutine; everything else is plain data. The package knows
// nothing of replicas.
package history

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is an operation.
type Kind string

// The operations.
const (
	Put Kind = "put"
	Get Kind = "get"
	Del Kind = "del"
	CAS Kind = "cas"
)

// Outcome is what the client knows of an operation's effect.
type Outcome string

// The outcomes. Fail means that the operation had no effect and never will have one.
const (
	OK      Outcome = "ok"
	Fail    Outcome = "fail"
	Unknown Outcome = "unknown"
)

// The results of operations that were answered, as the store names them.
const (
	Done     = "done"
	Found    = "found"
	Missing  = "missing"
	Mismatch = "mismatch"
)

// Event is one operation of one client. The JSON names are an interface.
type Event struct {
	Client  int     `json:"client"`
	Op      Kind    `json:"op"`
	Key     string  `json:"key"`
	Value   *string `json:"value"`         // written by put and cas; read by get, null if the key is absent
	Old     *string `json:"old,omitempty"` // what cas expects; absent: no value
	Call    int64   `json:"call"`          // nanoseconds of the monotonic clock of this machine
	Return  int64   `json:"return"`
	Outcome Outcome `json:"outcome"`
	Result  string  `json:"result,omitempty"` // what the store answered
}

// Now reads the monotonic clock of the machine, which all its processes share.
func Now() int64 { return base.machine + int64(time.Since(base.process)) }

// base joins the clock of the machine, which is read once, to that of the runtime.
var base = func() (b struct {
	machine int64
	process time.Time
},
) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err == nil {
		b.machine = ts.Nano()
	}
	b.process = time.Now()
	return b
}()

// Writer writes events as JSON lines, or keeps them. Safe for concurrent use.
type Writer struct {
	mu   sync.Mutex
	out  *bufio.Writer
	keep []Event
	err  error
}

// NewWriter writes to w; Flush at the end.
func NewWriter(w io.Writer) *Writer { return &Writer{out: bufio.NewWriterSize(w, 1<<16)} }

// Keep returns a Writer that keeps the events in memory.
func Keep() *Writer { return &Writer{} }

// Add writes one event. Errors come out of Flush.
func (w *Writer) Add(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.out == nil {
		w.keep = append(w.keep, e)
		return
	}
	b, err := json.Marshal(e)
	if err == nil {
		_, err = w.out.Write(append(b, '\n'))
	}
	if w.err == nil {
		w.err = err
	}
}

// Flush writes what is buffered and returns the first error of all.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.out == nil {
		return nil
	}
	if err := w.out.Flush(); w.err == nil {
		w.err = err
	}
	return w.err
}

// Events returns what a Writer of Keep has kept.
func (w *Writer) Events() []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Event(nil), w.keep...)
}

// Read reads JSON lines.
func Read(r io.Reader) ([]Event, error) {
	var all []Event
	dec := json.NewDecoder(r)
	for {
		var e Event
		switch err := dec.Decode(&e); err {
		case nil:
			all = append(all, e)
		case io.EOF:
			return all, nil
		default:
			return nil, fmt.Errorf("history: event %d: %w", len(all)+1, err)
		}
	}
}
