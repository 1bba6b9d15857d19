package assault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/themis-bft/themis/bft"
	"github.com/themis-bft/themis/config"
	"github.com/themis-bft/themis/keys"
)

// Role is what an attacker has of the cluster.
type Role string

// The roles.
const (
	Stranger Role = "stranger" // no key
	Client   Role = "client"   // keys of its own; the cluster is open, or lists them
	Rogue    Role = "rogue"    // the key of a replica, which does not run
)

// Attack is one way to attack.
type Attack struct {
	Name  string
	As    Role
	About string
	Rate  int    // of what Unit says, per second, unless the plan says otherwise
	Unit  string // what is counted as sent, and by the rate unless that makes no sense
	Count int    // connections held, or frames in all; 0 if the attack has neither
	// Marks are reasons of which at least one is counted by the replicas when the attack arrives;
	// empty for those that break no rule.
	Marks []string
	// MarksAfter is how long the attack must last for that.
	MarksAfter time.Duration

	run func(*assailant) error
}

// Plan says which attack is carried out, and how.
type Plan struct {
	Attack string
	Dir    string        // of the cluster
	Rogue  int           // the replica whose key is held; its process must not run. For the role Rogue only
	Rate   int           // 0: the attack's own
	Count  int           // 0: the attack's own
	Lasts  time.Duration // at most
	// AtLeast is how much (of Unit) is sent before whoever ends the attack is heeded: a machine that
	// is busy needs seconds to open what another does at once. Lasts ends it all the same.
	AtLeast uint64
	Seed    uint64
	// Addresses is from how many loopback addresses connections come; 0: 16.
	Addresses int
	// Frames is a file of recorded frames, one after the other as on the wire, for attacks that
	// change real ones. The attack "mutants" needs it.
	Frames string
}

// Report is what came of an attack.
type Report struct {
	Attack   string  `json:"attack"`
	Rate     int     `json:"rate"`
	Unit     string  `json:"unit"`
	Seconds  float64 `json:"seconds"`
	Sent     uint64  `json:"sent"`     // of what Unit says
	Bytes    uint64  `json:"bytes"`    // written
	Received uint64  `json:"received"` // bytes
	Opened   uint64  `json:"opened"`   // connections
	Held     int64   `json:"held"`     // connections open at once, at most
	Failed   uint64  `json:"failed"`   // connections that did not come about, or were refused in the handshake
	CPU      float64 `json:"cpu"`      // seconds, of the whole process
}

// timeMax and the others bound any plan.
const (
	timeMax  = time.Hour
	countMax = 1 << 21
	rateMax  = 1_000_000
)

// Named returns the attack of a name.
func Named(name string) (Attack, error) {
	for _, a := range Attacks() {
		if a.Name == name {
			return a, nil
		}
	}
	return Attack{}, fmt.Errorf("assault: there is no attack %q", name)
}

// Run carries an attack out and returns when it is over: after plan.Lasts, when its count is
// reached, or when ctx ends and plan.AtLeast is sent.
func Run(ctx context.Context, plan Plan) (Report, error) {
	attack, err := Named(plan.Attack)
	if err != nil {
		return Report{}, err
	}
	a, err := prepare(&plan, &attack)
	if err != nil {
		return Report{}, fmt.Errorf("assault: %w", err)
	}
	told := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(told), plan.Lasts)
	defer cancel()
	a.ctx = ctx
	a.running.Go(func() {
		if a.heed(told) {
			cancel()
		}
	})
	begin, used := time.Now(), processor()
	err = attack.run(a)
	cancel()
	a.running.Wait()
	r := Report{
		Attack: attack.Name, Rate: plan.Rate, Unit: attack.Unit, Seconds: time.Since(begin).Seconds(), CPU: processor() - used,
		Sent: a.sent.Load(), Bytes: a.bytes.Load(), Received: a.received.Load(), Opened: a.opened.Load(), Held: a.heldMax.Load(), Failed: a.failed.Load(),
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	return r, err
}

// heed waits until told ends and enough is sent. False: the attack was over before.
func (a *assailant) heed(told context.Context) bool {
	select {
	case <-told.Done():
	case <-a.ctx.Done():
		return false
	}
	for a.sent.Load() < a.plan.AtLeast {
		if !a.sleep(time.Millisecond) {
			return false
		}
	}
	return true
}

// prepare completes the plan and reads the cluster.
func prepare(plan *Plan, attack *Attack) (*assailant, error) {
	for _, d := range []struct{ field, own *int }{{&plan.Rate, &attack.Rate}, {&plan.Count, &attack.Count}} {
		if *d.field == 0 {
			*d.field = *d.own
		}
	}
	if plan.Addresses == 0 {
		plan.Addresses = 16
	}
	if plan.Lasts <= 0 || plan.Lasts > timeMax || plan.Count < 0 || plan.Count > countMax || plan.Rate < 1 || plan.Rate > rateMax || plan.Addresses < 1 || plan.Addresses > 250 {
		return nil, fmt.Errorf("out of bounds: %+v", *plan)
	}
	public, err := config.LoadCluster(filepath.Join(plan.Dir, "cluster.toml"))
	if err != nil {
		return nil, err
	}
	a := &assailant{plan: plan, m: &public.Membership, clients: slices.Clone(public.ClientAddrs), pacer: pacer{every: time.Second / time.Duration(plan.Rate)}}
	for i := range a.m.N() {
		c, err := config.Load(filepath.Join(plan.Dir, bft.ReplicaID(i).String(), "themis.toml"))
		if err != nil {
			return nil, err
		}
		a.peers = append(a.peers, c.Listen.Peer)
		if attack.As == Rogue && i == plan.Rogue {
			if a.key, err = keys.Load(c.KeyFile); err != nil {
				return nil, err
			}
		}
	}
	if attack.As == Rogue && a.key == nil {
		return nil, fmt.Errorf("replica %d is not in the cluster", plan.Rogue)
	}
	for _, addr := range slices.Concat(a.peers, a.clients) {
		host, _, _ := net.SplitHostPort(addr)
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			return nil, fmt.Errorf("%s is not a loopback address: only clusters on this machine are attacked", addr)
		}
	}
	return a, nil
}

// processor is the processor time that this process has used, in seconds.
func processor() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // it cannot fail for oneself
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// Serve reads a plan in JSON from in, carries it out, and writes the report in JSON to out. It is the
// whole of an attacker's process, and ends early when in does: with whoever started it.
func Serve(in io.Reader, out io.Writer) error {
	read := json.NewDecoder(in)
	var plan Plan
	if err := read.Decode(&plan); err != nil {
		return fmt.Errorf("assault: reading the plan: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in) // until whoever started us has gone
		cancel()
	}()
	report, err := Run(ctx, plan)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(report)
}
