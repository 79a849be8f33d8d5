// Package serve joins the rooms into a running balancer: control publishes snapshots, the engine carries traffic by
// them, probes feed health, admin shows it all.
//
// Guarantee: Run returns only after every goroutine it started has ended, and no accepted request is cut before the
// drain deadline.
//
// Trap: rooms that serve serves do not know each other; a new connection between two of them belongs here and nowhere
// else.
package serve

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"roost"
	"roost/internal/access"
	"roost/internal/admin"
	"roost/internal/config"
	"roost/internal/control"
	"roost/internal/listen"
	"roost/internal/probe"
	"roost/internal/std"
)

// Options are what a balancer is given beside its configuration.
type Options struct {
	Version string
	// LogTo takes operators' lines, at the level and in the format that the configuration says now. Nil: nobody reads them.
	LogTo io.Writer
	// Load reads the configuration again, for a reload. Nil: it came from flags alone, and there is nothing to read.
	Load func() (*roost.Config, config.Diagnostics, error)
	// Record is given each finished exchange, on the request path; what it points to dies with the call. Nil: nobody asks.
	Record func(*roost.Record)
	// Listening is called once all listeners are open and the first table is published, with each listener's name and
	// real address, in the order of the configuration. Nil: nobody asks.
	Listening func([]roost.ListenerStatus)
	// Drain bounds the wait for requests in flight after the context ended; 0 means DefaultDrain.
	Drain time.Duration
	// UpgradeDrain bounds how long connections may stay here after an upgrade; 0 means DefaultUpgradeDrain.
	UpgradeDrain time.Duration
}

// DefaultDrain is how long an ending balancer waits for its requests: below the 30 s after which Kubernetes kills and
// the 90 s of systemd, so that it is Roost that says what it cut.
const DefaultDrain = 25 * time.Second

// DefaultUpgradeDrain is how long a process that was upgraded serves the connections it still has: WebSockets of a working
// day, and no longer, so that old processes do not add up for ever.
const DefaultUpgradeDrain = 24 * time.Hour

// ErrCut is returned by Run when the drain deadline cut off requests or tunnels.
var ErrCut = errors.New("drain deadline passed with connections still open")

// Run serves cfg until ctx ends, then drains. An error before that is one that kept it from starting.
func Run(ctx context.Context, cfg *roost.Config, o Options) error {
	b, err := Open(cfg, o)
	if err != nil {
		return err
	}
	return b.Run(ctx)
}

// Balancer is one balancer; all it owns is opened by Open and ended by Run.
type Balancer struct {
	cfg     *roost.Config
	o       Options
	log     *slog.Logger
	started time.Time

	snap     atomic.Pointer[roost.Snapshot]
	control  *control.Loop
	prober   *probe.Prober
	engine   *std.Engine
	access   *access.Log
	metrics  *admin.Metrics
	fronts   []front
	admin    net.Listener
	draining atomic.Bool
}

// front is an open listener and its certificates.
type front struct {
	ln    net.Listener
	certs *listen.Certs // nil: clear text
	conf  *roost.Listener
}
