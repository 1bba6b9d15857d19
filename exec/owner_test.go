package exec

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/themis-bft/themis/bft"
)

// victimByRule is the rule of ADR 8 as it is written down: one walk through all sessions.
func victimByRule(t *table, listed bool) *session {
	var found *session
	owned := map[bft.ClientID]int{}
	for _, s := range t.byKey {
		owned[s.client]++
	}
	for _, s := range t.byKey {
		switch {
		case s.listed && !listed:
		case found == nil || owned[s.client] > owned[found.client],
			owned[s.client] == owned[found.client] && s.olderThan(found):
			found = s
		}
	}
	return found
}

// TestVictimIsThatOfTheRule holds the ranking against the rule, over random OPENs, operations and
// restores from a checkpoint.
func TestVictimIsThatOfTheRule(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 8))
		table := newTable(1+random.IntN(24), 1<<10)
		clients := 1 + random.IntN(12)
		for slot := bft.SeqNum(1); slot < 400; slot++ {
			c := random.IntN(clients)
			client, listed := bft.ClientID{byte(c)}, c%3 == 0
			var mine []*session // of any client, in the order of places: the same in every run
			for _, s := range table.places {
				if s != nil {
					mine = append(mine, s)
				}
			}
			for _, l := range []bool{false, true} {
				if got, want := table.victim(l), victimByRule(table, l); got != want {
					t.Fatalf("seed %d slot %d: %+v makes room, by the rule %+v", seed, slot, got, want)
				}
			}
			switch n := random.IntN(16); {
			case n == 0:
				for i, s := range mine {
					mine[i] = s.frozen()
				}
				random.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
				table.restore(mine)
			case n < 8 && len(mine) > 0:
				table.touch(mine[random.IntN(len(mine))], slot, uint32(random.IntN(3)))
			default:
				table.open(session{client: client, listed: listed, number: uint64(slot), nonce: uint64(slot), lastSlot: slot})
			}
		}
		for _, s := range table.places {
			if s != nil {
				table.remove(s)
			}
		}
		if len(table.owners)+len(table.ranks[0])+len(table.ranks[1]) != 0 {
			t.Fatalf("seed %d: %d owners are left of an empty table", seed, len(table.owners))
		}
	}
}

// TestOpenIsCheapInALargeTable: in a full table where everybody else rests with one session, the
// OPENs of a few that have more do not walk through all of it. When they did, this took minutes.
func TestOpenIsCheapInALargeTable(t *testing.T) {
	const sessions, opens, patience = bft.SessionsMax, 4096, 20 * time.Second
	table, slot := newTable(sessions, 1<<10), bft.SeqNum(0)
	open := func(client uint32) {
		slot++
		var id bft.ClientID
		binary.LittleEndian.PutUint32(id[:], client)
		table.makesRoom(false)
		table.open(session{client: id, number: uint64(slot), nonce: uint64(slot), lastSlot: slot})
	}
	for c := range uint32(sessions - 2) {
		open(c + 1)
	}
	open(0)
	open(0)
	began := time.Now()
	for i := range opens {
		open(0)
		if time.Since(began) > patience {
			t.Fatalf("%d OPENs took %v", i+1, patience)
		}
	}
	if len(table.byKey) != sessions || len(table.owners) != sessions-1 {
		t.Fatalf("%d sessions of %d clients", len(table.byKey), len(table.owners))
	}
}
