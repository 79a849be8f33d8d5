//go:build linux

package reactor

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"roost"
)

var (
	seeds = flag.Int("seeds", 300, "seeds of the model test")
	seed  = flag.Uint64("seed", 0, "one seed of the model test, told in full")
)

// One or two loops are run on a kernel in memory, between clients and nodes that do what a seed says: send and take in pieces of any
// size, pipeline, end their side, break off, stall, answer early, answer twice, switch protocols, or relay bytes from the start.
// Meanwhile nodes come, go and move, names resolve or do not, limits change, listeners leave. Whatever they do, the following holds.
//
//   - A client gets the answers to its own requests, in order, byte for byte, or an error of ours.
//   - What was cut short never looks complete, to either side.
//   - What is relayed is heard as it was said, to its end where the connection ends in order.
//   - A node gets requests whole and unmixed, or sees that they were cut short.
//   - Every connection ends in bounded time, and then nothing is left: no descriptor, buffer, pipe, count.
func TestTheLoopOnAKernelThatDoesWhatItLikes(t *testing.T) {
	if *seed != 0 {
		model(t, *seed, true)
		return
	}
	n := *seeds
	if testing.Short() {
		n = 50
	}
	served, relayed := 0, 0
	for s := range uint64(n) {
		w := model(t, s+1, false)
		if t.Failed() {
			t.Fatalf("seed %d; tell me more with -seed %d", s+1, s+1)
		}
		served += w.served
		relayed += w.relayed
	}
	t.Logf("clients had %d answers of nodes, and sides of relays heard all there was %d times", served, relayed)
	if served < 5*n || relayed < n {
		t.Error("too little came through to say anything")
	}
}

// world is all that is beside the loop.
type world struct {
	t       testing.TB
	rnd     *rand.Rand
	k       *fakeKernel
	e       *Engine
	snap    atomic.Pointer[roost.Snapshot]
	addrs   []string // of nodes
	lives   []*roost.Live
	doors   [2]*fakeFD // for HTTP, and for bytes
	fronts  [2]*front
	clients []*fakeClient
	nodes   []*fakeNode
	ends    []*fakeEnd // of what is relayed, by streams
	calm    bool       // nothing breaks any more
	sound   bool       // nor ever did: whoever asked must have all that was said
	told    bool
	mayCut  bool // nodes may be cut,
	cuts    bool // and one was: its relays end in the middle, in order
	served  int  // answers of nodes that clients had whole
	relayed int  // sides of relays that heard all
}

func (w *world) tell(format string, args ...any) {
	if w.told {
		w.t.Logf("%v "+format, append([]any{w.k.now.Format("05.000")}, args...)...)
	}
}

// odds is true one time in n, and never when all is calm.
func (w *world) odds(n int) bool { return !w.calm && w.rnd.IntN(n) == 0 }

func model(t testing.TB, seed uint64, told bool) *world {
	rnd := rand.New(rand.NewPCG(seed, 1))
	k := &fakeKernel{t: t, rnd: rnd, now: time.Unix(1_000_000_000, 0)}
	w := &world{t: t, rnd: rnd, k: k, told: told, mayCut: seed%4 == 0, sound: seed%3 == 0, addrs: []string{"192.0.2.11:80", "192.0.2.12:80", slowName + ":80"}}
	k.step, k.dead, k.call = w.step, w.gone, w.called

	ls := roost.ListenerSettings{MaxConns: 20, MaxHead: 8 << 10, MaxFields: 100, HeadTimeout: 2 * time.Second, IdleTimeout: 5 * time.Second,
		BodyTimeout: 2 * time.Second, SendTimeout: 2 * time.Second, MinBodyRate: rnd.IntN(2) * 100, Upgrades: []string{"websocket"}}
	ps := roost.PoolSettings{ConnectTimeout: time.Second, HeadTimeout: 2 * time.Second, BodyTimeout: 2 * time.Second, MaxTries: 1 + rnd.IntN(4),
		MaxInFlight: rnd.IntN(3) * 4, QueueLen: rnd.IntN(4), QueueTimeout: time.Second, IdleConns: rnd.IntN(4), IdleTimeout: 5 * time.Second,
		ReplayBody: rnd.IntN(3) << 13, RetryOn503: rnd.IntN(2) == 0}
	if w.sound {
		w.calm, k.sound = true, true
		ls.MaxConns, ls.MinBodyRate, ps.MaxInFlight = 0, 0, 0
		const long = time.Hour // whoever is forgotten stays so
		ls.HeadTimeout, ls.IdleTimeout, ls.BodyTimeout, ls.SendTimeout = long, long, long, long
		ps.ConnectTimeout, ps.HeadTimeout, ps.BodyTimeout = long, long, long
	}
	w.lives = []*roost.Live{{}, {}, {}}
	s := snapshot(ls, ps, w.addrs)
	for i := range s.Pools[0].Nodes {
		s.Pools[0].Nodes[i].Live = w.lives[i]
	}
	raw := s.Listeners[0]
	raw.Settings.Protocol = roost.ServesTCP
	raw.Routes = []*roost.Route{{Name: "raw", PoolID: "pool", Keys: []roost.KeyProgram{{Ops: []roost.KeyOp{{From: roost.FromClientIP}}, Text: "key"}}}}
	s.Listeners = append(s.Listeners, raw)
	w.snap.Store(s)
	var log io.Writer = io.Discard
	if told {
		log = testLog{t}
	}
	var err error
	w.e, err = newEngine(Options{Snapshot: &w.snap, Loops: 1 + rnd.IntN(2), Now: func() time.Time { return k.now }, Log: slog.New(slog.NewTextHandler(log, nil)),
		Record: func(r *roost.Record) {
			w.tell("record %s %d %s %q", r.Target, r.Status, r.Reason, r.Cause)
		}}, func() (kernel, error) { return &fakeLoop{fakeKernel: k}, nil })
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range w.e.loops {
		l.names[slowName] = &names{}
	}
	for i := range w.doors {
		f := &front{e: w.e, ln: shutLater{}, id: roost.ListenerID(i), tls: noTLS, left: make(chan struct{}), empty: make(chan struct{})}
		f.users.Store(1)
		f.socks.Store(1)
		w.e.enter(f)
		w.fronts[i], w.doors[i] = f, k.add(&fakeFD{listens: true})
		w.e.loops[0].listen(f, w.doors[i].fd)
	}
	for i := range 2 + rnd.IntN(14) {
		w.clients = append(w.clients, newFakeClient(w, i))
	}

	// Everybody has his fill; then nothing breaks any more, and all must end.
	for turn := 0; !w.over(); turn++ {
		w.calm = w.calm || turn > 2000
		switch {
		case w.odds(200):
			w.reload(s)
		case turn > 50 && w.odds(4000):
			w.tell("a listener leaves")
			w.fronts[rnd.IntN(2)].dismiss(time.Second, rnd.IntN(2) == 0)
		}
		if w.turn(); t.Failed() {
			return w
		}
		if turn > 60000 {
			for _, c := range w.clients {
				if !c.over {
					t.Errorf("client %d never ends: %+v, %+v", c.id, c.f, c.end)
				}
			}
			t.Fatal("no end")
		}
	}
	w.calm = true
	for _, c := range w.clients {
		if w.sound && (c.next < len(c.asked) || c.end != nil && (c.up && len(c.end.got) < len(c.end.peer.say))) {
			t.Errorf("client %d lacks something, although nothing broke: %d of %d answers", c.id, c.next, len(c.asked))
		}
	}
	for _, f := range w.fronts {
		f.dismiss(time.Second, false)
	}
	// Twenty seconds and more are longer than anything may rest; but a node may go on taking what a client said before it broke.
	for i := 0; i < 400*len(w.e.loops) || i < 60000 && slices.ContainsFunc(w.e.loops, func(l *loop) bool { return l.slab.used > 0 }); i++ {
		w.turn()
	}
	for i, l := range w.e.loops {
		l.pipes.close(l)
		if l.slab.used != 0 || l.buffers.lent != 0 || l.pipes.open != 0 || l.lent != 0 || l.wheel.n != 0 || len(l.lines) != 0 {
			t.Errorf("left on loop %d: %d connections, %d buffers, %d pipes, %d scratch buffers, %d deadlines, %d lines", i, l.slab.used, l.buffers.lent,
				l.pipes.open, l.lent, l.wheel.n, len(l.lines))
		}
	}
	for fd, f := range k.fds {
		if f != nil {
			t.Errorf("descriptor %d is left open: %+v", fd, f)
		}
	}
	p := &s.Pools[0]
	if p.Live.InFlight.Load() != 0 || p.Live.Waiting.Load() != 0 || w.e.Panics.Load() != 0 {
		t.Errorf("left: %d in flight, %d waiting, %d panics", p.Live.InFlight.Load(), p.Live.Waiting.Load(), w.e.Panics.Load())
	}
	for i, f := range w.fronts {
		if f.conns.Load() != 0 || f.users.Load() != 1 {
			t.Errorf("left of listener %d: %d connections, %d users", i, f.conns.Load(), f.users.Load())
		}
	}
	for i, l := range w.lives {
		if l.InFlight.Load() != 0 || l.Conns.Load() != 0 || l.DoubleEnds.Load() != 0 {
			t.Errorf("node %d: %d in flight, %d connections, %d double ends", i, l.InFlight.Load(), l.Conns.Load(), l.DoubleEnds.Load())
		}
	}
	return w
}

// slowName is a node's that takes a resolver's time.
const slowName = "slow.test"

func (w *world) turn() { w.e.loops[w.rnd.IntN(len(w.e.loops))].turn() }

// reload publishes a snapshot in which nodes are gone, or back, or elsewhere, and limits are others.
func (w *world) reload(s *roost.Snapshot) {
	next := *s
	ps := s.Pools[0].Settings
	ps.MaxInFlight, ps.QueueLen, ps.IdleConns = w.rnd.IntN(3)*2, w.rnd.IntN(5), w.rnd.IntN(4)
	order := w.rnd.Perm(len(w.addrs))[:1+w.rnd.IntN(len(w.addrs))]
	var addrs []string
	for _, i := range order {
		addrs = append(addrs, w.addrs[i])
	}
	pool := snapshot(roost.ListenerSettings{}, ps, addrs).Pools[0]
	pool.Live = s.Pools[0].Live
	for at, i := range order {
		n := &pool.Nodes[at]
		n.ID, n.Live = roost.NodeID(w.addrs[i]), w.lives[i]
		if w.rnd.IntN(5) == 0 {
			n.Addr = fmt.Sprintf("192.0.2.%d:80", 20+w.rnd.IntN(3))
		}
		if w.mayCut && w.rnd.IntN(8) == 0 {
			n.Cut, n.Weight, n.Duty = true, 0, roost.DutyDown
			w.tell("%s is cut", n.ID)
			w.cuts = true
		}
	}
	next.Pools = []roost.PoolView{pool}
	w.snap.Store(&next)
}

// resolve answers who asks for the slow name, at some time. Nobody ever finds it not being asked: that would ask the world.
func (w *world) resolve() {
	for _, l := range w.e.loops {
		n := l.names[slowName]
		switch {
		case n.until != 0 && w.rnd.IntN(20) == 0:
			l.names[slowName] = &names{}
		case n.until != 0 || !w.calm && w.rnd.IntN(10) != 0:
		case w.odds(5):
			l.names[slowName] = &names{}
			l.post(func(l *loop) { l.tellNames(slowName, n, nil, errors.New("no such host")) })
		default:
			l.post(func(l *loop) {
				if n.until != 0 {
					return
				}
				l.tellNames(slowName, n, []netip.Addr{netip.MustParseAddr("192.0.2.31"), netip.MustParseAddr("192.0.2.32")}, nil)
				n.until = never
			})
		}
	}
}

// shutLater is a listener whose socket is the kernel's business.
type shutLater struct{ net.Listener }

func (shutLater) Close() error { return nil }

func (shutLater) Addr() net.Addr { return &net.TCPAddr{} }

func (w *world) over() bool {
	for _, c := range w.clients {
		if !c.over {
			return false
		}
	}
	return true
}

// step lets some of the others do something.
func (w *world) step() {
	w.resolve()
	for range w.rnd.IntN(6) {
		if n := len(w.clients); n > 0 {
			w.clients[w.rnd.IntN(n)].act()
		}
		if n := len(w.nodes); n > 0 {
			w.nodes[w.rnd.IntN(n)].act()
		}
	}
	for _, f := range w.k.fds {
		if f != nil && f.pending && (w.calm || w.rnd.IntN(3) == 0) {
			f.pending, f.edge = false, true
		}
	}
}

// gone is told of each connection that the loop closed.
func (w *world) gone(f *fakeFD) {
	if n, ok := f.actor.(*fakeNode); ok {
		if n.end != nil {
			n.end.read()
		} else {
			n.look()
		}
		n.over = true
	}
}

// pattern is a body that tells whose it is.
func pattern(id string, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = id[i%len(id)] + byte(i/len(id)%17)
	}
	return b
}

// piece cuts off a part of b, as the network may.
func (w *world) piece(b []byte) []byte {
	n := len(b)
	switch w.rnd.IntN(4) {
	case 0:
		n = min(n, 1+w.rnd.IntN(8))
	case 1:
		n = min(n, 1+w.rnd.IntN(2000))
	case 2:
		n = min(n, 1+w.rnd.IntN(200_000))
	}
	return b[:n]
}

// size is how long a body is.
func (w *world) size() int {
	switch w.rnd.IntN(8) {
	case 0, 1, 2:
		return 0
	case 3, 4:
		return 1 + w.rnd.IntN(100)
	case 5, 6:
		return w.rnd.IntN(30_000)
	}
	return w.rnd.IntN(500_000)
}

// window is how much a socket takes. The least ones are for where somebody gives up in the end.
func (w *world) window() int {
	least := 1
	if w.sound {
		least = 2000
	}
	return least + w.rnd.IntN(100_000)
}

// body frames a body.
func (w *world) body(b []byte, chunked bool) []byte {
	if !chunked {
		return b
	}
	var out []byte
	for len(b) > 0 {
		p := w.piece(b)
		out = append(fmt.Appendf(out, "%x\r\n", len(p)), p...)
		out = append(out, "\r\n"...)
		b = b[len(p):]
	}
	return append(out, "0\r\n\r\n"...)
}

// fakeClient sends requests on one connection, and checks what comes.
type fakeClient struct {
	w     *world
	id    int
	f     *fakeFD // nil: not yet
	asked []asked
	send  []byte // what is not yet sent
	sent  int    // requests that are wholly in what was, or will be, sent
	got   []byte
	next  int      // the request whose answer comes next
	deaf  bool     // does not read
	end   *fakeEnd // of a raw connection, or one that is to be a tunnel
	up    bool     // it is one
	over  bool
}

type asked struct {
	id, method string
	bytes      []byte
	want       int // bytes of answer
}

func newFakeClient(w *world, id int) *fakeClient {
	c := &fakeClient{w: w, id: id, deaf: w.odds(15)}
	switch w.rnd.IntN(6) {
	case 0:
		head := fmt.Sprintf(streamHead, id)
		c.end, c.up = w.newEnd(head, head), true
		return c
	case 1:
		name := fmt.Sprintf("c%dup", id)
		c.end = w.newEnd(name, "")
		c.asked = []asked{{id: name, method: "GET", bytes: fmt.Appendf(nil,
			"GET /7/%s HTTP/1.1\r\nHost: h\r\nX-Id: %s\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", name, name), want: 7}}
		return c
	}
	if w.rnd.IntN(6) == 0 { // of old
		a := asked{id: fmt.Sprintf("c%dr0", id), method: "GET", want: w.size()}
		a.bytes = fmt.Appendf(nil, "GET /%d/%s HTTP/1.0\r\nX-Id: %s\r\n\r\n", a.want, a.id, a.id)
		c.asked = []asked{a}
		return c
	}
	for i := range 1 + w.rnd.IntN(4) {
		a := asked{id: fmt.Sprintf("c%dr%d", id, i), method: []string{"GET", "PUT", "POST", "HEAD"}[w.rnd.IntN(4)], want: w.size()}
		n, chunked := w.size(), w.rnd.IntN(2) == 0
		head := fmt.Sprintf("%s /%d/%s HTTP/1.1\r\nHost: h\r\nX-Id: %s\r\n", a.method, a.want, a.id, a.id)
		switch {
		case a.method == "GET" || a.method == "HEAD":
			n, chunked = 0, false
		case chunked:
			head += "Transfer-Encoding: chunked\r\n"
		default:
			head += fmt.Sprintf("Content-Length: %d\r\n", n)
		}
		if w.odds(8) {
			head += "Connection: close\r\n"
		}
		a.bytes = append([]byte(head+"\r\n"), w.body(pattern(a.id, n), chunked)...)
		c.asked = append(c.asked, a)
	}
	return c
}

func (c *fakeClient) act() {
	w := c.w
	switch {
	case c.over:
		return
	case c.f == nil:
		c.f = &fakeFD{room: w.window(), actor: c}
		door := w.doors[0]
		if c.end != nil {
			c.end.f = c.f
			if c.up {
				door = w.doors[1]
			}
		}
		if door.closed {
			c.over = true
			return
		}
		door.queue = append(door.queue, c.f)
		return
	}
	if w.odds(300) {
		w.tell("client %d breaks off", c.id)
		c.f.crash()
		c.over = true
		return
	}
	if c.up {
		c.end.act()
		if c.over = c.f.reset != 0; c.f.closed {
			c.end.read()
			c.over = true
		}
		return
	}
	c.read()
	if c.over || c.up {
		return
	}
	if len(c.send) == 0 && c.sent < len(c.asked) && (c.sent == c.next || w.rnd.IntN(10) == 0) {
		c.send = append(c.send, c.asked[c.sent].bytes...)
		c.sent++
	}
	switch {
	case c.f.eof:
	case len(c.send) > 0:
		if w.odds(400) {
			w.tell("client %d ends inside a request", c.id)
			c.send = nil
			c.sent = len(c.asked)
			c.f.end()
			return
		}
		if len(c.f.in) < 64<<10 { // the window
			p := w.piece(c.send)
			c.send = c.send[len(p):]
			c.f.arrive(p)
		}
	case c.next == len(c.asked), c.sent == len(c.asked) && w.odds(20):
		c.f.end() // it still reads
		if c.end != nil {
			c.end.say, c.end.ended = nil, true
		}
	}
}

// read takes what the loop has sent, and looks for whole answers.
func (c *fakeClient) read() {
	w := c.w
	if c.deaf && !c.f.closed {
		return
	}
	c.got = append(c.got, c.f.drain(1+w.rnd.IntN(200_000))...)
	if c.end != nil && c.upgraded() {
		return
	}
	ended := c.f.closed && len(c.f.out) == 0 || c.f.shut && len(c.f.out) == 0
	for c.next < len(c.asked) {
		a := &c.asked[c.next]
		if !bytes.Contains(c.got, []byte("\r\n\r\n")) {
			break
		}
		src := bytes.NewReader(c.got)
		r := bufio.NewReaderSize(src, 16)
		res, err := http.ReadResponse(r, &http.Request{Method: a.method})
		if err != nil {
			w.t.Errorf("client %d: %v in %q", c.id, err, c.got[:min(len(c.got), 300)])
			break
		}
		if res.StatusCode < 200 {
			c.got = c.got[len(c.got)-src.Len()-r.Buffered():]
			continue
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			break // more is to come, or will be missing
		}
		if res.ContentLength < 0 && len(res.TransferEncoding) == 0 && a.method != "HEAD" && !ended {
			break
		}
		if res.ContentLength < 0 && len(res.TransferEncoding) == 0 && c.f.aborted {
			break // it knows that something is missing
		}
		id := res.Header.Get("X-Id")
		switch {
		case id == "" && res.StatusCode < 400:
			w.t.Errorf("client %d: %d from nowhere", c.id, res.StatusCode)
		case id == "" && w.sound:
			w.t.Errorf("client %d: %s: %d %.100s, although nothing broke", c.id, a.id, res.StatusCode, body)
		case id == "":
			w.tell("client %d: %s: %d %.100s", c.id, a.id, res.StatusCode, body)
		case id != a.id:
			w.t.Errorf("client %d: the answer to %s came to %s", c.id, id, a.id)
		case a.method != "HEAD" && res.StatusCode == 200 && !bytes.Equal(body, pattern(a.id, a.want)):
			w.t.Errorf("client %d: %s: %d bytes that are not the %d of its answer; ended %v, aborted %v", c.id, a.id, len(body), a.want, ended, c.f.aborted)
		default:
			w.served++
			w.tell("client %d: %s: has its %d bytes", c.id, a.id, len(body))
		}
		c.got = c.got[len(c.got)-src.Len()-r.Buffered():]
		if a.method == "HEAD" && id == "" && bytes.HasPrefix(c.got, []byte(`{"error"`)) {
			c.got = c.got[res.ContentLength:] // of half a head nobody knows that it is HEAD's
		}
		c.next++
	}
	if c.next == len(c.asked) && len(c.got) > 0 {
		w.t.Errorf("client %d: %q behind its last answer", c.id, c.got[:min(len(c.got), 100)])
	}
	if c.f.closed && len(c.f.out) == 0 {
		w.tell("client %d: closed at answer %d of %d", c.id, c.next, len(c.asked))
		c.over = true
	}
}

func noTLS() *tls.Config { return nil }
