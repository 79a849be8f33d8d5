package enginetest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"roost"
)

// Successor is a copy of s that can be changed, with the same counters, as control makes them.
func Successor(s *roost.Snapshot) *roost.Snapshot {
	next := &roost.Snapshot{Seq: s.Seq + 1, Listeners: slices.Clone(s.Listeners), Pools: slices.Clone(s.Pools)}
	for i := range next.Listeners {
		routes := slices.Clone(next.Listeners[i].Routes)
		for j, r := range routes {
			own := *r
			routes[j] = &own
		}
		next.Listeners[i].Routes = routes
	}
	return next
}

// reloads are what a new snapshot may do to what a request uses. after is what the next request on the same connection
// gets.
var reloads = []struct {
	name   string
	change func(s *roost.Snapshot)
	after  string
}{
	{"nothing", func(*roost.Snapshot) {}, "200"},
	{"pool at another index", func(s *roost.Snapshot) {
		s.Pools = append([]roost.PoolView{{ID: "other"}}, s.Pools...)
		s.Listeners[0].Routes[0].Pool = 1
	}, "200"},
	{"pool gone", func(s *roost.Snapshot) {
		s.Pools, s.Listeners[0].Routes = []roost.PoolView{{ID: "other"}}, nil
	}, "404"},
	{"another hash key", func(s *roost.Snapshot) {
		table := *s.Pools[0].Table
		table.Hash.Key[0]++
		s.Pools[0].Table = &table
	}, "200"},
	{"first node gone", func(s *roost.Snapshot) {
		p := &s.Pools[0]
		next := Snapshot(&Setup{Pool: p.Settings}, p.Nodes[1].Addr).Pools[0]
		next.Live, next.Nodes[0].Live, next.Nodes[0].ID = p.Live, p.Nodes[1].Live, p.Nodes[1].ID
		s.Pools[0] = next
	}, "200"},
	{"tighter limits", func(s *roost.Snapshot) {
		s.Listeners[0].Settings = roost.ListenerSettings{MaxConns: 1, MaxHead: 1, MaxFields: 1, MaxBody: 1, HeadTimeout: 1,
			IdleTimeout: 1, BodyTimeout: 1, SendTimeout: 1}
		set := &s.Pools[0].Settings
		set.MaxTries, set.QueueLen, set.QueueTimeout, set.IdleConns, set.ReplayBody = 1, 0, 1, 0, 0
	}, "ended"},
	{"listener retired", func(s *roost.Snapshot) { s.Listeners[0].Retired = true }, "200 close"},
	{"listener zero", func(s *roost.Snapshot) { s.Listeners[0] = roost.ListenerView{} }, "503 close"},
	{"listener absent", func(s *roost.Snapshot) { s.Listeners = nil }, "503 close"},
}

// Halting is a node that stops in the midst of what it does: it says so, and goes on when it is told to.
type Halting struct{ At, On chan bool }

func (h *Halting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	rc.EnableFullDuplex()
	switch r.URL.Path {
	case "/wait":
		h.At <- true
		<-h.On
		io.WriteString(w, "waited")
	case "/stream":
		io.WriteString(w, "first ")
		rc.Flush()
		<-h.On
		io.WriteString(w, "last")
	case "/echo":
		b := make([]byte, 5)
		io.ReadFull(r.Body, b)
		h.At <- true
		rest, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s%s", b, rest)
	case "/break":
		c, _, _ := rc.Hijack()
		h.At <- true
		<-h.On
		c.Close()
	case "/tunnel":
		c, rw, _ := rc.Hijack()
		defer c.Close()
		io.WriteString(c, CRLF("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket"))
		io.Copy(c, rw)
	}
}

// An exchange crosses a reload at any of its steps. In each of these interleavings (1) the exchange has come to its step,
// (2) a snapshot is published that takes away or changes something of what it uses, (3) it goes on, and is answered as if
// nothing had happened; (4) the next request on its connection meets what is new.
func (engine subject) TestAnExchangeGoesOnOverAReload(t *testing.T) {
	get := func(path string) string { return CRLF("GET "+path+" HTTP/1.1", "Host: h") }
	steps := []struct {
		name  string
		setup func(*Setup)
		run   func(t *testing.T, p *Proxy, n *Halting, reload func()) (*net.TCPConn, *bufio.Reader, string)
		want  string
		close bool // the connection cannot carry another request
	}{
		{"waiting in line", func(s *Setup) { s.Pool.MaxInFlight = 1 }, func(t *testing.T, p *Proxy, n *Halting, reload func()) (*net.TCPConn, *bufio.Reader, string) {
			p.Send(get("/wait"))
			<-n.At
			p.Send(get("/wait")) // at the other node
			<-n.At
			c, br := p.Send(get("/ok"))
			for p.First.Pools[0].Live.Waiting.Load() == 0 {
				runtime.Gosched()
			}
			reload()
			close(n.On)
			_, body := ReadAnswer(t, br, "GET")
			return c, br, body
		}, "", false},
		{"dialling", nil, func(t *testing.T, p *Proxy, n *Halting, reload func()) (*net.TCPConn, *bufio.Reader, string) {
			p.E.OnDial(func() {
				select {
				case n.At <- true:
				case <-n.On:
				}
				<-n.On
			})
			c, br := p.Send(get("/ok"))
			<-n.At
			reload()
			close(n.On)
			_, body := ReadAnswer(t, br, "GET")
			return c, br, body
		}, "", false},
		{"inside the request's body", nil, func(t *testing.T, p *Proxy, n *Halting, reload func()) (*net.TCPConn, *bufio.Reader, string) {
			c, br := p.Send(CRLF("POST /echo HTTP/1.1", "Host: h", "Content-Length: 200005") + "first")
			<-n.At
			reload()
			io.WriteString(c, strings.Repeat("x", 200_000))
			_, body := ReadAnswer(t, br, "POST")
			return c, br, strings.TrimRight(body, "x") + fmt.Sprint(len(body))
		}, "first200005", false},
		{"inside a chunked request's body", nil, func(t *testing.T, p *Proxy, n *Halting, reload func()) (*net.TCPConn, *bufio.Reader, string) {
			c, br := p.Send(CRLF("POST /echo HTTP/1.1", "Host: h", "Transfer-Encoding: chunked") + "5\r\nfirst\r\n")
			<-n.At
			reload()
			io.WriteString(c, "5\r\n last\r\n0\r\n\r\n")
			_, body := ReadAnswer(t, br, "POST")
			return c, br, body
		}, "first last", false},
		{"before the answer", nil, func(t *testing.T, p *Proxy, n *Halting, reload func()) (*net.TCPConn, *bufio.Reader, string) {
			c, br := p.Send(get("/wait"))
			<-n.At
			reload()
			close(n.On)
			_, body := ReadAnswer(t, br, "GET")
			return c, br, body
		}, "waited", false},
		{"inside the answer's body", nil, func(t *testing.T, p *Proxy, n *Halting, reload func()) (*net.TCPConn, *bufio.Reader, string) {
			c, br := p.Send(get("/stream"))
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			first := make([]byte, 6)
			io.ReadFull(res.Body, first)
			reload()
			close(n.On)
			rest, err := io.ReadAll(res.Body)
			if err != nil {
				t.Error(err)
			}
			return c, br, string(first) + string(rest)
		}, "first last", false},
		{"before a retry", nil, func(t *testing.T, p *Proxy, n *Halting, reload func()) (*net.TCPConn, *bufio.Reader, string) {
			c, br := p.Send(get("/break"))
			<-n.At
			reload()
			n.On <- true
			<-n.At // the other node has it
			n.On <- true
			res, body := ReadAnswer(t, br, "GET")
			return c, br, fmt.Sprint(res.StatusCode, " ", strings.Contains(body, "node_reset"), " ", p.Wait(1).Tries)
		}, "502 true 2", false},
		{"while a tunnel is open", nil, func(t *testing.T, p *Proxy, n *Halting, reload func()) (*net.TCPConn, *bufio.Reader, string) {
			c, br := p.Send(CRLF("GET /tunnel HTTP/1.1", "Host: h", "Connection: Upgrade", "Upgrade: websocket"))
			http.ReadResponse(br, nil)
			reload()
			p.E.Upkeep(time.Now())
			io.WriteString(c, "both ways")
			c.CloseWrite()
			b, err := io.ReadAll(br)
			if err != nil {
				t.Error(err)
			}
			return c, br, string(b)
		}, "both ways", true},
	}
	for _, step := range steps {
		for _, reload := range reloads {
			t.Run(step.name+", "+reload.name, func(t *testing.T) {
				n := &Halting{At: make(chan bool), On: make(chan bool)}
				p := engine.start(t, step.setup, Node(t, n.ServeHTTP), Node(t, n.ServeHTTP))
				c, br, got := step.run(t, p, n, func() {
					next := Successor(p.First)
					reload.change(next)
					p.Snap.Store(next)
				})
				if got != step.want {
					t.Errorf("got %q, want %q", got, step.want)
				}
				if !step.close {
					// Whose timers are coarse still reads the head that limits of a nanosecond refuse.
					if after := Ask(t, c, br); after != reload.after && !(reload.after == "ended" && after == "414 close") {
						t.Errorf("the next request got %q, want %q", after, reload.after)
					}
				}
			})
		}
	}
}

// Ask makes one more request on a connection and says in short what it got.
func Ask(t testing.TB, c net.Conn, br *bufio.Reader) string {
	io.WriteString(c, CRLF("GET /ok HTTP/1.1", "Host: h"))
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		return "ended"
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("reading the answer's body: %v", err)
	}
	got := fmt.Sprint(res.StatusCode)
	if res.StatusCode == 503 && !strings.Contains(string(body), "listener_retired") {
		t.Errorf("got %q", body)
	}
	if res.Close {
		got += " close"
		Ended(t, br)
	}
	return got
}

// The same for streams, by either protocol to the node.
func (engine subject) TestAStreamGoesOnOverAReload(t *testing.T) {
	for _, back := range []roost.NodeProtocol{roost.ProtocolHTTP1, roost.ProtocolH2C} {
		for _, reload := range reloads {
			t.Run(fmt.Sprint(reload.name, ", protocol ", back), func(t *testing.T) {
				n := &Halting{At: make(chan bool), On: make(chan bool)}
				serve := Node
				if back == roost.ProtocolH2C {
					serve = h2node
				}
				p := engine.start(t, func(s *Setup) { s.Pool.Protocol = back }, serve(t, n.ServeHTTP), serve(t, n.ServeHTTP))
				c := h2client(t)
				var all sync.WaitGroup
				up, half := io.Pipe()
				results := make([]string, 3)
				for i, path := range []string{"/wait", "/stream", "/echo"} {
					method, body := "GET", io.Reader(nil)
					if path == "/echo" {
						method, body = "POST", up
					}
					began := make(chan bool)
					all.Go(func() {
						req, _ := http.NewRequestWithContext(Deadline(t, 20*time.Second), method, "http://"+p.Addr+path, body)
						res, err := c.Do(req)
						if path == "/stream" {
							began <- true
						}
						if err != nil {
							results[i] = err.Error()
							return
						}
						b, err := io.ReadAll(res.Body)
						results[i] = fmt.Sprint(res.StatusCode, " ", string(b), " ", err)
					})
					switch path {
					case "/wait":
						<-n.At
					case "/stream":
						<-began
					case "/echo":
						io.WriteString(half, "first")
						<-n.At
					}
				}
				next := Successor(p.First)
				reload.change(next)
				p.Snap.Store(next)
				close(n.On)
				io.WriteString(half, " last")
				half.Close()
				all.Wait()
				if want := []string{"200 waited <nil>", "200 first last <nil>", "200 first last <nil>"}; !slices.Equal(results, want) {
					t.Errorf("got %q", results)
				}
				if reload.after == "ended" {
					return // limits of a nanosecond fail in many ways
				}
				if res, _ := Get(t, c, "http://"+p.Addr+"/ok"); fmt.Sprint(res.StatusCode) != strings.TrimSuffix(reload.after, " close") {
					t.Errorf("the next stream got %d, want %s", res.StatusCode, reload.after)
				}
			})
		}
	}
}

func (engine subject) TestAKeepAliveClientSeesNothingOfAHundredReloads(t *testing.T) {
	n := Node(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Write(b)
	})
	p := engine.start(t, nil, n)
	stop := make(chan bool)
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			c := p.Dial()
			br := bufio.NewReader(c)
			for j := 0; ; j++ {
				select {
				case <-stop:
					return
				default:
				}
				want := fmt.Sprint(i, " ", j)
				if _, err := fmt.Fprintf(c, "POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", j, len(want), want); err != nil {
					t.Error(err)
					return
				}
				res, err := http.ReadResponse(br, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if b, err := io.ReadAll(res.Body); err != nil || string(b) != want || res.StatusCode != 200 || res.Close {
					t.Errorf("%d %q %v, close %v", res.StatusCode, b, err, res.Close)
					return
				}
			}
		})
	}
	seen := 0
	for i := range 100 { // listeners come and go around ours, pools before and behind, tables with other keys
		next := Successor(p.First)
		for range i % 3 {
			next.Listeners = append(next.Listeners, roost.ListenerView{Name: "new"}, roost.ListenerView{})
		}
		for range i % 4 {
			next.Pools = append([]roost.PoolView{{ID: "before"}}, next.Pools...)
		}
		next.Pools = append(next.Pools, roost.PoolView{ID: "behind"})
		at := i % 4
		next.Listeners[0].Routes[0].Pool = roost.PoolRef(at)
		table := *next.Pools[at].Table
		table.Hash.Key[i%16] = byte(i)
		next.Pools[at].Table = &table
		p.Snap.Store(next)
		p.E.Upkeep(time.Now())
		seen += 20
		p.Wait(seen) // some requests under each
	}
	close(stop)
	clients.Wait()
}

// A tunnel, or an answer that takes days, holds nothing of the snapshot under which it began.
func (engine subject) TestOldSnapshotsAreFreedWhileWhatBeganUnderThemLives(t *testing.T) {
	n := &Halting{At: make(chan bool), On: make(chan bool)}
	addr := Node(t, n.ServeHTTP)
	p := engine.start(t, nil, addr)
	const rounds = 5
	type held struct {
		snap  weak.Pointer[roost.Snapshot]
		table weak.Pointer[roost.Table]
		pool  weak.Pointer[roost.PoolView]
	}
	var old [rounds]held
	var tunnels, streams []*bufio.Reader
	var conns []*net.TCPConn
	for i := range rounds {
		next := Successor(p.First)
		table := *next.Pools[0].Table
		next.Pools[0].Table = &table
		p.Snap.Store(next)
		old[i] = held{weak.Make(next), weak.Make(&table), weak.Make(&next.Pools[0])}
		c, br := p.Send(CRLF("GET /tunnel HTTP/1.1", "Host: h", "Connection: Upgrade", "Upgrade: websocket"))
		http.ReadResponse(br, nil)
		io.WriteString(c, "x")
		br.ReadByte()
		conns, tunnels = append(conns, c), append(tunnels, br)
		_, br = p.Send(CRLF("GET /stream HTTP/1.1", "Host: h"))
		ReadUntil(t, br, "first")
		streams = append(streams, br)
		_, br = p.Send(CRLF("GET /ok HTTP/1.1", "Host: h")) // and a connection that is idle
		ReadAnswer(t, br, "GET")
	}
	p.Snap.Store(p.First)
	p.E.Upkeep(time.Now())
	free := func() bool {
		for _, h := range old {
			if h.snap.Value() != nil || h.table.Value() != nil || h.pool.Value() != nil {
				return false
			}
		}
		return true
	}
	for limit := Deadline(t, 10*time.Second); !free() && limit.Err() == nil; {
		runtime.GC()
	}
	for i, h := range old {
		if h.snap.Value() != nil || h.table.Value() != nil || h.pool.Value() != nil {
			t.Errorf("round %d: snapshot %v, table %v, pools %v are still held", i, h.snap.Value() != nil, h.table.Value() != nil, h.pool.Value() != nil)
		}
	}
	close(n.On)
	for i := range rounds { // all of them lived
		io.WriteString(conns[i], "y")
		if b, err := tunnels[i].ReadByte(); err != nil || b != 'y' {
			t.Errorf("tunnel %d: %q, %v", i, b, err)
		}
		ReadUntil(t, streams[i], "last")
	}
}

// ReadUntil reads until text has come.
func ReadUntil(t testing.TB, br *bufio.Reader, text string) {
	t.Helper()
	var got []byte
	for !strings.HasSuffix(string(got), text) {
		b, err := br.ReadByte()
		if err != nil {
			t.Fatalf("%v after %q, without %q", err, got, text)
		}
		got = append(got, b)
	}
}
