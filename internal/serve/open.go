package serve

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"time"

	"roost"
	"roost/internal/access"
	"roost/internal/admin"
	"roost/internal/carry"
	"roost/internal/config"
	"roost/internal/control"
	"roost/internal/listen"
	"roost/internal/probe"
	"roost/internal/store"
	"roost/internal/store/sqlstore"
)

// stateMode keeps the directory of token, socket and database from other users.
const stateMode = 0o700

// Open opens everything that can fail before traffic: state, sockets, certificates, logs, the store. All problems are
// reported at once; on any, what was opened is closed again. Run must follow.
func Open(cfg *roost.Config, o Options) (*Balancer, error) {
	return openWith(cfg, o, openStore)
}

func openWith(cfg *roost.Config, o Options, open func(path string) (store.Store, error)) (*Balancer, error) {
	broken := make(chan error, 1)
	b := &Balancer{o: o, started: time.Now(), turn: make(turn, 1), listed: o.Listed, logs: newLogHandler(o.LogTo), cfg: &roost.Config{},
		broken: broken, handed: make(chan struct{}), support: newGroup(broken), traffic: newGroup(broken)}
	b.watches = o.Load != nil
	b.o.Drain, b.o.UpgradeDrain = cmp.Or(o.Drain, DefaultDrain), cmp.Or(o.UpgradeDrain, DefaultUpgradeDrain)
	b.hurried, b.hurry = context.WithCancel(context.Background())
	b.ending, b.end = context.WithCancel(context.Background())
	b.logs.use(cfg.Log)
	b.events = admin.NewEvents(b.logs)
	b.log = slog.New(b.events)
	b.loops, b.began, b.run = loopsOf(cfg), cfg, func() {}
	b.permits = makeRoom(b.loops)
	b.reloaded = roost.ReloadStatus{At: b.started, By: "start", OK: true}

	if cfg.State != "" {
		if err := os.MkdirAll(cfg.State, stateMode); err != nil {
			return nil, fmt.Errorf("make the state directory: %w", err)
		}
	}
	// The socket comes before the store: two balancers cannot have it, so none touches another's store.
	first, troubles := b.prepare(cfg, func(address string, n int, _ []net.Listener) (net.Listener, error) {
		return o.Inherited.Open(address, n)
	})
	var errs []error
	for _, t := range troubles {
		errs = append(errs, t.err)
	}
	if len(errs) == 0 {
		s, err := open(cfg.Store)
		if err == nil {
			b.keeper = newKeeper(s, b.log)
			b.keeper.found = b.reconcile
			first.opened = append(first.opened, func() { s.Close() })
			err = b.restore()
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		first.close()
		o.Inherited.CloseRest()
		return nil, err
	}
	for _, rest := range o.Inherited.CloseRest() {
		b.log.Warn("an inherited socket is not in the configuration, and was closed", "socket", rest)
	}
	b.first = first
	b.turn <- struct{}{} // until it is served
	return b, nil
}

// openStore opens what Config.Store says.
func openStore(path string) (store.Store, error) {
	if path == "memory" {
		return store.NewMemory(), nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), openLimit)
	defer cancel()
	return sqlstore.Open(ctx, path)
}

// restore reads what a process before left, and joins the rooms with it. Nothing runs yet.
func (b *Balancer) restore() error {
	edits, err := b.keeper.load()
	if err != nil {
		return err
	}
	tables, err := b.keeper.tables()
	if err != nil {
		return err
	}
	b.edits = edits
	return b.join(tables)
}

// join makes the rooms and connects them.
func (b *Balancer) join(tables []*roost.Table) error {
	var self roost.Incarnation
	rand.Read(self[:]) // never fails: crypto/rand ends the process instead
	if err := b.openEngine(); err != nil {
		return err
	}
	b.prober = probe.New(probe.Options{Version: b.o.Version, Log: b.log, Report: func(r roost.ProbeResult) { b.control.Probed(r) }})
	b.metrics = admin.NewMetrics(admin.Sources{Status: b.Status, Connections: b.connections, LogDropped: b.access.dropped,
		Events: b.events, Reasons: carry.Codes(), Loops: b.stats})
	b.control = control.New(control.Options{Snapshot: &b.snap, Log: b.log, Now: time.Now, Incarnation: self, Version: b.o.Version,
		Targets: b.prober.Set, Urge: b.prober.Urge, Tables: tables, Keep: b.keeper.keep, Listeners: b.metrics.Configure})
	b.admin = admin.New(admin.Options{Settings: func() roost.Admin { return b.config().Admin }, Token: b.adminToken, Log: b.log,
		Metrics: b.metrics, Events: b.events, Status: b.Status, Ready: b.ready, Config: b.Config, Node: config.Node, Change: b.Change,
		Key: b.Key, Table: b.Table, Explain: b.Explain, Reload: b.Reload, Upgrade: b.Upgrade})
	return nil
}

// record takes a finished exchange, on the request path.
func (b *Balancer) record(r *roost.Record) {
	b.metrics.Observe(r)
	b.access.now.Load().Write(r, b.snap.Load().Listener(r.Listener).Name)
	if b.o.Record != nil {
		b.o.Record(r)
	}
}

// next is what a new configuration needs and what is not there yet: opened, and not in use. It comes to nothing by close.
type next struct {
	cfg    *roost.Config
	fronts []*front // by listener of cfg: those that stay, and new ones
	shown  []*shown // by listener of cfg: what it shows; nil is clear text
	retire []*front
	doors  []*door
	worn   []*shown    // by door, as shown is by listener
	access *access.Log // nil: the one in use stays
	token  *admin.Token
	opened []func() // close what was opened
}

func (n *next) close() {
	for _, f := range n.opened {
		f()
	}
}

// trouble is why a configuration cannot be used on this machine now, and the setting that asked for it.
type trouble struct {
	path string
	err  error
}

// prepare opens what cfg needs beside what is there, n sockets on one address by open, which is told what will be closed. It
// changes nothing of what is in use. On troubles the caller closes what it returns all the same.
func (b *Balancer) prepare(cfg *roost.Config, open func(address string, n int, leaving []net.Listener) (net.Listener, error)) (*next, []trouble) {
	n := &next{cfg: cfg}
	var troubles []trouble
	fail := func(path string, err error) { troubles = append(troubles, trouble{path, err}) }
	var leaving []net.Listener
	opening := func(address string, sockets int) (net.Listener, error) {
		ln, err := open(address, sockets, leaving)
		if err == nil {
			n.opened = append(n.opened, func() { ln.Close() })
		}
		return ln, err
	}

	fronts := b.allFronts()
	p, err := planSockets(sockets(fronts), cfg.Listeners)
	if err != nil {
		return n, []trouble{{"listeners", err}}
	}
	for _, j := range p.retire {
		n.retire, leaving = append(n.retire, fronts[j]), append(leaving, fronts[j].ln.Listener)
	}
	for _, d := range b.doors {
		if !slices.ContainsFunc(entrances(&cfg.Admin), d.is) {
			leaving = append(leaving, d.ln.Listener)
		}
	}
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		l.ID = p.ids[i]
		var f *front
		if j := p.keep[i]; j >= 0 {
			f = fronts[j]
		} else {
			ln, err := opening(l.Address, max(1, b.loops))
			if err != nil {
				fail("listeners."+l.Name+".address", fmt.Errorf("listener %s: %w", l.Name, err))
			}
			f = &front{id: l.ID, ln: newClosing(ln), secrecy: newSecrecy()}
		}
		s, err := f.secrecy.next(l.TLS, spoken(&l.Settings), listen.CertOptions{Log: b.log, Permits: b.permits})
		if err != nil {
			fail("listeners."+l.Name+".tls", fmt.Errorf("listener %s: %w", l.Name, err))
		}
		n.fronts, n.shown = append(n.fronts, f), append(n.shown, s)
	}
	b.prepareDoors(n, func(address string) (net.Listener, error) { return opening(address, 1) }, fail)
	if b.access.now.Load() == nil || cfg.Log.Access != b.config().Log.Access {
		if n.access, err = access.Open(cfg.Log.Access, b.log); err != nil {
			fail("log.access", err)
		} else {
			l := n.access
			n.opened = append(n.opened, func() { closeLog(l) })
		}
	}
	return n, troubles
}
