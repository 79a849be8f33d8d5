package enginetest

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

// Proxy is an engine on a loopback listener in front of nodes.
type Proxy struct {
	T      testing.TB
	E      Engine
	Addr   string
	Snap   *atomic.Pointer[roost.Snapshot]
	First  *roost.Snapshot // later ones have its counters
	Ctx    context.Context // ends with the test
	Served chan error      // of the first listener's Serve; who takes it puts it back
	cancel context.CancelFunc
	all    sync.WaitGroup // what runs beside the test
	ended  sync.Once

	mu      sync.Mutex // guards the one below
	records []roost.Record
	seen    *sync.Cond
}

// Settings are generous, so that no test meets a limit that it is not about.
func Settings() (roost.ListenerSettings, roost.PoolSettings) {
	return roost.ListenerSettings{
			MaxConns: 1000, MaxHead: 32 << 10, MaxFields: 100, HeadTimeout: 10 * time.Second, IdleTimeout: time.Minute,
			BodyTimeout: 10 * time.Second, SendTimeout: 10 * time.Second, Via: "roost", HTTP2: true,
			Upgrades: []string{"websocket"},
		}, roost.PoolSettings{
			ConnectTimeout: 5 * time.Second, HeadTimeout: 10 * time.Second, BodyTimeout: 10 * time.Second, MaxTries: 3,
			QueueLen: 10, QueueTimeout: 5 * time.Second, IdleConns: 32, IdleTimeout: time.Minute, ReplayBody: 64 << 10,
		}
}

// Setup is what a test may change.
type Setup struct {
	Listener roost.ListenerSettings
	Pool     roost.PoolSettings
	TLS      *tls.Config
	Wrap     func(net.Listener) net.Listener
	Edit     func(*roost.Snapshot)
}

// Snapshot has one listener, one route, and one pool of the nodes; the path is the key, and each key's home is the first node.
func Snapshot(set *Setup, nodes ...string) *roost.Snapshot {
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
	pool := roost.PoolView{ID: "pool", Table: table, Live: &roost.PoolLive{}, Settings: set.Pool,
		Weight: uint64(len(nodes)) * roost.WeightOne, Takers: len(nodes)}
	for i, addr := range nodes {
		id := roost.NodeID(fmt.Sprintf("n%d", i+1))
		table.Roster = append(table.Roster, roost.RosterNode{ID: id, Share: roost.WeightOne})
		pool.Nodes = append(pool.Nodes, roost.NodeView{ID: id, Addr: addr, Weight: roost.WeightOne, Verdict: roost.Well, Live: &roost.Live{}})
	}
	route := &roost.Route{Name: "all", PoolID: "pool", Keys: []roost.KeyProgram{{Ops: []roost.KeyOp{{From: roost.FromPath}}, Text: "path"}}}
	return &roost.Snapshot{Seq: 1, Listeners: []roost.ListenerView{{Name: "main", Settings: set.Listener, Routes: []*roost.Route{route}}},
		Pools: []roost.PoolView{pool}}
}

// Start serves the nodes until the test ends; then it drains, and nothing may be left.
func Start(t testing.TB, open Open, change func(*Setup), nodes ...string) *Proxy {
	t.Helper()
	set := &Setup{}
	set.Listener, set.Pool = Settings()
	if change != nil {
		change(set)
	}
	p := &Proxy{T: t, Snap: &atomic.Pointer[roost.Snapshot]{}}
	p.seen = sync.NewCond(&p.mu)
	p.First = Snapshot(set, nodes...)
	if set.Edit != nil {
		set.Edit(p.First)
	}
	p.Snap.Store(p.First)
	p.E = open(t, Options{Snapshot: p.Snap, Record: p.record, Log: slog.New(slog.NewTextHandler(testWriter{t}, nil))})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.Addr = ln.Addr().String()
	if set.Wrap != nil {
		ln = set.Wrap(ln)
	}
	p.Ctx, p.cancel = context.WithCancel(context.Background())
	p.Served = p.serve(ln, 0, func() *tls.Config { return set.TLS })
	t.Cleanup(p.Close)
	return p
}

// serve serves one more listener until the test ends. What it returns has Serve's error when that is over.
func (p *Proxy) serve(ln net.Listener, id roost.ListenerID, conf func() *tls.Config) (served chan error) {
	served = make(chan error, 1)
	p.all.Go(func() { served <- p.E.Serve(p.Ctx, ln, id, conf) })
	return served
}

// Go runs f, which is to end with Ctx, beside the engine.
func (p *Proxy) Go(f func()) { p.all.Go(f) }

// Close ends the proxy before the end of its test.
func (p *Proxy) Close() { p.ended.Do(p.close) }

func (p *Proxy) close() {
	p.cancel()
	if err := <-p.Served; err != nil {
		p.T.Errorf("Serve: %v", err)
	}
	p.Served <- nil
	p.all.Wait()
	p.E.Stop(p.T)
	pool := &p.First.Pools[0]
	if n := pool.Live.InFlight.Load(); n != 0 {
		p.T.Errorf("%d requests still counted in flight", n)
	}
	for i := range pool.Nodes {
		l := pool.Nodes[i].Live
		if l.InFlight.Load() != 0 || l.Conns.Load() != 0 || l.DoubleEnds.Load() != 0 {
			p.T.Errorf("node %d: in flight %d, connections %d, double ends %d", i, l.InFlight.Load(), l.Conns.Load(), l.DoubleEnds.Load())
		}
	}
}

func (p *Proxy) record(r *roost.Record) {
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

// Wait returns the nth record (from 1), when it has come.
func (p *Proxy) Wait(n int) roost.Record {
	p.T.Helper()
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

// Node serves h over HTTP/1.1 until the test ends.
func Node(t testing.TB, h http.HandlerFunc) string {
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
