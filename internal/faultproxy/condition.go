package faultproxy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/themis-bft/themis/wire"
)

// Direction says which way bytes go through a proxy.
type Direction int

// The directions. A link between replicas carries frames forward only; a client's carries both.
const (
	Forward Direction = iota // from the dialler to the target
	Back
)

// Condition is what happens to one direction of a link. The zero value is fair weather.
//
// The chances are for each unit: a frame where the proxy holds keys, otherwise the bytes of one
// read. A HELLO is spared unless Kinds names it.
type Condition struct {
	Delay, Jitter time.Duration // of each unit; order is kept
	Rate          int           // bytes per second at most; 0: no limit

	Drop, Duplicate, Reorder, Flip, Replay float64 // chances from 0 to 1

	// Kinds limits the chances to frames of these kinds; empty: all. Opaque proxies ignore it.
	Kinds []wire.Kind

	// Hold is a black hole: connections are accepted, and nothing that goes this way passes until
	// it is lifted. Cut refuses connections and has ended those that were open. HalfOpen has ended
	// the target's side alone: the dialler talks to nobody and does not know. Cut and HalfOpen are
	// of whole connections, whichever direction they are set for.
	Hold, Cut, HalfOpen bool
}

// fair reports whether c changes nothing.
func (c *Condition) fair() bool { return c.String() == "fair" }

// hits reports whether the chances apply to a frame of kind k.
func (c *Condition) hits(k wire.Kind, opaque bool) bool {
	if opaque {
		return true
	}
	if len(c.Kinds) == 0 {
		return k != wire.KindHello
	}
	for _, each := range c.Kinds {
		if each == k {
			return true
		}
	}
	return false
}

// String writes c as ParseCondition reads it: "delay=20ms,drop=0.1", or "fair".
func (c Condition) String() string {
	var parts []string
	add := func(name, value string) { parts = append(parts, name+"="+value) }
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"delay", c.Delay}, {"jitter", c.Jitter}} {
		if d.d > 0 {
			add(d.name, d.d.String())
		}
	}
	if c.Rate > 0 {
		add("rate", strconv.Itoa(c.Rate))
	}
	for _, p := range c.chances() {
		if *p.value > 0 {
			add(p.name, strconv.FormatFloat(*p.value, 'g', -1, 64))
		}
	}
	for _, k := range c.Kinds {
		add("kind", strconv.Itoa(int(k)))
	}
	for _, s := range c.states() {
		if *s.value {
			parts = append(parts, s.name)
		}
	}
	if len(parts) == 0 {
		return "fair"
	}
	return strings.Join(parts, ",")
}

type chance struct {
	name  string
	value *float64
}

func (c *Condition) chances() []chance {
	return []chance{{"drop", &c.Drop}, {"duplicate", &c.Duplicate}, {"reorder", &c.Reorder}, {"flip", &c.Flip}, {"replay", &c.Replay}}
}

type state struct {
	name  string
	value *bool
}

func (c *Condition) states() []state {
	return []state{{"hold", &c.Hold}, {"cut", &c.Cut}, {"half-open", &c.HalfOpen}}
}

// ParseCondition reads what String writes.
func ParseCondition(text string) (Condition, error) {
	var c Condition
	if text == "fair" {
		return c, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(part, "=")
		if err := c.set(name, value); err != nil {
			return Condition{}, fmt.Errorf("faultproxy: condition %q: %w", part, err)
		}
	}
	return c, nil
}

func (c *Condition) set(name, value string) (err error) {
	for _, s := range c.states() {
		if s.name == name && value == "" {
			*s.value = true
			return nil
		}
	}
	for _, p := range c.chances() {
		if p.name == name {
			if *p.value, err = strconv.ParseFloat(value, 64); err == nil && !(*p.value >= 0 && *p.value <= 1) {
				err = fmt.Errorf("a chance is from 0 to 1")
			}
			return err
		}
	}
	switch name {
	case "delay":
		c.Delay, err = time.ParseDuration(value)
	case "jitter":
		c.Jitter, err = time.ParseDuration(value)
	case "rate":
		c.Rate, err = strconv.Atoi(value)
	case "kind":
		var k uint64
		k, err = strconv.ParseUint(value, 10, 8)
		c.Kinds = append(c.Kinds, wire.Kind(k))
	default:
		err = fmt.Errorf("there is no such fault")
	}
	return err
}
