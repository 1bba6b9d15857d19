package host

import (
	"slices"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/storage"
	"github.com/themis-bft/themis/wire"
)

func bodyRecord(r protocol.Record) bool { return r.Kind == storage.RecordBody }

// budget is what a peer may still draw of bodies and state.
type budget struct {
	left int64
	at   bft.Duration
}

func newBudget(now bft.Duration) budget { return budget{left: bft.ServeBurstBytes, at: now} }

// take reports whether n bytes may go out now, and takes them. Time is rounded so that what is
// too short to earn a byte is not lost.
func (b *budget) take(now bft.Duration, n int) bool {
	b.earn(now)
	if int64(n) > b.left {
		return false
	}
	b.left -= int64(n)
	return true
}

func (b *budget) earn(now bft.Duration) {
	passed := now - b.at
	if passed >= bft.Second {
		b.left, b.at = bft.ServeBurstBytes, now
		return
	}
	if earned := int64(passed) / nanosPerByte; earned > 0 {
		b.left = min(b.left+earned, bft.ServeBurstBytes)
		b.at += bft.Duration(earned * nanosPerByte)
	}
}

// nanosPerByte is the time that earns a byte, rounded up: a peer never gets more than
// bft.ServeBytesPerSecond. The burst is earned within a second.
const nanosPerByte = (int64(bft.Second) + bft.ServeBytesPerSecond - 1) / bft.ServeBytesPerSecond

const _ = uint(int64(bft.Second)/nanosPerByte - bft.ServeBurstBytes)

// serveBody answers FETCH, if the body is still to be had and the peer has not drawn too much.
func (n *Node) serveBody(in PeerFetch, out *Output) {
	body := n.core.Body(in.Digest)
	if body == nil {
		return
	}
	if !n.peers[in.From].budget.take(n.now, len(body)) {
		n.reject(protocol.Rejection{From: in.From, Kind: wire.KindFetch, Reason: protocol.ReasonOverloaded})
		return
	}
	n.counts.BodiesServed++
	frame := wire.AppendFrame(make([]byte, 0, wire.FrameHeaderBytes+len(body)), wire.KindBody, body)
	out.Frames = append(out.Frames, Frame{To: in.From, Bytes: frame})
}

// fetches are the digests whose bodies the core asked for. The oldest is forgotten for a new one.
type fetches struct {
	wanted map[bft.Digest]struct{}
	order  []bft.Digest
}

func newFetches() fetches { return fetches{wanted: make(map[bft.Digest]struct{})} }

func (f *fetches) want(d bft.Digest) {
	if _, there := f.wanted[d]; there {
		return
	}
	if len(f.order) >= bft.FetchesMax {
		delete(f.wanted, f.order[0])
		f.order = slices.Delete(f.order, 0, 1)
	}
	f.wanted[d] = struct{}{}
	f.order = append(f.order, d)
}

// took reports whether d was wanted, and forgets it.
func (f *fetches) took(d bft.Digest) bool {
	if _, there := f.wanted[d]; !there {
		return false
	}
	delete(f.wanted, d)
	i := slices.Index(f.order, d)
	f.order = slices.Delete(f.order, i, i+1)
	return true
}

// fetch asks a replica for a body.
func (n *Node) fetch(f protocol.Fetch, out *Output) {
	n.fetches.want(f.Digest)
	n.counts.Fetches++
	out.Frames = append(out.Frames, Frame{To: f.From, Bytes: wire.AppendFrame(nil, wire.KindFetch, f.Digest[:])})
}

// bodyArrived passes on a body that the core asked for.
func (n *Node) bodyArrived(in PeerBody, out *Output) {
	if !n.fetches.took(in.Digest) {
		n.reject(protocol.Rejection{From: in.From, Kind: wire.KindBody, Reason: protocol.ReasonUnrequested})
		return
	}
	n.step(protocol.BodyArrived{Digest: in.Digest, Body: in.Body}, out)
}

// peerUp passes on that a link was made, now or when the last time is long enough ago.
func (n *Node) peerUp(id bft.ReplicaID, out *Output) {
	p := &n.peers[id]
	p.linked = true
	n.transfer.fetcher.Up(id, n.now, &n.transfer.out)
	n.absorbTransfer(out)
	if p.upWaits = n.now < p.upDue; p.upWaits {
		return
	}
	n.linkUp(id, out)
}

// peerDown notes that a peer is not to be had; a LinkUp that waits is of no use then.
func (n *Node) peerDown(id bft.ReplicaID, out *Output) {
	p := &n.peers[id]
	p.linked, p.upWaits = false, false
	n.transfer.fetcher.Down(id, n.now, &n.transfer.out)
	n.absorbTransfer(out)
}

func (n *Node) linksUp(out *Output) {
	for i := range n.peers {
		if p := &n.peers[i]; p.upWaits && p.upDue <= n.now {
			n.linkUp(bft.ReplicaID(i), out)
		}
	}
}

func (n *Node) linkUp(id bft.ReplicaID, out *Output) {
	p := &n.peers[id]
	p.upDue, p.upWaits = n.now+linkUpEvery, false
	if s := n.view(); s.Active && s.Primary == id {
		n.pool.untell()
	}
	n.step(protocol.LinkUp{Peer: id}, out)
}
