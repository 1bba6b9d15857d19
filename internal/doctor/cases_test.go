package doctor

import (
	"time"

	"github.com/themis-bft/themis/replica"
)

// cases are facts that differ from healthy ones in one thing, and what follows from it: code,
// replica, and a part of the sentence.
var cases = []struct {
	name   string
	change func(f *Facts)
	want   []string
}{
	{"nothing", func(*Facts) {}, nil},
	{"one stopped", func(f *Facts) { f.stop(2) }, []string{"replica-down 2 3 of 4 are left"}},
	{"two stopped", func(f *Facts) { f.stop(1); f.stop(2) }, []string{"too-few -1 r1 and r2 are down"}},
	{"all stopped", func(f *Facts) { f.stop(0); f.stop(1); f.stop(2); f.stop(3) }, []string{"too-few -1 only 0 of 4"}},
	{"one of seven stopped", func(f *Facts) { f.Quorums.F = 0; f.stop(2) }, []string{"replica-down 2 3 of 4 are left and 3 are needed"}},
	{"paused and stopped", func(f *Facts) {
		f.Replicas[3].Paused, f.Replicas[3].First = true, nil
		f.stop(0)
	}, []string{"paused 3 stopped by a signal", "too-few -1 r0 is down, r3 is paused"}},
	{"one does not answer", func(f *Facts) { f.Replicas[1].Last, f.Replicas[1].Silence = nil, "timeout" }, []string{"no-answer 1 (timeout)"}},
	{"killed from outside", func(f *Facts) { f.stop(1).Died = true }, []string{"crashed 1 without a word"}},
	{"panicked", func(f *Facts) { f.stop(1).LastWords = "panic: pbft: slot 7" }, []string{"crashed 1 panic: pbft: slot 7"}},
	{"port taken at start", func(f *Facts) { f.stop(1).LastWords = "themisd: replica: listen tcp :1: bind: address already in use" }, []string{"port-taken 1 another program"}},
	{"port taken", func(f *Facts) { f.stop(1).Taken = "127.0.0.1:1001" }, []string{"port-taken 1 127.0.0.1:1001"}},
	{"log damaged", func(f *Facts) { f.stop(1).LastWords = "themisd: wal: storage: log is damaged" }, []string{"log-damaged 1 must not vote"}},
	{"wrong directory", func(f *Facts) { f.stop(1).LastWords = "storage: directory belongs to another replica" }, []string{"wrong-directory 1 belong to another"}},
	{"empty directory", func(f *Facts) { f.stop(1).LastWords = "storage: directory is not initialised" }, []string{"no-data 1 vote twice"}},
	{"directory in use", func(f *Facts) { f.stop(1).LastWords = "storage: directory is in use" }, []string{"directory-used 1 another process"}},
	{"ended for space", func(f *Facts) { f.stop(1).LastWords = "hold records: no space left" }, []string{"no-space 1 ended"}},
	{"key file", func(f *Facts) { f.stop(1).KeyProblem = "key.pem holds another key" }, []string{"wrong-key 1 cannot start: key.pem"}},
	{"key file of one that runs", func(f *Facts) { f.Replicas[1].KeyProblem = "key.pem holds another key" }, []string{"wrong-key 1 could not start again"}},
	{"pinned to another key", func(f *Facts) {
		for _, i := range []int{0, 1, 3} {
			l := f.peer(i, 2)
			l.Out, l.LastError = false, "tls: keys: peer not accepted: "+otherKey
			f.peer(2, i).In, f.peer(2, i).Out, l.In = false, false, false
		}
	}, []string{"wrong-key 2 r0, r1 and r3 know"}},
	{"one liar says that of another", func(f *Facts) {
		l := f.peer(0, 2)
		l.Out, l.LastError = false, otherKey
	}, []string{"one-way-link 0 r2 does not hear r0"}},
	{"another cluster file", func(f *Facts) {
		f.both(3, func(s *replica.Status) { s.Membership = "x" })
		f.Replicas[3].Differs = "window"
	}, []string{"wrong-cluster 3 (another window)"}},
	{"cluster file changed behind everybody", func(f *Facts) { f.Membership = "y" }, nil},
	{"no space", func(f *Facts) {
		f.both(1, func(s *replica.Status) { s.NoSpace = true })
		f.mute(1, 0)
	}, []string{"no-space 1 full"}},
	{"no space at two", func(f *Facts) {
		f.both(1, func(s *replica.Status) { s.NoSpace = true })
		f.both(2, func(s *replica.Status) { s.NoSpace = true })
	}, []string{"no-space 1 full", "no-space 2 full", "too-few -1 r1 and r2 are without space"}},
	{"slow disk", func(f *Facts) { f.both(1, func(s *replica.Status) { s.LogSync.Median = slowSyncMedian }) }, []string{"slow-disk 1 100 ms for each sync"}},
	{"a sync that hangs", func(f *Facts) { f.both(1, func(s *replica.Status) { s.LogSync.Running = 2 }) }, []string{"slow-disk 1 2.0 s for the sync under way"}},
	{"first sync slow", func(f *Facts) {
		f.both(1, func(s *replica.Status) { s.LogSync = replica.SyncStatus{Count: 1, Median: 2} })
	}, nil},
	{"application stuck", func(f *Facts) {
		f.both(1, func(s *replica.Status) { s.Executing = replica.ExecutingStatus{Slot: 101, Seconds: stuckAfter} })
	}, []string{"app-stuck 1 at slot 101"}},
	{"application busy", func(f *Facts) {
		f.both(1, func(s *replica.Status) { s.Executing = replica.ExecutingStatus{Slot: 101, Seconds: stuckAfter} })
		f.Replicas[1].First.Executing.Slot--
	}, nil},
	{"memory", func(f *Facts) { f.both(1, func(s *replica.Status) { s.Memory.Heap = 250 << 20 }) }, []string{"memory 1 250 of the 256 MiB"}},
	{"diverged", func(f *Facts) { f.both(1, func(s *replica.Status) { s.Diverged = true }) }, []string{"diverged 1 differs"}},
	{"clock ahead", func(f *Facts) { f.Replicas[2].ClockOff = 11 * time.Second }, []string{"clock 2 11s ahead of the others; 10s are allowed"}},
	{"clock within what is allowed", func(f *Facts) { f.Replicas[2].ClockOff = 10 * time.Second }, nil},
	{"clock of the doctor", func(f *Facts) {
		for i := range f.Replicas {
			f.Replicas[i].ClockOff = -time.Hour
		}
	}, nil},
	{"two clocks", func(f *Facts) {
		f.Replicas[2].ClockOff, f.Replicas[3].ClockOff = -time.Minute, -time.Minute
	}, []string{"clock 2 1m0s behind", "clock 3 1m0s behind", "too-few -1 r2 and r3 are at another time"}},
	{"one way", func(f *Facts) { f.mute(0, 1) }, []string{"one-way-link 0 r0 hears r1, but r1 does not hear r0"}},
	{"one way, not reached", func(f *Facts) {
		f.peer(0, 1).Out, f.peer(0, 1).LastError = false, "connection refused"
		f.peer(1, 0).In = false
	}, []string{"one-way-link 0 (r0 says: connection refused)"}},
	{"cut", func(f *Facts) { f.mute(0, 1); f.mute(1, 0) }, []string{"link-cut 0 r0 and r1 do not reach each other"}},
	{"not heard", func(f *Facts) { f.mute(2, 0); f.mute(2, 1); f.mute(2, 3) }, []string{"one-way-link 2 none of them hears it"}},
	{"deaf", func(f *Facts) { f.mute(0, 2); f.mute(1, 2); f.mute(3, 2) }, []string{"one-way-link 2 it hears none of them"}},
	{"isolated", func(f *Facts) {
		for _, i := range []int{0, 1, 3} {
			f.mute(2, i)
			f.mute(i, 2)
		}
	}, []string{"isolated 2 linked with no other"}},
	{"everybody isolated", func(f *Facts) {
		for i := range 4 {
			for j := range 4 {
				if i != j {
					f.mute(i, j)
				}
			}
		}
	}, []string{"isolated 0 ", "isolated 1 ", "isolated 2 ", "isolated 3 ", "too-few -1 only 0 of 4"}},
	{"two halves", func(f *Facts) {
		for i := range 2 {
			for j := 2; j < 4; j++ {
				f.mute(i, j)
				f.mute(j, i)
			}
		}
	}, []string{"link-cut 0 r0 and r2", "link-cut 0 r0 and r3", "link-cut 1 r1 and r2", "link-cut 1 r1 and r3"}},
	{"lies", func(f *Facts) { f.Replicas[3].Lies = "silent" }, []string{"liar 3 on purpose (silent)"}},
	{"faulty while looked at", func(f *Facts) {
		for i := range 2 {
			f.Replicas[i].Last.Rejections = []replica.RejectionStatus{{Peer: 3, Reason: "bad-signature", Faulty: true, Count: 2}}
		}
	}, []string{"faulty-replica 3 r0 and r1 refuse it (bad-signature)"}},
	{"accused by one alone", func(f *Facts) {
		f.Replicas[0].Last.Rejections = []replica.RejectionStatus{{Peer: 3, Reason: "bad-signature", Faulty: true, Count: 2}}
	}, nil},
	{"faulty long ago", func(f *Facts) {
		for i := range 2 {
			f.both(i, func(s *replica.Status) {
				s.Rejections = []replica.RejectionStatus{{Peer: 3, Reason: "bad-signature", Faulty: true, Count: 2}}
			})
		}
	}, nil},
	{"refused without fault", func(f *Facts) {
		for i := range 2 {
			f.Replicas[i].Last.Rejections = []replica.RejectionStatus{{Peer: 3, Reason: "duplicate", Count: 2}}
		}
	}, nil},
	{"split views", func(f *Facts) {
		f.both(2, func(s *replica.Status) { s.View, s.Active, s.Missing, s.Waiting = 1, false, "view-change", []int{0, 1} })
		f.both(3, func(s *replica.Status) { s.View, s.Active, s.Missing, s.Waiting = 2, false, "new-view", []int{2} })
	}, []string{"split-views -1 r2 is in view 1 without its NEW-VIEW (waits for the VIEW-CHANGE of r0 and r1)"}},
	{"view after view", func(f *Facts) {
		for i := range 4 {
			f.both(i, func(s *replica.Status) { s.View, s.Active, s.ViewChanges = 7, false, map[string]uint64{"silence": 3} })
			f.Replicas[i].Last.View = 8
		}
	}, []string{"view-changes -1 (counted since the start: silence 12)"}},
	{"alone in a view", func(f *Facts) {
		f.both(3, func(s *replica.Status) {
			s.View, s.Active, s.Missing, s.Waiting = 1, false, "view-change", []int{0, 1, 2}
			s.Pool.Oldest = 38 // a request that the others served long ago
		})
	}, []string{"view-apart 3 the others are active in view 0"}},
	{"on its way into the view", func(f *Facts) { f.Replicas[3].First.Active = false }, nil},
	{"body missing", func(f *Facts) { f.both(3, func(s *replica.Status) { s.Missing, s.Pool.Oldest = "body", 38 }) }, []string{"body-missing 3 slot 101"}},
	{"body missing since just now", func(f *Facts) { f.Replicas[3].Last.Missing = "body" }, nil},
	{"body just fetched", func(f *Facts) { f.Replicas[3].First.Missing = "body" }, nil},
	{"behind", func(f *Facts) { f.both(3, func(s *replica.Status) { s.Executed, s.Committed = 1, 1 }) }, []string{"behind 3 fetches nothing"}},
	{"behind with a target", func(f *Facts) {
		f.both(3, func(s *replica.Status) {
			s.Executed, s.Committed, s.CatchUp = 1, 1, replica.CatchUpStatus{Target: 64, Missing: 7}
		})
	}, []string{"behind 3 nothing of the 7 missing parts of checkpoint 64"}},
	{"catching up", func(f *Facts) {
		f.both(3, func(s *replica.Status) { s.Executed, s.Committed = 1, 1 })
		f.Replicas[3].Last.Executed++
	}, nil},
	{"window full", func(f *Facts) {
		for i := range 4 {
			f.both(i, func(s *replica.Status) { s.Committed, s.Executed, s.Active = 320, 320, false })
		}
	}, []string{"no-checkpoint -1 after slot 64"}},
	{"clients refused", func(f *Facts) { f.Replicas[1].Last.Links.Refused["total"] = 5 }, []string{`clients-refused 1 5 in 500ms because of its limit "total"`}},
	{"another build", func(f *Facts) { f.both(1, func(s *replica.Status) { s.Version = "v2" }) }, nil},
	{"stalled", func(f *Facts) {
		for i := range 4 {
			f.both(i, func(s *replica.Status) { s.Missing, s.Waiting, s.Pool.Oldest = "prepare", []int{2, 3}, 2 })
		}
	}, []string{"stalled -1 r0 waits for the PREPARE of r2 and r3"}},
	{"requests wait and nobody knows", func(f *Facts) { f.both(2, func(s *replica.Status) { s.Pool.Oldest = 5 }) }, []string{"stalled -1 no replica waits for a vote"}},
	{"requests wait and slots move", func(f *Facts) {
		f.both(2, func(s *replica.Status) { s.Pool.Oldest = 5 })
		f.Replicas[2].Last.Committed++
	}, nil},
}
