package std

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"roost"
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
	if !s.borrow(w, r).carry() {
		panic(http.ErrAbortHandler) // resets the stream
	}
}
