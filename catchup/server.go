package catchup

import (
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/internal/mutant"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/wire"
)

// heldMin is the least number of checkpoints kept: the stable one, the one before it for peers
// that are fetching it, and two that may become stable.
const heldMin = 4

// Server holds the checkpoints that peers may fetch, and answers them within a budget per peer.
// It owns one reference of each checkpoint. All methods are called from the step thread.
type Server struct {
	limit  int
	held   []Held // ascending by Seq
	stable bft.SeqNum
	budget map[bft.ReplicaID]*budget
	index  map[bft.Digest]int // pages of the newest, built when first asked for
}

// NewServer returns a Server that keeps at most limit checkpoints (at least heldMin): as many
// as the window has above the stable one, and a few.
func NewServer(limit int) *Server {
	return &Server{limit: max(limit, heldMin), budget: make(map[bft.ReplicaID]*budget)}
}

// Hold adds a checkpoint and takes over its reference. One of the same slot is replaced: the
// state was installed over one that had diverged.
func (s *Server) Hold(h Held) {
	s.index = nil
	at, same := slices.BinarySearchFunc(s.held, h.Seq(), bySeq)
	if same {
		s.held[at].Release()
		s.held[at] = h
		return
	}
	s.held = slices.Insert(s.held, at, h)
	for len(s.held) > s.limit {
		s.drop()
	}
}

// drop releases the oldest checkpoint, sparing the stable one.
func (s *Server) drop() {
	i := 0
	if s.held[0].Seq() == s.stable && len(s.held) > 1 {
		i = 1
	}
	s.held[i].Release()
	s.held = slices.Delete(s.held, i, i+1)
}

// Stable says that the checkpoint of slot seq is stable: older ones go, except the one just
// before it, which peers may be in the middle of fetching.
func (s *Server) Stable(seq bft.SeqNum) {
	s.stable = max(s.stable, seq)
	older, _ := slices.BinarySearchFunc(s.held, s.stable, bySeq)
	if mutant.On("catchup-target-dropped") {
		older++
	}
	for range older - 1 {
		s.held[0].Release()
		s.held = slices.Delete(s.held, 0, 1)
	}
}

func bySeq(h Held, seq bft.SeqNum) int {
	switch {
	case h.Seq() < seq:
		return -1
	case h.Seq() > seq:
		return 1
	}
	return 0
}

// Held returns the checkpoint of slot seq, or nil. The reference stays with the Server.
func (s *Server) Held(seq bft.SeqNum) Held {
	if i, ok := slices.BinarySearchFunc(s.held, seq, bySeq); ok {
		return s.held[i]
	}
	return nil
}

// Newest returns the newest checkpoint, or nil.
func (s *Server) Newest() Held {
	if len(s.held) == 0 {
		return nil
	}
	return s.held[len(s.held)-1]
}

// Local returns the bytes of a page of the newest checkpoint by its digest, or nil: what a
// Fetcher need not fetch.
func (s *Server) Local(d bft.Digest) []byte {
	h := s.Newest()
	if h == nil {
		return nil
	}
	if s.index == nil {
		s.index = make(map[bft.Digest]int, h.Pages())
		for i := range h.Pages() {
			s.index[h.PageDigest(i)] = i
		}
	}
	if i, ok := s.index[d]; ok {
		return h.Page(i)
	}
	return nil
}

// Serve answers a peer. The reason is ReasonNone if the fragment is to be sent: one of Total 0
// if the checkpoint is not held here. Otherwise nothing is sent: the peer asked for too much,
// or for what no checkpoint has.
func (s *Server) Serve(from bft.ReplicaID, w wire.StateWant, now bft.Duration) (wire.StateFragment, protocol.Reason) {
	h := s.Held(w.Seq)
	if h == nil {
		if !s.spend(from, now, 64) {
			return wire.StateFragment{}, protocol.ReasonOverloaded
		}
		return wire.StateFragment{Want: w}, protocol.ReasonNone
	}
	var item []byte
	switch {
	case w.Item == wire.Manifest:
		item = h.Manifest()
	case uint64(w.Item) < uint64(h.Pages()):
		item = h.Page(int(w.Item))
	default:
		return wire.StateFragment{}, protocol.ReasonLimit
	}
	if uint64(w.Offset) >= uint64(len(item)) {
		return wire.StateFragment{}, protocol.ReasonLimit
	}
	part := item[w.Offset:]
	part = part[:min(len(part), bft.StateFragmentBytesMax)]
	if !s.spend(from, now, len(part)) {
		return wire.StateFragment{}, protocol.ReasonOverloaded
	}
	return wire.StateFragment{Want: w, Total: uint32(len(item)), Bytes: part}, protocol.ReasonNone
}

// spend takes bytes from the peer's budget if they are there.
func (s *Server) spend(from bft.ReplicaID, now bft.Duration, bytes int) bool {
	b := s.budget[from]
	if b == nil {
		b = &budget{bytes: serveBurstBytes, at: now}
		s.budget[from] = b
	}
	b.fill(now, serveBytesPerSecond, serveBurstBytes)
	if b.bytes < int64(bytes) && !mutant.On("catchup-serves-without-end") {
		return false
	}
	b.bytes -= int64(bytes)
	return true
}

// Close releases every checkpoint.
func (s *Server) Close() {
	for _, h := range s.held {
		h.Release()
	}
	s.held, s.index = nil, nil
}
