package tcp

import (
	"context"
	"errors"
	"net"

	"github.com/themis-bft/themis/bft"
)

// The preamble of a link without TLS: a mark, what the sender is, and who it says it is. The
// dialling end sends it and the accepting end believes it.
const (
	plainMark     = "THM0"
	plainReplica  = 1
	plainClient   = 2
	preambleBytes = len(plainMark) + 1 + 32
)

func provePlainDial(self identity, peer identity) prover {
	return func(_ context.Context, raw net.Conn) (net.Conn, identity, error) {
		b := append([]byte(plainMark), plainReplica)
		if self.isClient {
			b[len(plainMark)] = plainClient
			b = append(b, self.client[:]...)
		} else {
			b = append(b, byte(self.replica), byte(self.replica>>8))
			b = append(b, make([]byte, 30)...)
		}
		_, err := raw.Write(b)
		return raw, peer, err
	}
}

// provePlainAccept believes the preamble. wantClient says for which kind the listener is.
func provePlainAccept(m *bft.Membership, self bft.ReplicaID, wantClient bool) prover {
	return func(_ context.Context, raw net.Conn) (net.Conn, identity, error) {
		var b [preambleBytes]byte
		if err := readFull(raw, b[:]); err != nil {
			return nil, identity{}, err
		}
		class, id := b[len(plainMark)], b[len(plainMark)+1:]
		switch {
		case string(b[:len(plainMark)]) != plainMark:
			return nil, identity{}, errors.New("no preamble of a link without TLS")
		case class == plainClient && wantClient:
			return raw, identity{client: bft.ClientID(id), isClient: true}, nil
		case class == plainReplica && !wantClient:
			r := bft.ReplicaID(id[0]) | bft.ReplicaID(id[1])<<8
			if int(r) < m.N() && r != self {
				return raw, identity{replica: r}, nil
			}
		}
		return nil, identity{}, refusal{ReasonKey, errors.New("neither another replica nor a client where one belongs")}
	}
}
