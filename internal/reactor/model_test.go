//go:build linux

package reactor

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"roost"
)

var (
	seeds = flag.Int("seeds", 300, "seeds of the model test")
	seed  = flag.Uint64("seed", 0, "one seed of the model test, told in full")
)

// The loop is run on a kernel in memory, between clients and nodes that do what a seed says: send and take in pieces of any
// size, pipeline, end their side, break off, stall, answer early, answer twice. Whatever they do, the following holds.
//
//   - A client gets the answers to its own requests, in order, byte for byte, or an error of ours.
//   - What was cut short never looks complete, to either side.
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
	for s := range uint64(n) {
		if model(t, s+1, false); t.Failed() {
			t.Fatalf("seed %d; tell me more with -seed %d", s+1, s+1)
		}
	}
}

// world is all that is beside the loop.
type world struct {
	t       testing.TB
	rnd     *rand.Rand
	k       *fakeKernel
	l       *loop
	door    *fakeFD
	clients []*fakeClient
	nodes   []*fakeNode
	calm    bool // nothing breaks any more
	told    bool
	served  int // answers of nodes that clients had whole
}

func (w *world) tell(format string, args ...any) {
	if w.told {
		w.t.Logf("%v "+format, append([]any{w.k.now.Format("05.000")}, args...)...)
	}
}

// odds is true one time in n, and never when all is calm.
func (w *world) odds(n int) bool { return !w.calm && w.rnd.IntN(n) == 0 }

func model(t testing.TB, seed uint64, told bool) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	k := &fakeKernel{t: t, rnd: rnd, now: time.Unix(1_000_000_000, 0)}
	w := &world{t: t, rnd: rnd, k: k, told: told}
	k.step, k.dead, k.call = w.step, w.gone, w.called

	ls := roost.ListenerSettings{MaxConns: 20, MaxHead: 8 << 10, MaxFields: 100, HeadTimeout: 2 * time.Second, IdleTimeout: 5 * time.Second,
		BodyTimeout: 2 * time.Second, SendTimeout: 2 * time.Second}
	ps := roost.PoolSettings{ConnectTimeout: time.Second, HeadTimeout: 2 * time.Second, BodyTimeout: 2 * time.Second, MaxTries: 1 + rnd.IntN(4),
		MaxInFlight: rnd.IntN(3) * 4, QueueLen: rnd.IntN(4), QueueTimeout: time.Second, IdleConns: rnd.IntN(4), IdleTimeout: 5 * time.Second,
		ReplayBody: rnd.IntN(3) << 13, RetryOn503: rnd.IntN(2) == 0}
	var snap atomic.Pointer[roost.Snapshot]
	s := snapshot(ls, ps, []string{"192.0.2.11:80", "192.0.2.12:80", "192.0.2.13:80"})
	snap.Store(s)
	var log io.Writer = io.Discard
	if told {
		log = testLog{t}
	}
	e, err := newEngine(Options{Snapshot: &snap, Loops: 1, Now: func() time.Time { return k.now }, Log: slog.New(slog.NewTextHandler(log, nil)),
		Record: func(r *roost.Record) {
			w.tell("record %s %d %s %q", r.Target, r.Status, r.Reason, r.Cause)
		}}, func() (kernel, error) { return k, nil })
	if err != nil {
		t.Fatal(err)
	}
	w.l = e.loops[0]
	f := &front{e: e, ln: shutLater{}, left: make(chan struct{}), empty: make(chan struct{})}
	f.tls = noTLS
	f.users.Store(1)
	f.socks.Store(1)
	e.enter(f)
	w.door = k.add(&fakeFD{listens: true})
	w.l.listen(f, w.door.fd)
	for i := range 2 + rnd.IntN(12) {
		w.clients = append(w.clients, newFakeClient(w, i))
	}

	// Everybody has his fill; then nothing breaks any more, and all must end.
	for turn := 0; !w.over(); turn++ {
		w.calm = w.calm || turn > 2000
		if w.l.turn(); t.Failed() {
			return
		}
		if turn > 60000 {
			for _, c := range w.clients {
				if !c.over {
					t.Errorf("client %d never ends: %+v", c.id, c.f)
				}
			}
			t.Fatal("no end")
		}
	}
	w.calm = true
	f.dismiss(time.Second, false)
	for range 400 { // twenty seconds and more: longer than anything may rest
		w.l.turn()
	}
	w.l.pipes.close(w.l)
	if w.l.slab.used != 0 || w.l.buffers.lent != 0 || w.l.pipes.open != 0 || w.l.lent != 0 || w.l.wheel.n != 0 || len(w.l.lines) != 0 {
		t.Errorf("left: %d connections, %d buffers, %d pipes, %d scratch buffers, %d deadlines, %d lines", w.l.slab.used, w.l.buffers.lent,
			w.l.pipes.open, w.l.lent, w.l.wheel.n, len(w.l.lines))
	}
	for fd, f := range k.fds {
		if f != nil {
			t.Errorf("descriptor %d is left open: %+v", fd, f)
		}
	}
	p := &s.Pools[0]
	if p.Live.InFlight.Load() != 0 || p.Live.Waiting.Load() != 0 || f.conns.Load() != 0 || f.users.Load() != 1 {
		t.Errorf("left: %d in flight, %d waiting, %d connections, %d users", p.Live.InFlight.Load(), p.Live.Waiting.Load(),
			f.conns.Load(), f.users.Load())
	}
	for i := range p.Nodes {
		if l := p.Nodes[i].Live; l.InFlight.Load() != 0 || l.DoubleEnds.Load() != 0 {
			t.Errorf("node %d: %d in flight, %d double ends", i, l.InFlight.Load(), l.DoubleEnds.Load())
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
		n.look()
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
	next  int  // the request whose answer comes next
	deaf  bool // does not read
	over  bool
}

type asked struct {
	id, method string
	bytes      []byte
	want       int // bytes of answer
}

func newFakeClient(w *world, id int) *fakeClient {
	c := &fakeClient{w: w, id: id, deaf: w.rnd.IntN(15) == 0}
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
		if w.rnd.IntN(8) == 0 {
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
		c.f = &fakeFD{room: 1 + w.rnd.IntN(100_000), actor: c}
		w.door.queue = append(w.door.queue, c.f)
		return
	}
	if w.odds(300) {
		w.tell("client %d breaks off", c.id)
		c.f.crash()
		c.over = true
		return
	}
	c.read()
	if c.over {
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
	case c.next == len(c.asked), c.sent == len(c.asked) && w.rnd.IntN(20) == 0:
		c.f.end() // it still reads
	}
}

// read takes what the loop has sent, and looks for whole answers.
func (c *fakeClient) read() {
	w := c.w
	if c.deaf && !c.f.closed {
		return
	}
	c.got = append(c.got, c.f.drain(1+w.rnd.IntN(200_000))...)
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

// fakeNode is one connection to a node.
type fakeNode struct {
	w     *world
	f     *fakeFD
	got   []byte
	seen  int    // bytes of got that were looked at
	say   []byte // what is not yet said
	last  bool   // it ends when all is said
	mute  bool   // and then nothing more
	over  bool
	early bool // it answered before it had the whole request
}

func (w *world) called(to string) *fakeFD {
	if w.odds(12) {
		return nil
	}
	n := &fakeNode{w: w, f: &fakeFD{room: 1 + w.rnd.IntN(100_000)}}
	n.f.actor = n
	w.nodes = append(w.nodes, n)
	return n.f
}

func (n *fakeNode) act() {
	w := n.w
	if n.over || n.f.pending {
		return
	}
	if w.odds(500) {
		n.f.crash()
		n.over = true
		return
	}
	n.look()
	switch {
	case len(n.say) > 0:
		if len(n.f.in) < 256<<10 {
			p := w.piece(n.say)
			n.say = n.say[len(p):]
			n.f.arrive(p)
		}
	case n.mute:
	case n.last && !n.f.eof:
		n.f.end()
	case len(n.got) == 0 && w.odds(60):
		n.last = true // while it is idle
	}
}

// look takes what the loop has sent, and answers whole requests.
func (n *fakeNode) look() {
	w := n.w
	n.got = append(n.got, n.f.drain(1+w.rnd.IntN(200_000))...)
	if n.early || n.last || len(n.say) > 0 || len(n.got) == n.seen && !n.f.closed {
		return
	}
	n.seen = len(n.got)
	if !bytes.Contains(n.got, []byte("\r\n\r\n")) {
		return
	}
	src := bytes.NewReader(n.got)
	r := bufio.NewReaderSize(src, 16)
	req, err := http.ReadRequest(r)
	if err != nil {
		w.t.Errorf("a node: %v in %q", err, n.got[:min(len(n.got), 300)])
		return
	}
	id := req.Header.Get("X-Id")
	part := strings.Split(req.URL.Path, "/")
	want, err := strconv.Atoi(part[1])
	if err != nil || len(part) != 3 || part[2] != id {
		w.t.Errorf("a node: %s of %q", req.URL.Path, id)
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		if w.odds(30) {
			w.tell("a node answers %s early", id)
			n.early, n.last = true, true
			n.say = fmt.Appendf(nil, "HTTP/1.1 413 No\r\nX-Id: %s\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno", id)
		}
		return
	}
	if !bytes.Equal(body, pattern(id, len(body))) {
		at, right := 0, pattern(id, len(body))
		for body[at] == right[at] {
			at++
		}
		w.t.Errorf("a node: %s: %d bytes, of which that at %d is not its body's: %q in %q", id, len(body), at, body[at:min(at+40, len(body))], n.got[:min(300, len(n.got))])
	}
	n.got = n.got[len(n.got)-src.Len()-r.Buffered():]
	n.seen = len(n.got)
	if len(n.got) > 0 {
		w.t.Errorf("a node: %q behind a request, before its answer", n.got[:min(len(n.got), 100)])
	}
	n.answer(id, req.Method, want)
}

// answer decides what it says to a request.
func (n *fakeNode) answer(id, method string, want int) {
	w := n.w
	b := pattern(id, want)
	head := "HTTP/1.1 200 OK\r\nX-Id: " + id + "\r\n"
	switch framing := w.rnd.IntN(5); {
	case framing == 0:
		n.last = true
		n.say = append([]byte(head+"\r\n"), b...)
	case framing == 1:
		n.say = append([]byte(head+"Transfer-Encoding: chunked\r\n\r\n"), w.body(b, true)...)
	default:
		n.say = append(fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n", head, want), b...)
	}
	if method == "HEAD" {
		n.say = n.say[:bytes.Index(n.say, []byte("\r\n\r\n"))+4]
	}
	whole := len(n.say)
	defer func() { w.tell("node at %d says %s to %s: %d bytes, %.60q", n.f.fd, method, id, len(n.say), n.say) }()
	switch {
	case w.odds(10):
		n.say = append([]byte("HTTP/1.1 103 Early Hints\r\n\r\n"), n.say...)
	case w.odds(15):
		n.say = fmt.Appendf(nil, "HTTP/1.1 503 Busy\r\nX-Id: %s\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n", id)
	case w.odds(20) && !n.last:
		w.tell("a node answers %s twice", id)
		n.say = append(n.say, n.say...)
	case w.odds(15):
		n.say, n.mute = n.say[:w.rnd.IntN(whole)], true // and then nothing
		w.tell("a node stalls at %d of %d of %s", len(n.say), whole, id)
	case w.odds(15) && !n.last:
		n.say, n.last = n.say[:w.rnd.IntN(whole)], true // cut short
		w.tell("a node cuts %s short at %d of %d", id, len(n.say), whole)
	}
}

func noTLS() *tls.Config { return nil }
