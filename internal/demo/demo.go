// Package demo shows in half a minute what Roost is for: the same load of functions goes through Roost and through
// round robin, each over five nodes of its own, and the cold starts of both are counted side by side, before and after
// one node dies.
//
// Guarantee: nothing is staged. Nodes, balancers and load are real and talk HTTP over loopback; cold starts are counted
// by the nodes, latencies and failures by the clients. Round robin is no straw man: it keeps connections, and passes
// over nodes that refuse them.
//
// Trap: the load is open: calls are due when they are due, and latencies count from then. On a machine that cannot carry
// the rate, both sides show it.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"
)

// Options say what to show. Zero fields take the defaults that are named with them.
type Options struct {
	// Balance is the balancer that is shown; required.
	Balance Balance
	// Out gets it: drawn in place on a terminal, else a line each second.
	Out   io.Writer
	Plain bool // a line each second on a terminal, too

	For       time.Duration // 0: until the context ends
	Rate      float64       // calls per second on each side; 400, which two busy cores carry
	Seed      uint64        // of the load; the same seed gives the same calls
	Nodes     int           // on each side; 5
	Functions int           // 200
	Cold      time.Duration // how long a cold start takes; 250 ms, a small container's
	// Capacity is how many functions a node keeps warm; two fifths of them all: more than any node's part, even with one
	// node dead, and less than all, as memory is.
	Capacity int
}

// Balance runs a balancer for the nodes on a free port of loopback until ctx ends. It calls listening once, with its
// address.
type Balance func(ctx context.Context, nodes []Node, listening func(addr string)) error

// Node is a node by its name, which stays the same from run to run, and its address, which does not.
type Node struct{ Name, Addr string }

const (
	// MaxRate is far more than the demo needs, and less than what would only measure this machine.
	MaxRate = 2000
	// MaxFunctions bounds what is kept of each function.
	MaxFunctions = 10_000
	// killAfter is when a node dies if no end is known; else it is halfway.
	killAfter = 10 * time.Second
)

func (o Options) withDefaults() Options {
	set := func(n *int, to int) {
		if *n == 0 {
			*n = to
		}
	}
	set(&o.Nodes, 5)
	set(&o.Functions, 200)
	set(&o.Capacity, max(o.Functions*2/5, 1))
	if o.Rate == 0 {
		o.Rate = 400
	}
	if o.Cold == 0 {
		o.Cold = 250 * time.Millisecond
	}
	return o
}

// Result is what came out.
type Result struct {
	Roost, RoundRobin Side
}

// Run shows the demo until its time is over or ctx ends, which is no error, and prints the result.
func Run(ctx context.Context, o Options) (Result, error) {
	o = o.withDefaults()
	if !(o.Rate > 0 && o.Rate <= MaxRate) || o.Functions < 1 || o.Functions > MaxFunctions || o.Nodes < 2 || o.Capacity < 1 {
		return Result{}, fmt.Errorf("a demo needs up to %d calls per second, up to %d functions, at least 2 nodes and room on them", MaxRate,
			MaxFunctions)
	}
	s := &show{o: o, victim: int(o.Seed % uint64(o.Nodes))}
	for i := range s.sides {
		s.sides[i].ledger = newLedger(o.Functions)
	}
	err := s.run(ctx)
	return s.result(), err
}

// show is one run: two sides, the load on both, and what is seen of it.
type show struct {
	o      Options
	victim int
	sides  [2]side
	start  time.Time
	killed bool
}

// side is one balancer with nodes of its own.
type side struct {
	ledger *ledger
	nodes  []*node
	addr   string // of the balancer
}

const (
	sideRoost = iota
	sideRobin
)

func (s *show) run(ctx context.Context) (err error) {
	for i := range s.sides {
		sd := &s.sides[i]
		for n := range s.o.Nodes {
			nd, err := startNode(n, s.o, sd.ledger)
			if err != nil {
				return errors.Join(err, s.stopNodes())
			}
			sd.nodes = append(sd.nodes, nd)
		}
	}
	defer func() { err = errors.Join(err, s.stopNodes()) }()

	stopRobin, err := s.startRobin()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopRobin()) }()
	stopRoost, broke, err := s.startRoost(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopRoost()) }()
	return s.play(ctx, broke)
}

func (s *show) stopNodes() error {
	var errs []error
	for i := range s.sides {
		for _, n := range s.sides[i].nodes {
			errs = append(errs, n.kill())
		}
	}
	return errors.Join(errs...)
}

// startRoost runs the balancer that is shown. It outlives ctx, so that the last calls are answered; broke is closed
// when it ended, asked or not.
func (s *show) startRoost(ctx context.Context) (stop func() error, broke <-chan struct{}, err error) {
	var nodes []Node
	for _, n := range s.sides[sideRoost].nodes {
		nodes = append(nodes, Node{n.name, n.addr()})
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	up := make(chan string, 1)
	ended := make(chan struct{})
	var failed error
	go func() {
		defer close(ended)
		failed = s.o.Balance(ctx, nodes, func(addr string) { up <- addr })
	}()
	stop = func() error {
		cancel()
		<-ended
		if failed != nil {
			return fmt.Errorf("run the balancer: %w", failed)
		}
		return nil
	}
	select {
	case s.sides[sideRoost].addr = <-up:
		return stop, ended, nil
	case <-ended:
		if err := stop(); err != nil {
			return nil, nil, err
		}
		return nil, nil, errors.New("the balancer ended before it listened")
	}
}

// startRobin runs what Roost is compared with.
func (s *show) startRobin() (stop func() error, err error) {
	var addrs []string
	for _, n := range s.sides[sideRobin].nodes {
		addrs = append(addrs, n.addr())
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for round robin: %w", err)
	}
	s.sides[sideRobin].addr = ln.Addr().String()
	robin := newRobin(addrs, s.clients())
	closeAll := serveHTTP(ln, robin)
	return func() error {
		defer robin.tr.CloseIdleConnections()
		return closeAll()
	}, nil
}

// serveHTTP serves until stop is called, which cuts what is left.
func serveHTTP(ln net.Listener, h http.Handler) (stop func() error) {
	srv := &http.Server{Handler: h, ErrorLog: discard, ReadHeaderTimeout: callTimeout}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	return sync.OnceValue(func() error {
		err := srv.Close()
		if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
		return err
	})
}

// play runs load, view and kill until the time is over, then lets the last calls end.
func (s *show) play(ctx context.Context, broke <-chan struct{}) error {
	if s.o.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.o.For)
		defer cancel()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.start = time.Now()
	for i := range s.sides {
		s.sides[i].ledger.begin(s.start)
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.load(ctx) })
	kill := time.After(s.killTime())
	v := newView(s.o)
	tick := time.NewTicker(v.every())
	defer tick.Stop()
	v.begin(s.state())
	var failed error
	for ctx.Err() == nil {
		select {
		case <-kill:
			s.kill()
			v.kill(s.state())
		case <-tick.C:
			v.show(s.state())
		case <-broke:
			failed = errors.New("the balancer ended in the middle of the demo")
			cancel()
		case <-ctx.Done():
		}
	}
	wg.Wait()
	v.end(s.state())
	return errors.Join(failed, v.failed)
}

func (s *show) killTime() time.Duration {
	if s.o.For > 0 {
		return s.o.For / 2
	}
	return killAfter
}

// kill takes the same node from both sides: its listener and all its connections close at once.
func (s *show) kill() {
	s.killed = true
	at := time.Since(s.start)
	for i := range s.sides {
		s.sides[i].ledger.kill(s.victim, at)
	}
	for i := range s.sides {
		s.sides[i].nodes[s.victim].kill() // closing cannot matter any more
	}
}

// rand returns the load's source of randomness.
func (s *show) rand() *rand.Rand { return rand.New(rand.NewPCG(s.o.Seed, 0x726f6f7374)) }

func (s *show) result() Result {
	now := time.Since(s.start)
	return Result{s.sides[sideRoost].ledger.figures(now), s.sides[sideRobin].ledger.figures(now)}
}

// state is what the view shows.
func (s *show) state() state {
	st := state{o: s.o, at: time.Since(s.start), victim: s.victim, killed: s.killed, Result: s.result()}
	for i, sd := range s.sides {
		for n, nd := range sd.nodes {
			warm := nd.warm()
			if s.killed && n == s.victim {
				warm = -1
			}
			st.warm[i] = append(st.warm[i], warm)
		}
	}
	return st
}
