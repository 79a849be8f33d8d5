//go:build linux

package reactor

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"roost"
	"roost/internal/enginetest"
)

// rig is an engine of two loops on a loopback listener in front of nodes, for what looks inside of the loops. When the test
// ends nothing may be left: no connection, no buffer, no pipe, nothing in flight.
type rig struct {
	t    testing.TB
	e    *Engine
	addr string
	snap atomic.Pointer[roost.Snapshot]
	stop func()
	pass func(Passed) // nil: it is an error

	mu      sync.Mutex
	seen    *sync.Cond
	records []roost.Record
}

// setup is what a test changes: settings are generous.
type setup struct {
	l     roost.ListenerSettings
	p     roost.PoolSettings
	key   roost.KeyOp
	hello bool
	tls   *tls.Config // nil: clear text
}

// start serves until the test ends.
func start(t testing.TB, change func(*setup), nodes ...string) *rig {
	t.Helper()
	r := &rig{t: t}
	r.seen = sync.NewCond(&r.mu)
	set := &setup{key: roost.KeyOp{From: roost.FromPath}}
	set.l = roost.ListenerSettings{MaxConns: 20000, MaxHead: 32 << 10, MaxFields: 100, HeadTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		BodyTimeout: 10 * time.Second, SendTimeout: 10 * time.Second, Upgrades: []string{"websocket"}}
	set.p = roost.PoolSettings{ConnectTimeout: 5 * time.Second, HeadTimeout: 10 * time.Second, BodyTimeout: 10 * time.Second, MaxTries: 3,
		IdleConns: 32, IdleTimeout: time.Minute, ReplayBody: 64 << 10}
	if change != nil {
		change(set)
	}
	first := snapshot(set.l, set.p, nodes)
	first.Listeners[0].Hello = set.hello
	first.Listeners[0].Routes[0].Keys[0].Ops[0] = set.key
	r.snap.Store(first)
	e, err := New(Options{Snapshot: &r.snap, Record: r.record, Loops: 2, Log: slog.New(slog.NewTextHandler(testLog{t}, nil)),
		Pass: func(p Passed) {
			if r.pass != nil {
				r.pass(p)
				return
			}
			p.Conn.Close()
			p.Done()
			t.Error("a connection was passed on")
		}})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.e, r.addr = e, ln.Addr().String()
	serving, cease := context.WithCancel(context.Background())
	running, die := context.WithCancel(context.Background())
	var all sync.WaitGroup
	served := make(chan error, 1)
	all.Go(func() { e.Run(running) })
	go func() { served <- e.Serve(serving, ln, 0, func() *tls.Config { return set.tls }) }()
	r.stop = sync.OnceFunc(func() {
		cease()
		if err := <-served; err != nil {
			t.Error(err)
		}
		die()
		all.Wait()
		for _, l := range e.loops {
			if l.slab.used != 0 || l.buffers.lent != 0 || l.pipes.open != 0 {
				t.Errorf("loop %d is left with %d connections, %d buffers, %d pipes", l.id, l.slab.used, l.buffers.lent, l.pipes.open)
			}
		}
		for _, p := range first.Pools {
			if n := p.Live.InFlight.Load(); n != 0 {
				t.Errorf("%d in flight", n)
			}
			for _, n := range p.Nodes {
				if n.Live.InFlight.Load() != 0 || n.Live.Conns.Load() != 0 || n.Live.DoubleEnds.Load() != 0 {
					t.Errorf("%s: %d in flight, %d connections, %d double ends", n.ID, n.Live.InFlight.Load(), n.Live.Conns.Load(), n.Live.DoubleEnds.Load())
				}
			}
		}
	})
	t.Cleanup(r.stop)
	return r
}

func snapshot(ls roost.ListenerSettings, ps roost.PoolSettings, nodes []string) *roost.Snapshot {
	return enginetest.Snapshot(&enginetest.Setup{Listener: ls, Pool: ps}, nodes...)
}

func (r *rig) record(rec *roost.Record) {
	c := *rec
	c.Method, c.Host, c.Target, c.Key = strings.Clone(c.Method), strings.Clone(c.Host), strings.Clone(c.Target), slices.Clone(c.Key)
	r.mu.Lock()
	r.records = append(r.records, c)
	r.mu.Unlock()
	r.seen.Broadcast()
}

// wait returns the nth record (from 1), when it has come.
func (r *rig) wait(n int) roost.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.records) < n {
		r.seen.Wait()
	}
	return r.records[n-1]
}

func (r *rig) live() *roost.Live { return r.snap.Load().Pools[0].Nodes[0].Live }

// dial is a connection of a client, with what it says first.
func (r *rig) dial(first string) (*net.TCPConn, *bufio.Reader) {
	r.t.Helper()
	nc, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(nc, first); err != nil {
		r.t.Fatal(err)
	}
	return nc.(*net.TCPConn), bufio.NewReader(nc)
}

// node is a server that has one connection at a time.
func node(t testing.TB, serve func(c *net.TCPConn, n int)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for n := 0; ; n++ {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			nc.SetDeadline(time.Now().Add(20 * time.Second))
			all.Go(func() {
				defer nc.Close()
				serve(nc.(*net.TCPConn), n)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); all.Wait() })
	return ln.Addr().String()
}

const (
	upgrade  = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
)

// tunnelled is a node that switches protocols, and serve what it does then.
func tunnelled(t testing.TB, early string, serve func(c *net.TCPConn, br *bufio.Reader)) string {
	return node(t, func(c *net.TCPConn, _ int) {
		br := bufio.NewReader(c)
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		io.WriteString(c, switched+early)
		serve(c, br)
	})
}

// tunnel is a client's connection whose protocol was switched.
func (r *rig) tunnel(ahead string) (*net.TCPConn, *bufio.Reader) {
	r.t.Helper()
	c, br := r.dial(upgrade + ahead)
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
		r.t.Fatalf("%v, %v", res, err)
	}
	return c, br
}

type testLog struct{ t testing.TB }

func (w testLog) Write(b []byte) (int, error) {
	w.t.Log(string(b))
	return len(b), nil
}
