package tcp

const (
	// filesReserve are descriptors for all but links: log, snapshots, the data directory's lock,
	// the three standard streams, listeners, the poller, the admin endpoint and what reads its files.
	filesReserve = 24
	// filesPerPeer are the links with one replica: the one we dial, the accepted one, and the one
	// that is about to replace it.
	filesPerPeer = 3
	// filesMin is the least number of descriptors beside those of the replicas with which a
	// replica can work: some handshakes, some clients.
	filesMin = 8
)

// WithinFiles lowers l so that links and handshakes of a cluster of n leave room in a process
// that may have the given number of files open. However many clients connect, replicas find
// places, and the log can open its files. It reports false if so few are too few to work with.
func (l Limits) WithinFiles(n, files int) (Limits, bool) {
	l = l.withDefaults()
	left := files - filesReserve - filesPerPeer*max(n-1, 0)
	enough := left >= filesMin
	left = max(left, filesMin)
	l.PendingMax = min(l.PendingMax, left/4) // of strangers, and of peers
	l.PendingPerAddressMax = min(l.PendingPerAddressMax, l.PendingMax)
	l.ClientsMax = min(l.ClientsMax, left-2*l.PendingMax)
	l.ClientsPerAddressMax = min(l.ClientsPerAddressMax, l.ClientsMax)
	return l, enough
}

// Files is the number of descriptors that the links of a cluster of n take at most.
func (l Limits) Files(n int) int {
	l = l.withDefaults()
	return 2*l.PendingMax + l.ClientsMax + filesPerPeer*max(n-1, 0)
}
