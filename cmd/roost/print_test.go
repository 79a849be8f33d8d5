package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"roost"
	"roost/internal/api"
)

// recorded answers the admin API's requests, "METHOD /path?query", with values of its types. A func is asked each time.
type recorded map[string]any

func (rec recorded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, ok := rec[r.Method+" "+strings.TrimPrefix(r.RequestURI, "/api/v1")]
	if f, is := answer.(func() any); is {
		answer = f()
	}
	w.Header().Set("Content-Type", "application/json")
	switch a := answer.(type) {
	case nil:
		if ok {
			panic(http.ErrAbortHandler) // the connection breaks
		}
		answer = api.Problem{Title: "Not Found", Status: 404, Detail: "nothing was recorded for " + r.Method + " " + r.RequestURI}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(404)
	case api.Problem:
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(a.Status)
	case []api.Event:
		w.Header().Set("Content-Type", "text/event-stream")
		for _, e := range a {
			text, _ := json.Marshal(e)
			fmt.Fprintf(w, "id: %d\ndata: %s\n\n", e.ID, text)
		}
		return
	}
	json.NewEncoder(w).Encode(answer)
}

// serve answers on a unix socket, whose path it returns.
func (rec recorded) serve(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "r") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: ln, Config: &http.Server{Handler: rec}}
	s.Start()
	t.Cleanup(s.Close)
	return ln.Addr().String()
}

// roosted is what a command did.
type roosted struct {
	code     int
	out, err string
}

func call(ctx context.Context, args ...string) roosted {
	var out, err bytes.Buffer
	code := run(ctx, args, &out, &err)
	return roosted{code, out.String(), err.String()}
}

// asking is a command's arguments, and which balancer it asks.
func asking(socket string, args ...string) []string { return append(args, "--socket", socket) }

func (r roosted) String() string {
	return fmt.Sprintf("exit %d\n--- stdout\n%s--- stderr\n%s", r.code, r.out, r.err)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func hours(n int) time.Time { return time.Now().Add(-time.Duration(n) * time.Hour) }

// healthy is a balancer that is well.
func healthy() *roost.Status {
	node := func(id roost.NodeID, addr string, in int64) roost.NodeStatus {
		return roost.NodeStatus{ID: id, Address: addr, Sources: []string{"file"}, Duty: "up", Verdict: "well", Since: hours(30), Weight: 1,
			Effective: 1, Slots: 1365, InFlight: in, Connections: 2, Requests: 12345}
	}
	return &roost.Status{Version: "v1.2.3", Cluster: "roost", Started: hours(76), Ready: true, Config: "5dd92f782954", Revision: 4, Snapshot: 9,
		Store: roost.StoreStatus{Kind: "sqlite", Path: "/var/lib/roost/roost.db"}, Reload: roost.ReloadStatus{At: hours(30), By: "start", OK: true},
		Listeners: []roost.ListenerStatus{{Name: "web", Address: "0.0.0.0:443", TLS: true, Connections: 1500,
			Certificates: []roost.CertStatus{{File: "web.pem", Names: []string{"example.com"}, NotAfter: hours(-24 * 60)}}},
			{Name: "plain", Address: "unix:/run/roost/web.sock", Connections: 3}},
		Pools: []roost.PoolStatus{{ID: "fn", Epoch: "1.1.4-abcdef01", Digest: "80c1f5a9d2e4", Slots: 4096, Homes: 3, Pins: 1, InFlight: 1204,
			Spills: 12, Retries: 3, Nodes: []roost.NodeStatus{node("a", "10.0.0.1:8080", 800), node("b", "10.0.0.2:8080", 400),
				node("c", "10.0.0.3:8080", 4)}}}}
}

// troubled is a balancer with all that can be wrong.
func troubled() *roost.Status {
	s := healthy()
	s.Ready, s.Store.Fault = false, "the database is locked by another program: end it"
	s.Reload = roost.ReloadStatus{At: hours(2), By: "file", Errors: []roost.Mistake{
		{File: "roost.yaml", Line: 3, Column: 5, Path: "listeners.web", Code: "unknown", Message: `unknown setting "adress"`, Fix: `did you mean "address"?`},
		{File: "roost.yaml", Line: 9, Column: 12, Path: "pools.fn.homes", Code: "range", Message: `"9" is out of range, which is 1 to 4`},
		{Path: "--homes", Code: "range", Message: "evil\x1b[2J"}}}
	s.Listeners[0].Certificates[0].NotAfter = hours(30)
	s.Listeners[1].Certificates = []roost.CertStatus{{File: "soon.pem", NotAfter: hours(-30).Add(time.Minute)}}
	s.Listeners[1].Retired = true
	p := &s.Pools[0]
	p.Notes = []string{"the pin of billing/report names z, which is not a node: left out"}
	p.Nodes[1].Verdict, p.Nodes[1].Effective, p.Nodes[1].Since, p.Nodes[1].Reason = "dead", 0, hours(3), "connection refused"
	p.Nodes[2].Verdict, p.Nodes[2].Effective, p.Nodes[2].Since = "ailing", 0.5, hours(5)
	p.Nodes[0].Duty, p.Nodes[0].Weight, p.Nodes[0].Sources = "draining", 0.5, []string{"api", "file"}
	p.Nodes[0].Held = &roost.Held{Cause: "operator", Since: hours(1)}
	s.Pools = append(s.Pools, roost.PoolStatus{ID: "empty", Homes: 2, Nodes: []roost.NodeStatus{}}, roost.PoolStatus{ID: "dark", Homes: 1, Panic: true,
		Nodes: []roost.NodeStatus{{ID: "10.0.0.9:80", Address: "10.0.0.9:80", Duty: "up", Verdict: "dead", Since: hours(4), Reason: "status 500"}}})
	return s
}

func TestCommandsPrintWhatABalancerSays(t *testing.T) {
	at := time.Date(2026, 11, 20, 12, 0, 3, 0, time.UTC)
	changed := api.Changed{Revision: 5, Pool: "fn", Epoch: "1.1.5-abcdef01"}
	mistakes := troubled().Reload.Errors[:2]
	one, many := healthy(), healthy()
	many.Pools = append(many.Pools, roost.PoolStatus{ID: "api", Nodes: []roost.NodeStatus{}})
	rec := recorded{
		"GET /status":    one,
		"GET /pools/fn":  &one.Pools[0],
		"GET /pools/bad": &troubled().Pools[0],
		"GET /pools/gone": api.Problem{Title: "Not Found", Status: 404, Code: roost.CodeNoPool,
			Detail: `there is no pool "gone"; 'roost pools' shows them`},
		"GET /pools/fn/nodes/a":              &one.Pools[0].Nodes[0],
		"POST /pools/fn/nodes":               changed,
		"DELETE /pools/fn/nodes/d":           changed,
		"PATCH /pools/fn/nodes/a":            changed,
		"POST /pools/fn/nodes/a/drain":       changed,
		"POST /pools/fn/nodes/a/down":        changed,
		"POST /pools/fn/nodes/a/undrain":     changed,
		"PATCH /pools/fn":                    changed,
		"GET /pools/fn/keys/where?key=a%2Fb": api.Key{Pool: "fn", Key: "a/b", Hash: "a4ef737e5adc6ad7", Slot: 2638, Homes: []roost.NodeID{"a", "c"}, Next: []roost.NodeID{"b"}, Epoch: "1.1.4-abcdef01"},
		"GET /pools/fn/keys/where?key=k":     api.Key{Pool: "fn", Key: "k", Slot: 1, Exception: "pin", Homes: []roost.NodeID{}, Next: []roost.NodeID{}, Epoch: "1.1.4-abcdef01"},
		"GET /pools/fn/pins": []api.Pin{{Key: "billing/report", Nodes: []roost.NodeID{"c", "a"}, By: "file"}, {Key: "evil\x1b[2J\tkey", Homes: 4, By: "api"},
			{Key: "long/" + strings.Repeat("x", 80), Nodes: []roost.NodeID{"a", "b", "c", "d", "e", "f"}, By: "api"}},
		"GET /pools/other/pins":         []api.Pin{},
		"PUT /pools/fn/pins":            changed,
		"DELETE /pools/fn/pins?key=k":   changed,
		"GET /pools/fn/table":           api.Table{Pool: "fn", Epoch: "1.1.4-abcdef01", Digest: "80c1f5a9d2e4", Slots: 4096, Homes: 3, Shares: []api.Share{{Node: "a", Weight: 1, Slots: 2048}, {Node: "b", Weight: 0.5, Slots: 2048, Closed: true}}, Pins: []api.Pin{{Key: "k", Nodes: []roost.NodeID{"a"}}}},
		"GET /pools/fn/table?rows=true": api.Table{Pool: "fn", Slots: 2, Shares: []api.Share{}, Pins: []api.Pin{}, Rows: [][]roost.NodeID{{"a", "b"}, {"b", "a"}}},
		"GET /config":                   api.Config{Digest: "5dd92f782954", Files: []string{"/etc/roost.yaml"}, YAML: "listeners:\n  web: { address: \":80\" }\n", Reload: roost.ReloadStatus{At: at, By: "start", OK: true}},
		"POST /reload":                  api.Reload{OK: true, Digest: "6ee92f782954", Changes: []string{"pools.fn: homes 3 → 2", "listeners.web: added"}, Warnings: []roost.Mistake{{File: "roost.yaml", Line: 2, Column: 1, Message: "no route leads to this pool"}}},
		"POST /reload?dry_run=true":     api.Reload{Digest: "5dd92f782954", Changes: []string{}, Errors: mistakes},
		"GET /events?follow=false": []api.Event{{ID: 7, Time: at, Level: "info", Message: "node is well", Attrs: json.RawMessage(`{"pool":"fn","node":"a","n":3,"why":"two words","e":""}`)},
			{ID: 8, Time: at, Level: "error", Message: "evil\x1b[2J", Attrs: json.RawMessage(`{}`)}},
		"POST /explain": api.Explanation{Listener: "web", Route: "calls", Pool: "fn", Key: "a/b", HasKey: true, KeyProgram: "{app}/{fn}", Slot: 7, Slots: 4096, Epoch: "1.1.4-abcdef01", Digest: "80c1f5a9d2e4", Live: true, Homes: 2,
			Candidates: []api.Candidate{{Node: "a", Address: "10.0.0.1:8080", Home: true, Verdict: "well", Duty: "up", InFlight: 3, Limit: 8, Chosen: true}}, Choice: "a", Why: "home"},
		"POST /upgrade": api.Upgrade{Version: "v1.3.0", PID: 4711, Left: 12},
	}
	bad := maps.Clone(rec)
	bad["GET /status"] = troubled()
	bad["GET /config"] = api.Config{Digest: "5dd92f782954", Files: []string{}, YAML: "a: b\n", Reload: roost.ReloadStatus{At: at, By: "signal", Errors: mistakes}}
	bad["POST /reload"] = api.Reload{OK: true, Digest: "5dd92f782954", Changes: []string{}}
	bad["POST /reload?dry_run=true"] = api.Reload{OK: true, Digest: "5dd92f782954", Changes: []string{"pools.fn: added"}}
	bad["POST /upgrade"] = api.Upgrade{Version: "v1.3.0", PID: 4711}
	last := api.Problem{Title: "Conflict", Status: 409, Code: roost.CodeLastNode, Detail: "a is the last open node of fn; --force drains it all the same"}
	bad["POST /pools/dark/nodes/a/drain"] = last
	bad["GET /pools/dark/pins"] = api.Problem{Title: "Unauthorized", Status: 401, Detail: "send Authorization: Bearer and the token"}
	bad["GET /events?follow=false"] = []api.Event{}
	bad["POST /explain"] = api.Problem{Title: "Unprocessable Entity", Status: 422, Code: roost.CodeBadChange, Detail: `there is no listener "x"; there is web`}
	well, ill := rec.serve(t), bad.serve(t)
	for _, c := range []struct{ name, socket, args string }{
		{"status", well, "status"}, {"status-troubled", ill, "status"},
		{"status-quiet", well, "status -q"}, {"status-quiet-troubled", ill, "status --quiet"},
		{"nodes", well, "nodes"}, {"nodes-troubled", ill, "nodes ls"}, {"nodes-pool", ill, "nodes ls --pool bad"},
		{"nodes-no-pool", well, "nodes --pool gone"},
		{"add", well, "nodes add d=10.0.0.4:8080*2 --zone eu"},
		{"rm", well, "nodes rm d"}, {"weight", well, "nodes weight a 0.5"}, {"weight-default", well, "nodes weight a default"},
		{"drain", well, "nodes drain a --deadline 10m"}, {"down", well, "nodes down a --force"}, {"undrain", well, "nodes undrain a"},
		{"drain-last", ill, "nodes drain a --pool dark"}, {"drain-which", ill, "nodes drain a"},
		{"pools", ill, "pools"}, {"pools-show", well, "pools show"}, {"pools-show-troubled", ill, "pools show bad"},
		{"homes", well, "pools homes 2"}, {"homes-default", well, "pools homes default"},
		{"where", well, "keys where a/b"}, {"where-pinned", well, "keys where k"}, {"keys", well, "keys"}, {"keys-none", well, "keys ls --pool other"},
		{"pin", well, "keys pin a/b c a"}, {"pin-homes", well, "keys pin a/b --homes 10"}, {"unpin", well, "keys unpin k"},
		{"unauthorized", ill, "keys --pool dark"},
		{"table", well, "table"}, {"table-rows", well, "table --rows"},
		{"config", well, "config show"}, {"config-stale", ill, "config"},
		{"reload", well, "reload"}, {"reload-bad", well, "reload --dry-run"}, {"reload-same", ill, "reload"}, {"reload-dry", ill, "reload --dry-run"},
		{"events", well, "events"}, {"events-none", ill, "events"},
		{"explain", well, "explain -H X-Org:acme /a/b"}, {"explain-refused", ill, "explain --on x /a"},
		{"upgrade", well, "upgrade"}, {"upgrade-none-left", ill, "upgrade"},
	} {
		got := call(t.Context(), asking(c.socket, strings.Fields(c.args)...)...)
		golden(t, c.name+".txt", "$ roost "+c.args+"\n"+got.String())
		for line := range strings.Lines(got.out) {
			if strings.ContainsAny(line, "\x1b\t") || len([]rune(line)) > width+1 && !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: the line is too long or does harm: %q", c.name, line)
			}
		}
	}
	for name, args := range map[string]string{"nodes": "nodes", "pools": "pools", "pools-show": "pools show", "keys": "keys", "where": "keys where a/b",
		"table": "table", "table-rows": "table --rows", "config": "config", "reload": "reload", "reload-bad": "reload --dry-run", "events": "events",
		"explain": "explain /a", "upgrade": "upgrade", "drain": "nodes drain a", "status": "status", "version": "version"} {
		got := call(t.Context(), asking(well, append(strings.Fields(args), "-o", "json")...)...)
		out := strings.ReplaceAll(got.out, strconv.Quote(version()), `"devel"`) // a build may know its version
		golden(t, name+".json", times.ReplaceAllString(out, `"TIME"`))
		if (got.code == exitOK) != (name != "reload-bad") {
			t.Errorf("%s -o json: %s", args, got)
		}
	}
}

// times are those that a balancer's answer has, in JSON.
var times = regexp.MustCompile(`"\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)"`)

// waits lets a node's open requests and connections be as given, look by look; the last stays. Negative: nobody answers.
func waits(looks ...int64) (rec recorded, looked *atomic.Int64) {
	s := healthy()
	looked = new(atomic.Int64)
	return recorded{
		"GET /status":                  s,
		"POST /pools/fn/nodes/a/drain": api.Changed{Revision: 5},
		"POST /pools/fn/nodes":         api.Changed{Revision: 5},
		"GET /pools/fn/nodes/a": func() any {
			n := s.Pools[0].Nodes[0]
			i := min(int(looked.Add(1)), len(looks)) - 1
			if looks[i] < 0 {
				return nil
			}
			n.Duty, n.InFlight, n.Connections = "draining", looks[i], looks[i]/2
			return n
		},
	}, looked
}

func TestAWaitSaysWhatItWaitsForAndEndsWithTheLast(t *testing.T) {
	rec, _ := waits(4, 4, -1, 2, 1, 0)
	got := call(t.Context(), asking(rec.serve(t), "nodes", "drain", "a", "--wait")...)
	want := "waiting for 4 requests and 2 connections\nwaiting for the balancer, which does not answer now\n" +
		"waiting for 2 requests and 1 connection\nwaiting for 1 request\nnothing is open at a any more, after "
	if got.code != exitOK || !strings.HasPrefix(got.err, want) || got.out != "a of fn is draining (revision 5)\n" {
		t.Error(got)
	}
}

func TestAWaitThatIsNotOverInTimeSaysWhatIsLeft(t *testing.T) {
	rec, _ := waits(1204)
	got := call(t.Context(), asking(rec.serve(t), "nodes", "drain", "a", "--wait", "--timeout", "250ms")...)
	want := "roost: not done after 250ms; still waiting for 1,204 requests and 602 connections; a stays draining: 'roost nodes undrain a' takes that back\n"
	if got.code != exitWait || !strings.HasSuffix(got.err, want) {
		t.Error(got)
	}
}

func TestAWaitThatIsInterruptedSaysThatTheDrainGoesOn(t *testing.T) {
	rec, looked := waits(3)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	look := rec["GET /pools/fn/nodes/a"].(func() any)
	rec["GET /pools/fn/nodes/a"] = func() any {
		if looked.Load() == 2 {
			cancel()
		}
		return look()
	}
	got := call(ctx, asking(rec.serve(t), "nodes", "drain", "a", "--wait")...)
	want := "roost: interrupted; still waiting for 3 requests and 1 connection; a stays draining: 'roost nodes undrain a' takes that back\n"
	if got.code != exitWait || !strings.HasSuffix(got.err, want) {
		t.Error(got)
	}
}

func TestAWaitForWhatCanNoLongerComeFails(t *testing.T) {
	rec, _ := waits(1)
	n := healthy().Pools[0].Nodes[0]
	rec["GET /pools/fn/nodes/a"] = n // up
	got := call(t.Context(), asking(rec.serve(t), "nodes", "drain", "a", "--wait")...)
	if got.code != exitFail || got.err != "roost: a takes requests again: somebody took the hold back\n" {
		t.Error(got)
	}
	gone := api.Problem{Status: 404, Code: roost.CodeNoNode, Detail: "there is no node a"}
	rec["GET /pools/fn/nodes/a"] = gone
	if got := call(t.Context(), asking(rec.serve(t), "nodes", "drain", "a", "--wait")...); got.code != exitOK {
		t.Error(got) // nothing can be open there
	}
	if got := call(t.Context(), asking(rec.serve(t), "nodes", "add", "a=10.0.0.1:8080", "--wait")...); got.code != exitFail || !strings.Contains(got.err, "somebody removed it") {
		t.Error(got)
	}
	rec["GET /pools/fn/nodes/a"] = n
	if got := call(t.Context(), asking(rec.serve(t), "nodes", "add", "a=10.0.0.1:8080", "--wait")...); got.code != exitOK || !strings.HasPrefix(got.err, "a is well, after ") {
		t.Error(got)
	}
	n.Verdict, n.Reason = "dead", "connection refused"
	rec["GET /pools/fn/nodes/a"] = n
	got = call(t.Context(), asking(rec.serve(t), "nodes", "add", "a=10.0.0.1:8080", "--wait", "--timeout", "50ms")...)
	if got.code != exitWait || !strings.Contains(got.err, "still waiting for a to be well; it is dead: connection refused; a stays listed") {
		t.Error(got)
	}
}

func TestEventsAreFollowedUntilCtrlC(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rec := recorded{"GET /events": []api.Event{{ID: 1, Time: time.Unix(0, 0), Level: "info", Message: "node is well"}}}
	var out, stderr bytes.Buffer
	code := run(ctx, asking(rec.serve(t), "events", "-f"), writer(func(b []byte) (int, error) {
		cancel()
		return out.Write(b)
	}), &stderr)
	if want := "1970-01-01T00:00:00.000Z INFO  node is well\n"; code != exitOK || out.String() != want || stderr.Len() > 0 {
		t.Errorf("exit %d, %q, %q", code, out.String(), stderr.String())
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func TestABalancerIsFoundByFlagsThenByTheEnvironmentThenWhereServePutsIt(t *testing.T) {
	other := recorded{"GET /status": &roost.Status{Version: "other", Ready: true, Reload: roost.ReloadStatus{OK: true}}}.serve(t)
	named := recorded{"GET /status": &roost.Status{Version: "named", Ready: true, Reload: roost.ReloadStatus{OK: true}}}.serve(t)
	t.Setenv("ROOST_ADMIN", "127.0.0.1:1")
	t.Setenv("ROOST_SOCKET", other)
	for want, args := range map[string][]string{"other": {"version"}, "named": asking(named, "version")} {
		if got := call(t.Context(), args...); got.code != exitOK || !strings.HasSuffix(got.out, "\nbalancer "+want+"\n") {
			t.Errorf("%v: %s", args, got)
		}
	}
	if got := call(t.Context(), "version", "--admin-url", "127.0.0.1:1"); got.code != exitNobody {
		t.Error(got)
	}
	t.Setenv("ROOST_SOCKET", "")
	if got := call(t.Context(), "status"); got.code != exitNobody || !strings.Contains(got.err, "127.0.0.1:1") {
		t.Error(got)
	}
	if got := call(t.Context(), "version"); got.code != exitOK || got.err != "" || strings.Contains(got.out, "balancer") {
		t.Error(got)
	}
	t.Setenv("HOME", "/home/ann")
	t.Setenv("XDG_STATE_HOME", "")
	want := []string{"/home/ann/.local/state/roost/roost.sock", "/run/roost/roost.sock", "/var/lib/roost/roost.sock"}
	if os.Geteuid() == 0 {
		want = want[1:] // root's balancer is the system's
	}
	if got := sockets(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestNumbersAndTimesAreReadable(t *testing.T) {
	for want, got := range map[string]string{
		"1 node": count(1, "node"), "0 nodes": count(0, "node"), "1,204 nodes": count(1204, "node"), "12,345,678": thousands(12345678),
		"999": thousands(999), "-1,000": thousands(-1000), "-100": thousands(-100), "0s": span(-time.Second), "59s": span(59 * time.Second),
		"1m0s": span(59*time.Second + 600*time.Millisecond), "2h5m": span(2*time.Hour + 5*time.Minute), "3d4h": span(76 * time.Hour),
		"0.5": weight(0.5), "1000": weight(1000), "ab…": clip("abcdef", 3), "ä\ufffd b": clean("ä\x00\nb"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
