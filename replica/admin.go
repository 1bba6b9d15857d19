package replica

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"
)

// adminHeaderBytesMax and adminTimeout bound what a connection to the admin endpoint costs;
// adminStopTime is how long answers under way hold up a stop (a profile runs for half a minute).
const (
	adminHeaderBytesMax = 8 << 10
	adminTimeout        = 10 * time.Second
	adminStopTime       = 300 * time.Millisecond
)

// admin is the endpoint for operators on the loopback interface:
//
//	/livez           200 while the order stage answers
//	/readyz          200 while linked with a quorum, and active or following
//	/statusz         Status as JSON
//	/metrics         counters and gauges in the text format of Prometheus
//	/debug/pprof/    profiles of the running process
//
// It changes nothing, and refuses whoever does not come from this machine: profiles show the
// memory of the process.
type admin struct {
	replica *Replica
	listen  net.Listener
	server  *http.Server
}

// newAdmin listens on addr, which must be a loopback address; with an empty addr there is no
// endpoint.
func newAdmin(r *Replica, addr string) (*admin, error) {
	a := &admin{replica: r}
	if addr == "" {
		return a, nil
	}
	at, err := netip.ParseAddrPort(addr)
	if err != nil || !at.Addr().IsLoopback() {
		return nil, fmt.Errorf("replica: admin address %q is not a loopback address and port, such as 127.0.0.1:7000", addr)
	}
	if a.listen, err = net.Listen("tcp", addr); err != nil {
		return nil, fmt.Errorf("replica: admin: %w", err)
	}
	a.server = &http.Server{
		Handler: a.guard(a.routes()), MaxHeaderBytes: adminHeaderBytesMax,
		ReadTimeout: adminTimeout, IdleTimeout: adminTimeout,
	}
	return a, nil
}

func (a *admin) routes() *http.ServeMux {
	m := http.NewServeMux()
	m.HandleFunc("GET /livez", a.live)
	m.HandleFunc("GET /readyz", a.ready)
	m.HandleFunc("GET /statusz", a.status)
	m.HandleFunc("GET /metrics", a.metrics)
	m.HandleFunc("GET /debug/pprof/", pprof.Index)
	m.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	m.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	m.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return m
}

// guard refuses requests from elsewhere, and requests that a web page makes a browser on this
// machine send: those name another host, or an origin.
func (a *admin) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		from, err := netip.ParseAddrPort(q.RemoteAddr)
		if err != nil || !from.Addr().Unmap().IsLoopback() || !localHost(q.Host) || q.Header.Get("Origin") != "" {
			http.Error(w, "only from this machine", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, q)
	})
}

func localHost(hostport string) bool {
	name, _, err := net.SplitHostPort(hostport)
	if err != nil {
		name = hostport
	}
	if name == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.IsLoopback()
}

func (a *admin) serve() {
	if a.server == nil {
		return
	}
	a.replica.running.Go(func() {
		if err := a.server.Serve(a.listen); !errors.Is(err, http.ErrServerClosed) {
			a.replica.log.Error("the admin endpoint ended", "error", err)
		}
	})
}

func (a *admin) close(ctx context.Context) error {
	if a.server == nil {
		return nil
	}
	soon, cancel := context.WithTimeout(ctx, adminStopTime)
	defer cancel()
	if err := a.server.Shutdown(soon); err != nil {
		return a.server.Close()
	}
	return nil
}

// Addr is the address of the admin endpoint, empty if there is none.
func (r *Replica) Addr() string {
	if r.admin.listen == nil {
		return ""
	}
	return r.admin.listen.Addr().String()
}

func (a *admin) live(w http.ResponseWriter, _ *http.Request) {
	if _, ok := a.replica.ask(statusPatience); !ok {
		http.Error(w, "the order stage does not answer", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (a *admin) ready(w http.ResponseWriter, _ *http.Request) {
	s, ok := a.replica.Status()
	if !ok || !s.Ready {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (a *admin) status(w http.ResponseWriter, _ *http.Request) {
	s, ok := a.replica.Status()
	if !ok {
		http.Error(w, "the order stage does not answer", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(&s); err != nil {
		a.replica.log.Debug("status was not sent", "error", err)
	}
}

func (a *admin) metrics(w http.ResponseWriter, _ *http.Request) {
	s, ok := a.replica.Status()
	if !ok {
		http.Error(w, "the order stage does not answer", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	a.replica.metrics.write(w, &s)
}
