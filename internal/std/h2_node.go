package std

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"roost"
	"roost/internal/h1"
)

// links are the HTTP/2 connections to nodes, each for many requests at once.
type links struct {
	rt   *http.Transport
	lend *buffers

	mu sync.Mutex // guards of. HTTP/2 requests take it for a look through a handful of connections
	of map[*roost.Live]*bundle
}

// bundle are the links to one node. Another one is dialled, by one request for all that wait, when none has room.
type bundle struct {
	links []*link
	dial  *dialing
}

type link struct {
	cc     *http.ClientConn
	addr   string
	tls    roost.Digest
	born   time.Time
	used   time.Time
	served int // requests
}

// dialing is a dial under way; done is closed when fault and err stand.
type dialing struct {
	done  chan struct{}
	fault roost.Fault
	err   error
}

// dialTo says in a context which node's address a dial is for. The URL cannot: a unix socket's path is no host.
type dialTo struct{}

// dialError carries a dial's fault through net/http.
type dialError struct {
	fault roost.Fault
	err   error
}

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// open readies the links. Dials go through d, with its rules.
func (ls *links) open(d *dialer, lend *buffers) {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	protocols.SetHTTP2(true)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, fault, err := d.dial(ctx, ctx.Value(dialTo{}).(place), 0, time.Now())
		if err != nil {
			return nil, &dialError{fault, err}
		}
		return c, nil
	}
	ls.lend = lend
	ls.of = map[*roost.Live]*bundle{}
	ls.rt = &http.Transport{
		Protocols:              &protocols,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 30 * time.Second}, // finds a node that is no more
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxNodeHead,
		DialContext:            dial,
		DialTLSContext:         dial,
	}
}

// get gives a connection in memory, behind which a stream to the node begins with the request that is written to it.
func (ls *links) get(ctx context.Context, a *roost.Attempt, s *roost.PoolSettings, now time.Time) (*nodeConn, roost.Fault, error) {
	if s.ConnectTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.ConnectTimeout)
		defer cancel()
	}
	cc, served, fault, err := ls.reserve(ctx, a, s, now)
	if err != nil {
		return nil, fault, err
	}
	n := &nodeConn{addr: a.Addr, born: now, served: served}
	near, far := net.Pipe()
	leg := &leg{Conn: near, scheme: schemeOf(s.TLS), done: make(chan struct{})}
	leg.ctx, leg.cancel = context.WithCancel(context.Background())
	n.leg = leg
	n.open(leg, ls.lend)
	go leg.run(cc, far, ls.lend)
	return n, roost.NoFault, nil
}

// reserve takes a stream of a link that has room, dialling where none has. served is how many requests it had before.
func (ls *links) reserve(ctx context.Context, a *roost.Attempt, s *roost.PoolSettings, now time.Time) (cc *http.ClientConn, served int, fault roost.Fault, err error) {
	for {
		ls.mu.Lock()
		b := ls.of[a.Live]
		if b == nil {
			b = &bundle{}
			ls.of[a.Live] = b
		}
		for _, l := range b.prune(s.IdleTimeout, now) {
			if l.addr == a.Addr && l.tls == idOf(s.TLS) && now.Sub(l.born) < maxAge && l.cc.Reserve() == nil {
				served, l.used = l.served, now
				l.served++
				ls.mu.Unlock()
				return l.cc, served, roost.NoFault, nil
			}
		}
		d := b.dial
		mine := d == nil
		if mine {
			d = &dialing{done: make(chan struct{})}
			b.dial = d
		}
		ls.mu.Unlock()
		if mine {
			ls.dial(ctx, b, d, placeOf(a, s, "h2"), now)
		} else {
			select {
			case <-d.done:
			case <-ctx.Done():
				return nil, 0, roost.FaultConnect, ctx.Err()
			}
		}
		if d.err != nil {
			return nil, 0, d.fault, d.err
		}
	}
}

func (ls *links) dial(ctx context.Context, b *bundle, d *dialing, to place, now time.Time) {
	cc, err := ls.rt.NewClientConn(context.WithValue(ctx, dialTo{}, to), schemeOf(to.tls), "node:80")
	if err != nil {
		d.fault, d.err = roost.FaultConnect, err
		var de *dialError
		if errors.As(err, &de) {
			d.fault, d.err = de.fault, de.err
		}
	}
	ls.mu.Lock()
	if err == nil {
		b.links = append(b.links, &link{cc: cc, addr: to.addr, tls: idOf(to.tls), born: now, used: now})
	}
	b.dial = nil
	ls.mu.Unlock()
	close(d.done)
}

// prune drops links that ended, and closes those that have been without a request for too long or are too old for more.
func (b *bundle) prune(idle time.Duration, now time.Time) []*link {
	kept := b.links[:0]
	for _, l := range b.links {
		quiet := l.cc.InFlight() == 0 && (idle > 0 && now.Sub(l.used) > idle || now.Sub(l.born) > maxAge)
		if l.cc.Err() != nil || quiet {
			l.cc.Close()
			continue
		}
		kept = append(kept, l)
	}
	clear(b.links[len(kept):])
	b.links = kept
	return kept
}

// sweep prunes all, and closes the links to nodes that are no more.
func (ls *links) sweep(idle map[*roost.Live]time.Duration, now time.Time) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for live, b := range ls.of {
		d, known := idle[live]
		if !known {
			d = unused
		}
		if b.prune(d, now); len(b.links) == 0 && b.dial == nil {
			delete(ls.of, live)
		}
	}
}

// drop closes the links to a node on which nothing is in flight.
func (ls *links) drop(live *roost.Live, now time.Time) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if b := ls.of[live]; b != nil {
		b.prune(unused, now)
	}
}

// unused is an idle limit that every link is over on which nothing is in flight.
const unused = time.Duration(1)

func (ls *links) close() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, b := range ls.of {
		for _, l := range b.links {
			l.cc.Close()
		}
	}
	clear(ls.of)
}

// leg is the near end of a connection in memory behind which a stream to a node runs. Closing it resets the stream.
type leg struct {
	net.Conn
	scheme string
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
	why    atomic.Pointer[error] // why the stream failed
}

func (l *leg) Close() error {
	l.cancel()
	return l.Conn.Close()
}

// Read says why the stream failed, where the connection in memory can only say that it ended.
func (l *leg) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if why := l.why.Load(); err != nil && why != nil && !isTimeout(err) {
		err = *why
	}
	return n, err
}

// unprocessed tells whether the node said that it did not start with the request (RFC 9113, 8.7): it may be sent again,
// whatever its method.
func (l *leg) unprocessed() bool {
	why := l.why.Load()
	if why == nil {
		return false
	}
	var reset streamError
	return errors.As(*why, &reset) && reset.Code == refusedStream || strings.Contains((*why).Error(), "graceful shutdown GOAWAY") ||
		strings.Contains((*why).Error(), "client conn not usable")
}

// reset is the status that a node meant which ended the stream itself, over a connection that goes on; 0: it did not. Who
// finds a request malformed says 400 in HTTP/1.1 (RFC 9113, 8.1.1); other codes mean that an answer failed.
func (l *leg) reset() uint16 {
	why := l.why.Load()
	var reset streamError
	switch {
	case why == nil, !errors.As(*why, &reset), reset.Code == refusedStream, reset.Cause == nil, reset.Cause.Error() != "received from peer":
		return 0
	case reset.Code == protocolError:
		return http.StatusBadRequest
	}
	return http.StatusBadGateway
}

// streamError is how net/http lets its error of that name be taken: into any struct with the same fields.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamError) Error() string {
	return fmt.Sprintf("stream %d reset with code %d", e.StreamID, e.Code)
}

// Codes of RFC 9113, 7.
const (
	protocolError = 1
	refusedStream = 7
)

func (l *leg) run(cc *http.ClientConn, far net.Conn, lend *buffers) {
	defer close(l.done)
	defer far.Close()
	if err := l.carry(cc, far, lend); err != nil {
		l.why.Store(&err)
	}
}

// carry translates one request and its answer.
func (l *leg) carry(cc *http.ClientConn, far net.Conn, lend *buffers) error {
	var in wire
	in.open(far, lend)
	var parser h1.Parser
	var head h1.Head
	view, err := readHead(&in, &parser, &head)
	if err != nil {
		in.rest()
		cc.Release()
		return err
	}
	if head.Expect100 { // HTTP/2 has flow control for that; the body is asked for at once
		if _, err := far.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
			cc.Release()
			return err
		}
	}
	req := l.request(&in, &head, view)
	if req.Body == nil {
		in.rest()
	} // else net/http may read on after the answer, until it closes the body: the buffer is left to the collector
	res, err := cc.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body := res.ContentLength
	if len(res.Trailer) > 0 {
		body = -1 // HTTP/2 can have trailers behind a body of known length, HTTP/1.1 cannot
	}
	if head.Method == h1.HEAD || res.StatusCode == 204 || res.StatusCode == 304 {
		body = 0
	}
	if _, err := far.Write(appendResponseHead(nil, res, body < 0)); err != nil {
		return err
	}
	return sendBody(far, res.Body, body, &res.Trailer, lend)
}

// request makes a request of net/http's out of a head.
func (l *leg) request(in *wire, head *h1.Head, view string) *http.Request {
	req := &http.Request{
		Method: head.MethodName.In(view), Host: head.Host.In(view), ContentLength: head.Length,
		URL: &url.URL{Scheme: l.scheme, Host: "node", Opaque: head.Target.In(view)}, Header: http.Header{},
	}
	if strings.HasPrefix(req.URL.Opaque, "//") { // there net/url sees a host, and net/http takes off the one that it expects
		req.URL.Opaque = "//" + req.Host + req.URL.Opaque
	}
	for i := range head.Fields {
		f := &head.Fields[i]
		name, value := f.Name.In(view), f.Value.In(view)
		switch {
		case f.ID == h1.Trailer:
			if req.Trailer == nil {
				req.Trailer = http.Header{}
			}
			for name := range strings.SplitSeq(value, ",") {
				req.Trailer[http.CanonicalHeaderKey(strings.TrimSpace(name))] = nil
			}
		case !ofConnection(f.ID) && f.ID != h1.Expect:
			req.Header.Add(name, value)
		}
	}
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header["User-Agent"] = nil // not for net/http to claim
	}
	if b := h1.RequestBody(head); b.Framing != h1.NoBody && !b.Done() {
		req.Body = &decoder{w: in, body: b, trailer: func(name, value string) {
			if name = http.CanonicalHeaderKey(name); req.Trailer != nil {
				req.Trailer[name] = append(req.Trailer[name], value)
			}
		}}
		if b.Framing == h1.ByChunks {
			req.ContentLength = -1
		}
	} else {
		req.ContentLength = 0
	}
	return req.WithContext(l.ctx)
}

// appendResponseHead appends an answer's head in HTTP/1.1.
func appendResponseHead(dst []byte, res *http.Response, chunked bool) []byte {
	dst = append(append(dst, "HTTP/1.1 "...), formatInt(int64(res.StatusCode))...)
	dst = append(append(append(dst, ' '), http.StatusText(res.StatusCode)...), "\r\n"...)
	var names [32]string
	for _, name := range sorted(names[:0], res.Header) {
		for _, v := range res.Header[name] {
			if name != "Content-Length" && name != "Transfer-Encoding" && name != "Connection" && isName(name) && oneLine(v) {
				dst = h1.AppendField(dst, name, v)
			}
		}
	}
	if chunked {
		for _, name := range sorted(names[:0], res.Trailer) {
			dst = h1.AppendField(dst, "Trailer", name)
		}
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	} else if res.ContentLength >= 0 && res.StatusCode != 204 {
		dst = h1.AppendField(dst, "Content-Length", formatInt(res.ContentLength))
	}
	return append(dst, "\r\n"...)
}
