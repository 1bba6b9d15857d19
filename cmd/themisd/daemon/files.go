package daemon

import (
	"log/slog"
	"syscall"

	"github.com/themis-bft/themis/transport/tcp"
)

// linkLimits raises the number of files that this process may have open as far as it may, and
// fits the limits of links into it: connections must not take the descriptors that the log and
// the other replicas need.
func linkLimits(replicas int, log *slog.Logger) tcp.Limits {
	var l syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l)
	if err == nil && l.Cur < l.Max {
		l.Cur = l.Max
		err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	}
	if err != nil {
		log.Warn("the limit of open files is not known", "error", err)
		return tcp.Limits{}
	}
	limits, enough := tcp.Limits{}.WithinFiles(replicas, int(min(l.Cur, 1<<30)))
	log.Info("open files", "limit", l.Cur, "clients", limits.ClientsMax, "handshakes", limits.PendingMax)
	if !enough {
		log.Warn("too few files may be open for this cluster: raise the limit (ulimit -n)", "limit", l.Cur)
	}
	return limits
}
