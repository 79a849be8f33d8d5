package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"roost/internal/systemd"
)

const (
	// turnLimit bounds how long the end waits for a change or reload under way. An upgrade is told to give up.
	turnLimit = 10 * time.Second
	// tellDrain and tellLeft are how often a process says what it still waits for: while it drains, and after an upgrade.
	tellDrain = 5 * time.Second
	tellLeft  = time.Hour
)

// Run starts everything in the order in which one needs the other, serves until ctx ends, a part breaks, or another
// process took over, and ends everything in the opposite order.
func (b *Balancer) Run(ctx context.Context) error {
	defer b.keeper.store.Close()
	b.support.start("control", b.control.Run)
	b.support.start("probe", b.prober.Run)
	b.support.start("store", b.keeper.run)
	b.support.start("memory", giveBack)
	b.run()
	err := b.start()
	if err == nil {
		err = b.wait(ctx)
	}
	b.end()
	return errors.Join(err, b.traffic.end(), b.support.end())
}

// start publishes the first snapshot, and only then takes traffic.
func (b *Balancer) start() error {
	err := b.edit(b.edits)
	for _, l := range b.listed {
		err = cmp.Or(err, b.control.List(b.support.ctx, l))
	}
	if err == nil {
		err = b.control.Configure(b.support.ctx, b.first.cfg)
	}
	if err == nil {
		err = b.o.Parent.Ready(b.o.Version)
	}
	if err != nil {
		b.first.close()
		return err
	}
	b.o.Inherited.Own()
	b.install(b.first)
	b.first = nil
	b.turn.give() // which Open took: who changes something before all is open waits until it is
	if b.loops > 0 {
		b.log.Info("event loops carry traffic", "loops", b.loops)
	}
	if b.watches {
		b.support.start("configuration files", b.watch)
	}
	b.tellSystemd(systemd.Ready())
	if b.o.Listening != nil {
		b.o.Listening(b.listeners())
	}
	return nil
}

// wait waits for the end of ctx, for a part that broke, or for the process that takes over, and then for the connections
// that are left. What broke is reported by its group.
func (b *Balancer) wait(ctx context.Context) error {
	select {
	case <-b.handed:
		return b.leave(ctx)
	case <-ctx.Done():
	case err := <-b.broken:
		b.log.Error("a part of the balancer broke; draining", "error", err)
	}
	b.draining.Store(true)
	b.end()
	b.tellSystemd(systemd.Stopping())
	b.log.Info("draining", "deadline", b.o.Drain, "connections", b.open())
	b.finishTurn()
	last, cancel := b.patience(b.o.Drain)
	defer cancel()
	defer b.keepTelling("still draining", tellDrain)()
	if cut := b.engine.Drain(last); cut != nil {
		b.log.Warn("drain deadline passed", "error", cut)
		return fmt.Errorf("%w: %w", ErrCut, cut)
	}
	b.log.Info("drained")
	return nil
}

// leave serves what is left here after an upgrade. The end of ctx shortens it as it would any drain.
func (b *Balancer) leave(ctx context.Context) error {
	last, cancel := b.patience(b.o.UpgradeDrain)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		b.log.Info("draining", "deadline", b.o.Drain, "connections", b.open())
		time.AfterFunc(b.o.Drain, cancel)
	})()
	defer b.keepTelling("still serving connections from before the upgrade", tellLeft)()
	if cut := b.engine.HandOver(last); cut != nil {
		b.log.Warn("deadline after the upgrade passed", "error", cut)
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ErrCut, cut)
		}
	}
	b.log.Info("the last connection from before the upgrade has ended")
	return nil
}

// finishTurn takes the turn for good: nothing is changed or started any more. A change that does not end in time is left to
// itself.
func (b *Balancer) finishTurn() {
	limit := time.NewTimer(turnLimit)
	defer limit.Stop()
	select {
	case b.turn <- struct{}{}:
	case <-b.handed: // by whoever took it for good before
	case <-limit.C:
		b.log.Warn("a change under way does not end")
	}
}

// Hurry cuts short whatever Run waits for: connections that are still open are cut off now.
func (b *Balancer) Hurry() {
	b.log.Warn("no more waiting: what is still open is cut off")
	b.hurry()
}

// patience ends after limit, or when there is a hurry.
func (b *Balancer) patience(limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	calm := context.AfterFunc(b.hurried, cancel)
	return ctx, func() { calm(); cancel() }
}

// keepTelling says again and again what Run waits for, until stop.
func (b *Balancer) keepTelling(what string, every time.Duration) (stop func()) {
	return b.support.start("progress", func(ctx context.Context) error {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				b.log.Info(what, "connections", b.open(), "by_listener", b.connections())
			}
		}
	})
}
