// Package faultproxy puts bad weather on the links of a cluster of real processes. A Proxy stands
// on one directed link, from whoever dials to one target: it delays, throttles, holds, cuts, and
// in its finer mode drops, repeats, reorders and falsifies single frames. A Mesh is the proxies of
// all links of a cluster directory, whose files it rewrites; a Schedule is faults over time, drawn
// from a seed, that can be printed, read back and run again.
//
// Links are TLS 1.3 between pinned keys. Without keys a proxy is opaque: it sees bytes, and
// whatever it changes in them the ends must notice. With the keys of both ends (a Mesh reads them
// from the directory of a test cluster) it ends TLS on either side as the respective other and
// sees frames: what it then falsifies arrives authenticated, so that to the receiver the sender
// lies. Such a sender is one of the f that may be faulty.
//
// Tests and campaigns call it; it only listens on loopback addresses. What it holds is bounded:
// connections by connectionsMax, and in each direction of each by queueBytesMax and one frame.
// After Close nothing runs any more.
package faultproxy
