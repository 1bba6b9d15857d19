package assembly

import (
	"testing"

	"github.com/themis-bft/themis/app"
)

// TestNames: every name that is offered can be built, carries its own name, and no other can.
func TestNames(t *testing.T) {
	for _, name := range Protocols() {
		f, err := Protocol(name)
		if err != nil || f.Name != name || f.New == nil || f.Codec == nil || f.Replicas == nil {
			t.Errorf("protocol %q: %+v, %v", name, f, err)
		}
	}
	for _, name := range Apps() {
		m, err := App(name)
		if err != nil || m == nil {
			t.Errorf("application %q: %v", name, err)
			continue
		}
		other, _ := App(name)
		m.Execute(app.Call{}, []byte{1})
		if s := other.Snapshot(); s.Pages() == 0 {
			t.Errorf("application %q has a state of no pages", name)
		}
	}
	if _, err := Protocol("raft"); err == nil {
		t.Error("an unknown protocol was built")
	}
	if _, err := App("redis"); err == nil {
		t.Error("an unknown application was built")
	}
}
