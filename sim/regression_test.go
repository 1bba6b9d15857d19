package sim

import (
	"fmt"
	"testing"
)

// TestRegressions runs seeds that once failed. A seed stands for its run only as long as the
// draws stay the same; the reason says what the run showed, and where else it is held.
func TestRegressions(t *testing.T) {
	for _, tt := range []struct {
		replicas int
		seed     uint64
		strategy string
		reason   string
	}{
		{4, 20033, "", "invariant I5 wanted the body of a decided slot that a fetched state had passed over"},
		{4, 20621, "", "the same, by a state that came from the disk"},
		{7, 30354, "", "V1 wanted slots from calls that ended because a flood of OPENs had closed their sessions"},
		{4, 2054, "client-flood", "a proposal that was repeated to a slow replica made it wait for OPENs that it had just executed (host.TestLateProposalMakesNobodyWait)"},
		{4, 10003861, "", "a primary left its view before its NEW-VIEW came back from signing, and did not claim what the others had prepared with it (pbft.TestNewViewIsTheVoteOfItsPrimary)"},
		{4, 10039146, "", "a relay that was lost was never repeated, and one replica left a correct primary alone (host.TestLostRelaysAreRepeated)"},
		{4, 20055870, "", "the primary took an OPEN for executed whose session had been closed since, and one replica waited for it alone (host.TestOpenOfAClosedSession)"},
		{4, 20091996, "", "the same, after a jump to a later state"},
		{4, 20116599, "", "the primary knew an OPEN as executed whose session was closed later, dropped its relay, and was not told again (host.TestPrimaryIsReminded)"},
		{4, 20361101, "", "a replica out alone and a liar named a view, and the client waited for its primary with each request (client.TestOneAstrayMisleadsOnce)"},
		{4, 20445323, "", "a replica that was fetching a state had OPENs ordered again and again, each of which closed others, so fast that it never got the state (host.TestWhoFetchesRelaysNothing)"},
		{4, 20511114, "", "a vote refused above the window was asked for only after a period (pbft.TestRefusedAboveTheWindowIsAskedFor)"},
		{7, 20002120, "", "a liar had an OPEN of the future ordered ever again (exec.TestOpensOfTheFuture)"},
		{4, 20395788, "", "a proposal from before the new view was asked for only after a period, longer than the patience (pbft.TestLostProposalIsAskedForAtOnce)"},
	} {
		t.Run(fmt.Sprintf("n%d-%d", tt.replicas, tt.seed), func(t *testing.T) {
			var lies []string
			if tt.strategy != "" {
				lies = []string{tt.strategy}
			}
			if smoke(t, Options{Protocol: "pbft", Replicas: tt.replicas, Byzantine: -1, From: tt.seed, To: tt.seed, Jobs: 1, Strategies: lies}); t.Failed() {
				t.Log(tt.reason)
			}
		})
	}
}
