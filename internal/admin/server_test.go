package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"roost"
)

func options() Options {
	return Options{Settings: func() roost.Admin { return roost.Admin{Address: "admin.example:7070"} }, Status: state, Metrics: NewMetrics(sources()),
		Log: slog.New(slog.DiscardHandler)}
}

// start serves s over loopback until the test ends.
func start(t *testing.T, s *Server) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := serve(t, s, ln)
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ln.Addr().String()
}

// serve serves s on ln; stop ends it and returns what Serve did.
func serve(t *testing.T, s *Server, ln net.Listener) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln, Door{}) }()
	return sync.OnceValue(func() error {
		cancel()
		return <-done
	})
}

// ask sends a request as it stands and returns the answer.
func ask(t *testing.T, address string, r *http.Request) (status int, header http.Header, body string) {
	t.Helper()
	r.URL.Scheme, r.URL.Host = "http", address
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: 20 * time.Second}, Timeout: 20 * time.Second}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(raw)
}

func request(t *testing.T, method, path string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func get(t *testing.T, address, path string) (status int, header http.Header, body string) {
	t.Helper()
	return ask(t, address, request(t, "GET", path, nil))
}

func TestPagesAnswer(t *testing.T) {
	address := start(t, New(options()))
	for path, want := range map[string]struct{ kind, text string }{
		"/":               {"text/plain; charset=utf-8", "/healthz"},
		"/healthz":        {"text/plain; charset=utf-8", "ok\n"},
		"/readyz":         {"text/plain; charset=utf-8", "ready\n"},
		"/readyz?verbose": {"text/plain; charset=utf-8", "ready\nversion 1.2.3, config 0123456789ab, snapshot 7\npool fn: 1 of 2 nodes take new requests\n"},
		"/metrics":        {"text/plain; version=0.0.4", "roost_build_info"},
		"/status":         {"application/json", `"version": "1.2.3"`},
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
	address := start(t, New(o))
	if status, _, body := get(t, address, "/readyz"); status != 200 || body != "ready\n" {
		t.Errorf("%d: %s", status, body)
	}
	reason = errors.New("pool fn has no table yet")
	if status, _, body := get(t, address, "/readyz"); status != 503 || body != "not ready: pool fn has no table yet\n" {
		t.Errorf("%d: %s", status, body)
	}
	if status, _, body := get(t, address, "/readyz?verbose"); status != 503 || !strings.Contains(body, "pool fn: 1 of 2 nodes") {
		t.Errorf("%d: %s", status, body)
	}
	if status, _, _ := get(t, address, "/healthz"); status != 200 {
		t.Errorf("a balancer that is not ready lives, but /healthz says %d", status)
	}
}

func TestBadRequestsGetProblemDetails(t *testing.T) {
	o := options()
	o.Metrics = nil
	address := start(t, New(o))
	for _, x := range []struct {
		method, path, host string
		body               int
		status             int
		detail             string
	}{
		{"GET", "/none", "", 0, 404, "no such page"},
		{"GET", "/status/", "", 0, 404, "no such page"},
		{"GET", "/x/../status", "", 0, 404, "no such page"},
		{"GET", "/metrics", "", 0, 404, "no such page"}, // nil Metrics
		{"POST", "/status", "", 1, 405, "read only"},
		{"DELETE", "/", "", 0, 405, "read only"},
		{"OPTIONS", "/status", "", 0, 405, "read only"},
		{"GET", "/status", "", maxBody + 1, 413, "65536"},
		{"GET", "/status", "evil.example", 0, 403, `"evil.example"`},
		{"GET", "/none", "evil.example:7070", 0, 403, "do not answer"},
		{"GET", "/status", "127.0.0.1.evil.example", 0, 403, "do not answer"},
	} {
		r := request(t, x.method, x.path, strings.NewReader(strings.Repeat("x", x.body)))
		r.Host = x.host
		if x.body > maxBody {
			r.Header.Set("Expect", "100-continue") // else the answer may be lost: the server closes while the body is on its way
		}
		status, header, body := ask(t, address, r)
		var p struct {
			Title, Detail string
			Status        int
		}
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			t.Errorf("%s %s: %v: %s", x.method, x.path, err, body)
		}
		if status != x.status || p.Status != status || p.Title != http.StatusText(status) ||
			!strings.Contains(p.Detail, x.detail) || header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s for %q: %d, %s: %s", x.method, x.path, x.host, status, header.Get("Content-Type"), body)
		}
		if allow := header.Get("Allow"); (status == 405) != (allow == "GET, HEAD") {
			t.Errorf("%s %s: %d with Allow: %q", x.method, x.path, status, allow)
		}
	}
}

func TestOnlyNamesThatAWebPageCannotTakeAreAnswered(t *testing.T) {
	s := New(options())
	for host, want := range map[string]bool{
		"":                       true, // HTTP/1.0: no browser
		"127.0.0.1":              true,
		"127.0.0.1:7070":         true,
		"[::1]:7070":             true,
		"[::1]":                  true,
		"localhost":              true,
		"LocalHost:7070":         true,
		"admin.example:7070":     true, // as configured
		"admin.example":          true,
		"10.1.2.3:7070":          true, // an address: nobody's name
		"evil.example":           false,
		"evil.example:7070":      false,
		"localhost.evil.example": false,
		"127.0.0.1.nip.example":  false,
		"localhost:7070:7070":    false,
		"x localhost":            false,
	} {
		if got := s.known(host); got != want {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
	s = New(Options{Log: slog.New(slog.DiscardHandler)})
	if s.known("evil.example") {
		t.Error("without an address of ours any name is answered")
	}
}

func TestTheStatusIsAsInTheGoldenFile(t *testing.T) {
	_, _, body := get(t, start(t, New(options())), "/status")
	golden(t, "testdata/status.golden", body)
	var back roost.Status
	if err := json.Unmarshal([]byte(body), &back); err != nil {
		t.Fatal(err)
	}
	o := options()
	o.Status = func() roost.Status { return roost.Status{} }
	if _, _, body := get(t, start(t, New(o)), "/status"); strings.Contains(body, "null") {
		t.Errorf("an empty list is null: %s", body)
	}
}

func TestAnAddressThatOthersReachIsRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := New(options()).Serve(ctx, ln, Door{}); err == nil || !strings.Contains(err.Error(), "loopback only for now") {
		t.Errorf("error %v", err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is still open: %v", err)
	}
}

func TestAUnixSocketIsServed(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Skip(err) // the path is too long for this system
	}
	stop := serve(t, New(options()), ln)
	conn, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /healthz HTTP/1.0\r\n\r\n")
	if answer, err := io.ReadAll(conn); err != nil || !bytes.HasSuffix(answer, []byte("ok\n")) {
		t.Errorf("%v: %s", err, answer)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestTheEndWaitsForRequestsUnderWay(t *testing.T) {
	o := options()
	entered, leave := make(chan bool), make(chan bool)
	o.Status = func() roost.Status {
		entered <- true
		<-leave
		return state()
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(o).Serve(ctx, ln, Door{}) }()
	answered := make(chan string, 1)
	go func() {
		answer, err := http.Get("http://" + ln.Addr().String() + "/status")
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
