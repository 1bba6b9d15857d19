package alloctest

import "testing"

var sink []byte

// failed records instead of failing.
type failed struct {
	testing.TB
	yes bool
}

func (f *failed) Helper()               {}
func (f *failed) Fatalf(string, ...any) { f.yes = true }

func TestReader(t *testing.T) {
	for _, c := range []struct {
		length, limit, takes int
		bad                  bool
	}{
		{1 << 10, 1 << 20, 1 << 10, false},
		{1 << 10, 1 << 20, 1 << 20, true},
		{1 << 20, 1 << 20, 2 << 20, false},
		{1 << 20, 1 << 20, 4 << 20, true},
	} {
		f := &failed{TB: t}
		Reader(f, c.length, c.limit, func() { sink = make([]byte, c.takes) })
		if f.yes != c.bad {
			t.Errorf("%+v: failed %v", c, f.yes)
		}
	}
}

// TestOnceIsNoise: an allocation that does not happen again is none of the reader's.
func TestOnceIsNoise(t *testing.T) {
	calls := 0
	f := &failed{TB: t}
	Reader(f, 10, 1000, func() {
		if calls++; calls == 1 {
			sink = make([]byte, 1<<20)
		}
	})
	if f.yes || calls < 2 {
		t.Errorf("failed %v after %d calls", f.yes, calls)
	}
}
