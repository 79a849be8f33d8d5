package main

import (
	"fmt"
	"hash/fnv"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// testHarness is enough of a harness to start the bench's own children.
func testHarness(t *testing.T, seconds float64) *harness {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GORACE", "atexit_sleep_ms=0") // the detector would hold each child's end for a second
	return &harness{o: options{seconds: seconds}, self: self, dir: t.TempDir()}
}

func startUpstream(t *testing.T, h *harness) []int {
	ports, p, err := h.upstream(t.Context(), -1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	return ports
}

func TestLoadAndUpstreamAgreeOnEveryCase(t *testing.T) {
	h := testHarness(t, 0.1)
	ports := startUpstream(t, h)
	for _, c := range cases {
		if c.Kind != Loaded || c.Front == TLS || c.Share > 0 {
			continue
		}
		c.Conns = min(c.Conns, 8)
		c.Rate = min(c.Rate, 500)
		s := h.steady(t, c, ports[1])
		if s.Requests == 0 || s.Errors != 0 || s.Wrong != 0 || s.P50 <= 0 || s.P999 < s.P50 || s.Max < s.P999 || s.RSS == 0 {
			t.Errorf("%s: %+v", c.Name, s)
		}
		if c.Rate > 0 && s.RPS > 2*c.Rate { // a closed loop makes a hundred times as many; a busy machine shifts some
			t.Errorf("%s: %g req/s, asked for %g", c.Name, s.RPS, c.Rate)
		}
	}
}

// steady loads a port until a request finished: a busy machine may need longer for one.
func (h *harness) steady(t *testing.T, c Case, port int) (s Sample) {
	for h.o.seconds = 0.1; s.Requests == 0 && h.o.seconds < 10; h.o.seconds *= 2 {
		var err error
		if s, err = h.once(t, c, port); err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
	}
	return s
}

func (h *harness) once(t *testing.T, c Case, port int) (Sample, error) {
	return h.sample(t.Context(), c, &runner{target: target{port: port}, pids: []int{os.Getpid()}}, -1)
}

// serve answers on a port of loopback until the test ends.
func serve(t *testing.T, handler http.Handler) (port int) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, ln, handler)
}

func serveOn(t *testing.T, ln net.Listener, handler http.Handler) (port int) {
	srv := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(ln)
	}()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return ln.Addr().(*net.TCPAddr).Port
}

func TestAStallIsChargedToEveryRequestThatWasDueInIt(t *testing.T) {
	const stall = 400 * time.Millisecond
	var n atomic.Int64
	port := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 150 { // behind the warm-up's 100
			select { // the server is what stalls here, the test waits for nothing
			case <-time.After(stall):
			case <-r.Context().Done():
			}
		}
		w.Write(body(100))
	}))
	h := testHarness(t, 0.8)
	s, err := h.once(t, Case{Conns: 1, Rate: 500, Path: pathSmall}, port)
	if err != nil {
		t.Fatal(err)
	}
	// Of the window's 400 requests 200 were due while the only connection stood still; the first waited all of it.
	if s.P99 < float64(stall.Microseconds())*9/10 {
		t.Errorf("p99 %.0f us: the requests behind a stall of %v are not counted from when they were due", s.P99, stall)
	}
	if s.Errors != 0 || s.Wrong != 0 {
		t.Errorf("%+v", s)
	}
}

func TestWrongBytesAndStatusesAreNotGoodAnswers(t *testing.T) {
	bad := map[string]struct {
		handler http.HandlerFunc
		wrong   bool
	}{
		"shifted":   {func(w http.ResponseWriter, r *http.Request) { w.Write(body(101)[1:]) }, true},
		"too short": {func(w http.ResponseWriter, r *http.Request) { w.Write(body(99)) }, true},
		"a 503":     {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, false},
	}
	h := testHarness(t, 0.1)
	for name, c := range bad {
		s, err := h.once(t, Case{Conns: 1, Rate: 200, Path: pathSmall}, serve(t, c.handler))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if s.Requests != 0 || s.Errors == 0 || (s.Wrong > 0) != c.wrong {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// proxy is a plain reverse proxy that chooses nodes as told.
func proxy(t *testing.T, ports []int, choose func(key string) int) http.Handler {
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	rp := &httputil.ReverseProxy{Transport: tr, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[choose(r.In.Header.Get("X-Key"))]))})
		r.SetXForwarded()
		r.Out.Host = r.In.Host
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Else the first write ends the reading of the request's body, and with it the request to the node.
		http.NewResponseController(w).EnableFullDuplex()
		rp.ServeHTTP(w, r)
	})
}

func byHash(key string) int {
	h := fnv.New32a()
	io.WriteString(h, key)
	return int(h.Sum32() % nodes)
}

func TestCheckPassesAProxyThatDoesTheWorkAndFindsOutThoseThatDoNot(t *testing.T) {
	h := testHarness(t, 0.1)
	ports := startUpstream(t, h)
	var turn atomic.Int64
	good := proxy(t, ports, byHash)
	for _, c := range []struct {
		name, want string
		handler    http.Handler
	}{
		{"by hash", "", good},
		{"round robin", "no affinity", proxy(t, ports, func(string) int { return int(turn.Add(1) % nodes) })},
		{"all to one", "1 of 4 nodes", proxy(t, ports, func(string) int { return 0 })},
		{"another address", "X-Forwarded-For", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.RemoteAddr = "192.0.2.1:9"
			good.ServeHTTP(w, r)
		})},
		{"another body", "wrong bytes", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(body(77)) })},
		{"broken", "502", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(502) })},
	} {
		err := check(t.Context(), target{port: serve(t, c.handler)}, HTTP)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestTheUpstreamRefusesAPostedBodyWithWrongBytes(t *testing.T) {
	ports := startUpstream(t, testHarness(t, 0.1))
	resp, err := http.Post("http://127.0.0.1:"+strconv.Itoa(ports[0])+pathSmall, "text/plain", strings.NewReader("not the pattern"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("status %s", resp.Status)
	}
}

func TestAStoppedChildIsGoneWithItsDescendants(t *testing.T) {
	cmd := prepare(t.Context(), syscall.SIGKILL, nil, "sh", "-c", "sleep 60 & echo up; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := spawn(cmd, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	pids, err := tree(p.cmd.Process.Pid)
	if err != nil || len(pids) != 2 {
		t.Fatalf("processes %v, %v; want the shell and its sleep", pids, err)
	}
	p.stop()
	limit := time.Now().Add(stopTimeout)
	for _, pid := range pids {
		for alive(pid) {
			if time.Now().After(limit) {
				t.Fatalf("process %d is left", pid)
			}
			runtime.Gosched()
		}
	}
}

func alive(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(text), ") Z ")
}

func TestAMissingPeerIsNamedAndSkippedButRoostIsNot(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var notes strings.Builder
	h := testHarness(t, 0.1)
	h.note = func(format string, args ...any) { fmt.Fprintf(&notes, format, args...) }
	if err := h.find(t.Context()); err == nil || !strings.Contains(err.Error(), "build roost") {
		t.Errorf("roost was built without go: %v", err)
	}
	h.o.only = []string{"haproxy", "nginx"}
	if err := h.find(t.Context()); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("something was found on an empty path: %v", err)
	}
	for _, name := range h.o.only {
		if !strings.Contains(notes.String(), name) {
			t.Errorf("%s is not named: %s", name, notes.String())
		}
	}
}
