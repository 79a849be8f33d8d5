package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"roost"
)

// patience is the timeout of probes that are to succeed or fail by an event; hopeless that of probes of nodes that never
// answer.
const (
	patience = 10 * time.Second
	hopeless = 50 * time.Millisecond
)

func httpTarget(addr string) roost.Target {
	return roost.Target{Pool: "p", Node: "n", Addr: addr,
		Settings: roost.HealthSettings{Kind: roost.HealthHTTP, Path: "/version", Timeout: patience}}
}

func reason(t *testing.T, tg roost.Target) string {
	t.Helper()
	if err := New(Options{Version: "1.2.3"}).check(context.Background(), &tg); err != nil {
		return err.Error()
	}
	return "well"
}

func want(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAnswersAreJudgedByStatusAndVersion(t *testing.T) {
	ok := [][2]int{{200, 299}}
	for _, c := range []struct {
		name   string
		status int
		body   string
		expect [][2]int
		least  string
		want   string
	}{
		{"any 2xx by default", 204, "", nil, "", "well"},
		{"503", 503, "", ok, "", "GET /version: status 503, expected 200-299"},
		{"503 by default", 503, "", nil, "", "GET /version: status 503, expected 200-299"},
		{"a status that is expected", 401, "", [][2]int{{200, 200}, {401, 403}}, "", "well"},
		{"a status between ranges", 300, "", [][2]int{{200, 200}, {401, 403}}, "", "GET /version: status 300, expected 200 or 401-403"},
		{"a redirect is not followed", 302, "", ok, "", "GET /version: status 302, expected 200-299"},
		{"a body over the limit is not read to its end", 200, strings.Repeat("x", 4*maxBody), ok, "", "well"},
		{"fnlb: status ignored with a version", 500, `{"version":"0.0.235"}`, nil, "0.0.235", "well"},
		{"fnlb: 200 without JSON", 200, "ok", nil, "0.0.235", `GET /version: the body is not JSON with a "version"`},
		{"JSON without a version", 200, `{"v":1}`, nil, "0.0.235", `GET /version: the body is not JSON with a "version"`},
		{"a version that is too low", 200, `{"version":"0.0.234"}`, nil, "0.0.235", "GET /version: version 0.0.234, expected at least 0.0.235"},
		{"a pre-release is below its release", 200, `{"version":"1.0.0-rc.1"}`, nil, "1.0.0", "GET /version: version 1.0.0-rc.1, expected at least 1.0.0"},
		{"a version that is none", 200, `{"version":"latest"}`, nil, "0.0.235", `GET /version: version "latest" is not a semantic version`},
		{"both, and the status is wrong", 500, `{"version":"0.0.235"}`, ok, "0.0.235", "GET /version: status 500, expected 200-299"},
		{"both, and both are right", 200, `{"version":"0.0.236","other":[1]}`, ok, "0.0.235", "well"},
		{"a least version that is none", 200, `{"version":"0.0.236"}`, nil, "new", `GET /version: the least version "new" is not a semantic version`},
		{"JSON over the limit", 200, `{"x":"` + strings.Repeat("x", maxBody) + `","version":"1.0.0"}`, nil, "1.0.0", `GET /version: the body is not JSON with a "version"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
				io.WriteString(w, c.body)
			}))
			defer s.Close()
			tg := httpTarget(s.Listener.Addr().String())
			tg.Settings.Expect, tg.Settings.MinVersion = c.expect, c.least
			want(t, reason(t, tg), c.want)
		})
	}
}

func TestAProbeSaysWhoAsksAndClosesItsConnection(t *testing.T) {
	got := make(chan *http.Request, 2)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got <- r }))
	defer s.Close()
	tg := httpTarget(s.Listener.Addr().String())
	tg.Settings.Path = "/health?deep=1"
	want(t, reason(t, tg), "well")
	first := <-got
	want(t, first.UserAgent(), "roost-probe/1.2.3")
	want(t, first.RequestURI, "/health?deep=1")
	want(t, first.Host, tg.Addr)
	want(t, first.Proto, "HTTP/1.1")
	if !first.Close {
		t.Error("no Connection: close")
	}
	tg.Settings.Host = "fn.example"
	want(t, reason(t, tg), "well")
	second := <-got
	want(t, second.Host, "fn.example")
	if first.RemoteAddr == second.RemoteAddr {
		t.Error("the second probe came over the first one's connection")
	}
}

func TestAPathThatIsNoneIsSaid(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	tg := httpTarget(s.Listener.Addr().String())
	tg.Settings.Path = "version"
	want(t, reason(t, tg), "GET version: not a path")
}

// node listens on a loopback port and runs each connection through serve, which owns it.
func node(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serve(c)
		}
	}()
	t.Cleanup(func() { ln.Close(); <-ended })
	return ln.Addr().String()
}

// says answers each request head with text and closes.
func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		defer c.Close()
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			io.WriteString(c, text)
		}
	}
}

// hangs reads until the other side gives up.
func hangs(c net.Conn) {
	io.Copy(io.Discard, c)
	c.Close()
}

func resets(c net.Conn) {
	http.ReadRequest(bufio.NewReader(c))
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

func TestNodesThatMisbehaveAreToldApart(t *testing.T) {
	for _, c := range []struct {
		name    string
		serve   func(net.Conn)
		timeout time.Duration
		want    string
	}{
		{"hangs before the head", hangs, hopeless, "GET /version: no answer within 50ms"},
		{"hangs within the body", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
			hangs(c)
		}, hopeless, "GET /version: body: no answer within 50ms"},
		{"resets", resets, patience, "GET /version: connection reset by peer"},
		{"closes without an answer", says(""), patience, "GET /version: the node closed the connection"},
		{"breaks off its body", says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"), patience, "GET /version: body: the node closed the connection"},
		{"does not speak HTTP", says("SSH-2.0-OpenSSH_9.9\r\n"), patience, `GET /version: malformed HTTP response "SSH-2.0-OpenSSH_9.9"`},
		{"has no end to its head", says("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxHead)), patience, "GET /version: response head over 16 KiB"},
		{"has no end to its interim responses", says(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", maxHead)), patience, "GET /version: response head over 16 KiB"},
		{"hints before it answers", says("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\nok"), patience, "well"},
		{"answers in HTTP/1.0", says("HTTP/1.0 200 OK\r\n\r\nok"), patience, "well"},
		{"answers in chunks", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), patience, "well"},
		{"switches protocols", says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), patience, "GET /version: status 101, expected 200-299"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tg := httpTarget(node(t, c.serve))
			tg.Settings.Timeout = c.timeout
			want(t, reason(t, tg), c.want)
		})
	}
}

func TestConnectingIsJudged(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := ln.Addr().String()
	ln.Close()
	tcp := roost.Target{Settings: roost.HealthSettings{Kind: roost.HealthTCP, Timeout: patience}}

	tcp.Addr = node(t, hangs)
	want(t, reason(t, tcp), "well")
	tcp.Addr = strings.Replace(tcp.Addr, "127.0.0.1", "localhost", 1)
	want(t, reason(t, tcp), "well")
	tcp.Addr = gone
	want(t, reason(t, tcp), "connect: connection refused")
	want(t, reason(t, httpTarget(gone)), "connect: connection refused")
	tcp.Addr = "169.254.169.254:80"
	want(t, reason(t, tcp), "connect: 169.254.169.254 is a link-local or metadata address, which is not dialled")
	tcp.Addr = "[fd00:ec2::254]:80"
	want(t, reason(t, tcp), "connect: fd00:ec2::254 is a link-local or metadata address, which is not dialled")
}

func TestUnixSocketsAreNodes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n.sock")
	tg := httpTarget("unix:" + path)
	want(t, reason(t, tg), "connect: no such file or directory")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: ln, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "localhost" {
			w.WriteHeader(400)
		}
	})}}
	s.Start()
	defer s.Close()
	want(t, reason(t, tg), "well")
}

func TestIPv6NodesAreProbed(t *testing.T) {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here:", err)
	}
	s := &httptest.Server{Listener: ln, Config: &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}}
	s.Start()
	defer s.Close()
	want(t, reason(t, httpTarget(ln.Addr().String())), "well")
}

func TestErrorsOfTheNetworkReadAsSentences(t *testing.T) {
	tg := httpTarget("n:80")
	for _, c := range []struct {
		err  error
		want string
	}{
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "n"}}, "resolve n: no such host"},
		{&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}, "connect: no route to host"},
		{errors.New("odd"), "connect: odd"},
	} {
		want(t, explain(context.Background(), &tg, "connect", c.err).Error(), c.want)
	}
}

func TestTheShortageOfThisMachineIsNotTheNodesFault(t *testing.T) {
	if err := explain(context.Background(), &roost.Target{}, "connect", &net.OpError{Err: syscall.EMFILE}); !isLocal(err) {
		t.Errorf("%v is taken for the node's fault", err)
	}
	if isLocal(fmt.Errorf("connect: %w", syscall.ECONNREFUSED)) || isLocal(nil) {
		t.Error("a refusal is taken for a shortage here")
	}
}

func TestReasonsAreShortAndPrintable(t *testing.T) {
	want(t, clean("a\x1b[31m\nb"), "a?[31m?b")
	want(t, clean("é"+strings.Repeat("x", maxReason)), "é"+strings.Repeat("x", maxReason-2)+"...")
}
