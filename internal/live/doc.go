// Package live holds the campaigns over real processes: clusters of themisd on loopback, with
// directories, sockets and clocks of the machine, under load from real clients, while replicas
// are killed, paused, flooded or replaced by liars. Everything is judged from outside: by what
// the clients saw (a linearizable history, nothing lost, nothing done twice) and by what the
// replicas say at /statusz.
//
// The package has tests only. Most take minutes, so that they are skipped unless the flag -live
// is given; scripts/live runs one by name. TestSmoke, the short form of the attacks, always runs;
// its replicas and its attacker are the test program itself under another name. Each campaign
// prints its figures as one line for a person and one of JSON. A campaign owns the processes it
// starts and ends every one of them by its number, also when it fails; it never looks inside a
// replica.
package live
