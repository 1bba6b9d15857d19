package exec

import (
	"errors"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/catchup"
	"github.com/themis-bft/themis/wire"
)

// sessionsPerPage is small, so that a slot that touches few sessions makes few pages dirty, and
// so that a page of sessions whose caches are full stays far below StateItemBytesMax.
const sessionsPerPage = 16

// sessionFixedBytes is what an encoded session takes besides its cached replies; replyFixedBytes
// what a cached reply takes besides its bytes.
const (
	sessionFixedBytes = 32 + 8 + 8 + 1 + 8 + 4 + 8 + bft.SessionOpsMax/8 + 8 + 2
	replyFixedBytes   = 8 + 8 + 4
	sessionBytesMax   = 1 + sessionFixedBytes + bft.SessionOpsMax*replyFixedBytes + bft.SessionReplyBytesMax
)

// What must hold for every table to fit a checkpoint.
const (
	_ = uint(bft.StateItemBytesMax - sessionsPerPage*sessionBytesMax)
	_ = uint(bft.StatePagesMax/2 - (bft.SessionsMax+sessionsPerPage-1)/sessionsPerPage)
)

// errSessionPage says that a page of the session table is not the encoding of one. The page had
// its certified digest, so it was written by another version.
var errSessionPage = errors.New("exec: a page of the session table does not decode")

// page caches the encoding of consecutive places.
type page struct {
	clean  bool
	bytes  []byte // immutable once set: checkpoints share it
	digest bft.Digest
}

func pagesFor(places int) int { return (places + sessionsPerPage - 1) / sessionsPerPage }

// dirty notes that the page of s must be encoded again.
func (t *table) dirty(s *session) {
	i := s.place / sessionsPerPage
	for len(t.pages) <= i {
		t.pages = append(t.pages, page{})
	}
	t.pages[i].clean = false
}

// places of page i; the last page may be short.
func (t *table) placesOf(i int) []*session {
	return t.places[i*sessionsPerPage : min((i+1)*sessionsPerPage, len(t.places))]
}

// encoded returns page i, encoding it if it changed. No response of its sessions is awaited.
func (t *table) encoded(i int) page {
	p := &t.pages[i]
	if !p.clean {
		*p = encodePage(t.placesOf(i))
	}
	return *p
}

// awaits reports whether a response of a session in page i is awaited.
func (t *table) awaits(i int) bool {
	for _, s := range t.placesOf(i) {
		if s != nil && s.awaited > 0 {
			return true
		}
	}
	return false
}

// frozen copies the sessions of page i as they are now.
func (t *table) frozen(i int) []*session {
	places := t.placesOf(i)
	copies := make([]*session, len(places))
	for j, s := range places {
		if s != nil {
			copies[j] = s.frozen()
		}
	}
	return copies
}

// encodePage encodes sessions at consecutive places: for each place a byte that says whether
// there is one, then the session. Their cached results become parts of the page, so that each is
// held once, however many checkpoints have the page.
func encodePage(places []*session) page {
	b := make([]byte, 0, pageBytes(places))
	for i := range sessionsPerPage {
		if i >= len(places) || places[i] == nil {
			b = wire.AppendBool(b, false)
			continue
		}
		b = appendSession(wire.AppendBool(b, true), places[i])
		places[i].moveInto(b)
	}
	return page{clean: true, bytes: b, digest: catchup.PageDigest(b)}
}

// pageBytes is the size of the page of these sessions.
func pageBytes(places []*session) int {
	n := sessionsPerPage
	for _, s := range places {
		if s == nil {
			continue
		}
		n += sessionFixedBytes + len(s.replies)*replyFixedBytes
		for i := range s.replies {
			n += len(s.replies[i].result)
		}
	}
	return n
}

// moveInto makes the cached results parts of b, the encoding that ends with s.
func (s *session) moveInto(b []byte) {
	end := len(b)
	for i := len(s.replies) - 1; i >= 0; i-- {
		c := &s.replies[i]
		start := end - len(c.result)
		c.result = b[start:end:end]
		end = start - replyFixedBytes
	}
}

func appendSession(b []byte, s *session) []byte {
	b = append(b, s.client[:]...)
	b = wire.AppendU64(b, s.number)
	b = wire.AppendU64(b, s.nonce)
	b = wire.AppendBool(b, s.listed)
	b = wire.AppendU64(b, uint64(s.lastSlot))
	b = wire.AppendU32(b, s.lastRequest)
	b = wire.AppendU64(b, s.done)
	for _, word := range s.executed {
		b = wire.AppendU64(b, word)
	}
	b = wire.AppendU64(b, s.produced)
	b = wire.AppendU16(b, uint16(len(s.replies)))
	for i := range s.replies {
		c := &s.replies[i]
		b = wire.AppendU64(b, c.number)
		b = wire.AppendU64(b, c.start)
		b = wire.AppendBytes(b, c.result)
	}
	return b
}

// decodePage is the inverse of encodePage; the first place has this index. Results are copied.
func decodePage(b []byte, first int) ([]*session, error) {
	r := wire.NewReader(b)
	var sessions []*session
	for i := range sessionsPerPage {
		if !r.Bool() {
			continue
		}
		s := readSession(r)
		s.place = first + i
		sessions = append(sessions, s)
	}
	if r.Close() != nil {
		return nil, errSessionPage
	}
	return sessions, nil
}

func readSession(r *wire.Reader) *session {
	s := &session{
		client: r.Array32(), number: r.U64(), nonce: r.U64(), listed: r.Bool(),
		lastSlot: bft.SeqNum(r.U64()), lastRequest: r.U32(), done: r.U64(),
	}
	for i := range s.executed {
		s.executed[i] = r.U64()
	}
	s.produced = r.U64()
	n := r.Count(bft.SessionOpsMax, replyFixedBytes)
	for range n {
		c := cachedReply{number: r.U64(), start: r.U64(), counted: true}
		c.result = append([]byte(nil), r.Bytes(bft.ResultBytesMax)...)
		if s.state(c.number) != numberExecuted || c.number < s.done || c.start > s.produced {
			r.Fail()
		}
		s.replies = append(s.replies, c)
	}
	return s
}
