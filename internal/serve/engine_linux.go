package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"roost"
	"roost/internal/reactor"
	"roost/internal/std"
)

// reactorIsDefault tells which engine "auto" is.
const reactorIsDefault = true

// pair is loops for what they can carry, and std for what they pass on.
type pair struct {
	loops *reactor.Engine
	rest  *std.Engine
}

func (b *Balancer) openLoops(rest *std.Engine) error {
	loops, err := reactor.New(reactor.Options{Snapshot: &b.snap, Record: b.record, Log: b.log, Now: time.Now, Loops: b.loops, Permits: b.permits,
		Pass: func(p reactor.Passed) {
			rest.Take(std.Guest{Conn: p.Conn, Peer: p.Peer, Ahead: p.Ahead, Served: p.Served, Done: p.Done})
		}})
	if err != nil {
		return err
	}
	b.engine = &pair{loops, rest}
	b.stats = loops.Loops
	b.run = func() {
		b.support.start("event loops", loops.Run)
		b.traffic.start("passed connections", rest.Host)
	}
	return nil
}

func (p *pair) Serve(ctx context.Context, ln net.Listener, id roost.ListenerID, conf func() *tls.Config) error {
	return p.loops.Serve(ctx, ln, id, conf)
}

func (p *pair) Retire(id roost.ListenerID) {
	p.loops.Retire(id)
	p.rest.Retire(id)
}

func (p *pair) Drain(ctx context.Context) error { return finish(ctx, p.loops.Drain, p.rest.Drain) }

func (p *pair) HandOver(ctx context.Context) error {
	return finish(ctx, p.loops.HandOver, p.rest.HandOver)
}

// Connections are those of the loops, which count what they passed on as well.
func (p *pair) Connections(id roost.ListenerID) int64 { return p.loops.Connections(id) }

// finish ends both at once, and then what the loops passed on while they ended.
func finish(ctx context.Context, loops, rest func(context.Context) error) error {
	var wg sync.WaitGroup
	var passed error
	wg.Go(func() { passed = rest(ctx) })
	err := loops(ctx)
	wg.Wait()
	passed = errors.Join(passed, rest(ctx))
	if err != nil && passed != nil {
		return fmt.Errorf("%w, and of those in HTTP/2 %w", err, passed)
	}
	return errors.Join(err, passed)
}
