package exec

import (
	"testing"

	"github.com/themis-bft/themis/wire"
)

// TestSessionNumberIsNeverGivenTwice: two processes of one client open their sessions in one slot in
// which others fill the table. If the first session were closed within the slot, the second would
// get its number, and either process would take answers to the other's operations for its own.
func TestSessionNumberIsNeverGivenTwice(t *testing.T) {
	f := newFixture(t, 2)
	replies := f.slot(openReq(101, 1), openReq(102, 1), openReq(103, 1), openReq(101, 2))
	got := map[string]bool{}
	for _, r := range replies {
		if r.Client != client(101) || r.Status != wire.StatusOK {
			continue
		}
		if got[string(r.Result)] {
			t.Fatalf("two OPENs of one client have the same session: %+v", replies)
		}
		got[string(r.Result)] = true
	}
	f.want(replies[2:], "1!closed", "2!closed") // they ask again in another slot
	if replies = f.slot(openReq(103, 2)); replies[0].Status != wire.StatusOK {
		t.Fatalf("in the next slot: %+v", replies[0])
	}
}
