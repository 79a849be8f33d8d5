package std

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"roost"
	"roost/internal/h1"
)

// maxStreams is how many requests one HTTP/2 connection may have at once: what nginx allows, and enough for a client that
// does not share its connection. net/http bounds what resets can make of it (CVE-2023-44487).
const maxStreams = 128

// maxFrame is the largest frame that a client may send: the least that HTTP/2 allows (RFC 9113, 4.2). It bounds what one
// connection makes us hold; larger ones gain nothing.
const maxFrame = 16 << 10

// session is a client's connection in HTTP/2. net/http speaks the protocol; each stream is served as a connection of
// its own with one exchange, in memory.
type session struct {
	c     *conn
	srv   *http.Server
	gate  gate
	again *time.Timer // of goAway
}

// serveHTTP2 serves nc, which is c's connection with the bytes that were read ahead, to its end.
func (c *conn) serveHTTP2(nc net.Conn) {
	set := c.settings()
	s := &session{c: c}
	s.gate.empty.L = &s.gate.mu
	ln := &single{conn: nc, addr: nc.LocalAddr(), given: s.begin, closed: make(chan struct{})}
	done := make(chan struct{})
	s.srv = newServer(set, http.HandlerFunc(s.serve))
	s.srv.ErrorLog = slog.NewLogLogger(c.e.o.Log.Handler(), slog.LevelDebug)
	s.srv.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateClosed {
			close(done)
			ln.Close()
		}
	}
	s.srv.Serve(ln)
	<-done
	c.mu.Lock()
	c.goAway = nil
	if s.again != nil {
		s.again.Stop()
	}
	c.mu.Unlock()
	s.gate.close()
}

// newServer is net/http's, which speaks HTTP/2 and nothing else.
func newServer(set *roost.ListenerSettings, h http.Handler) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:        h,
		Protocols:      &protocols,
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReadFrameSize: maxFrame, WriteByteTimeout: set.SendTimeout},
		MaxHeaderBytes: set.MaxHead,
		IdleTimeout:    set.IdleTimeout,
	}
}

// begin is called when net/http has the connection: before, a shutdown would lose it.
func (s *session) begin() {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.goAway = s.goAway
	if c.f.leaving() { // came during the drain: its first request is still answered
		s.again = time.AfterFunc(idleGrace, s.shutdown)
	}
}

// goAway tells the client to bring no more requests (RFC 9113, 6.8). Those that it brought are answered. It is called by
// dismiss, perhaps twice, with the connection's lock held. net/http does not hear of it while it begins the session; so
// it is told again.
func (s *session) goAway() {
	s.shutdown()
	if s.again == nil {
		s.again = time.AfterFunc(idleGrace, s.shutdown)
	}
}

// shutdown begins net/http's shutdown, and does not wait for it.
func (s *session) shutdown() {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	s.srv.Shutdown(now)
}

// serve carries one stream.
func (s *session) serve(w http.ResponseWriter, r *http.Request) {
	if !s.gate.enter() {
		panic(http.ErrAbortHandler)
	}
	defer s.gate.leave()
	limit := s.c.settings().SendTimeout
	head, ok := appendRequestHead(nil, r)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	near, far := newMemory()
	c := &conn{e: s.c.e, f: s.c.f, nc: near, peer: s.c.peer}
	c.peer.HTTP2 = true
	c.w.open(near, &c.e.buffers)
	stop := context.AfterFunc(r.Context(), c.cut) // the client reset the stream, or is gone
	var engine sync.WaitGroup
	engine.Go(c.serveStream)
	// Not waited for here: if it waits for more of the body, the end of this function is what wakes it.
	s.gate.also()
	go func() {
		defer s.gate.leave()
		sendRequest(far, head, r)
	}()
	if s.c.f.leaving() {
		w.Header().Set("Connection", "close") // net/http makes a GOAWAY of it
	}
	whole := s.receive(w, far, r, limit)
	far.Close()
	stop()
	engine.Wait()
	if !whole {
		panic(http.ErrAbortHandler) // resets the stream
	}
}

// serveStream is serve for one stream: one exchange, in memory.
func (c *conn) serveStream() {
	defer func() {
		if p := recover(); p != nil {
			c.panicked(p)
		}
		c.w.close()
	}()
	c.exchange()
}

// sendRequest writes a stream's head and body. A body that breaks off ends the connection before the body's end.
func sendRequest(far memory, head []byte, r *http.Request) {
	if _, err := far.Write(head); err != nil {
		return
	}
	if sendBody(far, r.Body, lengthOf(r), func() http.Header { return r.Trailer }) != nil {
		far.Close()
	}
}

// sendBody writes a body of n bytes, or if that is -1 in chunks, with the trailers that there are at its end. The error
// is one of the body; that nobody reads it any more is none.
func sendBody(far memory, body io.Reader, n int64, trailers func() http.Header) error {
	if n == 0 || body == nil || body == http.NoBody {
		return nil
	}
	buf := make([]byte, smallBuffer)
	out := make([]byte, 0, smallBuffer+32)
	for {
		m, err := body.Read(buf)
		out = out[:0]
		switch {
		case m > 0 && n < 0:
			out = append(append(h1.AppendChunk(out, m), buf[:m]...), "\r\n"...)
		case m > 0:
			out = append(out, buf[:m]...)
		}
		if err == io.EOF && n < 0 {
			out = appendTrailers(h1.AppendLastChunk(out), trailers())
		}
		if len(out) > 0 {
			if _, err := far.Write(out); err != nil {
				return nil
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func appendTrailers(dst []byte, t http.Header) []byte {
	for _, name := range sorted(t) {
		for _, v := range t[name] {
			if isName(name) && oneLine(v) {
				dst = h1.AppendField(dst, name, v)
			}
		}
	}
	return append(dst, "\r\n"...)
}

// receive passes the answer on to the stream; a write may make no progress for limit. It tells whether the answer was whole.
func (s *session) receive(w http.ResponseWriter, far memory, r *http.Request, limit time.Duration) bool {
	var in wire
	in.open(far, &s.c.e.buffers)
	defer in.rest()
	var parser h1.Parser
	var head h1.Head
	header := w.Header()
	for {
		view, err := readHead(&in, &parser, h1.Response, &head)
		if err != nil {
			return false
		}
		if head.Status != 100 {
			for i := range head.Fields {
				if f := &head.Fields[i]; !ofConnection(f.ID) {
					header.Add(f.Name.In(view), f.Value.In(view))
				}
			}
		}
		if head.Status >= 200 {
			break
		}
		if head.Status != 100 { // which is net/http's to send
			w.WriteHeader(int(head.Status))
			clear(header)
		}
	}
	if head.Length >= 0 {
		header.Set("Content-Length", formatInt(head.Length))
	}
	if _, ok := header["Content-Type"]; !ok {
		header["Content-Type"] = nil // not for net/http to guess
	}
	w.WriteHeader(int(head.Status))
	// A client that opens no window would keep us writing for ever. A deadline that passes resets the stream whether or not
	// something is being written, so none stands while we wait for the node.
	control, by := http.NewResponseController(w), time.Time{}
	patience := func(d time.Duration) {
		if within(d, time.Now(), &by) {
			control.SetWriteDeadline(by)
		}
	}
	defer func() { patience(limit) }() // net/http writes the rest when the handler is over
	flush := func() {
		patience(limit)
		control.Flush()
	}
	d := decoder{
		w: &in, body: h1.ResponseBody(&head, methodOf(r.Method)),
		trailer: func(name, value string) {
			flush() // or net/http adds a Content-Length, where some clients stop reading and miss the trailers
			header.Add(http.TrailerPrefix+name, value)
		},
		wait: func() {
			flush()
			patience(0)
		},
	}
	for {
		payload, err := d.next()
		if err == io.EOF {
			return !far.broken.Load()
		}
		if err != nil {
			return false
		}
		patience(limit)
		if _, err := w.Write(payload); err != nil {
			return false
		}
	}
}

// methodOf names the one method that changes how an answer ends.
func methodOf(method string) h1.Method {
	if method == http.MethodHead {
		return h1.HEAD
	}
	return h1.GET
}

func sorted(h http.Header) []string {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
