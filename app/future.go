package app

import "sync"

// Future is the promise of a response. The zero value is an empty response that is ready.
type Future struct {
	ready []byte
	late  *late
}

type late struct {
	mu    sync.Mutex
	done  bool
	bytes []byte
	then  func([]byte)
}

// Ready returns a Future that holds its response, which the caller must not change afterwards.
func Ready(response []byte) Future { return Future{ready: response} }

// Promise returns a Future and the function that completes it, once, from any goroutine.
func Promise() (Future, func(response []byte)) {
	l := &late{}
	return Future{late: l}, l.complete
}

func (l *late) complete(b []byte) {
	l.mu.Lock()
	if l.done {
		l.mu.Unlock()
		panic("app: a promise was completed twice")
	}
	l.done, l.bytes = true, b
	then := l.then
	l.mu.Unlock()
	if then != nil {
		then(b)
	}
}

// Bytes returns the response if it is there.
func (f Future) Bytes() (response []byte, ok bool) {
	if f.late == nil {
		return f.ready, true
	}
	f.late.mu.Lock()
	defer f.late.mu.Unlock()
	return f.late.bytes, f.late.done
}

// Then calls fn once with the response: at once if it is there, else later on the goroutine
// that completes the promise. At most one Then per Future.
func (f Future) Then(fn func(response []byte)) {
	if f.late == nil {
		fn(f.ready)
		return
	}
	f.late.mu.Lock()
	if !f.late.done {
		f.late.then = fn
		f.late.mu.Unlock()
		return
	}
	b := f.late.bytes
	f.late.mu.Unlock()
	fn(b)
}
