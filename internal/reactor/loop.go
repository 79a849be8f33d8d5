//go:build linux

package reactor

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"roost"
)

// loop is one thread and the connections that it owns. All of it but the inbox and the counters is the thread's alone.
type loop struct {
	e     *Engine
	id    int
	k     kernel
	slab  slab
	wheel wheel
	run   []token // who is to be looked at again without an event
	spare []token
	evs   [maxEvents]event

	now  int64 // Unix nanoseconds, as of the last wait
	mono int64 // the same by the monotonic clock, since the engine was made
	busy int64 // when something last happened, by mono
	soon int64 // the next wait ends by then, by mono

	in, out []byte   // scratch: what is read, and what is written, within one turn
	ins     [][]byte // more of in
	lent    int      // of them, to uploads
	cipher  []byte   // and of TLS: records that are read
	plain   []byte   // what goes into one record
	sealed  []byte   // and the records that are written
	buffers buffers
	pipes   pipes
	streams []*stream
	works   []*work
	racks   map[*roost.Live]*rack
	resting int64                       // connections in them; told to others once in a while
	lines   map[*roost.PoolLive][]*work // who waits for room, by pool
	socks   []*sock
	names   map[string]*names
	shakes  int     // TLS handshakes under way
	hellos  []token // and who waits for one
	kept    int64   // the last upkeep
	swept   int64
	evicted int64
	seed    uint64
	refused refused
	rec     roost.Record // scratch: of a relay that ends

	mu    sync.Mutex // guards the two below
	inbox []func(*loop)
	ended bool // nobody reads it any more

	clients atomic.Int64 // connections of clients: how the others see who has few
	stats   counters
}

// counters are what a loop tells of itself.
type counters struct {
	turns, longest, accepted, passed, given atomic.Int64
	resting                                 atomic.Int64
	shaken, unshaken, shaking               atomic.Int64
}

const (
	// maxEvents bounds a batch: at 5 µs each it is 5 ms, and time stands still in it.
	maxEvents = 1024
	// scratch takes a body of 64 KiB and its head in one read; the same for what is written, and our own head in front.
	scratchIn  = 128 << 10
	scratchOut = 192 << 10
	// readBudget is how many reads one event may bring about: what is fast would keep the others waiting.
	readBudget = 4
	// waitMost bounds a wait, for deadlines, and for what nobody wakes us for.
	waitMost = 100 * time.Millisecond
	// holdFor is how long after the last event a loop keeps its processor while it waits.
	holdFor = 100 * time.Millisecond
	// freshen is how many events may pass before the clock is read again.
	freshen = 32
	// maxKept is the largest of a loop's or work's buffers that is kept.
	maxKept = 256 << 10
)

func newLoop(e *Engine, id int, k kernel) *loop {
	l := &loop{e: e, id: id, k: k, in: make([]byte, scratchIn), cipher: make([]byte, scratchIn), out: make([]byte, 0, scratchOut), racks: map[*roost.Live]*rack{},
		lines: map[*roost.PoolLive][]*work{}, names: map[string]*names{}, seed: uint64(id)*0x9e3779b97f4a7c15 + uint64(e.o.Now().UnixNano())}
	l.tell()
	l.wheel.at = l.mono >> slotBits
	return l
}

// never is later than any time.
const never = 1<<63 - 1

// due has the next wait end by t.
func (l *loop) due(t int64) { l.soon = min(l.soon, t) }

// tell reads the clock.
func (l *loop) tell() {
	t := l.e.o.Now()
	l.now, l.mono = t.UnixNano(), int64(t.Sub(l.e.born))
}

// serve turns until the engine ends. The thread is the loop's: it is never far from its processor's caches, and keeps none
// of the scheduler's other goroutines waiting behind it.
func (l *loop) serve() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for !l.e.ended.Load() {
		l.turn()
	}
	l.finish()
}

// turn waits once and sees to all that came.
func (l *loop) turn() {
	d := min(waitMost, max(0, time.Duration(l.soon-l.mono)))
	if len(l.run) > 0 {
		d = 0
	}
	l.soon = never
	n, e := l.k.wait(l.evs[:], d, l.mono-l.busy < int64(holdFor))
	if e != 0 && e != syscall.EINTR {
		l.e.o.Log.Error("epoll failed", "error", e)
	}
	l.tell()
	began := l.mono
	if n > 0 {
		l.busy = l.mono
	}
	for i := range n {
		if i%freshen == freshen-1 {
			l.tell()
		}
		l.handle(&l.evs[i])
	}
	l.again()
	l.expire()
	l.mind()
	l.upkeep()
	l.slab.recycle()
	l.tell()
	l.stats.turns.Add(1)
	if took := l.mono - began; took > l.stats.longest.Load() {
		l.stats.longest.Store(took)
	}
}

func (l *loop) handle(ev *event) {
	t := token{ev.Fd, ev.Pad}
	switch {
	case t.index == tokenWake:
		l.k.heard()
		l.open()
	case t.index <= tokenListen:
		l.accept(int(tokenListen - t.index))
	default:
		if c := l.slab.find(t); c != nil {
			l.ready(c, ev.Events)
		}
	}
}

// ready tells a connection what happened to its socket.
func (l *loop) ready(c *conn, events uint32) {
	defer l.survive(c)
	if events&(evIn|evHup|evErr|evRdHup) != 0 {
		c.canRead = true
		c.hup = c.hup || events&(evHup|evErr|evRdHup) != 0
		if c.tls != nil {
			c.tls.wire.drained = false
		}
	}
	if c.state == connecting {
		l.connected(c, events)
		return
	}
	if c.blocked() && events&(evOut|evHup|evErr) != 0 {
		left := c.left()
		if e := l.flush(c); e != 0 {
			l.broken(c, e)
			return
		}
		if k := c.work; k != nil && !c.node && k.takes.Moved(int64(left-c.left()), l.mono) {
			l.tooSlow(k)
			return
		}
		if c.blocked() {
			l.trickled(c)
		} else if !l.flushed(c) {
			return
		}
	}
	if c.canRead || events&(evHup|evErr) != 0 {
		l.look(c, events&(evHup|evErr) != 0)
	}
}

// look goes on with a connection whose socket may have something. gone: it broke, or both sides have ended.
func (l *loop) look(c *conn, gone bool) {
	switch c.state {
	case awaiting, reading:
		l.readHead(c)
	case exchanging:
		l.upload(c, gone)
	case lingering:
		l.drown(c)
	case shaking:
		l.shake(c)
	case lining:
		if gone {
			l.close(c)
		}
	case peeking:
		l.peek(c)
	case relaying:
		l.carryOn(c, gone)
	case resting:
		l.close(c) // it has ended, or says what nobody asked for
	case answering:
		l.answered(c)
	}
}

// later has a connection looked at again in the next turn.
func (l *loop) later(c *conn) {
	if !c.queued {
		c.queued = true
		l.run = append(l.run, c.token())
	}
}

// again looks at those that asked for it. Who asks meanwhile comes in the next turn, so that events are not kept waiting.
func (l *loop) again() {
	run := l.run
	l.run = l.spare[:0]
	for _, t := range run {
		if c := l.slab.find(t); c != nil {
			c.queued = false
			l.lookAgain(c)
		}
	}
	l.spare = run[:0]
}

func (l *loop) lookAgain(c *conn) {
	defer l.survive(c)
	l.look(c, false)
}

// survive ends a connection that met a bug of ours, and what runs on it, instead of the process. To be deferred.
func (l *loop) survive(c *conn) {
	p := recover()
	if p == nil {
		return
	}
	l.e.Panics.Add(1)
	l.e.o.Log.Error("a bug ended a connection", "panic", p, "stack", string(debug.Stack()))
	switch {
	case c.node && c.work != nil:
		c = c.work.c
	case c.node && c.relay != nil:
		c = c.relay.c
	}
	l.cut(c)
}

// post has f called on the loop; any goroutine may. It tells whether anybody will.
func (l *loop) post(f func(*loop)) bool {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return false
	}
	l.inbox = append(l.inbox, f)
	first := len(l.inbox) == 1
	l.mu.Unlock()
	if first {
		l.k.wake()
	}
	return true
}

// open does what was posted.
func (l *loop) open() {
	l.mu.Lock()
	in := l.inbox
	l.inbox = nil
	l.mu.Unlock()
	for _, f := range in {
		f(l)
	}
}

// finish ends the loop: nothing is left to do for it but to close what is open.
func (l *loop) finish() {
	l.mu.Lock()
	l.ended = true
	in := l.inbox
	l.inbox = nil
	l.mu.Unlock()
	for _, f := range in {
		f(l) // whoever waits for it must not wait for ever
	}
	l.slab.all(func(c *conn) { l.cut(c) })
	l.pipes.close(l)
	for _, s := range l.socks {
		if s != nil {
			l.k.close(s.fd)
		}
	}
	l.stats.resting.Store(l.resting)
	l.k.closed()
}

// random is what choices between nodes need; nobody's secret depends on it (splitmix64).
func (l *loop) random() uint64 {
	l.seed += 0x9e3779b97f4a7c15
	z := l.seed
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
