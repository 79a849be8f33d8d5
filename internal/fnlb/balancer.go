package fnlb

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"roost"
)

// Table is where the addresses of nodes are kept, shared with other balancers.
type Table interface {
	List(ctx context.Context) ([]string, error)
	Add(ctx context.Context, address string) error // one that is there already is no error
	Remove(ctx context.Context, address string) error
}

// Options are what an LB is given.
type Options struct {
	Table Table
	Every time.Duration // between two looks at the table
	// Node reads an address. It refuses what no node can have as its address.
	Node func(address string) (roost.Node, error)
	// Listed tells the balancer which nodes the table lists now.
	Listed func(context.Context, roost.Listing) error
	Status func() roost.Status // of the balancer
	Log    *slog.Logger
}

// LB is fnlb's view of a balancer: its nodes and its statistics.
type LB struct {
	o     Options
	stats stats

	mu    sync.Mutex // one look at the table at a time
	guard guard
	rows  atomic.Pointer[[]string] // of the table, as last read
	fault string                   // why the table could not be read; logged when it changes
}

// New makes an LB. Its Table is read by Begin, and while Run runs.
func New(o Options) *LB {
	l := &LB{o: o}
	l.rows.Store(new([]string))
	return l
}

// tableTimeout bounds one question to the table, so that a database that hangs delays nobody for longer.
const tableTimeout = 10 * time.Second

// Begin writes nodes into the table, as fnlb does at each start, and returns what it then lists. An error is the table's.
func (l *LB) Begin(ctx context.Context, nodes []string) (roost.Listing, error) {
	for _, n := range nodes {
		if _, err := l.o.Node(n); err != nil {
			return roost.Listing{}, fmt.Errorf("-nodes: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, tableTimeout)
	defer cancel()
	for _, n := range nodes {
		if err := l.o.Table.Add(ctx, n); err != nil {
			return roost.Listing{}, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	rows, err := l.o.Table.List(ctx)
	if err != nil {
		return roost.Listing{}, err
	}
	l.guard = guard{held: rows}
	return l.listing(rows), nil
}

// Run looks at the table and gathers statistics until ctx ends.
func (l *LB) Run(ctx context.Context) error {
	look := time.NewTicker(l.o.Every)
	defer look.Stop()
	gather := time.NewTicker(gatherEvery)
	defer gather.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-gather.C:
			l.stats.gather(now)
		case now := <-look.C:
			// The table may be slow; statistics wait for it in their ring.
			if err := l.look(ctx, now, false); err != nil && ctx.Err() == nil {
				l.tell(err.Error())
			} else {
				l.tell("")
			}
		}
	}
}

// look reads the table and tells the balancer. asked: somebody has just changed it here.
func (l *LB) look(ctx context.Context, now time.Time, asked bool) error {
	ctx, cancel := context.WithTimeout(ctx, tableTimeout)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	rows, err := l.o.Table.List(ctx)
	if err != nil {
		return fmt.Errorf("read the table of nodes: %w", err)
	}
	if !l.guard.pass(now, rows, asked) {
		l.o.Log.Warn("the table of nodes lost more than half of its nodes; waiting for a second look", "before", len(l.guard.held), "now", len(rows))
		return nil
	}
	if err := l.o.Listed(ctx, l.listing(rows)); err != nil {
		return fmt.Errorf("tell the balancer its nodes: %w", err)
	}
	return nil
}

// listing makes nodes of rows. A row that no node can have as its address stays a row: offline for ever, as in fnlb.
// l.mu is held.
func (l *LB) listing(rows []string) roost.Listing {
	kept := slices.Clone(rows)
	l.rows.Store(&kept)
	list := roost.Listing{Source: roost.Source{Kind: "lb_nodes"}, Pool: Pool, Nodes: []roost.Node{}}
	known := make(map[roost.NodeID]bool, len(rows))
	for _, row := range rows {
		if n, err := l.o.Node(row); err == nil && !known[n.ID] {
			known[n.ID] = true
			list.Nodes = append(list.Nodes, n)
		}
	}
	return list
}

// tell logs trouble with the table once, and its end. Only Run calls it.
func (l *LB) tell(fault string) {
	switch {
	case fault == l.fault:
	case fault != "":
		l.o.Log.Warn("the table of nodes cannot be read; its nodes stay as they are", "error", fault)
	default:
		l.o.Log.Info("the table of nodes can be read again")
	}
	l.fault = fault
}

// Observe counts one finished exchange for the statistics. It takes no lock and allocates nothing.
func (l *LB) Observe(r *roost.Record) {
	if r.Pool == Pool && r.Node != "" && r.Status != 0 {
		path, _, _ := strings.Cut(r.Target, "?")
		l.stats.put(sample{at: r.Start + r.Nanos, wait: r.Wait, node: r.Node}, path)
	}
}

// states are the table's rows and whether each is online.
func (l *LB) states() map[string]string {
	online := map[roost.NodeID]bool{}
	for _, p := range l.o.Status().Pools {
		if p.ID != Pool {
			continue
		}
		for _, n := range p.Nodes {
			online[n.ID] = n.Verdict == roost.Well.String() || n.Verdict == roost.Ailing.String()
		}
	}
	states := map[string]string{}
	for _, row := range *l.rows.Load() {
		states[row] = "offline"
		if n, err := l.o.Node(row); err == nil && online[n.ID] {
			states[row] = "online"
		}
	}
	return states
}
