// Package serve joins the rooms into a running balancer: control publishes snapshots, the engine carries traffic by
// them, probes feed health, a store keeps what operators changed, admin shows it all. It changes while it runs: by an
// operator's change, by a reload, and by an upgrade, which gives all sockets to a new process.
//
// Guarantee: Run returns only after every goroutine it started has ended, and no accepted request is cut before the
// drain deadline. A change or reload happens whole or not at all; a store that fails stops changes, never traffic.
//
// Trap: rooms that serve serves do not know each other; a new connection between two of them belongs here and nowhere
// else. Whatever changes what is served takes the turn first.
package serve

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"roost"
	"roost/internal/admin"
	"roost/internal/config"
	"roost/internal/control"
	"roost/internal/listen"
	"roost/internal/probe"
	"roost/internal/upgrade"
)

// Options are what a balancer is given beside its configuration.
type Options struct {
	Version string
	// LogTo takes operators' lines, at the level and in the format that the configuration says now. Nil: nobody reads them.
	LogTo io.Writer
	// Load reads the configuration again, for a reload. Nil: it came from flags alone, and there is nothing to read.
	Load func() (*roost.Config, config.Diagnostics, error)
	// Listed is what other sources list already, so that the first snapshot has it. List brings what they list later.
	Listed []roost.Listing
	// Record is given each finished exchange, on the request path; what it points to dies with the call. Nil: nobody asks.
	Record func(*roost.Record)
	// Listening is called once traffic is taken, with each listener's name and real address, in the order of the
	// configuration. Nil: nobody asks.
	Listening func([]roost.ListenerStatus)
	// Drain bounds the wait for requests in flight after the context ended; 0 means DefaultDrain.
	Drain time.Duration
	// UpgradeDrain bounds how long connections may stay here after an upgrade; 0 means DefaultUpgradeDrain.
	UpgradeDrain time.Duration

	Inherited *listen.Inherited // sockets that the process was started with; nil: none
	Parent    *upgrade.Parent   // the process that this one replaces; nil: none
	Program   *upgrade.Options  // what an upgrade starts; nil: there is none
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
	o       Options
	started time.Time
	logs    *logHandler
	events  *admin.Events
	log     *slog.Logger
	first   *next // what Open opened and Run installs

	snap    atomic.Pointer[roost.Snapshot]
	control *control.Loop
	prober  *probe.Prober
	engine  engine
	loops   int                      // event loops; 0: the engine is std
	permits chan struct{}            // one for each that may do heavy work beside the loops; nil: no bound
	began   *roost.Config            // what the engine was chosen by
	run     func()                   // starts what the engine needs beside Serve
	stats   func() []roost.LoopStats // nil: there are no loops
	keeper  *keeper
	edited  atomic.Pointer[roost.Edits] // that are served, for those who only look
	metrics *admin.Metrics
	admin   *admin.Server
	access  accessLog
	token   atomic.Pointer[admin.Token]

	support *group          // what traffic rests on
	traffic *group          // what takes traffic
	broken  <-chan error    // the first failure of a part
	handed  chan struct{}   // closed when another process serves in our place
	hurried context.Context // ends when an end may take no time any more
	ending  context.Context // ends when Run begins to end
	hurry   context.CancelFunc
	end     context.CancelFunc

	watches   bool // files, for changes
	draining  atomic.Bool
	upgrading atomic.Bool // and, after it, for ever

	turn   turn            // guards the three below, and who may write what mu guards
	edits  *roost.Edits    // as the store has them
	listed []roost.Listing // by source and pool
	doors  []*door

	mu       sync.Mutex // guards the three below, and what fronts say of it
	cfg      *roost.Config
	fronts   []*front // in the order of the configuration, then retired ones
	reloaded roost.ReloadStatus
}
