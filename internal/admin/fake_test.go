package admin

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"roost"
	"roost/internal/api"
)

// secret is the token of the tests' Servers.
const secret = "a-token-that-must-not-be-seen-anywhere"

// fake is a balancer made of answers. The zero fake accepts everything.
type fake struct {
	mu      sync.Mutex
	changes []roost.Change
	revs    []string // If-Match of each, "none" without
	refuse  error    // what changes, questions and upgrades get
	reload  api.Reload
	log     strings.Builder
	events  *Events
}

func (f *fake) change(_ context.Context, c roost.Change, rev *uint64) (api.Changed, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changes = append(f.changes, c)
	text := "none"
	if rev != nil {
		text = fmt.Sprint(*rev)
	}
	f.revs = append(f.revs, text)
	return api.Changed{Revision: 43, Pool: "fn", Epoch: "1.4.28-0a0b0c0d"}, f.refuse
}

// parse reads a node as config.Node does, in short.
func parse(text string) (roost.Node, error) {
	n := roost.Node{Weight: roost.WeightOne}
	if name, rest, ok := strings.Cut(text, "="); ok && !strings.ContainsAny(name, ":/[") {
		n.ID, text = roost.NodeID(name), rest
	}
	if _, err := netip.ParseAddrPort(text); err != nil && !strings.HasPrefix(text, "unix:/") {
		return n, fmt.Errorf("read node %q: it has no port", text)
	}
	n.Addr = text
	if n.ID == "" {
		n.ID = roost.NodeID(text)
	}
	return n, nil
}

func (f *fake) key(pool roost.PoolID, key string) (api.Key, error) {
	return api.Key{Pool: pool, Key: key, Hash: "00f1", Slot: 7, Exception: "pin", Homes: []roost.NodeID{"n2"}, Epoch: "1.4.27-0a0b0c0d"}, f.refuse
}

func (f *fake) table(pool roost.PoolID, rows bool) (api.Table, error) {
	t := api.Table{Pool: pool, Epoch: "1.4.27-0a0b0c0d", Digest: "feedface0000", Slots: 2, Homes: 1,
		Shares: []api.Share{{Node: "n2", Weight: 2, Slots: 2, Closed: true}}, Pins: []api.Pin{{Key: "k", Nodes: []roost.NodeID{"n2"}, By: "api"}}}
	if rows {
		t.Rows = [][]roost.NodeID{{"n2"}, {"10.0.0.1:80"}}
	}
	return t, f.refuse
}

// options are a Server's over f.
func (f *fake) options() Options {
	f.events = NewEvents(slog.NewTextHandler(&f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := sources()
	s.Events = f.events
	return Options{
		Settings: func() roost.Admin {
			return roost.Admin{Address: "admin.example:7070", Names: []string{"Balancer.example"}}
		},
		Token: func() Token { return Token{sha256.Sum256([]byte(secret)), true} },
		Log:   slog.New(f.events), Metrics: NewMetrics(s), Events: f.events,
		Status: state, Node: parse, Change: f.change, Key: f.key, Table: f.table,
		Config: func() api.Config {
			return api.Config{Digest: "0123456789ab", Files: []string{"/etc/roost.yaml"}, YAML: "cluster: demo\n", Reload: state().Reload}
		},
		Explain: func(q api.Request) (api.Explanation, error) {
			return api.Explanation{Listener: "public", Route: "functions", Pool: "fn", Key: q.URL, HasKey: true, Slots: 2, Live: true, Homes: 1,
				Candidates: []api.Candidate{{Node: "n2", Address: "10.0.0.2:80", Home: true, Verdict: "well", Duty: "up", Limit: 4, Chosen: true}},
				Choice:     "n2", Why: "home"}, f.refuse
		},
		Reload: func(_ context.Context, by string, dry bool) api.Reload { return f.reload },
		Upgrade: func(context.Context) (api.Upgrade, error) {
			return api.Upgrade{Version: "1.2.4", PID: 7, Left: 3}, f.refuse
		},
	}
}

func options() Options { return new(fake).options() }

// start serves s over loopback until the test ends, for everybody.
func start(t *testing.T, s *Server) (address string) {
	t.Helper()
	return startBy(t, s, Door{})
}

func startBy(t *testing.T, s *Server, d Door) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, s, ln, d)
}

func startOn(t *testing.T, s *Server, ln net.Listener, d Door) (address string) {
	t.Helper()
	stop := serve(t, s, ln, d)
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ln.Addr().String()
}

// serve serves s on ln; stop ends it and returns what Serve did.
func serve(t *testing.T, s *Server, ln net.Listener, d Door) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln, d) }()
	return sync.OnceValue(func() error {
		cancel()
		return <-done
	})
}

// socket listens on a unix socket.
func socket(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Skip(err) // the path is too long for this system
	}
	return ln
}

// ask sends a request as it stands to an address, or to the socket at a path, and returns the answer.
func ask(t *testing.T, address string, r *http.Request) (status int, header http.Header, body string) {
	t.Helper()
	r.URL.Scheme, r.URL.Host = "http", address
	transport := &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: 20 * time.Second}
	if strings.HasPrefix(address, "/") {
		r.URL.Host = "localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", address)
		}
	}
	client := http.Client{Transport: transport, Timeout: 20 * time.Second}
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

// call asks s itself, over no connection, as if by its socket. A body is announced as JSON; fields stand in pairs.
func call(s *Server, method, target, body string, fields ...string) *httptest.ResponseRecorder {
	return callBy(s, entrance{socket: true}, method, target, body, fields...)
}

func callBy(s *Server, in entrance, method, target, body string, fields ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "localhost"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	w := httptest.NewRecorder()
	s.answer(w, r, in)
	return w
}

// problem reads an answer's problem details, and checks what all have in common.
func problem(t *testing.T, status int, header http.Header, body string) (p api.Problem) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil || d.More() {
		t.Errorf("no problem details: %v: %s", err, body)
	}
	if header.Get("Content-Type") != problemType || p.Status != status || p.Title != http.StatusText(status) || p.Code == "" || p.Detail == "" {
		t.Errorf("%d, %s: %s", status, header.Get("Content-Type"), body)
	}
	return p
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
