// Package admin shows a balancer from outside, and changes it, over HTTP: whether it lives (/healthz), whether it is ready
// (/readyz), its metrics for Prometheus (/metrics), and the API (/api/v1, described by its own /api/v1/openapi.json).
//
// Guarantee: what is asked for is checked before anything happens: name, origin, token, route, body, in this order. Whatever
// is refused is told as problem details (RFC 9457) with a code for scripts. A token is never written anywhere.
//
// Trap: who reaches the unix socket may do everything. Its file mode is the only guard there.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"roost"
)

// Limits of an admin listener. Its file descriptors and its time are taken from the traffic's.
const (
	maxConns      = 2 * maxStreams // people and scrapers; further ones wait in the backlog. Streams take at most half
	maxHead       = 16 << 10       // bytes of a request head
	headTimeout   = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second // from each answer's first byte: the metrics of the largest pools take a slow reader some seconds
	idleTimeout   = 2 * time.Minute  // longer than the usual interval between scrapes
	shutdownLimit = 5 * time.Second  // for requests under way when the end comes
)

// Server answers admin requests, on any number of listeners.
type Server struct {
	options    Options
	log        *slog.Logger
	mux        *http.ServeMux
	operations map[string]operation // by pattern of the mux
	document   []byte               // OpenAPI
	streams    chan struct{}        // holds one for each stream of events
	refusals   refusals
}

// Serve answers on ln until ctx ends, then lets requests under way finish, for five seconds at most. It closes ln, and
// refuses one that other machines reach unless it demands the token and TLS.
func (s *Server) Serve(ctx context.Context, ln net.Listener, d Door) error {
	accepting := &problems{netutil.LimitListener(ln, maxConns), d.TLS}
	if !local(ln.Addr()) && (accepting.config() == nil || !d.Token) {
		ln.Close()
		return fmt.Errorf("serve the admin API on %s: other machines reach it, so it needs TLS and the token", ln.Addr())
	}
	// What changes something is not broken off when whoever asked is gone, only at the end.
	finishing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var conns connections
	socket := ln.Addr().Network() == "unix"
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			in := entrance{token: d.Token, socket: socket, secure: r.Context().Value(secure{}) != nil}
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				r = r.WithContext(finishing)
			}
			s.answer(w, r, in)
		}),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if c.(*problemConn).secure {
				return context.WithValue(ctx, secure{}, true)
			}
			return ctx
		},
		ConnState:                    conns.changed,
		DisableGeneralOptionsHandler: true, // OPTIONS * is ours to refuse
		ReadHeaderTimeout:            headTimeout,
		ReadTimeout:                  readTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHead,
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // clients that break off
	}
	server.RegisterOnShutdown(conns.closeUnused)
	done := make(chan error, 1)
	go func() { done <- server.Serve(accepting) }()
	var err error
	select {
	case broken := <-done:
		err = errors.Join(fmt.Errorf("serve the admin API on %s: %w", ln.Addr(), broken), server.Close())
	case <-ctx.Done():
		limit, stop := context.WithTimeout(context.WithoutCancel(ctx), shutdownLimit)
		if err = server.Shutdown(limit); err != nil {
			err = errors.Join(fmt.Errorf("finish the admin requests under way: %w", err), server.Close())
		}
		stop()
		<-done
	}
	cancel()
	conns.open.Wait()
	return err
}

// connections follows the connections of a listener, by what net/http tells of them.
type connections struct {
	open   sync.WaitGroup // until their goroutines are about to end
	mu     sync.Mutex     // guards all below
	unused map[net.Conn]bool
	ending bool
}

// changed is told of a new connection before the next one is accepted.
func (cs *connections) changed(c net.Conn, state http.ConnState) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	switch {
	case state == http.StateClosed:
		cs.open.Done()
	case state == http.StateNew && cs.ending:
		c.Close()
	}
	if state != http.StateNew {
		delete(cs.unused, c)
		return
	}
	cs.open.Add(1)
	if cs.unused == nil {
		cs.unused = map[net.Conn]bool{}
	}
	cs.unused[c] = true
}

// closeUnused closes connections on which nothing was asked yet: a Shutdown would wait five seconds for each to begin.
func (cs *connections) closeUnused() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.ending = true
	for c := range cs.unused {
		c.Close()
	}
}

// secure is the context key of connections that speak TLS.
type secure struct{}

// entrance is how a request came in.
type entrance struct {
	token  bool // is demanded
	socket bool // a unix socket
	secure bool // TLS
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

func (s *Server) settings() roost.Admin {
	if s.options.Settings == nil {
		return roost.Admin{}
	}
	return s.options.Settings()
}
