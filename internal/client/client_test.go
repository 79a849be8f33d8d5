package client_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"roost"
	"roost/internal/api"
	"roost/internal/client"
)

// socket serves h on a unix socket, whose path it returns.
func socket(t *testing.T, h http.Handler) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "c") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: ln, Config: &http.Server{Handler: h}}
	s.Start()
	t.Cleanup(s.Close)
	return path
}

func at(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEveryCallSpeaksTheWire(t *testing.T) {
	two, weight := uint8(2), 0.5
	changed := &api.Changed{Revision: 7, Pool: "fn", Epoch: "1.1.7-abcdef01"}
	for _, c := range []struct {
		name   string
		call   func(context.Context, *client.Client) (any, error)
		line   string // of the request
		body   string
		answer any
	}{
		{"status", func(ctx context.Context, c *client.Client) (any, error) { return c.Status(ctx) },
			"GET /api/v1/status", "", &roost.Status{Version: "v9", Pools: []roost.PoolStatus{{ID: "fn"}}}},
		{"pool", func(ctx context.Context, c *client.Client) (any, error) { return c.Pool(ctx, "a b") },
			"GET /api/v1/pools/a%20b", "", &roost.PoolStatus{ID: "fn", Homes: 3}},
		{"node", func(ctx context.Context, c *client.Client) (any, error) { return c.Node(ctx, "fn", "unix:/run/a?b") },
			"GET /api/v1/pools/fn/nodes/unix:%2Frun%2Fa%3Fb", "", &roost.NodeStatus{ID: "unix:/run/a?b"}},
		{"add", func(ctx context.Context, c *client.Client) (any, error) {
			return c.AddNode(ctx, "fn", api.Node{Address: "a:1", Name: "a", Weight: 2, Zone: "z"})
		}, "POST /api/v1/pools/fn/nodes", `{"address":"a:1","name":"a","weight":2,"zone":"z"}`, changed},
		{"remove", func(ctx context.Context, c *client.Client) (any, error) { return c.RemoveNode(ctx, "fn", "a:1") },
			"DELETE /api/v1/pools/fn/nodes/a:1", "", changed},
		{"weight", func(ctx context.Context, c *client.Client) (any, error) { return c.SetWeight(ctx, "fn", "a", &weight) },
			"PATCH /api/v1/pools/fn/nodes/a", `{"weight":0.5}`, changed},
		{"weight back", func(ctx context.Context, c *client.Client) (any, error) { return c.SetWeight(ctx, "fn", "a", nil) },
			"PATCH /api/v1/pools/fn/nodes/a", `{"weight":null}`, changed},
		{"drain", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Drain(ctx, "fn", "a", api.Hold{Deadline: "10m"})
		}, "POST /api/v1/pools/fn/nodes/a/drain", `{"deadline":"10m"}`, changed},
		{"down", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Down(ctx, "fn", "a", api.Hold{Force: true})
		}, "POST /api/v1/pools/fn/nodes/a/down", `{"force":true}`, changed},
		{"undrain", func(ctx context.Context, c *client.Client) (any, error) { return c.Undrain(ctx, "fn", "a") },
			"POST /api/v1/pools/fn/nodes/a/undrain", "", changed},
		{"homes", func(ctx context.Context, c *client.Client) (any, error) { return c.SetHomes(ctx, "fn", &two) },
			"PATCH /api/v1/pools/fn", `{"homes":2}`, changed},
		{"where", func(ctx context.Context, c *client.Client) (any, error) { return c.Where(ctx, "fn", "a/b &c") },
			"GET /api/v1/pools/fn/keys/where?key=a%2Fb+%26c", "", &api.Key{Key: "a/b &c", Homes: []roost.NodeID{"a"}}},
		{"pins", func(ctx context.Context, c *client.Client) (any, error) { return c.Pins(ctx, "fn") },
			"GET /api/v1/pools/fn/pins", "", []api.Pin{{Key: "k", Homes: 2, By: "api"}}},
		{"pin", func(ctx context.Context, c *client.Client) (any, error) {
			return c.SetPin(ctx, "fn", api.Pin{Key: "k", Nodes: []roost.NodeID{"a"}})
		}, "PUT /api/v1/pools/fn/pins", `{"key":"k","nodes":["a"]}`, changed},
		{"unpin", func(ctx context.Context, c *client.Client) (any, error) { return c.RemovePin(ctx, "fn", "a/b") },
			"DELETE /api/v1/pools/fn/pins?key=a%2Fb", "", changed},
		{"table", func(ctx context.Context, c *client.Client) (any, error) { return c.Table(ctx, "fn", false) },
			"GET /api/v1/pools/fn/table", "", &api.Table{Pool: "fn", Slots: 4096}},
		{"rows", func(ctx context.Context, c *client.Client) (any, error) { return c.Table(ctx, "fn", true) },
			"GET /api/v1/pools/fn/table?rows=true", "", &api.Table{Rows: [][]roost.NodeID{{"a"}}}},
		{"config", func(ctx context.Context, c *client.Client) (any, error) { return c.Config(ctx) },
			"GET /api/v1/config", "", &api.Config{Digest: "d", YAML: "a: b\n"}},
		{"reload", func(ctx context.Context, c *client.Client) (any, error) { return c.Reload(ctx, false) },
			"POST /api/v1/reload", "", &api.Reload{OK: true, Changes: []string{"x"}}},
		{"dry run", func(ctx context.Context, c *client.Client) (any, error) { return c.Reload(ctx, true) },
			"POST /api/v1/reload?dry_run=true", "", &api.Reload{Errors: []roost.Mistake{{File: "f", Line: 1, Column: 2}}}},
		{"explain", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Explain(ctx, api.Request{URL: "/a"})
		}, "POST /api/v1/explain", `{"url":"/a"}`, &api.Explanation{Route: "r", Choice: "a"}},
		{"upgrade", func(ctx context.Context, c *client.Client) (any, error) { return c.Upgrade(ctx) },
			"POST /api/v1/upgrade", "", &api.Upgrade{Version: "v2", PID: 7, Left: 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var line, body, kind string
			path := socket(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				text, _ := io.ReadAll(r.Body)
				line, body, kind = r.Method+" "+r.RequestURI, string(text), r.Header.Get("Content-Type")
				if r.Header.Get("Authorization") != "" || r.Host != "localhost" || r.UserAgent() != "roost/v1" {
					t.Errorf("authorization %q, host %q, agent %q", r.Header.Get("Authorization"), r.Host, r.UserAgent())
				}
				json.NewEncoder(w).Encode(c.answer)
			}))
			got, err := c.call(t.Context(), at(t, client.Options{Sockets: []string{path}, Version: "v1"}))
			if err != nil {
				t.Fatal(err)
			}
			if line != c.line || body != c.body || (kind == "application/json") != (c.body != "") {
				t.Errorf("asked %q with %q (%s), want %q with %q", line, body, kind, c.line, c.body)
			}
			if !reflect.DeepEqual(got, c.answer) {
				t.Errorf("read %+v, want %+v", got, c.answer)
			}
		})
	}
}

func TestARefusalIsToldInTheBalancersWords(t *testing.T) {
	path := socket(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json; charset=utf-8")
		w.WriteHeader(http.StatusConflict)
		io.WriteString(w, `{"title":"Conflict","status":409,"detail":"a is the last open node of fn","code":"last_node","errors":[{"code":"x","message":"m"}]}`)
	}))
	_, err := at(t, client.Options{Sockets: []string{path}}).Drain(t.Context(), "fn", "a", api.Hold{})
	var p *client.Problem
	if !errors.As(err, &p) || err.Error() != "a is the last open node of fn" || p.Problem.Code != roost.CodeLastNode ||
		p.Problem.Status != 409 || len(p.Problem.Errors) != 1 {
		t.Errorf("%#v", err)
	}
}

func TestWhatJSONCannotSayIsNotSent(t *testing.T) {
	path := socket(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s was asked", r.URL) }))
	c := at(t, client.Options{Sockets: []string{path}})
	_, pinned := c.SetPin(t.Context(), "fn", api.Pin{Key: "a\xff", Homes: 1})
	_, byURL := c.Explain(t.Context(), api.Request{URL: "/r/\xff"})
	_, byField := c.Explain(t.Context(), api.Request{URL: "/", Fields: []string{"X-Org: \xff"}})
	for _, err := range []error{pinned, byURL, byField} {
		if err == nil || !strings.Contains(err.Error(), "not text in UTF-8") {
			t.Errorf("error %v", err)
		}
	}
}

func TestWhatIsNoAdminListenerIsToldFromOne(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"an answer in HTML": func(w http.ResponseWriter, r *http.Request) { http.Error(w, "<h1>no</h1>", http.StatusBadGateway) },
		"a redirect":        func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"an empty problem": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{}`)
		},
	} {
		asked := 0
		path := socket(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked++; h(w, r) }))
		_, err := at(t, client.Options{Sockets: []string{path}}).Status(t.Context())
		if err == nil || !strings.Contains(err.Error(), "not how a balancer's admin listener answers") || errors.Is(err, client.ErrNobody) || asked != 1 {
			t.Errorf("%s: asked %d times: %v", name, asked, err)
		}
	}
	path := socket(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	if _, err := at(t, client.Options{Sockets: []string{path}}).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "GET /status at "+path) {
		t.Errorf("no JSON: %v", err)
	}
}

func TestTheFirstSocketThatAnswersIsAsked(t *testing.T) {
	answer := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			json.NewEncoder(w).Encode(roost.Status{Version: name})
		})
	}
	first, second := socket(t, answer("first")), socket(t, answer("second"))
	absent := filepath.Join(t.TempDir(), "absent")
	dead := left(t)
	for want, sockets := range map[string][]string{"first": {absent, dead, first, second}, "second": {second, first}} {
		s, err := at(t, client.Options{Sockets: sockets}).Status(t.Context())
		if err != nil || s.Version != want {
			t.Errorf("%v, %v; want %s", s, err, want)
		}
	}
	long := "/" + strings.Repeat("x", 200)
	_, err := at(t, client.Options{Sockets: []string{absent, dead, long}}).Status(t.Context())
	want := "no balancer answers\n  " + absent + ": nothing there\n  " + dead + ": nobody listens there\n  " + long + ": the path of a unix socket has at most"
	if !errors.Is(err, client.ErrNobody) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got  %v\nwant %v", err, want)
	}
}

// left is a socket that nobody listens on, as a process leaves it that was killed.
func left(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "dead")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	return path
}

func TestABalancerThatDoesNotAnswerToTheEndIsNobody(t *testing.T) {
	release := make(chan struct{})
	hangs := socket(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := at(t, client.Options{Sockets: []string{hangs}}).Status(ctx); !errors.Is(err, client.ErrNobody) || !strings.Contains(err.Error(), "in time at "+hangs) {
		t.Errorf("silence: %v", err)
	}
	cuts := socket(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, `{"version":`)
	}))
	if _, err := at(t, client.Options{Sockets: []string{cuts}}).Status(t.Context()); !errors.Is(err, client.ErrNobody) {
		t.Errorf("half an answer: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := at(t, client.Options{Sockets: []string{hangs}}).Status(ctx); err != context.Canceled {
		t.Errorf("a caller who gave up: %v", err)
	}
}

func TestTheTokenGoesToThisMachineOrUnderTLSOnly(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(roost.Status{Version: r.Header.Get("Authorization")})
	})
	token := write(t, "token", "s3cret\n")
	clear := httptest.NewServer(h)
	defer clear.Close()
	secure := httptest.NewUnstartedServer(h)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	ca := write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})))

	for name, o := range map[string]client.Options{
		"host:port": {Address: strings.TrimPrefix(clear.URL, "http://"), Token: token},
		"http":      {Address: clear.URL + "/", Token: token},
		"https":     {Address: secure.URL, Token: token, CA: ca},
	} {
		if s, err := at(t, o).Status(t.Context()); err != nil || s.Version != "Bearer s3cret" {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	if s, err := at(t, client.Options{Address: clear.URL}).Status(t.Context()); err != nil || s.Version != "" {
		t.Errorf("without a token: %+v, %v", s, err)
	}
	_, err := at(t, client.Options{Address: secure.URL, Token: token}).Status(t.Context())
	var untrusted *tls.CertificateVerificationError
	if err == nil || errors.As(err, &untrusted) || !strings.Contains(err.Error(), "name the file of the authority") {
		t.Errorf("an unknown authority: %v", err)
	}
	if _, err := client.New(client.Options{Address: "http://192.0.2.7:7070", Token: token}); err == nil || !strings.Contains(err.Error(), "write https://192.0.2.7:7070") {
		t.Errorf("in clear text to another machine: %v", err)
	}
}

func TestOptionsThatCannotBeAreNamed(t *testing.T) {
	for want, o := range map[string]client.Options{
		`"nonsense" is not the address of an admin listener`: {Address: "nonsense"},
		`"ftp://h:1" is not`:          {Address: "ftp://h:1"},
		`"http://h:1/x" is not`:       {Address: "http://h:1/x"},
		`"http://u:p@h:1" is not`:     {Address: "http://u:p@h:1"},
		`"h:1?x" is not`:              {Address: "h:1?x"},
		`":7070" is not`:              {Address: ":7070"},
		"read the token: open absent": {Address: "localhost:1", Token: "absent"},
		"holds none":                  {Address: "localhost:1", Token: write(t, "empty", "\n")},
		"empty2 holds none":           {Address: "localhost:1", Token: write(t, "empty2", "two words")},
		"no certificate in PEM":       {Address: "https://localhost:1", CA: write(t, "bad.pem", "x")},
		"read the authority":          {Address: "https://localhost:1", CA: "absent"},
	} {
		if _, err := client.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}

// events serves a stream that breaks off after each of the parts; none follows the last.
func events(parts ...string) (http.Handler, *[]string) {
	var asked []string
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.RequestURI+" "+r.Header.Get("Last-Event-ID"))
		w.Header().Set("Content-Type", "text/event-stream")
		if i := len(asked) - 1; i < len(parts) {
			io.WriteString(w, parts[i])
			return
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}), &asked
}

func event(id int) string {
	return fmt.Sprintf(": a comment\nid: %d\nevent: info\ndata: {\"id\":%d,\ndata: \"message\":\"m%d\"}\n\n", id, id, id)
}

func TestEventsAreResumedWhereTheyBroke(t *testing.T) {
	h, asked := events(event(3)+event(4)+"data: {\"id\":5", "", event(5))
	c := at(t, client.Options{Sockets: []string{socket(t, h)}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	err := c.Events(ctx, 2, true, func(e api.Event) error {
		got = append(got, fmt.Sprint(e.ID, e.Message))
		if e.ID == 5 {
			cancel()
		}
		return nil
	})
	if err != context.Canceled || strings.Join(got, ",") != "3m3,4m4,5m5" {
		t.Errorf("heard %v: %v", got, err)
	}
	if want := "/api/v1/events 2,/api/v1/events 4,/api/v1/events 4"; strings.Join(*asked, ",") != want {
		t.Errorf("asked %q, want %q", *asked, want)
	}
}

func TestEventsEndWhereTheyShould(t *testing.T) {
	stop := errors.New("enough")
	long := "data: " + strings.Repeat("x", 2<<20) + "\n\n"
	for name, c := range map[string]struct {
		stream string
		follow bool
		f      error
		want   string
	}{
		"what was":          {event(1), false, nil, ""},
		"the caller's wish": {event(1), true, stop, "enough"},
		"no JSON":           {"data: x\n\n", true, nil, "read an event"},
		"too long":          {long, true, nil, "longer than 1 MiB"},
	} {
		h, asked := events(c.stream)
		err := at(t, client.Options{Sockets: []string{socket(t, h)}}).Events(t.Context(), 0, c.follow, func(api.Event) error { return c.f })
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if want := map[bool]string{true: "/api/v1/events ", false: "/api/v1/events?follow=false "}[c.follow]; len(*asked) != 1 || (*asked)[0] != want {
			t.Errorf("%s: asked %q", name, *asked)
		}
	}
	other := socket(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	nothing := func(api.Event) error { return nil }
	if err := at(t, client.Options{Sockets: []string{other}}).Events(t.Context(), 0, true, nothing); err == nil || !strings.Contains(err.Error(), "in place of a stream") {
		t.Errorf("no stream: %v", err)
	}
	if err := at(t, client.Options{Sockets: []string{left(t)}}).Events(t.Context(), 0, true, nothing); !errors.Is(err, client.ErrNobody) {
		t.Errorf("nobody from the start: %v", err)
	}
}
