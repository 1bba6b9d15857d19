package replica

import (
	"fmt"

	"github.com/themis-bft/themis/auth"
	"github.com/themis-bft/themis/host"
	"github.com/themis-bft/themis/protocol"
)

// certify signs own messages in the order of their emission and brings each back to the order
// stage. It runs on the persist goroutine, behind the sync: what it signs is durable.
type certify struct {
	codec  protocol.Codec
	signer auth.Signer
	intake *intake
	buf    []byte
}

// message returns the signed copy of m.
func (c *certify) message(m protocol.Message) protocol.Message {
	s, ok := m.(protocol.Signed)
	if !ok {
		panic(fmt.Sprintf("replica: message of kind %d is to be certified and cannot carry a signature", m.Kind()))
	}
	c.buf = c.codec.AppendSigned(c.buf[:0], s)
	signed := s.WithSignature(c.signer.Sign(nil, c.buf))
	c.intake.feed(host.Certified{Msg: signed})
	return signed
}
