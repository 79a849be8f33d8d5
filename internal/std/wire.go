package std

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Sizes of the buffers that wires read into. A small one holds most heads and bodies whole; a body that fills it gets a
// large one, which halves the CPU per byte, and gives it back at its end.
const (
	smallBuffer = 16 << 10
	largeBuffer = 64 << 10
)

// wire is one connection: the bytes read ahead of being understood, and deadlines that are moved only when needed.
// It is used by one goroutine for reading and one for writing.
type wire struct {
	conn net.Conn
	raw  syscall.RawConn // of a TCP or unix connection that is not under TLS, else nil
	lend *buffers
	buf  []byte // nil while nothing is read ahead and nothing is expected
	r, w int    // buf[r:w] was read and not used
	full bool   // the last read left no room: more is likely there
	err  error  // came together with the last bytes

	one             [1]byte
	readBy, writeBy time.Time // the deadlines that stand; zero: none
}

var errNudged = errors.New("woken before the deadline")

func (w *wire) open(c net.Conn, lend *buffers) {
	*w = wire{conn: c, lend: lend}
	if sc, ok := c.(syscall.Conn); ok {
		w.raw, _ = sc.SyscallConn()
	}
}

// pending are the bytes read and not used.
func (w *wire) pending() []byte { return w.buf[w.r:w.w] }

// take uses the first n pending bytes.
func (w *wire) take(n int) {
	if w.r += n; w.r == w.w {
		w.r, w.w = 0, 0
	}
}

// fill reads once, behind the pending bytes; a full buffer grows. The error is io.EOF, a timeout, errNudged when
// someone moved the deadline to wake the reader, or what broke the connection.
func (w *wire) fill(now func() time.Time) error {
	if w.err != nil {
		return w.err
	}
	w.room()
	n, err := w.conn.Read(w.buf[w.w:])
	w.w += n
	w.full = w.w == len(w.buf)
	switch {
	case err == nil:
		return nil
	case n > 0 && !isTimeout(err):
		w.err = err
		return nil
	case n > 0:
		return nil
	case isTimeout(err) && (w.readBy.IsZero() || now().Before(w.readBy)):
		w.readBy = unknown
		return errNudged
	}
	return err
}

// quiet is how long a connection that waits keeps its buffer: under load the next bytes come before, and an idle
// connection costs its goroutine and little more.
const quiet = time.Second

// await reads once, with all the time that limit gives, since then; 0 is no limit. The limit may change: who changes it
// moves the connection's deadline to wake us.
func (w *wire) await(now func() time.Time, since time.Time, limit func() time.Duration) error {
	for {
		most, t := limit(), now()
		waited := t.Sub(since)
		if most > 0 && waited >= most {
			return os.ErrDeadlineExceeded
		}
		doze := waited >= quiet
		switch {
		case !doze && (most == 0 || most > quiet):
			w.readWithin(quiet, t)
		case most > 0:
			w.readUntil(since.Add(most))
		default:
			w.readWithin(0, t)
		}
		// 1. The limit changes; 2. we are woken; 3. we set our deadline over that. So look again.
		if limit() != most {
			continue
		}
		var err error
		if doze {
			err = w.doze()
		} else {
			err = w.fill(now)
		}
		if err != errNudged && !isTimeout(err) {
			return err
		}
	}
}

// doze reads one byte, without a buffer for more.
func (w *wire) doze() error {
	w.rest()
	n, err := w.conn.Read(w.one[:])
	if n == 0 {
		w.readBy = unknown
		return err
	}
	w.room()
	w.w = copy(w.buf, w.one[:n])
	w.full = false
	return nil
}

// unknown is a deadline that forces the next one to be set.
var unknown = time.Unix(1, 0)

// room makes sure that the buffer has some behind the pending bytes.
func (w *wire) room() {
	switch {
	case w.buf == nil:
		w.buf = w.lend.get(smallBuffer)
	case w.w < len(w.buf):
	case w.r > 0:
		w.w = copy(w.buf, w.pending())
		w.r = 0
	default:
		w.grow(2 * len(w.buf))
	}
}

// grow moves the pending bytes to a buffer of at least n bytes.
func (w *wire) grow(n int) {
	if len(w.buf) >= n {
		return
	}
	b := w.lend.get(n)
	w.w = copy(b, w.pending())
	w.r = 0
	w.lend.put(w.buf)
	w.buf = b
}

// rest gives back the buffer when nothing is pending.
func (w *wire) rest() {
	if w.r == w.w {
		w.lend.put(w.buf)
		w.buf, w.r, w.w = nil, 0, 0
	}
}

// shrink gives back a large buffer when nothing is pending.
func (w *wire) shrink() {
	if len(w.buf) > smallBuffer {
		w.rest()
	}
}

// readWithin lets reads wait for d; 0: for ever. The deadline that stands is kept if it lies within a quarter beyond,
// because moving a timer for each read would cost more than most of what is done between two reads.
func (w *wire) readWithin(d time.Duration, now time.Time) {
	if within(d, now, &w.readBy) {
		w.conn.SetReadDeadline(w.readBy)
	}
}

// readUntil lets reads wait until t.
func (w *wire) readUntil(t time.Time) {
	w.readBy = t
	w.conn.SetReadDeadline(t)
}

// write writes all of b; d bounds each stretch without progress, as far as the kernel's buffers let it be seen.
func (w *wire) write(b []byte, d time.Duration, now time.Time) (int, error) {
	if within(d, now, &w.writeBy) {
		w.conn.SetWriteDeadline(w.writeBy)
	}
	return w.conn.Write(b)
}

func within(d time.Duration, now time.Time, by *time.Time) (changed bool) {
	if d <= 0 {
		changed = !by.IsZero()
		*by = time.Time{}
		return changed
	}
	if left := by.Sub(now); left >= d && left <= d+d/4 {
		return false
	}
	*by = now.Add(d + d/4)
	return true
}

// discard reads until the connection's end, or until then, and throws away what comes.
func (w *wire) discard(until time.Time) {
	w.readUntil(until)
	w.room()
	for n := 0; n < lingerBytes; {
		m, err := w.conn.Read(w.buf)
		if n += m; err != nil {
			return
		}
	}
}

// hold makes b, in a buffer that was lent, the bytes that were read ahead.
func (w *wire) hold(b []byte) { w.buf, w.r, w.w = b[:cap(b)], 0, len(b) }

func (w *wire) closeWrite() {
	if c, ok := w.conn.(interface{ CloseWrite() error }); ok {
		c.CloseWrite()
	}
}

// abort closes the connection such that what was sent does not look complete: by RST, without a TLS close_notify.
func (w *wire) abort() { abort(w.conn) }

func abort(c net.Conn) {
	if a, ok := c.(interface{ Abort() }); ok {
		a.Abort()
		return
	}
	c = bare(c)
	if t, ok := c.(interface{ SetLinger(int) error }); ok {
		t.SetLinger(0)
	}
	c.Close()
}

// bare is the connection below TLS, and below what was read ahead.
func bare(c net.Conn) net.Conn {
	for {
		t, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = t.NetConn()
	}
}

func (w *wire) close() {
	w.conn.Close()
	w.lend.put(w.buf)
	w.buf, w.r, w.w = nil, 0, 0
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// buffers lends buffers in two sizes; others are made and left to the collector.
type buffers struct{ small, large sync.Pool }

func (p *buffers) get(n int) []byte {
	switch {
	case n <= smallBuffer:
		if b, ok := p.small.Get().(*[smallBuffer]byte); ok {
			return b[:]
		}
		n = smallBuffer
	case n <= largeBuffer:
		if b, ok := p.large.Get().(*[largeBuffer]byte); ok {
			return b[:]
		}
		n = largeBuffer
	}
	return make([]byte, n)
}

func (p *buffers) put(b []byte) {
	switch len(b) {
	case smallBuffer:
		p.small.Put((*[smallBuffer]byte)(b))
	case largeBuffer:
		p.large.Put((*[largeBuffer]byte)(b))
	}
}
