// Package rng is the one source of chance of the simulator: a splitmix64 sequence that a
// uint64 seed decides, the same on every machine and for every version of Go. It draws with
// integers alone. A Source is owned by one simulated run and used from its goroutine; nothing
// outside the simulator uses it, and it never produces a key or a nonce of a real cluster.
package rng

import "math/bits"

// Source is a stream of pseudo-random numbers.
type Source struct {
	state uint64
}

// New returns the stream of a seed.
func New(seed uint64) *Source { return &Source{state: seed} }

// Fork returns a stream of its own for one purpose: what one purpose draws does not move the
// numbers of another.
func (s *Source) Fork(purpose uint64) *Source {
	return &Source{state: mix(s.state^0x9e3779b97f4a7c15) + mix(purpose+0x632be59bd9b4e019)}
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Uint64 returns the next number.
func (s *Source) Uint64() uint64 {
	s.state += 0x9e3779b97f4a7c15
	return mix(s.state)
}

// Below returns a number in [0, n); 0 when n is 0.
func (s *Source) Below(n uint64) uint64 {
	hi, _ := bits.Mul64(s.Uint64(), n)
	return hi
}

// Intn returns a number in [0, n); 0 when n ≤ 0.
func (s *Source) Intn(n int) int {
	if n <= 0 {
		return 0
	}
	return int(s.Below(uint64(n)))
}

// Between returns a number in [lo, hi].
func (s *Source) Between(lo, hi int64) int64 {
	if hi <= lo {
		return lo
	}
	return lo + int64(s.Below(uint64(hi-lo+1)))
}

// PerMille reports true p times in a thousand.
func (s *Source) PerMille(p int) bool { return p > 0 && s.Intn(1000) < p }

// Tail returns a number around scale with a heavy tail: it doubles with probability one in
// four, again and again, at most six times.
func (s *Source) Tail(scale int64) int64 { return s.Tailed(scale, 6) }

// Tailed is Tail with another number of doublings at most.
func (s *Source) Tailed(scale int64, doublings int) int64 {
	v := s.Between(scale/2, scale+scale/2)
	for i := 0; i < doublings && s.Intn(4) == 0; i++ {
		v *= 2
	}
	return v
}

// Shuffle permutes n things by swap.
func (s *Source) Shuffle(n int, swap func(i, j int)) {
	for i := n - 1; i > 0; i-- {
		swap(i, s.Intn(i+1))
	}
}

// Fill fills b with random bytes.
func (s *Source) Fill(b []byte) {
	for i := 0; i < len(b); i += 8 {
		v := s.Uint64()
		for j := i; j < len(b) && j < i+8; j++ {
			b[j] = byte(v)
			v >>= 8
		}
	}
}
