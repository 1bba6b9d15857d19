package assembly

import (
	"fmt"

	"github.com/themis-bft/themis/protocol"
	"github.com/themis-bft/themis/protocol/pbft"
)

// Protocols returns the names that Protocol knows.
func Protocols() []string { return []string{"pbft"} }

// Protocol returns the protocol of a name.
func Protocol(name string) (protocol.Family, error) {
	switch name {
	case "pbft":
		return pbft.Family, nil
	}
	return protocol.Family{}, fmt.Errorf("protocol %q is not known (known: %v)", name, Protocols())
}
