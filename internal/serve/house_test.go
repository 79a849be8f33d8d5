package serve

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"roost"
	"roost/internal/config"
	"roost/internal/store"
)

// patience bounds every wait for an event that takes milliseconds on an idle machine.
const patience = 20 * time.Second

// logLines is a log that tests can wait for.
type logLines struct {
	t     *testing.T
	mu    sync.Mutex // guards the two below
	text  bytes.Buffer
	fresh chan struct{} // closed, and made anew, with each line
}

func newLogLines(t *testing.T) *logLines { return &logLines{t: t, fresh: make(chan struct{})} }

func (l *logLines) Write(b []byte) (int, error) {
	l.t.Output().Write(b)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	close(l.fresh)
	l.fresh = make(chan struct{})
	return len(b), nil
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until the log, from the byte at on, holds text, and returns where that ends.
func (l *logLines) await(at int, text string) int {
	l.t.Helper()
	limit := time.After(patience)
	for {
		l.mu.Lock()
		i, fresh := strings.Index(l.text.String()[at:], text), l.fresh
		l.mu.Unlock()
		if i >= 0 {
			return at + i + len(text)
		}
		select {
		case <-fresh:
		case <-limit:
			l.t.Fatalf("the log never says %q", text)
		}
	}
}

// house is a running balancer in a test.
type house struct {
	*Balancer
	t    *testing.T
	file string // its configuration
	log  *logLines
	end  func() error // once, whoever calls it
}

// houseOptions change what build does.
type houseOptions struct {
	Options
	store  store.Store // nil: as configured
	before func(*Balancer)
	// watches lets it reload by itself when its file changes; else tests that change it say when.
	watches bool
}

// build runs a balancer by a configuration file of that text. Unless the text says otherwise, it has no state and no admin.
func build(t *testing.T, text string, o houseOptions) *house {
	t.Helper()
	h := &house{t: t, file: filepath.Join(t.TempDir(), "roost.yaml"), log: newLogLines(t)}
	h.write(text)
	cfg := h.load()
	o.LogTo, o.Version = h.log, "test"
	if o.Load == nil {
		o.Load = func() (*roost.Config, config.Diagnostics, error) { return config.Load(h.file) }
	}
	if o.Drain == 0 {
		o.Drain = patience
	}
	open := openStore
	if o.store != nil {
		open = func(string) (store.Store, error) { return o.store, nil }
	}
	var err error
	if h.Balancer, err = openWith(cfg, o.Options, open); err != nil {
		t.Fatal(err)
	}
	h.watches = o.watches
	if o.before != nil {
		o.before(h.Balancer)
	}
	ctx, cancel := context.WithCancel(t.Context())
	up, ended := make(chan struct{}), make(chan error, 1)
	h.o.Listening = func([]roost.ListenerStatus) { close(up) }
	go func() { ended <- h.Run(ctx) }()
	h.end = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { h.end() })
	select {
	case <-up:
	case err := <-ended:
		ended <- err
		t.Fatalf("it ended before it listened: %v", err)
	}
	return h
}

// write replaces the configuration as careful editors do.
func (h *house) write(text string) {
	h.t.Helper()
	if !strings.Contains(text, "state:") {
		text += "state: off\n"
		if !strings.Contains(text, "admin:") {
			text += "admin: off\n"
		}
	}
	if engine := os.Getenv("ROOST_ENGINE"); engine != "" && !strings.Contains(text, "engine:") {
		text += "engine: " + engine + "\n"
	}
	if err := os.WriteFile(h.file+".new", []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Rename(h.file+".new", h.file); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) load() *roost.Config {
	h.t.Helper()
	cfg, diags, err := config.Load(h.file)
	if err != nil || diags.Failed() {
		var b bytes.Buffer
		diags.Text(&b)
		h.t.Fatal(err, b.String())
	}
	return cfg
}

// addr is the real address of a listener.
func (h *house) addr(name string) string {
	h.t.Helper()
	for _, l := range h.Status().Listeners {
		if l.Name == name {
			return l.Address
		}
	}
	h.t.Fatalf("no listener %q in %+v", name, h.Status().Listeners)
	return ""
}

// await waits until the balancer's status satisfies ok; what says what for.
func (h *house) await(what string, ok func(roost.Status) bool) roost.Status {
	h.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond) // nothing tells of counters
	defer tick.Stop()
	limit := time.After(patience)
	for {
		s := h.Status()
		if ok(s) {
			return s
		}
		select {
		case <-tick.C:
		case <-limit:
			text, _ := json.MarshalIndent(s, "", " ")
			h.t.Fatalf("%s: never; at last\n%s", what, text)
		}
	}
}

// echo is a node. It answers with its name and the path; /slow waits for release; an upgrade to websocket becomes an echo
// of bytes.
func echo(t *testing.T, name string) (addr string, release func()) {
	t.Helper()
	gate := make(chan struct{})
	release = sync.OnceFunc(func() { close(gate) })
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			conn, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
			io.Copy(conn, rw)
			return
		}
		if r.URL.Path == "/slow" {
			<-gate
		}
		fmt.Fprintf(w, "%s %s", name, r.URL.Path)
	}))
	t.Cleanup(func() { release(); s.CloseClientConnections(); s.Close() })
	return s.Listener.Addr().String(), release
}

// wire is a client's connection, spoken by hand.
type wire struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *wire {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &wire{t, c, bufio.NewReader(c)}
}

// get asks for a path and returns the answer; the connection goes on unless the answer closes it.
func (w *wire) get(path string) (body string, closes bool) {
	w.t.Helper()
	w.ask(path)
	return w.answer()
}

func (w *wire) ask(path string) {
	w.t.Helper()
	if _, err := fmt.Fprintf(w, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) answer() (body string, closes bool) {
	w.t.Helper()
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b), resp.Close
}

// upgrade makes the connection a tunnel to an echo.
func (w *wire) upgrade(path string) {
	w.t.Helper()
	fmt.Fprintf(w, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", path)
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		w.t.Fatalf("upgrade: %v %v", resp, err)
	}
}

// echoes tells whether the tunnel carries bytes there and back.
func (w *wire) echoes() error {
	const text = "are you there?"
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(w.r, b); err != nil {
		return err
	}
	if string(b) != text {
		return fmt.Errorf("the echo is %q", b)
	}
	return nil
}

// ended waits until the other side has ended the connection.
func (w *wire) ended() error {
	_, err := w.r.ReadByte()
	if err, ok := err.(net.Error); ok && err.Timeout() {
		return err
	}
	if err == nil {
		return fmt.Errorf("there are still bytes")
	}
	return nil
}

// freeAddr is a loopback address that nobody listens on at the moment.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func refused(t *testing.T, addr string) {
	t.Helper()
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Errorf("%s still accepts connections", addr)
	}
}
