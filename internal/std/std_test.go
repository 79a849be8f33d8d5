package std

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"roost"
)

// proxy is an engine on a loopback listener in front of nodes.
type proxy struct {
	t      testing.TB
	e      *Engine
	addr   string
	snap   *atomic.Pointer[roost.Snapshot]
	first  *roost.Snapshot // later ones have its counters
	ctx    context.Context
	cancel context.CancelFunc
	served chan error
	all    sync.WaitGroup // Serve's

	mu      sync.Mutex
	records []roost.Record
	seen    *sync.Cond
}

// settings are generous, so that no test meets a limit that it is not about.
func settings() (roost.ListenerSettings, roost.PoolSettings) {
	return roost.ListenerSettings{
			MaxConns: 1000, MaxHead: 32 << 10, MaxFields: 100, HeadTimeout: 10 * time.Second, IdleTimeout: time.Minute,
			BodyTimeout: 10 * time.Second, SendTimeout: 10 * time.Second, Via: "roost", HTTP2: true,
			Upgrades: []string{"websocket"},
		}, roost.PoolSettings{
			ConnectTimeout: 5 * time.Second, HeadTimeout: 10 * time.Second, BodyTimeout: 10 * time.Second, MaxTries: 3,
			QueueLen: 10, QueueTimeout: 5 * time.Second, IdleConns: 32, IdleTimeout: time.Minute, ReplayBody: 64 << 10,
		}
}

// setup changes what a test is about.
type setup struct {
	l    roost.ListenerSettings
	p    roost.PoolSettings
	tls  *tls.Config
	wrap func(net.Listener) net.Listener
	edit func(*roost.Snapshot)
}

func snapshot(set *setup, nodes ...string) *roost.Snapshot {
	table := &roost.Table{Pool: "pool", Hash: roost.Hash{Algo: roost.SipHash13},
		Policy: roost.Policy{Homes: 1, WalkFloor: 1 << 20}, SlotBits: roost.MinSlotBits, Stride: []uint32{1}}
	page := &roost.Page{}
	for s := range page.Rows {
		for i := range page.Rows[s] {
			page.Rows[s][i] = roost.NoNode
			if i < len(nodes) {
				page.Rows[s][i] = roost.NodeRef(i)
			}
		}
	}
	for range table.Slots() / roost.PageSlots {
		table.Pages = append(table.Pages, page)
	}
	pool := roost.PoolView{ID: "pool", Table: table, Live: &roost.PoolLive{}, Settings: set.p,
		Weight: uint64(len(nodes)) * roost.WeightOne, Takers: len(nodes)}
	for i, addr := range nodes {
		id := roost.NodeID(fmt.Sprintf("n%d", i+1))
		table.Roster = append(table.Roster, roost.RosterNode{ID: id, Share: roost.WeightOne})
		pool.Nodes = append(pool.Nodes, roost.NodeView{ID: id, Addr: addr, Weight: roost.WeightOne, Verdict: roost.Well, Live: &roost.Live{}})
	}
	route := &roost.Route{Name: "all", PoolID: "pool", Keys: []roost.KeyProgram{{Ops: []roost.KeyOp{{From: roost.FromPath}}, Text: "path"}}}
	return &roost.Snapshot{Seq: 1, Listeners: []roost.ListenerView{{Name: "main", Settings: set.l, Routes: []*roost.Route{route}}},
		Pools: []roost.PoolView{pool}}
}

// start serves the nodes until the test ends; then it drains, and nothing may be left.
func start(t testing.TB, change func(*setup), nodes ...string) *proxy {
	t.Helper()
	set := &setup{}
	set.l, set.p = settings()
	if change != nil {
		change(set)
	}
	p := &proxy{t: t, snap: &atomic.Pointer[roost.Snapshot]{}}
	p.seen = sync.NewCond(&p.mu)
	p.first = snapshot(set, nodes...)
	if set.edit != nil {
		set.edit(p.first)
	}
	p.snap.Store(p.first)
	p.e = New(Options{Snapshot: p.snap, Record: p.record, Log: slog.New(slog.NewTextHandler(testWriter{t}, nil))})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = ln.Addr().String()
	if set.wrap != nil {
		ln = set.wrap(ln)
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.served = p.serve(ln, 0, func() *tls.Config { return set.tls })
	t.Cleanup(p.stop)
	return p
}

// serve serves one more listener until the test ends. What it returns has Serve's error when that is over.
func (p *proxy) serve(ln net.Listener, id roost.ListenerID, conf func() *tls.Config) (served chan error) {
	served = make(chan error, 1)
	p.all.Go(func() { served <- p.e.Serve(p.ctx, ln, id, conf) })
	return served
}

func (p *proxy) stop() {
	p.cancel()
	if err := <-p.served; err != nil {
		p.t.Errorf("Serve: %v", err)
	}
	p.served <- nil
	p.all.Wait()
	p.e.nodes.close()
	if n := p.e.Panics.Load(); n > 0 {
		p.t.Errorf("%d panics", n)
	}
	pool := &p.first.Pools[0]
	if n := pool.Live.InFlight.Load(); n != 0 {
		p.t.Errorf("%d requests still counted in flight", n)
	}
	for i := range pool.Nodes {
		l := pool.Nodes[i].Live
		if l.InFlight.Load() != 0 || l.Conns.Load() != 0 || l.DoubleEnds.Load() != 0 {
			p.t.Errorf("node %d: in flight %d, connections %d, double ends %d", i, l.InFlight.Load(), l.Conns.Load(), l.DoubleEnds.Load())
		}
	}
}

func (p *proxy) record(r *roost.Record) {
	c := *r
	// What a record points to dies with this call.
	c.Method, c.Host, c.Target = clone(r.Method), clone(r.Host), clone(r.Target)
	c.Key = slices.Clone(r.Key)
	p.mu.Lock()
	p.records = append(p.records, c)
	p.mu.Unlock()
	p.seen.Broadcast()
}

func clone(s string) string { return string([]byte(s)) }

// wait returns the nth record (from 1), when it has come.
func (p *proxy) wait(n int) roost.Record {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.records) < n {
		p.seen.Wait()
	}
	return p.records[n-1]
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(string(b))
	return len(b), nil
}

// node serves h over HTTP/1.1 until the test ends.
func node(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { s.Serve(ln); close(done) }()
	t.Cleanup(func() { s.Close(); <-done })
	return ln.Addr().String()
}

var loopback = netip.MustParseAddr("127.0.0.1")
