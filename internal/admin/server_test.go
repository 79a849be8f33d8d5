package admin

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"roost"
	"roost/internal/api"
)

func TestPagesAnswer(t *testing.T) {
	address := start(t, New(options()))
	for path, want := range map[string]struct{ kind, text string }{
		"/":                    {"text/plain; charset=utf-8", "/healthz"},
		"/healthz":             {"text/plain; charset=utf-8", "ok\n"},
		"/readyz":              {"text/plain; charset=utf-8", "ready\n"},
		"/readyz?verbose":      {"text/plain; charset=utf-8", "ready\nversion 1.2.3, config 0123456789ab, snapshot 7\npool fn: 1 of 2 nodes take new requests\n"},
		"/metrics":             {"text/plain; version=0.0.4", "roost_build_info"},
		"/api/v1/status":       {"application/json", `"version":"1.2.3"`},
		"/api/v1/openapi.json": {"application/json", `"openapi": "3.1.0"`},
	} {
		status, header, body := get(t, address, path)
		if status != 200 || !strings.HasPrefix(header.Get("Content-Type"), want.kind) || !strings.Contains(body, want.text) {
			t.Errorf("%s: %d, %s: %s", path, status, header.Get("Content-Type"), body)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Access-Control-Allow-Origin": ""} {
			if header.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", path, name, header.Get(name), want)
			}
		}
		status, header, empty := ask(t, address, request(t, "HEAD", path, nil))
		if status != 200 || empty != "" || !strings.HasPrefix(header.Get("Content-Type"), want.kind) {
			t.Errorf("HEAD %s: %d, %s: %s", path, status, header.Get("Content-Type"), empty)
		}
	}
}

func TestABalancerThatIsNotReadySaysWhy(t *testing.T) {
	o := options()
	var reason error
	o.Ready = func() error { return reason }
	s := New(o)
	if w := call(s, "GET", "/readyz", ""); w.Code != 200 || w.Body.String() != "ready\n" {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	reason = errors.New("pool fn has no table yet")
	if w := call(s, "GET", "/readyz", ""); w.Code != 503 || w.Body.String() != "not ready: pool fn has no table yet\n" {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	if w := call(s, "GET", "/readyz?verbose", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "pool fn: 1 of 2 nodes") {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	if w := call(s, "GET", "/healthz", ""); w.Code != 200 {
		t.Errorf("a balancer that is not ready lives, but /healthz says %d", w.Code)
	}
}

func TestAnAddressThatOthersReachNeedsTLSAndTheToken(t *testing.T) {
	some := func() *tls.Config { return &tls.Config{} }
	none := func() *tls.Config { return nil }
	for _, d := range []Door{{}, {Token: true}, {TLS: some}, {Token: true, TLS: none}} {
		ln, err := net.Listen("tcp", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := New(options()).Serve(t.Context(), ln, d); err == nil || !strings.Contains(err.Error(), "needs TLS and the token") {
			t.Errorf("token %v, TLS %v: error %v", d.Token, d.TLS != nil, err)
		}
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the listener is still open: %v", err)
		}
	}
}

// elsewhere is a listener that says other machines reach it, and can only be reached from here.
type elsewhere struct{ net.Listener }

func (elsewhere) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7070} }

func TestWithTLSOthersAreAnsweredAndWithoutItNoLonger(t *testing.T) {
	made := httptest.NewTLSServer(nil)
	conf, client := made.TLS.Clone(), made.Client()
	made.Close()
	conf.NextProtos = nil
	client.Timeout = 20 * time.Second
	client.Transport.(*http.Transport).DisableKeepAlives = true
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	shown := make(chan *tls.Config, 1)
	shown <- conf
	startOn(t, New(options()), elsewhere{ln}, Door{Token: true, TLS: func() *tls.Config {
		now := <-shown
		shown <- now
		return now
	}})
	get := func(origin string) (int, error) {
		r := request(t, "GET", "https://"+address+"/api/v1/status", nil)
		r.Header.Set("Authorization", "Bearer "+secret)
		r.Header.Set("Origin", origin)
		answer, err := client.Do(r)
		if err != nil {
			return 0, err
		}
		answer.Body.Close()
		return answer.StatusCode, nil
	}
	if status, err := get("https://" + address); status != 200 {
		t.Errorf("over TLS: %d %v", status, err)
	}
	if status, err := get("http://" + address); status != 403 {
		t.Errorf("a page in clear text asks: %d %v", status, err)
	}
	<-shown
	shown <- nil // a reload took the certificates away
	if status, err := get("https://" + address); err == nil {
		t.Errorf("without certificates: %d", status)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /healthz HTTP/1.0\r\n\r\n")
	if answer, _ := io.ReadAll(conn); len(answer) > 0 {
		t.Errorf("in clear text, to another machine: %s", answer)
	}
}

func TestTheSocketAsksForNoTokenAndTCPDoes(t *testing.T) {
	s := New(options())
	ln := socket(t)
	startOn(t, s, ln, Door{})
	if status, _, body := get(t, ln.Addr().String(), "/api/v1/status"); status != 200 {
		t.Errorf("over the socket: %d: %s", status, body)
	}
	if status, _, body := ask(t, ln.Addr().String(), request(t, "POST", "/api/v1/upgrade", nil)); status != 200 {
		t.Errorf("an upgrade over the socket: %d: %s", status, body)
	}
	address := startBy(t, s, Door{Token: true})
	status, header, body := get(t, address, "/api/v1/status")
	if p := problem(t, status, header, body); status != 401 || p.Code != api.CodeUnauthorized {
		t.Errorf("over TCP: %d: %s", status, body)
	}
	r := request(t, "POST", "/api/v1/upgrade", nil)
	r.Header.Set("Authorization", "Bearer "+secret)
	status, header, body = ask(t, address, r)
	if p := problem(t, status, header, body); status != 403 || p.Code != api.CodeSocketOnly {
		t.Errorf("an upgrade over TCP: %d: %s", status, body)
	}
}

// waiting is an Options whose Change waits until it may leave.
func waiting() (o Options, entered chan context.Context, leave chan bool) {
	o, entered, leave = options(), make(chan context.Context), make(chan bool)
	o.Change = func(ctx context.Context, _ roost.Change, _ *uint64) (api.Changed, error) {
		entered <- ctx
		<-leave
		return api.Changed{}, ctx.Err()
	}
	return o, entered, leave
}

func TestTheEndWaitsForRequestsUnderWay(t *testing.T) {
	o, entered, leave := waiting()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(o).Serve(ctx, ln, Door{}) }()
	answered := make(chan string, 1)
	go func() {
		r, _ := http.NewRequest("DELETE", "http://"+ln.Addr().String()+"/api/v1/pools/fn/nodes/n2", nil)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			answered <- err.Error()
			return
		}
		answer.Body.Close()
		answered <- answer.Status
	}()
	<-entered
	cancel()
	for { // until the listener is closed
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			break
		}
		conn.Close()
	}
	select {
	case err := <-done:
		t.Fatalf("Serve ended before its request: %v", err)
	default:
	}
	close(leave)
	if got := <-answered; got != "200 OK" {
		t.Errorf("the request under way got %s", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAChangeGoesOnWhenWhoeverAskedIsGone(t *testing.T) {
	o, entered, leave := waiting()
	address := start(t, New(o))
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "DELETE /api/v1/pools/fn/nodes/n2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	ctx := <-entered
	conn.Close()
	if err := ctx.Err(); err != nil {
		t.Error(err)
	}
	leave <- true
}

func TestStreamsEndAtOnceWithTheServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := serve(t, New(options()), ln, Door{})
	answer, err := http.Get("http://" + ln.Addr().String() + "/api/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	began := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > shutdownLimit/2 {
		t.Errorf("the end took %v", took)
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Errorf("the stream broke off: %v", err)
	}
}

func TestTheEndDoesNotWaitForConnectionsThatAskNothing(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := serve(t, New(options()), ln, Door{})
	for range 3 {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if status, _, _ := get(t, ln.Addr().String(), "/healthz"); status != 200 { // the others are accepted by now
		t.Error(status)
	}
	began := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > shutdownLimit/2 {
		t.Errorf("the end took %v", took)
	}
}

func TestAListenerThatBreaksEndsServe(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := New(options()).Serve(context.Background(), ln, Door{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

func TestABugCostsOneRequest(t *testing.T) {
	f := new(fake)
	o := f.options()
	o.Change = func(context.Context, roost.Change, *uint64) (api.Changed, error) { panic("a bug") }
	s := New(o)
	w := call(s, "DELETE", "/api/v1/pools/fn/nodes/n2", "")
	if p := problem(t, w.Code, w.Header(), w.Body.String()); w.Code != 500 || p.Code != api.CodeInternal || strings.Contains(p.Detail, "a bug ") == false {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	if log := f.log.String(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, `panic="a bug"`) {
		t.Errorf("the log says: %s", log)
	}
	if w := call(s, "GET", "/api/v1/status", ""); w.Code != 200 {
		t.Errorf("after it: %d", w.Code)
	}
}

// raw sends bytes and returns the answer.
func raw(t *testing.T, address, text string) (int, http.Header, string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(conn, text)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%.60q: %v", text, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("%.60q: %v", text, err)
	}
	return answer.StatusCode, answer.Header, string(body)
}

func TestWhatIsNoRequestGetsProblemDetailsToo(t *testing.T) {
	address := start(t, New(options()))
	for text, want := range map[string]struct {
		status int
		code   string
	}{
		"GET /api/v1/pools/%zz HTTP/1.1\r\nHost: localhost\r\n\r\n": {400, api.CodeBadRequest},
		"GET / HTTP/1.1\r\n\r\n":                                    {400, api.CodeBadRequest},
		"hello\r\n\r\n":                                             {400, api.CodeBadRequest},
		"GET / HTTP/3.9\r\nHost: localhost\r\n\r\n":                 {505, api.CodeBadRequest},
		"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", maxHead+8<<10) + "\r\n\r\n":                                     {431, api.CodeHeadTooLarge},
		"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n":                                             {501, api.CodeBadRequest},
		"POST /api/v1/explain HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n":                                   {400, api.CodeBadRequest},
		"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n":                                                                                  {404, api.CodeNoRoute},
		"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n":                                                                    {404, api.CodeNoRoute},
		"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n":                                                            {403, api.CodeHostUnknown},
		"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n":                                                                                    {405, api.CodeMethod},
		"GET /api/v1/pools/a%ff/table?rows=%2 HTTP/1.1\r\nHost: localhost\r\n\r\n":                                                       {400, api.CodeBadRequest},
		"POST /api/v1/explain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10485760\r\n\r\n{":                                          {413, api.CodeTooLarge},
		"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10485760\r\n\r\n{":                                                  {413, api.CodeTooLarge},
		"POST /api/v1/explain HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n" + strings.Repeat("x", 0x20000): {413, api.CodeTooLarge},
	} {
		status, header, body := raw(t, address, text)
		if p := problem(t, status, header, body); status != want.status || p.Code != want.code {
			t.Errorf("%.80q: %d: %s", text, status, body)
		}
	}
}
