package tcp

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"time"

	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/transport"
)

// What a frame reader refuses. Both end the link.
var (
	errFrameSize    = errors.New("tcp: frame longer than its link allows, or empty")
	errFrameStalled = errors.New("tcp: a frame began and did not arrive")
)

const (
	// readBufferBytes is the buffer that an idle link holds.
	readBufferBytes = 4 << 10
	// firstBytesMax is what a frame may make us allocate before more of it has arrived.
	firstBytesMax = 8 << 10
	// stallBytes is the progress that a long frame must make within the stall time.
	stallBytes = 64 << 10
)

// frameReader cuts frames from a connection. One goroutine uses it.
//
// It waits for the first byte of a frame without limit, since links may be idle, and for the
// rest no longer than stall for every stallBytes. What it allocates is at most twice what has
// arrived, plus firstBytesMax.
type frameReader struct {
	conn  net.Conn
	limit int // bytes of kind and payload
	stall time.Duration

	buf       [readBufferBytes]byte
	r, w      int
	hasExpiry bool // a read deadline of ours is set
}

func newFrameReader(conn net.Conn, limit int, stall time.Duration) *frameReader {
	return &frameReader{conn: conn, limit: limit, stall: stall}
}

// next returns the next frame. Its payload is freshly allocated. Any error is final.
func (f *frameReader) next() (transport.Frame, error) {
	var none transport.Frame
	if f.r == f.w {
		if err := f.idle(); err != nil {
			return none, err
		}
	}
	const header = 5 // length (4), kind (1)
	if err := f.fill(header); err != nil {
		return none, err
	}
	n := binary.LittleEndian.Uint32(f.buf[f.r:])
	if n == 0 || uint64(n) > uint64(f.limit) && !mutant.On("tcp-frame-not-limited") {
		return none, errFrameSize
	}
	kind := f.buf[f.r+4]
	f.r += header
	payload, err := f.payload(int(n) - 1)
	if err != nil {
		return none, err
	}
	return transport.Frame{Kind: kind, Payload: payload}, nil
}

// idle waits for the first bytes of a frame.
func (f *frameReader) idle() error {
	if f.hasExpiry {
		f.hasExpiry = false
		if err := f.conn.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
	}
	f.r, f.w = 0, 0
	n, err := f.conn.Read(f.buf[:])
	f.w = n
	if n > 0 {
		return nil
	}
	return err
}

// expire gives the other end the stall time for what comes next.
func (f *frameReader) expire() error {
	if mutant.On("tcp-stall-never") {
		return nil
	}
	f.hasExpiry = true
	return f.conn.SetReadDeadline(time.Now().Add(f.stall))
}

// fill makes at least n bytes, which fit the buffer, available at f.r.
func (f *frameReader) fill(n int) error {
	if f.w-f.r >= n {
		return nil
	}
	if err := f.expire(); err != nil {
		return err
	}
	f.w = copy(f.buf[:], f.buf[f.r:f.w])
	f.r = 0
	for f.w < n {
		m, err := f.conn.Read(f.buf[f.w:])
		f.w += m
		if err != nil && f.w < n {
			return stalled(err)
		}
	}
	return nil
}

// payload reads n bytes, first from the buffer and then straight into place.
func (f *frameReader) payload(n int) ([]byte, error) {
	first := min(n, max(firstBytesMax, 2*(f.w-f.r)))
	if mutant.On("tcp-frame-allocated-at-once") {
		first = n
	}
	p := make([]byte, first)
	got := copy(p, f.buf[f.r:f.w])
	f.r += got
	for expiresAt := got; got < n; {
		if got >= expiresAt {
			if err := f.expire(); err != nil {
				return nil, err
			}
			expiresAt = got + stallBytes
		}
		if got == len(p) {
			larger := make([]byte, min(n, 2*len(p)))
			copy(larger, p)
			p = larger
		}
		m, err := f.conn.Read(p[got:min(len(p), expiresAt)])
		got += m
		if err != nil && got < n {
			return nil, stalled(err)
		}
	}
	return p, nil
}

func stalled(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errFrameStalled
	}
	return err
}
