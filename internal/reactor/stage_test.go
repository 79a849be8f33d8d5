//go:build linux

package reactor

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"roost"
)

// stage is one loop on a kernel in memory that leaves nothing to chance: what clients and nodes do, and when, is the test's to
// say, turn by turn. When the test ends nothing may be left.
type stage struct {
	t       *testing.T
	k       *fakeKernel
	l       *loop
	f       *front
	door    *fakeFD
	snap    atomic.Pointer[roost.Snapshot]
	dialled []*fakeFD
	slow    bool // connections to nodes stay pending
	room    int  // of sockets to nodes
	passed  []Passed
	records []roost.Record
}

func newStage(t *testing.T, change func(*setup), nodes ...string) *stage {
	s := &stage{t: t, room: 1 << 20}
	set := &setup{key: roost.KeyOp{From: roost.FromPath}}
	set.l = roost.ListenerSettings{MaxHead: 32 << 10, MaxFields: 100, HeadTimeout: 5 * time.Second, IdleTimeout: 5 * time.Second,
		BodyTimeout: 5 * time.Second, SendTimeout: 5 * time.Second, Upgrades: []string{"websocket"}}
	set.p = roost.PoolSettings{ConnectTimeout: 5 * time.Second, HeadTimeout: 5 * time.Second, BodyTimeout: 5 * time.Second, MaxTries: 3,
		IdleConns: 8, IdleTimeout: 5 * time.Second, ReplayBody: 64 << 10}
	if change != nil {
		change(set)
	}
	first := snapshot(set.l, set.p, nodes)
	first.Listeners[0].Routes[0].Keys[0].Ops[0] = set.key
	s.snap.Store(first)
	s.k = &fakeKernel{t: t, tame: true, rnd: rand.New(rand.NewPCG(1, 1)), now: time.Unix(1_000_000_000, 0)}
	s.k.step, s.k.dead = func() {}, func(*fakeFD) {}
	s.k.call = func(string) *fakeFD {
		n := &fakeFD{room: s.room, pending: s.slow}
		s.dialled = append(s.dialled, n)
		return n
	}
	e, err := newEngine(Options{Snapshot: &s.snap, Loops: 1, Now: func() time.Time { return s.k.now }, Log: slog.New(slog.NewTextHandler(testLog{t}, nil)),
		Record: func(r *roost.Record) {
			c := *r
			c.Target, c.Cause, c.Reason = strings.Clone(r.Target), strings.Clone(r.Cause), strings.Clone(r.Reason)
			s.records = append(s.records, c)
		}, Pass: func(p Passed) { s.passed = append(s.passed, p) }}, func() (kernel, error) { return &fakeLoop{fakeKernel: s.k}, nil })
	if err != nil {
		t.Fatal(err)
	}
	s.l = e.loops[0]
	s.f = &front{e: e, ln: shutLater{}, tls: noTLS, left: make(chan struct{}), empty: make(chan struct{})}
	s.f.users.Store(1)
	s.f.socks.Store(1)
	e.enter(s.f)
	s.door = s.k.add(&fakeFD{listens: true})
	s.l.listen(s.f, s.door.fd)
	t.Cleanup(s.end)
	return s
}

// client is a connection of a client that takes room bytes, with what it says first.
func (s *stage) client(room int, first string) *fakeFD {
	c := &fakeFD{room: room}
	s.door.queue = append(s.door.queue, c)
	c.arrive([]byte(first))
	s.turns(4)
	return c
}

func (s *stage) turns(n int) {
	for range n {
		s.l.turn()
	}
}

// pass turns the loop for so long, with nothing from outside but what meanwhile does about each second.
func (s *stage) pass(d time.Duration, meanwhile func()) {
	next := s.k.now
	for until := s.k.now.Add(d); s.k.now.Before(until); {
		if meanwhile != nil && !s.k.now.Before(next) {
			meanwhile()
			next = next.Add(time.Second)
		}
		s.k.now = s.k.now.Add(time.Millisecond)
		s.l.turn()
	}
}

// node is the nth connection to a node.
func (s *stage) node(n int) *fakeFD {
	s.t.Helper()
	if len(s.dialled) <= n {
		s.t.Fatalf("%d connections to nodes", len(s.dialled))
	}
	return s.dialled[n]
}

// conn is the loop's record of a socket.
func (s *stage) conn(f *fakeFD) *conn { return s.l.slab.find(f.tok) }

func (s *stage) end() {
	if s.t.Failed() {
		return
	}
	l := s.l
	s.f.dismiss(time.Millisecond, true)
	s.turns(2)
	l.slab.all(func(c *conn) { l.cut(c) })
	l.slab.recycle()
	if n := l.e.Panics.Load(); n > 0 {
		s.t.Errorf("%d panics", n)
	}
	l.pipes.close(l)
	if l.slab.used != 0 || l.buffers.lent != 0 || l.pipes.open != 0 || l.lent != 0 || l.wheel.n != 0 || len(l.lines) != 0 {
		s.t.Errorf("left: %d connections, %d buffers, %d pipes, %d scratch buffers, %d deadlines, %d lines", l.slab.used, l.buffers.lent, l.pipes.open,
			l.lent, l.wheel.n, len(l.lines))
	}
	for fd, f := range s.k.fds {
		if f != nil {
			s.t.Errorf("descriptor %d is left open: %+v", fd, f)
		}
	}
	if f := s.f; f.conns.Load() != 0 || f.users.Load() != 1 {
		s.t.Errorf("left: %d connections, %d users", f.conns.Load(), f.users.Load())
	}
	for _, p := range s.snap.Load().Pools {
		if p.Live.InFlight.Load() != 0 || p.Live.Waiting.Load() != 0 {
			s.t.Errorf("left: %d in flight, %d waiting", p.Live.InFlight.Load(), p.Live.Waiting.Load())
		}
		for _, n := range p.Nodes {
			if l := n.Live; l.InFlight.Load() != 0 || l.Conns.Load() != 0 || l.DoubleEnds.Load() != 0 {
				s.t.Errorf("%s: %d in flight, %d connections, %d double ends", n.ID, l.InFlight.Load(), l.Conns.Load(), l.DoubleEnds.Load())
			}
		}
	}
}

// last is the record that came last.
func (s *stage) last() roost.Record {
	s.t.Helper()
	if len(s.records) == 0 {
		s.t.Fatal("no record")
	}
	return s.records[len(s.records)-1]
}

const (
	asks    = "GET /k HTTP/1.1\r\nHost: h\r\n\r\n"
	onlyOne = "192.0.2.11:80"
)

// A client may finish its upload while an answer waits for it. The time that it has for the answer must go on.
func TestAClientThatUploadsAndDoesNotReadItsAnswerIsCutOff(t *testing.T) {
	for _, whole := range []bool{false, true} {
		s := newStage(t, nil, onlyOne)
		c := s.client(1000, "POST /k HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nx")
		n := s.node(0)
		n.arrive([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n" + strings.Repeat("a", 0x800) + "\r\n"))
		s.turns(2)
		if !s.conn(c).blocked() {
			t.Fatal("the client takes all")
		}
		if whole {
			c.arrive(bytes.Repeat([]byte("x"), 99999))
		}
		s.pass(20*time.Second, func() {
			if !whole && !c.closed {
				c.arrive([]byte("x"))
			}
		})
		if !c.closed || s.last().Fault != roost.FaultClientSlow {
			t.Errorf("whole upload %v: closed %v after 20 s", whole, c.closed)
		}
		s.end()
	}
}

// It is framed by the end of the connection, which must not look like one in order.
func TestAnAnswerWithoutFramingThatIsNotTakenEndsInAReset(t *testing.T) {
	s := newStage(t, nil, onlyOne)
	c := s.client(300, "GET /k HTTP/1.0\r\n\r\n")
	s.node(0).arrive([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n" + strings.Repeat("a", 0x800) + "\r\n0\r\n\r\n"))
	s.pass(10*time.Second, nil)
	if !c.closed || !c.aborted {
		t.Errorf("closed %v, aborted %v, after %d bytes", c.closed, c.aborted, len(c.out))
	}
}

// A client that does not even take an interim response is slow, and not its node.
func TestAClientThatTakesNoInterimResponseIsNotItsNodesFault(t *testing.T) {
	s := newStage(t, func(set *setup) { set.l.SendTimeout = 8 * time.Second }, onlyOne)
	c := s.client(1, asks)
	s.node(0).arrive([]byte("HTTP/1.1 103 Early Hints\r\n\r\n"))
	s.pass(20*time.Second, nil)
	if r := s.last(); !c.closed || r.Fault != roost.FaultClientSlow || len(s.dialled) != 1 || s.live().Broken.Load() != 0 {
		t.Errorf("closed %v, %+v, %d dials", c.closed, r, len(s.dialled))
	}
}

func (s *stage) live() *roost.Live { return s.snap.Load().Pools[0].Nodes[0].Live }

// What one exchange waited for is not what another waits for that has its work.
func TestALateAnswerOfTheResolverIsForgottenWithItsExchange(t *testing.T) {
	s := newStage(t, nil, onlyOne)
	warm := s.client(1<<20, asks) // rests a connection to the node
	s.node(0).arrive([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	s.turns(3)

	named := *s.snap.Load()
	named.Pools = append([]roost.PoolView(nil), named.Pools...)
	named.Pools[0].Nodes = append([]roost.NodeView(nil), named.Pools[0].Nodes...)
	named.Pools[0].Nodes[0].Addr, named.Pools[0].Nodes[0].Live = "slow.test:80", &roost.Live{}
	numeric := s.snap.Swap(&named)
	s.l.names["slow.test"] = &names{} // is being asked
	gone := s.client(1<<20, asks)
	gone.crash()
	s.turns(3)
	s.snap.Store(numeric)

	warm.drain(1 << 20)
	warm.arrive([]byte("POST /k HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab"))
	s.pass(10*time.Second, nil)
	if out := string(warm.out); len(s.dialled) != 1 || !strings.HasPrefix(out, "HTTP/1.1 408 ") {
		t.Errorf("%d dials; %.60q", len(s.dialled), out)
	}
}

// Who sends on and on, and takes nothing, is told apart from who is busy.
func TestARelayEndsWhenASideSendsAndTakesNothing(t *testing.T) {
	s := newStage(t, raw, onlyOne)
	c := s.client(100, "hello")
	n := s.node(0)
	n.arrive(bytes.Repeat([]byte("a"), 5000))
	s.pass(20*time.Second, func() {
		if !c.closed {
			c.arrive([]byte("x"))
			n.drain(100)
		}
	})
	if !c.closed || !n.closed {
		t.Error("both go on after 20 s")
	}
}

func TestAListenerComesBackWhenWhatLackedIsThere(t *testing.T) {
	s := newStage(t, nil, onlyOne)
	s.k.lack = 4 // to accept, and to listen again
	c := s.client(1<<20, asks)
	s.pass(10*time.Second, nil)
	if len(s.dialled) != 1 || c.closed {
		t.Error("the connection was never accepted")
	}
}

// What the kernel has queued was accepted for us, however much it is and however late we are.
func TestAListenerThatLeavesAcceptsAllThatIsQueued(t *testing.T) {
	s := newStage(t, nil, onlyOne)
	for range 20 * acceptBatch {
		s.door.queue = append(s.door.queue, &fakeFD{room: 1 << 20, in: []byte(asks)})
	}
	s.f.dismiss(time.Second, false)
	s.turns(1)
	s.k.now = s.k.now.Add(10 * acceptGrace)
	s.turns(40)
	if n := len(s.door.queue); n > 0 || !s.door.closed {
		t.Errorf("%d were left in the queue; closed %v", n, s.door.closed)
	}
}

// While a request waits in line a reload may have its nodes speak TLS, or HTTP/2. It must not come to them in clear text.
func TestWhoWaitsInLineIsPassedOnWhenAReloadAsksForIt(t *testing.T) {
	busy, free := make(chan bool), make(chan bool)
	addr := node(t, func(c *net.TCPConn, n int) {
		br := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if req.URL.Path != "/first" {
				t.Errorf("a node that speaks HTTP/2 got %s %s", req.Method, req.URL)
				return
			}
			close(busy)
			<-free
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	r := start(t, func(s *setup) { s.p.MaxInFlight, s.p.QueueLen, s.p.QueueTimeout = 1, 10, 10*time.Second }, addr)
	passed := make(chan Passed)
	r.pass = func(p Passed) { passed <- p }
	r.dial("GET /first HTTP/1.1\r\nHost: h\r\n\r\n")
	<-busy
	const second = "POST /second HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"
	r.dial(second)
	for r.snap.Load().Pools[0].Live.Waiting.Load() == 0 {
		runtime.Gosched()
	}
	next := *r.snap.Load()
	next.Pools = slices.Clone(next.Pools)
	next.Pools[0].Settings.Protocol = roost.ProtocolH2C
	r.snap.Store(&next)
	close(free)
	p := <-passed
	if string(p.Ahead) != second {
		t.Errorf("passed on with %q", p.Ahead)
	}
	p.Conn.Close()
	p.Done()
}

// A TLS client has crypto/tls write answers to its key updates at any time, and so may be blocked at any time.
func TestAClientMayBeBlockedBeforeItHasANode(t *testing.T) {
	for name, end := range map[string]func(*fakeFD){
		"and takes it":  func(c *fakeFD) { c.drain(1 << 20); c.room = 1 << 20; c.edge = true },
		"in part":       func(c *fakeFD) { c.room = 10; c.edge = true },
		"and breaks":    (*fakeFD).crash,
		"and says more": func(c *fakeFD) { c.arrive([]byte("more")) },
	} {
		for _, kind := range []string{"a stream", "half a request", "a request", "a request in line"} {
			t.Run(kind+" "+name, func(t *testing.T) {
				s := newStage(t, func(set *setup) {
					set.l.MinBodyRate, set.l.BodyTimeout, set.l.SendTimeout = 1<<20, time.Second, time.Second
					set.p.MaxInFlight, set.p.QueueLen, set.p.QueueTimeout = 1, 5, 10*time.Second
					if kind == "a stream" {
						raw(set)
					}
				}, onlyOne)
				s.slow = true
				first := map[string]string{"a stream": "hello", "half a request": asks[:20]}[kind]
				if first == "" {
					first = asks
				}
				if kind == "a request in line" {
					s.client(1<<20, asks)
				}
				c := s.client(50, first)
				if e := s.l.write(s.conn(c), make([]byte, 100), nil); e != 0 || !s.conn(c).blocked() {
					t.Fatal(e)
				}
				s.turns(2)
				end(c)
				s.pass(2*time.Second, nil)
				if !c.closed {
					end(c)
				}
				s.turns(3)
				for _, n := range s.dialled {
					n.pending, n.edge = false, true
				}
				s.pass(20*time.Second, nil)
				s.end()
			})
		}
	}
}

// A node is not read while its client takes its time, and so is not silent then.
func TestANodeIsNotSilentWhileItsHalfEndedClientIsSlow(t *testing.T) {
	s := newStage(t, func(set *setup) {
		raw(set)
		set.p.BodyTimeout = 2 * time.Second
	}, onlyOne)
	c := s.client(100, "hello")
	c.end()
	n := s.node(0)
	n.arrive(bytes.Repeat([]byte("a"), 5000))
	s.pass(10*time.Second, func() { c.drain(100) })
	if c.closed || n.closed {
		t.Fatalf("%+v", s.last())
	}
	c.drain(1 << 20)
	c.room = 1 << 20
	s.pass(time.Second, nil)
	n.arrive([]byte("b"))
	n.end()
	s.turns(3)
	if r := s.last(); r.Aborted || r.BytesOut != 5001 {
		t.Errorf("%+v", r)
	}

	c = s.client(100, "hello") // but is again once it was read
	c.end()
	n = s.node(1)
	n.arrive(bytes.Repeat([]byte("a"), 150))
	s.pass(4*time.Second, nil)
	c.drain(1 << 20)
	s.pass(4*time.Second, nil)
	if r := s.last(); !r.Aborted || r.Cause != causeSilent {
		t.Errorf("%+v", r)
	}
}
