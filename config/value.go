package config

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// duration parses the value of a key; an empty string leaves the default.
func (f *file) duration(path, text string, into *time.Duration, least, most time.Duration) {
	if !f.has(path) {
		return
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		f.bad(path, `write a number with its unit, such as "400ms" or "10s"`, "%q is no duration", text)
		return
	}
	if d < least || d > most {
		f.bad(path, "", "%s is out of range (%s to %s)", d, least, most)
		return
	}
	*into = d
}

var units = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}}

// size parses a number of bytes with a unit.
func (f *file) size(path, text string, into *int64, least, most int64) {
	if !f.has(path) {
		return
	}
	n, err := parseSize(text)
	switch {
	case err != nil:
		f.bad(path, `write a number with its unit, such as "128KiB" or "64MiB"`, "%q is no size", text)
	case n < least || n > most:
		f.bad(path, "", "%s is out of range (%s to %s)", formatSize(n), formatSize(least), formatSize(most))
	default:
		*into = n
	}
}

func parseSize(text string) (int64, error) {
	for _, u := range units {
		if digits, ok := strings.CutSuffix(text, u.suffix); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
			if err != nil || n < 0 || n > (1<<62)/u.bytes {
				return 0, fmt.Errorf("%q is no size", text)
			}
			return n * u.bytes, nil
		}
	}
	return 0, fmt.Errorf("%q has no unit", text)
}

// formatSize is the inverse of parseSize, in the largest unit that loses nothing.
func formatSize(n int64) string {
	for _, u := range []int{2, 1, 0} {
		if n != 0 && n%units[u].bytes == 0 {
			return strconv.FormatInt(n/units[u].bytes, 10) + units[u].suffix
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// number checks the range of an integer.
func (f *file) number(path string, n, least, most int64) {
	if f.has(path) && (n < least || n > most) {
		f.bad(path, "", "%d is out of range (%d to %d)", n, least, most)
	}
}

// choice checks a value against the allowed ones.
func (f *file) choice(path, have string, allowed ...string) {
	if !f.has(path) {
		return
	}
	for _, a := range allowed {
		if have == a {
			return
		}
	}
	f.bad(path, "allowed: "+strings.Join(allowed, ", "), "%q is not known", have)
}

// address checks host:port, and that nothing else in seen has it.
func (f *file) address(path, addr string, seen map[string]string) {
	if !f.has(path) {
		return
	}
	host, port, err := net.SplitHostPort(addr)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 || strings.ContainsAny(host, " \t\"") {
		f.bad(path, `write host:port, such as "127.0.0.1:7000" or "[::1]:7000"`, "%q is no address", addr)
		return
	}
	if other, dup := seen[addr]; dup {
		f.bad(path, fmt.Sprintf("%s (line %d) has it already; give each its own", other, f.line(other)), "address %s is used twice", addr)
		return
	}
	seen[addr] = path
}

// loopback checks that an address can be reached from this machine only.
func (f *file) loopback(path, addr string) {
	host, _, err := net.SplitHostPort(addr)
	if !f.has(path) || err != nil {
		return
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		f.bad(path, `use "127.0.0.1:PORT" and a tunnel: whoever reaches this address may profile the process`,
			"%s is not a loopback address", addr)
	}
}
