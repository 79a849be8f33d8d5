package admin

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"roost/internal/api"
)

// problems accepts connections whose refusals are problem details, also those that net/http writes by itself, before it
// has a request to hand over.
type problems struct {
	net.Listener
	tls func() *tls.Config // nil, or its result nil: clear text
}

// Accept returns the next connection. One from another machine that would be in clear text is closed: a reload may take
// the certificates away while the listener stays.
func (l *problems) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if conf := l.config(); conf != nil {
			return &problemConn{tls.Server(c, conf), true}, nil
		}
		if local(l.Addr()) {
			return &problemConn{c, false}, nil
		}
		c.Close()
	}
}

func (l *problems) config() *tls.Config {
	if l.tls == nil {
		return nil
	}
	return l.tls()
}

type problemConn struct {
	net.Conn
	secure bool
}

// plain is how the heads of net/http's own refusals end (server.go: errorHeaders). It writes each of them at once, head and
// text. No answer of ours is like it: all of them have a Cache-Control.
const plain = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

func (c *problemConn) Write(b []byte) (int, error) {
	line, text, found := bytes.Cut(b, []byte(plain))
	if !found || len(line) < len("HTTP/1.1 400") || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) || bytes.ContainsAny(line, "\r\n") {
		return c.Conn.Write(b)
	}
	status, err := strconv.Atoi(string(line[len("HTTP/1.1 "):len("HTTP/1.1 400")]))
	if err != nil {
		return c.Conn.Write(b)
	}
	code, detail := api.CodeBadRequest, string(text)
	switch {
	case status == http.StatusRequestHeaderFieldsTooLarge:
		code, detail = api.CodeHeadTooLarge, fmt.Sprintf("the head of a request has at most %d bytes here", maxHead)
	case detail == "400 Bad Request":
		detail = "this is no HTTP request: its first line, a field, or a percent-encoding in its path is malformed"
	}
	body := refuse(status, code, "%s", detail).json()
	_, err = fmt.Fprintf(c.Conn, "HTTP/1.1 %d %s\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: %d\r\nContent-Type: %s\r\n\r\n%s",
		status, http.StatusText(status), len(body), problemType, body)
	if err != nil {
		return 0, err
	}
	return len(b), nil
}
