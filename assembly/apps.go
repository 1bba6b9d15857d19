package assembly

import (
	"fmt"

	"github.com/themis-bft/themis/app"
	"github.com/themis-bft/themis/app/bench"
	"github.com/themis-bft/themis/app/counter"
	"github.com/themis-bft/themis/app/kv"
)

// Apps returns the names that App knows.
func Apps() []string { return []string{"kv", "counter", "bench"} }

// App returns a new instance of the application of a name, in its initial state.
func App(name string) (app.Machine, error) {
	switch name {
	case "kv":
		return kv.New(), nil
	case "counter":
		return counter.New(), nil
	case "bench":
		return bench.New(), nil
	}
	return nil, fmt.Errorf("application %q is not known (known: %v)", name, Apps())
}
