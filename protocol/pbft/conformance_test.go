package pbft_test

import (
	"testing"

	"github.com/themis-bft/themis/protocol/pbft"
	"github.com/themis-bft/themis/protocol/protocoltest"
)

func TestConformance(t *testing.T) {
	protocoltest.Run(t, pbft.Family, 4, 1)
	protocoltest.Run(t, pbft.Family, 7, 2)
	protocoltest.Run(t, pbft.Family, 6, 1)
}
