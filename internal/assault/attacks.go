package assault

import "time"

// Attacks are all there are. The rates are what one process manages beside a cluster on two cores
// without taking most of them for itself; -rate of scripts/live raises them.
func Attacks() []Attack {
	return []Attack{
		{
			Name: "idle-connections", As: Stranger, About: "holds connections and says nothing", Rate: 1000, Unit: "connections", Count: 5000,
			Marks: []string{"handshake-timeout", "pending", "address", "total"}, run: idle,
		},
		{
			Name: "half-open-tls", As: Stranger, About: "holds connections that stop in the handshake", Rate: 1000, Unit: "connections", Count: 5000,
			Marks: []string{"handshake-timeout", "pending", "address", "total", "tls"}, run: halfOpen,
		},
		{
			Name: "slow-handshake", As: Stranger, About: "sends its handshake at a byte per second", Rate: 500, Unit: "connections", Count: 500,
			Marks: []string{"handshake-timeout", "pending", "address", "total"}, MarksAfter: 6 * time.Second, run: slowHandshake,
		},
		{
			Name: "slow-frames", As: Client, About: "sends frames at a byte per second, in the header or in the body", Rate: 100, Unit: "frames", Count: 500,
			Marks: []string{"frame-stalled", "address", "pending"}, MarksAfter: 15 * time.Second, run: slowFrames,
		},
		{
			Name: "bad-signatures", As: Client, About: "requests whose signatures do not verify", Rate: 4000, Unit: "requests",
			Marks: []string{"bad-request", "bad-signature", "bad-client"}, run: badSignatures,
		},
		{Name: "request-flood", As: Client, About: "valid requests of one client to all replicas", Rate: 1000, Unit: "requests", run: requestFlood},
		{Name: "retry-flood", As: Client, About: "repeats an executed request whose answers have 240 kB", Rate: 500, Unit: "repeats", Marks: []string{"overloaded"}, run: retryFlood},
		{Name: "non-readers", As: Client, About: "asks for answers of 240 kB over many links and reads none", Rate: 2000, Unit: "repeats", Count: 1000, run: nonReaders},
		{
			Name: "idle-clients", As: Client, About: "holds links of clients with keys of their own that ask for nothing", Rate: 250, Unit: "links", Count: 9000,
			Marks: []string{"total", "address", "idle"}, MarksAfter: time.Minute, run: idleClients,
		},
		{Name: "open-flood", As: Client, About: "opens sessions under ever new keys", Rate: 100, Unit: "sessions", run: openFlood},
		{
			Name: "future-slots", As: Rogue, About: "votes and checkpoints far ahead", Rate: 4000, Unit: "messages",
			Marks: []string{"above-window", "future-view", "wrong-sender"}, run: futureSlots,
		},
		{Name: "view-changes", As: Rogue, About: "asks for the next views and distant ones, validly signed, some as large as may be", Rate: 400, Unit: "messages", run: viewChanges},
		{Name: "fetches", As: Rogue, About: "asks for batches without end", Rate: 4000, Unit: "messages", run: fetches},
		{Name: "state-wants", As: Rogue, About: "asks for the state without end", Rate: 4000, Unit: "messages", run: stateWants},
		{Name: "statuses", As: Rogue, About: "claims to have nothing, so that all is sent again", Rate: 2000, Unit: "messages", run: statuses},
		{Name: "deaf-peer", As: Rogue, About: "claims the same and reads nothing", Rate: 2000, Unit: "messages", run: deafPeer},
		{
			Name: "bad-relays", As: Rogue, About: "passes on requests whose signatures do not verify", Rate: 2000, Unit: "messages",
			Marks: []string{"bad-request", "bad-signature", "bad-client"}, run: badRelays,
		},
		{
			Name: "flapping", As: Rogue, About: "joins, breaks a rule, is thrown out and joins again", Rate: 300, Unit: "links",
			Marks: []string{"frame-size"}, run: flapping,
		},
		{
			Name: "mutants", As: Rogue, About: "real frames with changes, on links and in the place of handshakes", Rate: 10_000, Unit: "frames", Count: 100_000,
			Marks: []string{"malformed"}, run: mutants,
		},
		{
			Name: "noise", As: Rogue, About: "random bytes, on links and in the place of handshakes", Rate: 200, Unit: "bytes", Count: 1 << 20,
			Marks: []string{"tls"}, run: noise,
		},
	}
}
