package tcp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/transport"
	"github.com/themis-bft/themis/wire"
)

// script is a connection that yields its bytes in pieces and then an error.
type script struct {
	net.Conn
	bytes    []byte
	piece    int
	end      error
	expiry   int // read deadlines set
	asked    int // the largest buffer offered
	idleRead int // reads without a deadline
	armed    bool
}

func (s *script) Read(b []byte) (int, error) {
	s.asked = max(s.asked, len(b))
	if !s.armed {
		s.idleRead++
	}
	if len(s.bytes) == 0 {
		return 0, s.end
	}
	n := copy(b[:min(len(b), s.piece)], s.bytes)
	s.bytes = s.bytes[n:]
	return n, nil
}

func (s *script) SetReadDeadline(t time.Time) error {
	s.armed = !t.IsZero()
	if s.armed {
		s.expiry++
	}
	return nil
}

func TestFrameReader(t *testing.T) {
	var stream []byte
	sizes := []int{0, 1, 100, readBufferBytes - 5, readBufferBytes, firstBytesMax + 1, 70_000, 3, 300_000}
	for i, n := range sizes {
		stream = wire.AppendFrame(stream, wire.Kind(i+1), bytes.Repeat([]byte{byte(i)}, n))
	}
	for _, piece := range []int{1, 3, 7, 1000, 4096, 1 << 20} {
		f := newFrameReader(&script{bytes: stream, piece: piece, end: io.EOF}, bft.PeerFrameBytesMax, time.Second)
		for i, n := range sizes {
			frame, err := f.next()
			if err != nil || int(frame.Kind) != i+1 || !bytes.Equal(frame.Payload, bytes.Repeat([]byte{byte(i)}, n)) {
				t.Fatalf("pieces of %d: frame %d of %d bytes came as kind %d with %d bytes, %v", piece, i, n, frame.Kind, len(frame.Payload), err)
			}
		}
		if _, err := f.next(); err != io.EOF {
			t.Errorf("pieces of %d: after the last frame %v, want EOF", piece, err)
		}
	}
}

func TestFrameReaderRefusesLength(t *testing.T) {
	const limit = 1000
	for n, ok := range map[uint32]bool{0: false, 1: true, limit: true, limit + 1: false, 1 << 31: false, 1<<32 - 1: false} {
		b := binary.LittleEndian.AppendUint32(nil, n)
		if ok {
			b = append(b, make([]byte, n)...)
		} else {
			b = append(b, 1)
		}
		c := &script{bytes: b, piece: 1 << 20, end: io.ErrUnexpectedEOF}
		_, err := newFrameReader(c, limit, time.Second).next()
		if ok != (err == nil) || (!ok && !errors.Is(err, errFrameSize)) {
			t.Errorf("length %d with a limit of %d: %v", n, limit, err)
		}
	}
}

// TestFrameReaderAllocatesWhatArrived: a length alone costs firstBytesMax, no more.
func TestFrameReaderAllocatesWhatArrived(t *testing.T) {
	announced := binary.LittleEndian.AppendUint32(nil, bft.PeerFrameBytesMax)
	for _, arrived := range []int{1, 5000, 100_000} {
		c := &script{bytes: append(bytes.Clone(announced), make([]byte, arrived)...), piece: 1 << 20, end: os.ErrDeadlineExceeded}
		_, err := newFrameReader(c, bft.PeerFrameBytesMax, time.Second).next()
		if !errors.Is(err, errFrameStalled) {
			t.Errorf("%d of %d bytes arrived: %v, want errFrameStalled", arrived, bft.PeerFrameBytesMax, err)
		}
		if most := max(readBufferBytes, firstBytesMax, 2*arrived); c.asked > most {
			t.Errorf("%d bytes arrived, and a buffer of %d was offered", arrived, c.asked)
		}
	}
}

// TestFrameReaderDeadlines: an idle link has none, every wait within a frame has one, and a
// long frame gets a new one for its progress.
func TestFrameReaderDeadlines(t *testing.T) {
	small, large := wire.AppendFrame(nil, 1, make([]byte, 10)), wire.AppendFrame(nil, 1, make([]byte, 10*stallBytes))
	c := &script{bytes: append(bytes.Clone(large), small...), piece: 1000, end: io.EOF}
	f := newFrameReader(c, bft.PeerFrameBytesMax, time.Second)
	if _, err := f.next(); err != nil {
		t.Fatal(err)
	}
	if c.idleRead != 1 || c.expiry < 9 || c.expiry > 12 {
		t.Errorf("a frame of 10 stall sizes: %d reads without a deadline, %d deadlines", c.idleRead, c.expiry)
	}
	if _, err := f.next(); err != nil {
		t.Fatal(err)
	}
	f.next()
	if c.armed {
		t.Error("the wait for the next frame has a deadline")
	}
}

// FuzzFrameReader: whatever arrives, in whatever pieces, the frames are those that
// transport.Split finds, and nothing panics.
func FuzzFrameReader(f *testing.F) {
	hello := wire.AppendFrame(nil, wire.KindHello, wire.AppendHello(nil, wire.Hello{Version: 1, Protocol: "pbft"}))
	f.Add(hello, uint16(3))
	f.Add(append(hello, wire.AppendFrame(nil, 2, make([]byte, 5000))...), uint16(1000))
	f.Add([]byte{0, 0, 0, 0, 1}, uint16(1))
	f.Add([]byte{255, 255, 255, 255, 1}, uint16(9))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint16) {
		const limit = 9000
		var want []transport.Frame
		whole := transport.Split(stream, limit, func(fr transport.Frame) { want = append(want, fr) })
		r := newFrameReader(&script{bytes: stream, piece: int(piece) + 1, end: io.EOF}, limit, time.Second)
		for i := 0; ; i++ {
			got, err := r.next()
			if err != nil {
				if i != len(want) || (whole && err != io.EOF) {
					t.Fatalf("%d frames and %v; Split finds %d, whole %v", i, err, len(want), whole)
				}
				return
			}
			if i >= len(want) || got.Kind != want[i].Kind || !bytes.Equal(got.Payload, want[i].Payload) {
				t.Fatalf("frame %d differs from what Split finds", i)
			}
		}
	})
}

// FuzzHello: the first frame never panics and is canonical.
func FuzzHello(f *testing.F) {
	f.Add(wire.AppendFrame(nil, wire.KindHello, wire.AppendHello(nil, wire.Hello{Version: 1, Epoch: 2, Protocol: "pbft"})))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(&script{bytes: b, piece: 5, end: io.EOF})
		if err == nil && !bytes.HasPrefix(b, wire.AppendFrame(nil, wire.KindHello, wire.AppendHello(nil, h))) {
			t.Fatalf("%x decodes to %+v, which encodes otherwise", b, h)
		}
	})
}

func TestQueue(t *testing.T) {
	shared := &budget{max: 3 * clientShareBytes}
	a, b := newQueue(1<<20, shared), newQueue(1<<20, shared)
	piece := make([]byte, clientShareBytes)
	for i := range 3 {
		if ok, _ := a.push(piece); !ok {
			t.Fatalf("piece %d of 3 that fit was dropped", i)
		}
	}
	if ok, _ := a.push(piece); ok {
		t.Error("a queue took more than the shared budget")
	}
	if ok, _ := b.push(piece); !ok {
		t.Error("another queue's own share was dropped because of the first")
	}
	if ok, _ := b.push([]byte{1}); ok {
		t.Error("a queue took more than its share while the budget is used up")
	}
	if _, stuck := a.push(piece); stuck <= 0 {
		t.Error("a second overflow does not say for how long")
	}
	a.written(3 * clientShareBytes)
	if ok, _ := b.push([]byte{1}); !ok {
		t.Error("room that was given back is not used")
	}
	b.release()
	if used := shared.used.Load(); used != 0 {
		t.Errorf("after all is written or released %d bytes are counted", used)
	}
	if ok, _ := b.push([]byte{1}); ok {
		t.Error("a closed queue took a buffer")
	}
	small := newQueue(10, nil)
	if ok, _ := small.push(make([]byte, 11)); ok {
		t.Error("a queue took more than its limit")
	}
}

// sink is a connection that counts the writes.
type sink struct {
	net.Conn
	got    bytes.Buffer
	writes int
}

func (s *sink) Write(b []byte) (int, error)        { s.writes++; return s.got.Write(b) }
func (s *sink) SetWriteDeadline(t time.Time) error { return nil }

// TestCoalesce: what waits together leaves together, in order, and large buffers uncopied.
func TestCoalesce(t *testing.T) {
	q, c := newQueue(1<<20, nil), &sink{}
	var want bytes.Buffer
	var bufs [][]byte
	for i, n := range []int{100, 200, 300, coalesceBytes + 1, 5, coalesceBytes - 5, 10, 3 * stallBytes} {
		b := bytes.Repeat([]byte{byte(i)}, n)
		want.Write(b)
		bufs = append(bufs, b)
		q.push(b)
	}
	if err := q.write(c, bufs, time.Second); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(c.got.Bytes(), want.Bytes()) {
		t.Error("what was written is not what was queued")
	}
	// 600 | large | one record | 10 | three pieces
	if c.writes != 7 {
		t.Errorf("%d writes, want 7", c.writes)
	}
	if q.size() != 0 {
		t.Errorf("%d bytes are still counted", q.size())
	}
}

func TestIsLoopback(t *testing.T) {
	for a, want := range map[string]bool{
		"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "localhost:1": true,
		"0.0.0.0:1": false, ":1": false, "192.0.2.1:1": false, "example.org:1": false, "127.0.0.1": false, "": false,
	} {
		if isLoopback(a) != want {
			t.Errorf("isLoopback(%q) = %v", a, !want)
		}
	}
}

func TestAddressOf(t *testing.T) {
	for a, want := range map[string]string{
		"192.0.2.1:7": "192.0.2.1", "[::ffff:192.0.2.1]:7": "192.0.2.1",
		"[2001:db8:1:2:3::4]:7": "2001:db8:1:2::/64", "[fe80::1%eth0]:7": "fe80::/64",
	} {
		addr, err := net.ResolveTCPAddr("tcp", a)
		if err != nil {
			t.Fatal(err)
		}
		if got := addressOf(addr); got != want {
			t.Errorf("addressOf(%s) = %s, want %s", a, got, want)
		}
	}
}

// TestFirstFrameIsSmall: a first frame longer than any HELLO is refused by its length alone.
func TestFirstFrameIsSmall(t *testing.T) {
	ours, theirs := net.Pipe()
	defer func() { _ = ours.Close() }()
	go func() {
		long := append(binary.LittleEndian.AppendUint32(nil, helloFrameBytesMax+1), make([]byte, helloFrameBytesMax+1)...)
		_, _ = theirs.Write(long)
		_ = theirs.Close()
	}()
	if _, err := readHello(ours); !errors.Is(err, wire.ErrMalformed) {
		t.Fatalf("a first frame of %d bytes: %v", helloFrameBytesMax+1, err)
	}
}
