package vectors

import (
	"encoding/hex"

	"github.com/themis-bft/themis/app/kv"
	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/wire"
)

// object is a value as it stands in a file: numbers, booleans, hexadecimal strings, lists.
type object map[string]any

func hx(b []byte) string { return hex.EncodeToString(b) }

func list[T any](items []T, f func(T) any) []any {
	out := make([]any, len(items))
	for i, it := range items {
		out[i] = f(it)
	}
	return out
}

func showBytes(b []byte) any { return hx(b) }

func showRequest(r *wire.Request) object {
	return object{
		"client": hx(r.Client[:]), "session": r.Session, "first": r.First, "done": r.Done,
		"answer": uint64(r.Answer), "flags": r.Flags, "ops": list(r.Ops, showBytes), "sig": hx(r.Sig),
	}
}

func showReply(r *wire.Reply) object {
	return object{"session": r.Session, "number": r.Number, "view": uint64(r.View), "status": uint8(r.Status), "result": hx(r.Result)}
}

func showHello(h wire.Hello) object {
	return object{"version": h.Version, "cluster": h.Cluster.String(), "epoch": h.Epoch, "protocol": h.Protocol}
}

func showWant(w wire.StateWant) object {
	return object{"slot": uint64(w.Seq), "item": uint32(w.Item), "offset": w.Offset}
}

func showFragment(f *wire.StateFragment) object {
	o := showWant(f.Want)
	o["total"], o["bytes"] = f.Total, hx(f.Bytes)
	return o
}

func showBatch(t bft.Time, reqs []wire.Request) object {
	return object{"time": int64(t), "requests": list(reqs, func(r wire.Request) any { return showRequest(&r) })}
}

func vote(v bft.View, n bft.SeqNum, d bft.Digest) object {
	return object{"view": uint64(v), "slot": uint64(n), "digest": d.Hex()}
}

func showClaim(c pbft.Claim) any { return vote(c.View, c.Seq, c.Digest) }

func showStable(s *pbft.Stable) object {
	return object{
		"slot": uint64(s.Seq), "digest": s.Digest.Hex(),
		"endorsements": list(s.Endorse, func(e pbft.Endorsement) any { return object{"replica": uint16(e.Replica), "sig": hx(e.Sig)} }),
	}
}

func showViewChange(m *pbft.ViewChange) object {
	return object{
		"view": uint64(m.View), "replica": uint16(m.Replica), "base": showStable(&m.Base),
		"p": list(m.P, showClaim), "q": list(m.Q, showClaim), "sig": hx(m.Sig),
	}
}

// showMessage shows a message of PBFT.
func showMessage(m protocol.Message) object {
	switch m := m.(type) {
	case *pbft.PrePrepare:
		o := vote(m.View, m.Seq, m.Digest)
		o["batch"] = hx(m.Batch)
		return o
	case *pbft.Prepare:
		return vote(m.View, m.Seq, m.Digest)
	case *pbft.Commit:
		return vote(m.View, m.Seq, m.Digest)
	case *pbft.Status:
		return object{
			"view": uint64(m.View), "active": m.Active, "stable": uint64(m.Stable), "committed": uint64(m.Committed),
			"open": uint64(m.Open), "accepted": m.Accepted, "prepared": m.Prepared, "view_changes": uint64(m.ViewChanges),
		}
	case *pbft.Checkpoint:
		return object{"slot": uint64(m.Seq), "digest": m.Digest.Hex(), "replica": uint16(m.Replica), "sig": hx(m.Sig)}
	case *pbft.ViewChange:
		return showViewChange(m)
	case *pbft.NewView:
		return object{
			"view": uint64(m.View), "replica": uint16(m.Replica), "start": uint64(m.Start), "sig": hx(m.Sig),
			"set":     list(m.Set, func(vc *pbft.ViewChange) any { return showViewChange(vc) }),
			"choices": list(m.Choices, func(c pbft.Choice) any { return c.Digest.Hex() }),
		}
	case *pbft.Decided:
		return object{"first": uint64(m.First), "digests": list(m.Digests, func(d bft.Digest) any { return d.Hex() })}
	case *pbft.Stable:
		return showStable(m)
	}
	return nil
}

func showOp(o kv.Op) object {
	switch o.Kind {
	case kv.KindGet:
		return object{"op": "get", "key": hx(o.Key)}
	case kv.KindDelete:
		return object{"op": "delete", "key": hx(o.Key)}
	case kv.KindPut:
		return object{"op": "put", "key": hx(o.Key), "value": hx(o.Value)}
	case kv.KindCAS:
		return object{"op": "cas", "key": hx(o.Key), "has_old": o.HasOld, "old": hx(o.Old), "new": hx(o.Value)}
	default:
		return object{"op": "scan", "prefix": hx(o.Prefix), "from": hx(o.Key), "limit": o.Limit}
	}
}

func showResult(r kv.Result) object {
	o := object{"code": uint8(r.Code)}
	switch r.Code {
	case kv.Found:
		o["value"] = hx(r.Value)
	case kv.Mismatch:
		o["present"], o["value"] = r.Present, hx(r.Value)
	case kv.Listed:
		o["more"] = r.More
		o["entries"] = list(r.Entries, func(e kv.Entry) any { return []any{hx(e.Key), hx(e.Value)} })
	}
	return o
}

func showMembership(m *bft.Membership) object {
	return object{
		"cluster": m.Cluster.String(), "epoch": m.Epoch, "protocol": m.Protocol, "app": m.App, "scheme": m.Scheme, "f": m.F,
		"replicas": list(m.Replicas, func(r bft.Replica) any { return hx(r.Key) }),
		"clients":  list(m.Clients, func(c bft.ClientKey) any { return object{"id": hx(c.ID[:]), "key": hx(c.Key)} }),
		"open":     m.Open, "checkpoint_every": uint64(m.CheckpointEvery), "window": uint64(m.Window), "in_flight": uint64(m.InFlight),
		"batch_count": m.BatchCount, "batch_bytes": m.BatchBytes, "sessions": m.Sessions, "time_skew": int64(m.TimeSkew),
	}
}
