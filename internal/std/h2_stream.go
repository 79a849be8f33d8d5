package std

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"roost/internal/h1"
)

// HTTP/2 meets the rest of this room as HTTP/1.1 in memory. A stream of a client is translated to the bytes of an
// HTTP/1.1 request, and these are read, judged and carried like those of any connection; what goes to a node that
// speaks HTTP/2 is translated back behind the connection. So there is one policy, one set of limits, and no second way
// for a smuggled byte. It costs some copies, less than net/http needs for a stream.

// stream is one stream of a client's session, as the connection of one exchange: what is read from it is the request in
// HTTP/1.1, and the answer that is written to it goes on to net/http at once. Streams are used again and again.
type stream struct {
	net.Conn // the session's, for its addresses only
	c        conn
	s        *session
	w        http.ResponseWriter
	r        *http.Request
	limit    time.Duration // without progress, for each write; 0: none
	by       time.Time     // net/http's deadline; zero: none stands
	cut      func()        // c.cut

	body   *inlet // where the request's comes from; nil: it has none
	fed    bool   // by a goroutine that was begun
	parser h1.Parser
	head   h1.Head  // of the answer
	values []string // of its fields
	answer h1.Body  // once its head has come
	began  bool     // it has
	broken bool     // the answer must not look complete
	rest   []byte   // of what was written, bytes that mean something with others behind them only
}

// borrow gives a stream for r.
func (s *session) borrow(w http.ResponseWriter, r *http.Request) *stream {
	e := s.c.e
	st, ok := e.streams.Get().(*stream)
	if !ok {
		st = &stream{}
		st.cut = st.c.cut
		st.parser.Limits = h1.Limits{Head: 2 * maxNodeHead, Fields: 2 * maxNodeFields}
	}
	st.Conn, st.s, st.w, st.r, st.limit = s.c.nc, s, w, r, s.c.settings().SendTimeout
	st.c = conn{e: e, f: s.c.f, nc: st, peer: s.c.peer}
	st.c.peer.HTTP2 = true
	st.c.w.open(st, &e.buffers)
	st.parser.Reset(h1.Response)
	if lengthOf(r) != 0 && r.Body != http.NoBody {
		st.body = newInlet()
	}
	return st
}

// giveBack is for a stream that nobody else has any more.
func (st *stream) giveBack() {
	e := st.c.e
	clear(st.values)
	*st = stream{cut: st.cut, parser: st.parser, head: st.head, values: st.values[:0], rest: st.rest[:0]}
	e.streams.Put(st)
}

// carry carries the stream's exchange. It tells whether the answer was whole.
func (st *stream) carry() (whole bool) {
	head, ok := appendRequestHead(st.s.c.e.buffers.get(smallBuffer)[:0], st.r)
	if !ok {
		return false
	}
	st.c.w.hold(head)
	stop := context.AfterFunc(st.r.Context(), st.cut) // the client reset the stream, or is gone
	st.exchange()
	whole = st.began && !st.broken && st.answer.EOF() == nil
	if stop() && !st.broken {
		st.giveBack()
	}
	return whole
}

func (st *stream) exchange() {
	defer func() {
		if p := recover(); p != nil {
			st.c.panicked(p)
		}
		st.c.w.close()
	}()
	st.c.exchange()
}

// Read reads the request's body. Its head was read ahead.
func (st *stream) Read(b []byte) (int, error) {
	if st.body == nil {
		return 0, io.EOF
	}
	if !st.fed {
		st.fed = true
		st.s.gate.also() // nobody waits for it: if it waits for more of the body, the end of net/http's handler wakes it
		go feed(st.body, st.r, st.s)
	}
	return st.body.Read(b)
}

// feed writes a stream's body to to. One that breaks off ends the connection before the body's end.
func feed(to *inlet, r *http.Request, s *session) {
	defer s.gate.leave()
	if sendBody(to, r.Body, lengthOf(r), &r.Trailer, &s.c.e.buffers) != nil {
		to.Close()
	}
}

// Write passes on what is written of the answer.
func (st *stream) Write(b []byte) (int, error) {
	in := b
	if len(st.rest) > 0 {
		in = append(st.rest, b...)
	}
	used, err := st.pass(in)
	if err == nil && st.began && !st.answer.Done() { // else net/http does at the end of its handler, perhaps with less frames
		err = st.flush()
	}
	if err != nil {
		return 0, st.late(err)
	}
	st.rest = append(st.rest[:0], in[used:]...)
	return len(b), nil
}

// pass passes on what in means, and tells how much of it was used.
func (st *stream) pass(in []byte) (used int, err error) {
	for !st.began {
		n, err := st.begin(in[used:])
		if n == 0 || err != nil {
			return used, err
		}
		used += n
	}
	for {
		ev, n, payload, err := st.answer.Next(in[used:])
		switch {
		case err != nil:
			return used, err
		case ev == h1.Data:
			err = st.send(payload)
		case ev == h1.TrailerField:
			// Flushed first, or net/http adds a Content-Length, where some clients stop reading and miss the trailers.
			if err = st.flush(); err == nil {
				f, b := &st.answer.Field, string(in[used:used+n])
				st.w.Header().Add(http.TrailerPrefix+f.Name.In(b), f.Value.In(b))
			}
		}
		if used += n; err != nil || ev == h1.NeedMore || ev == h1.End {
			return used, err
		}
	}
}

// begin passes on the head with which in begins, and tells how long it is; 0: it has not all come.
func (st *stream) begin(in []byte) (int, error) {
	head := &st.head
	if done, err := st.parser.Parse(in, head); !done || err != nil {
		return 0, err
	}
	st.parser.Reset(h1.Response)
	if head.Status == 100 { // which is net/http's to send
		return head.Size, nil
	}
	header, view := st.w.Header(), string(in[:head.Size])
	st.values = st.values[:0]
	for i := range head.Fields {
		f := &head.Fields[i]
		if ofConnection(f.ID) && f.ID != h1.ContentLength {
			continue
		}
		name, at := http.CanonicalHeaderKey(f.Name.In(view)), len(st.values)
		st.values = append(st.values, f.Value.In(view))
		if of := header[name]; of != nil {
			header[name] = append(of, st.values[at])
		} else {
			header[name] = st.values[at : at+1 : at+1]
		}
	}
	if head.Status >= 200 {
		st.began = true
		st.answer = h1.ResponseBody(head, methodOf(st.r.Method))
		if _, ok := header["Content-Type"]; !ok {
			header["Content-Type"] = nil // not for net/http to guess
		}
		if st.c.f.leaving() {
			header.Set("Connection", "close") // net/http makes a GOAWAY of it
		}
	}
	st.w.WriteHeader(int(head.Status))
	clear(header) // net/http has its own copy
	return head.Size, nil
}

// send sends some of the answer's body, in pieces that a slow client can take in time.
func (st *stream) send(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), smallBuffer)
		st.within(st.limit)
		if _, err := st.w.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// flush sends what there is. Afterwards no deadline stands: one that passes resets the stream whether or not something is
// being written, and what comes next is the node's.
func (st *stream) flush() error {
	st.within(st.limit)
	if err := http.NewResponseController(st.w).Flush(); err != nil {
		return err
	}
	st.within(0)
	return nil
}

// within gives net/http time, as the wire of a socket would: a client that opens no window would keep it writing for ever.
func (st *stream) within(d time.Duration) {
	if within(d, time.Now(), &st.by) {
		http.NewResponseController(st.w).SetWriteDeadline(st.by)
	}
}

// late is err, or that the deadline passed, which is all that net/http does not say.
func (st *stream) late(err error) error {
	if !st.by.IsZero() && !time.Now().Before(st.by) {
		return os.ErrDeadlineExceeded
	}
	return err
}

// Abort closes the stream such that the client does not take what it got for complete.
func (st *stream) Abort() {
	st.broken = true
	st.Close()
}

// Close ends the body. Writes end with the stream.
func (st *stream) Close() error {
	if st.body == nil {
		return nil
	}
	return st.body.Close()
}

// SetReadDeadline bounds the wait for the request's body.
func (st *stream) SetReadDeadline(t time.Time) error {
	if st.body == nil {
		return nil
	}
	return st.body.SetReadDeadline(t)
}

// SetWriteDeadline does nothing: each write sets its own.
func (st *stream) SetWriteDeadline(time.Time) error { return nil }

func (st *stream) SetDeadline(time.Time) error { return errors.ErrUnsupported }

// methodOf names the one method that changes how an answer ends.
func methodOf(method string) h1.Method {
	if method == http.MethodHead {
		return h1.HEAD
	}
	return h1.GET
}
