package std

import (
	"bytes"
	"errors"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"roost"
	"roost/internal/carry"
	"roost/internal/h1"
	"roost/internal/sniff"
)

// work is all that one exchange needs beside its connections. Connections borrow one from the first byte of a request
// to the last of its answer, so that idle ones are small.
type work struct {
	e     *Engine
	c     *conn
	n     *nodeConn // of the attempt that runs
	x     carry.Exchange
	s     carry.Stream // in its place, of a raw connection
	start time.Time    // the head's first byte
	set   *roost.ListenerSettings
	pool  roost.PoolSettings // of the attempt that runs; a copy, because pointers into a snapshot keep all of it

	parser h1.Parser
	req    h1.Head
	res    h1.Head
	head   []byte // the request's head; views of it live until the exchange is finished
	out    []byte // what is written next by the connection's goroutine
	up     upload
	moved  atomic.Int64 // when something of the answer came last, in Unix nanoseconds, while the upload runs
	takes  carry.Pace   // of the client, as it takes the answer
}

const (
	// maxNodeHead and maxNodeFields bound a node's response head: four times what clients may send by default, because
	// nodes are less of a threat and their answers set cookies.
	maxNodeHead   = 64 << 10
	maxNodeFields = 256
	// maxKept is the largest of a work's buffers that is kept for the next exchange.
	maxKept = 2 * largeBuffer
)

func (e *Engine) borrow(c *conn, s *roost.Snapshot) *work {
	k, ok := e.works.Get().(*work)
	if !ok {
		k = &work{e: e}
		k.up.done = make(chan struct{}, 1)
	}
	k.c, k.start, k.set = c, e.o.Now(), c.f.settings(s)
	return k
}

// rest gives the work back. After a panic it is left to the collector: nobody knows who still uses it.
func (k *work) rest() {
	if p := recover(); p != nil {
		if k.up.running { // it uses buffers that the connection's end gives back
			k.c.cut()
			<-k.up.done
		}
		k.x.Abandon()
		k.s.Abandon()
		panic(p)
	}
	k.c, k.n, k.set = nil, nil, nil
	k.head, k.out, k.up.out, k.up.held = kept(k.head), kept(k.out), kept(k.up.out), kept(k.up.held)
	k.e.works.Put(k)
}

func kept(b []byte) []byte {
	if cap(b) > maxKept {
		return nil
	}
	return b[:0]
}

// text is b as a string, without a copy: b must not change while the string is in use.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// look is how long a node is silent before we look whether its client is still there, and between two looks.
const look = time.Second

var errGone = errors.New("client broke the connection while the node was silent")

// listen reads once from the node, until by; the zero time is never.
func (k *work) listen(by time.Time) error {
	n := k.n
	for {
		now := k.e.o.Now()
		switch {
		case by.IsZero() || by.Sub(now) > 2*look:
			n.readWithin(look, now)
		case n.readBy != by:
			n.readUntil(by)
		}
		err := n.fill(k.e.o.Now)
		switch {
		case err != errNudged && !isTimeout(err):
			return err
		case k.c.gone():
			return errGone
		case !by.IsZero() && !k.e.o.Now().Before(by):
			return os.ErrDeadlineExceeded
		}
	}
}

// until is d after now; without a limit it is the zero time.
func until(d time.Duration, now time.Time) time.Time {
	if d <= 0 {
		return time.Time{}
	}
	return now.Add(d)
}

// readHead reads the request's head. If it does not come or cannot be read, reply is the answer; the zero one if there
// is nobody to answer.
func (k *work) readHead(s *roost.Snapshot) (reply carry.Reply, ok bool) {
	c, set := k.c, k.set
	k.parser.Limits = h1.Limits{Head: set.MaxHead, Fields: set.MaxFields}
	k.parser.Reset(h1.Request)
	start, until := k.start.UnixNano(), time.Time{}
	if set.HeadTimeout > 0 {
		until = k.start.Add(set.HeadTimeout)
	}
	for {
		done, err := k.parser.Parse(c.w.pending(), &k.req)
		if err != nil && !c.peer.TLS && sniff.TLSRecord(c.w.pending()) {
			return k.x.Encrypted(s, &c.peer, start), false
		}
		if err != nil {
			return k.x.Refuse(s, &c.peer, &k.req, err.(h1.Reason), start), false
		}
		if done {
			k.head = append(k.head[:0], c.w.pending()[:k.req.Size]...)
			c.w.take(k.req.Size)
			return carry.Reply{}, true
		}
		if c.w.readBy != until {
			c.w.readUntil(until)
		}
		switch err = c.w.fill(k.e.o.Now); {
		case err == nil, err == errNudged:
		case isTimeout(err):
			return k.x.Late(s, &c.peer, start), false
		case isEOF(err) && !blank(c.w.pending()):
			return k.x.Refuse(s, &c.peer, &k.req, h1.ErrTruncated, start), false
		default:
			return carry.Reply{}, false
		}
	}
}

// blank tells whether nothing of a request came but the empty line that some clients send behind one (RFC 9112, 2.2).
func blank(b []byte) bool { return len(bytes.Trim(b, "\r\n")) == 0 }

// answer writes an answer of ours and records the exchange.
func (k *work) answer(r carry.Reply) {
	c, now := k.c, k.e.o.Now()
	k.out = k.x.AppendReply(k.out[:0], r, now.UnixNano())
	if len(k.out) > 0 {
		if _, err := c.w.write(k.out, k.set.SendTimeout, now); err != nil {
			k.x.Record.Aborted, k.x.Close = true, true
		}
	}
	k.record()
}

func (k *work) record() { k.e.o.Record(k.x.Finish(k.e.o.Now().UnixNano())) }
