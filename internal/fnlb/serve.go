package fnlb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"golang.org/x/net/netutil"
)

// Limits of a management listener.
const (
	maxConns      = 256
	maxHead       = 16 << 10
	headTimeout   = 5 * time.Second
	readTimeout   = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	shutdownLimit = 5 * time.Second // for requests under way when the end comes
)

// Own opens the socket in dir by which the balancer asks this process (see Flags.Config).
func Own(dir string) (net.Listener, error) {
	ln, err := net.Listen("unix", filepath.Join(dir, ownSocket))
	if err != nil {
		return nil, fmt.Errorf("open the socket for requests to ourselves: %w", err)
	}
	return ln, nil
}

// OwnHandler answers what the balancer passes to this process: the API, and answers to be rewritten.
func (l *LB) OwnHandler(dir string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/1/lb/", l.Handler())
	mux.Handle("/v2/", Rewriter(dir, l.o.Log))
	return mux
}

// Serve answers on ln until ctx ends. It closes ln.
func Serve(ctx context.Context, ln net.Listener, h http.Handler, log *slog.Logger) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: headTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHead, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	done := make(chan error, 1)
	go func() { done <- server.Serve(netutil.LimitListener(ln, maxConns)) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve /1/lb/ on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownLimit)
	defer cancel()
	err := server.Shutdown(limit)
	if err != nil {
		err = errors.Join(fmt.Errorf("finish the requests under way on %s: %w", ln.Addr(), err), server.Close())
	}
	<-done
	return err
}
