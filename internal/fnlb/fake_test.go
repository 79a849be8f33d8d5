package fnlb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"roost"
)

// table is a Table in memory; fault, when set, is what every call answers.
type table struct {
	mu    sync.Mutex
	rows  []string
	fault error
}

func (t *table) List(context.Context) ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.rows), t.fault
}

func (t *table) Add(_ context.Context, a string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fault == nil && !slices.Contains(t.rows, a) {
		t.rows = append(t.rows, a)
	}
	return t.fault
}

func (t *table) Remove(_ context.Context, a string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fault == nil {
		t.rows = slices.DeleteFunc(t.rows, func(r string) bool { return r == a })
	}
	return t.fault
}

// balancer is what an LB sees of one: it makes the verdicts given, and lists what it is told.
type balancer struct {
	table    table
	mu       sync.Mutex
	listed   []roost.Listing
	verdicts map[roost.NodeID]roost.Verdict
}

func (b *balancer) lb(t *testing.T) *LB {
	t.Helper()
	return New(Options{Table: &b.table, Every: 3 * time.Second, Node: node, Status: b.status, Log: slog.New(slog.DiscardHandler),
		Listed: func(_ context.Context, l roost.Listing) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.listed = append(b.listed, l)
			return nil
		}})
}

func (b *balancer) last(t *testing.T) []roost.NodeID {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.listed) == 0 {
		t.Fatal("the balancer was told nothing")
	}
	ids := []roost.NodeID{}
	for _, n := range b.listed[len(b.listed)-1].Nodes {
		ids = append(ids, n.ID)
	}
	return ids
}

func (b *balancer) status() roost.Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := roost.PoolStatus{ID: Pool}
	for id, v := range b.verdicts {
		p.Nodes = append(p.Nodes, roost.NodeStatus{ID: id, Verdict: v.String()})
	}
	return roost.Status{Pools: []roost.PoolStatus{{ID: ownPool, Nodes: []roost.NodeStatus{{ID: "self", Verdict: "well"}}}, p}}
}

// node takes host:port and nothing else.
func node(address string) (roost.Node, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return roost.Node{}, fmt.Errorf("read node %q: %w", address, err)
	}
	return roost.Node{ID: roost.NodeID(address), Addr: address, Weight: roost.WeightOne}, nil
}

var errTable = errors.New("database is locked")
