package serve

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"roost"
	"roost/internal/access"
	"roost/internal/admin"
	"roost/internal/carry"
	"roost/internal/control"
	"roost/internal/listen"
	"roost/internal/probe"
	"roost/internal/std"
)

// Open makes everything that can fail before traffic: certificates, listeners, log files. All problems are reported at
// once; on any, what was opened is closed again.
func Open(cfg *roost.Config, o Options) (*Balancer, error) {
	cfg = numbered(cfg)
	b := &Balancer{cfg: cfg, o: o, started: time.Now()}
	b.log = slog.New(slog.DiscardHandler)
	if o.LogTo != nil {
		b.log = slog.New(handler(cfg.Log, o.LogTo))
	}
	var errs []error
	for i := range cfg.Listeners {
		f, err := openFront(&cfg.Listeners[i], b.log)
		if err != nil {
			errs = append(errs, fmt.Errorf("listener %s: %w", cfg.Listeners[i].Name, err))
			continue
		}
		b.fronts = append(b.fronts, f)
	}
	var err error
	if cfg.Admin.Address != "" {
		if b.admin, err = listen.Open(cfg.Admin.Address); err != nil {
			errs = append(errs, fmt.Errorf("admin: %w", err))
		}
	}
	if b.access, err = access.Open(cfg.Log.Access, b.log); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		b.close()
		return nil, errors.Join(errs...)
	}
	b.join()
	return b, nil
}

// numbered gives the listeners their ids.
func numbered(cfg *roost.Config) *roost.Config {
	c := *cfg
	c.Listeners = slices.Clone(c.Listeners)
	for i := range c.Listeners {
		c.Listeners[i].ID = roost.ListenerID(i)
	}
	return &c
}

func openFront(conf *roost.Listener, log *slog.Logger) (front, error) {
	f := front{conf: conf}
	var err error
	if conf.TLS != nil {
		if f.certs, err = listen.OpenCerts(conf.TLS.Certificates, log); err != nil {
			return f, err
		}
	}
	f.ln, err = listen.Open(conf.Address)
	return f, err
}

func (b *Balancer) close() {
	for _, f := range b.fronts {
		f.ln.Close()
	}
	if b.admin != nil {
		b.admin.Close()
	}
}

// join makes the rooms and connects them. Nothing runs yet.
func (b *Balancer) join() {
	var self roost.Incarnation
	rand.Read(self[:]) // never fails: crypto/rand ends the process instead
	b.prober = probe.New(probe.Options{Version: b.o.Version, Log: b.log, Report: func(r roost.ProbeResult) { b.control.Probed(r) }})
	b.control = control.New(control.Options{Snapshot: &b.snap, Log: b.log, Now: time.Now, Incarnation: self,
		Version: b.o.Version, Targets: b.prober.Set, Urge: b.prober.Urge})
	b.metrics = admin.NewMetrics(admin.Sources{Status: b.Status, Connections: b.connections, LogDropped: b.access.Dropped,
		Reasons: carry.Codes()})
	b.engine = std.New(std.Options{Snapshot: &b.snap, Log: b.log, Now: time.Now, Record: func(r *roost.Record) {
		b.metrics.Observe(r)
		b.access.Write(r, b.fronts[r.Listener].conf.Name)
		if b.o.Record != nil {
			b.o.Record(r)
		}
	}})
}

// Run starts everything in the order in which one needs the other, and ends it in the opposite order.
func (b *Balancer) Run(ctx context.Context) error {
	defer b.close()

	// Outlives ctx: requests that drain still need control, probes and logs.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var support, engine group
	support.start("control", func() error { return b.control.Run(inner) })
	support.start("probe", func() error { return b.prober.Run(inner) })
	support.start("access log", func() error { return b.access.Run(inner) })
	err := b.control.Configure(ctx, b.cfg)
	if err == nil {
		b.metrics.Configure(b.snap.Load().Listeners)
		b.front(inner, &support)
		b.serve(inner, &engine)
		err = b.wait(ctx, &support, &engine)
	}
	cancel()
	return errors.Join(err, support.wait(), engine.wait())
}

// front starts what serves beside traffic: certificates that reload, and the admin listener.
func (b *Balancer) front(ctx context.Context, g *group) {
	for _, f := range b.fronts {
		if f.certs != nil {
			g.start("certificates of "+f.conf.Name, func() error { return f.certs.Run(ctx) })
		}
	}
	if b.admin != nil {
		b.log.Info("admin listening", "address", b.admin.Addr().String())
		h := admin.New(admin.Options{Settings: func() roost.Admin { return b.cfg.Admin }, Status: b.Status, Ready: b.ready, Metrics: b.metrics, Log: b.log})
		g.start("admin", func() error { return h.Serve(ctx, b.admin, admin.Door{}) })
	}
}

func (b *Balancer) serve(ctx context.Context, g *group) {
	for i, f := range b.fronts {
		var conf func() *tls.Config
		if f.certs != nil {
			secure := f.certs.TLS(f.conf.TLS.MinVersion, f.conf.Settings.HTTP2)
			conf = func() *tls.Config { return secure }
		}
		g.start("listener "+f.conf.Name, func() error { return b.engine.Serve(ctx, f.ln, roost.ListenerID(i), conf) })
	}
	ls := b.listeners()
	for _, l := range ls {
		b.log.Info("listening", "listener", l.Name, "address", l.Address, "tls", l.TLS)
	}
	if b.o.Listening != nil {
		b.o.Listening(ls)
	}
}

// wait waits for the end of ctx or for a part that broke, then drains. What broke is reported by its group.
func (b *Balancer) wait(ctx context.Context, parts ...*group) error {
	broken := make(chan error, len(parts))
	for _, g := range parts {
		g.onFail(broken)
	}
	select {
	case <-ctx.Done():
		b.log.Info("draining", "deadline", b.o.drain())
	case err := <-broken:
		b.log.Error("a part of the balancer broke; draining", "error", err)
	}
	b.draining.Store(true)
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.o.drain())
	defer cancel()
	if cut := b.engine.Drain(deadline); cut != nil {
		b.log.Warn("drain deadline passed", "error", cut)
		return fmt.Errorf("%w: %w", ErrCut, cut)
	}
	b.log.Info("drained")
	return nil
}

func (o Options) drain() time.Duration {
	if o.Drain == 0 {
		return DefaultDrain
	}
	return o.Drain
}

func (b *Balancer) listeners() []roost.ListenerStatus {
	ls := make([]roost.ListenerStatus, len(b.fronts))
	for i, f := range b.fronts {
		ls[i] = roost.ListenerStatus{Name: f.conf.Name, Address: f.ln.Addr().String(), TLS: f.certs != nil}
		if f.certs != nil {
			ls[i].Certificates = f.certs.Status()
		}
	}
	return ls
}

// connections are the open client connections by listener.
func (b *Balancer) connections() map[string]int64 {
	m := make(map[string]int64, len(b.fronts))
	for i, f := range b.fronts {
		m[f.conf.Name] = b.engine.Connections(roost.ListenerID(i))
	}
	return m
}

// Status is control's view and what only serve knows.
func (b *Balancer) Status() roost.Status {
	s := b.control.Status()
	s.Version, s.Started, s.Draining = b.o.Version, b.started, b.draining.Load()
	s.Ready = b.ready() == nil
	s.Listeners = b.listeners()
	return s
}

// ready says why a balancer should get no traffic, or nil.
func (b *Balancer) ready() error {
	if b.draining.Load() {
		return errors.New("draining")
	}
	if b.snap.Load() == nil {
		return errors.New("no table yet")
	}
	return nil
}
