// Package admin shows a balancer from outside, over HTTP: whether it lives (/healthz), whether it is ready (/readyz), its
// metrics for Prometheus (/metrics) and its status as JSON (/status).
//
// Nothing here changes anything, nothing here slows a request down: counting is a few atomic additions, all else is read
// when somebody asks.
//
// Trap: there is no authentication. The room answers on loopback only, and only to names that a web page cannot have
// made its own; do not put it on another address before it asks for a token.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/netutil"
)

// Limits of the admin listener. Its file descriptors and its time are taken from the traffic's.
const (
	maxConns      = 64       // people and scrapers of one machine; further ones wait in the backlog
	maxHead       = 16 << 10 // bytes of a request head
	maxBody       = 64 << 10 // bytes of a request body; no page reads any yet
	headTimeout   = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second // the metrics of the largest pools take a slow reader some seconds
	idleTimeout   = 2 * time.Minute  // longer than the usual interval between scrapes
	shutdownLimit = 5 * time.Second  // for requests under way when the end comes
)

// Server answers admin requests. It is an http.Handler.
type Server struct {
	options Options
	pages   map[string]http.HandlerFunc
}

// New returns a Server that shows o.
func New(o Options) *Server {
	s := &Server{options: o}
	s.pages = map[string]http.HandlerFunc{
		"/":        s.index,
		"/healthz": s.healthz,
		"/readyz":  s.readyz,
		"/status":  s.status,
	}
	if o.Metrics != nil {
		s.pages["/metrics"] = o.Metrics.handler(o.Log).ServeHTTP
	}
	return s
}

// Serve answers on ln until ctx ends, then lets requests under way finish, for five seconds at most. It closes ln, and
// refuses one that can be reached from other machines.
func (s *Server) Serve(ctx context.Context, ln net.Listener, d Door) error {
	if !local(ln.Addr()) {
		ln.Close()
		return fmt.Errorf("serve the admin pages on %s: loopback only for now", ln.Addr())
	}
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHead,
		ErrorLog:          slog.NewLogLogger(s.options.Log.Handler(), slog.LevelDebug), // clients that break off
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(netutil.LimitListener(ln, maxConns)) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve the admin pages on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownLimit)
	defer cancel()
	err := server.Shutdown(limit)
	if err != nil {
		err = errors.Join(fmt.Errorf("finish the admin requests under way: %w", err), server.Close())
	}
	<-done
	return err
}

// local tells whether only this machine reaches addr.
func local(addr net.Addr) bool {
	switch addr := addr.(type) {
	case *net.TCPAddr:
		return addr.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	page, found := s.pages[r.URL.Path]
	switch {
	case !s.known(r.Host):
		problem(w, http.StatusForbidden, fmt.Sprintf("the admin pages do not answer to the name %q; use an address or localhost",
			r.Host))
	case !found:
		problem(w, http.StatusNotFound, "no such page; / lists them")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		problem(w, http.StatusMethodNotAllowed, "this page can be read only, by GET or HEAD")
	case r.ContentLength > maxBody:
		problem(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("a request body here has at most %d bytes", maxBody))
	default:
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		page(w, r)
	}
}

// known tells whether a Host field can be meant for us. A web page whose own name was made to resolve to this machine
// (DNS rebinding) sends that name; it cannot make its browser send an address, localhost or the name we were given.
// Clients without Host are no browsers.
func (s *Server) known(host string) bool {
	name := hostname(host)
	_, err := netip.ParseAddr(name)
	return err == nil || host == "" || strings.EqualFold(name, "localhost") ||
		s.options.Settings != nil && strings.EqualFold(name, hostname(s.options.Settings().Address))
}

// hostname is host:port without port and brackets.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}
