package config

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"roost"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// read parses a configuration that must be right.
func read(t *testing.T, text string) *roost.Config {
	t.Helper()
	cfg, ds := parse("roost.yaml", []byte(text), testWorld(t))
	if cfg == nil {
		var b bytes.Buffer
		ds.Text(&b)
		t.Fatalf("%s\n%s", text, b.String())
	}
	return cfg
}

func TestTheSmallestFileIsAWholeConfiguration(t *testing.T) {
	cfg := read(t, `pools: { fn: { nodes: [ "B.internal:8080" ] } }`)
	cfg.Digest, cfg.Effective = roost.Digest{}, nil
	rt := &roost.Route{Name: "fn", PoolID: "fn", Keys: []roost.KeyProgram{{Text: "path", Ops: []roost.KeyOp{{From: roost.FromPath}}}}}
	want := &roost.Config{
		Cluster: "roost",
		Listeners: []roost.Listener{{Name: "web", Address: ":8080", Routes: []*roost.Route{rt}, Settings: roost.ListenerSettings{
			MaxConns: 10000, MaxHead: 32 << 10, MaxFields: 100, HeadTimeout: 10 * time.Second, IdleTimeout: time.Minute,
			BodyTimeout: 30 * time.Second, SendTimeout: 30 * time.Second, MinBodyRate: 240, Via: "roost", HTTP2: true, Upgrades: []string{"websocket"}}}},
		Routes: []*roost.Route{rt},
		Pools: []roost.Pool{{ID: "fn",
			Intent: roost.Intent{
				Nodes:  []roost.Node{{ID: "b.internal:8080", Addr: "b.internal:8080", Weight: 1000, Sources: []roost.Source{{Kind: "file"}}}},
				Policy: roost.Policy{Homes: 3, WalkFloor: 4}},
			Health: roost.HealthSettings{Kind: roost.HealthTCP, Expect: [][2]int{{200, 299}}, Interval: 2 * time.Second, Timeout: time.Second,
				Rise: 2, Fall: 3, SlowStart: 10 * time.Second, Burst: 5, Eject: 10 * time.Second},
			Settings: roost.PoolSettings{ConnectTimeout: 2 * time.Second, HeadTimeout: time.Minute, BodyTimeout: time.Minute, MaxTries: 3,
				QueueLen: 128, QueueTimeout: 5 * time.Second, IdleConns: 128, IdleTimeout: 55 * time.Second, ReplayBody: 64 << 10, RetryOn503: true}}},
		Admin: roost.Admin{Address: "127.0.0.1:7070", Socket: "/var/lib/roost/roost.sock", Token: "/var/lib/roost/admin.token"},
		Log:   roost.Log{Level: "info", Format: "text", Access: "off"},
		State: "/var/lib/roost",
		Store: "/var/lib/roost/roost.db", Engine: "auto",
		Files: []string{"/etc/roost/roost.yaml"},
	}
	if !reflect.DeepEqual(cfg, want) {
		a, _ := json.MarshalIndent(cfg, "", " ")
		b, _ := json.MarshalIndent(want, "", " ")
		t.Errorf("got\n%s\nwant\n%s", a, b)
	}
}

func TestSettingsReachTheConfiguration(t *testing.T) {
	cfg := read(t, `
cluster: ${CLUSTER:-west}
listeners:
  web:
    address: "[::FFFF:10.0.0.1]:80"
    tls: { certificates: [ { cert: good.pem, key: good.key } ], min_version: "1.3" }
    limits: { connections: 5, head: 1024, fields: 8, body: 10MiB, head_timeout: 1500ms, idle_timeout: 24h, body_timeout: 1ms, send_timeout: 2m, min_body_rate: 0 }
    trust: [ 10.1.2.3/8, 2001:db8::1, "::ffff:192.0.2.1" ]
    forwarded: both
    via: off
    http2: false
    upgrades: []
    debug_header: true
  edge: { address: "LocalHost:81", tls: true }
tls: { certificates: [ { cert: other.pem, key: other.key } ] }
routes:
  - { match: { listener: edge, host: "*.Example.com", path: "/a%2fb/{x}", methods: PUT, headers: { X-A: b, x-c: ~ } }, key: [ "{x}", "cookie:s" ], on_missing_key: reject, pool: two }
  - { pool: one }
  - { pool: one, match: { path: /z } }
pools:
  one:
    allow_link_local: true
    nodes: [ "169.254.0.1:80", "Big=10.0.0.2:80*2.5", "[2001:DB8::0:1]:80", "unix:/run//a.sock", "${HOST}:1", "${EMPTY:-x}:1" ]
    homes: "${TWO}"
    protocol: h2c
    health: { probe: "/v?x=1", host: "h:1", expect: [ 200, "300-302, 404" ], min_version: v1.2.3-rc.1, interval: 500ms, slow_start: 0s, burst: 0, eject: 0s }
    limits: { in_flight: 7, connect_timeout: 1s, head_timeout: 2s, body_timeout: 3s, idle_connections: 0, idle_timeout: 4s }
    queue: { length: 0, timeout: 0s }
    retry: { tries: 1, body: 0, on_503: false }
    pins: { "k/1": { homes: 4 }, k2: { nodes: [ Big, "169.254.0.1:80" ] } }
  two: { nodes: [ "10.0.0.9:80" ], health: { probe: none } }
admin: off
log: { level: debug, format: json, access: /var/log/roost.log }
`,
	)
	web, edge := &cfg.Listeners[0], &cfg.Listeners[1]
	check := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	check("cluster", cfg.Cluster, "west")
	check("address", web.Address, "10.0.0.1:80")
	check("localhost", edge.Address, "localhost:81")
	check("tls", *web.TLS, roost.TLS{Certificates: []roost.CertFile{{Cert: "/etc/roost/good.pem", Key: "/etc/roost/good.key"}}, MinVersion: tls.VersionTLS13})
	check("listener", web.Settings, roost.ListenerSettings{MaxConns: 5, MaxHead: 1024, MaxFields: 8, MaxBody: 10 << 20, HeadTimeout: 1500 * time.Millisecond,
		IdleTimeout: 24 * time.Hour, BodyTimeout: time.Millisecond, SendTimeout: 2 * time.Minute, Forwarded: roost.ForwardBoth, DebugHeader: true,
		Trust: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::1/128"), netip.MustParsePrefix("192.0.2.1/32")}})
	check("want of web", len(web.Want), 0)
	check("want of edge", edge.Want, []string{"x-a", "x-c", "cookie"})
	check("routes of web", len(web.Routes), 2)
	check("routes of edge", len(edge.Routes), 3)
	check("names", []string{cfg.Routes[0].Name, cfg.Routes[1].Name, cfg.Routes[2].Name}, []string{"two", "one", "one-2"})
	m := edge.Routes[0]
	check("match", m.Match, roost.Match{Host: "*.example.com", Text: "/a%2fb/{x}", Methods: []string{"PUT"},
		Path:   []roost.Segment{{Literal: "a%2Fb", Capture: -1}, {Name: "x"}},
		Fields: []roost.FieldMatch{{Want: 0, Name: "x-a", Exact: "b"}, {Want: 1, Name: "x-c"}}})
	check("pool of the route", m.Pool, roost.PoolRef(1))
	check("on missing", m.OnMissing, roost.MissingReject)
	one := &cfg.Pools[0]
	var nodes []string
	for _, n := range one.Intent.Nodes {
		nodes = append(nodes, fmt.Sprintf("%s %s %d", n.ID, n.Addr, n.Weight))
	}
	check("nodes", nodes, []string{"169.254.0.1:80 169.254.0.1:80 1000", "Big 10.0.0.2:80 2500", "[2001:db8::1]:80 [2001:db8::1]:80 1000",
		"unix:/run/a.sock unix:/run/a.sock 1000", "10.0.0.7:1 10.0.0.7:1 1000", "x:1 x:1 1000"})
	check("pins", one.Intent.Pins, []roost.PinIntent{{Key: "k/1", Homes: 4}, {Key: "k2", Nodes: []roost.NodeID{"Big", "169.254.0.1:80"}}})
	check("policy", one.Intent.Policy, roost.Policy{Homes: 2, WalkFloor: roost.DefaultWalkFloor})
	check("health", one.Health, roost.HealthSettings{Kind: roost.HealthHTTP, Path: "/v?x=1", Host: "h:1", Expect: [][2]int{{200, 200}, {300, 302}, {404, 404}},
		MinVersion: "v1.2.3-rc.1", Interval: 500 * time.Millisecond, Timeout: 500 * time.Millisecond, Rise: 2, Fall: 3, AllowLinkLocal: true})
	check("settings", one.Settings, roost.PoolSettings{Protocol: roost.ProtocolH2C, ConnectTimeout: time.Second, HeadTimeout: 2 * time.Second,
		BodyTimeout: 3 * time.Second, MaxTries: 1, MaxInFlight: 7, IdleTimeout: 4 * time.Second, AllowLinkLocal: true})
	check("no probe", cfg.Pools[1].Health.Kind, roost.HealthNone)
	check("admin", cfg.Admin, roost.Admin{})
	check("log", cfg.Log, roost.Log{Level: "debug", Format: "json", Access: "/var/log/roost.log"})
}

func TestTheDigestFollowsTheTextAndItsEnvironment(t *testing.T) {
	w := testWorld(t)
	digest := func(text, host string) roost.Digest {
		t.Helper()
		w.env = func(string) (string, bool) { return host, true }
		cfg, ds := parse("roost.yaml", []byte(text), w)
		if cfg == nil {
			t.Fatal(ds)
		}
		return cfg.Digest
	}
	plain, variable := `pools: { fn: { nodes: [ "a:1" ] } }`, `pools: { fn: { nodes: [ "${HOST}:1" ] } }`
	if digest(plain, "a") != digest(plain, "b") || digest(plain, "a") == digest(plain+"\n", "a") {
		t.Error("the digest is not that of the text")
	}
	if digest(variable, "a") == digest(variable, "b") {
		t.Error("another environment, the same digest")
	}
}

func TestLoadTellsAFileThatCannotBeReadFromOneThatIsWrong(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := Load(filepath.Join(dir, "none.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "read configuration") {
		t.Errorf("directory: %v", err)
	}
	name := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(name, bytes.Repeat([]byte("# filler\n"), MaxFile/9+1), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, ds, err := Load(name)
	if cfg != nil || err != nil || len(ds) != 1 || ds[0].Code != CodeTooLarge {
		t.Errorf("large file: %v, %v, %v", cfg, ds, err)
	}
	cert, key := certificate(t, "a.example.com", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	for file, text := range map[string][]byte{"a.pem": cert, "a.key": key,
		"roost.yaml": []byte("listeners: { web: { tls: { certificates: [ { cert: a.pem, key: a.key } ] } } }\npools: { fn: { nodes: [ 'a:1' ] } }\nlog: { access: access.log }\n")} {
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, ds, err = Load(filepath.Join(dir, "roost.yaml"))
	if cfg == nil || err != nil || len(ds) > 0 {
		t.Fatalf("files beside the file: %v, %v", ds, err)
	}
	if got := cfg.Listeners[0].TLS.Certificates[0].Cert; got != filepath.Join(dir, "a.pem") {
		t.Errorf("certificate %s", got)
	}
	if cfg.Log.Access != filepath.Join(dir, "access.log") {
		t.Errorf("access log %s", cfg.Log.Access)
	}
}

func TestManyAliasesOfMuchEndInTime(t *testing.T) {
	var b strings.Builder
	b.WriteString("pools:\n  p0: &p\n    nodes:\n")
	for i := range 2000 {
		fmt.Fprintf(&b, "    - \"n%d:1\"\n", i)
	}
	for i := 1; i < 2000; i++ {
		fmt.Fprintf(&b, "  p%d: *p\n", i)
	}
	cfg, ds := parse("roost.yaml", []byte(b.String()), testWorld(t))
	if cfg != nil || !ds.Failed() {
		t.Fatal("four million nodes were taken")
	}
	for _, g := range ds {
		if g.Code == CodeTooLarge {
			return
		}
	}
	t.Errorf("too many values, but: %v", ds[0])
}

func TestDidYouMeanIsNearAndNeverFarFetched(t *testing.T) {
	known := []string{"address", "tls", "limits", "nodes", "health", "http2"}
	for word, want := range map[string]string{"adress": "address", "adderss": "address", "TLS": "tls", "limit": "limits", "servers": "nodes",
		"http": "http2", "xyz": "", "": "", "address_of_everything_and_the_rest_of_the_world": "", "healthcheck": "health", "ndoes": "nodes"} {
		if got := nearest(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"abc", "acb", 1}, {"abc", "abd", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3}} {
		if got := distance(c.a, c.b); got != c.want || got != distance(c.b, c.a) {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestTooMuchOfAnythingEndsInTime(t *testing.T) {
	for what, text := range map[string]string{
		"routes":    "pools: { fn: {} }\nroutes:\n" + strings.Repeat("- {}\n", 300_000),
		"pools":     "pools:\n" + many(200_000, "  p%d: {}\n"),
		"listeners": "pools: { fn: {} }\nlisteners:\n" + many(200_000, "  l%d: {}\n"),
		"pins":      "pools: { fn: { pins: {\n" + many(100_000, "k%d: {},\n") + "} } }\n",
		"keys":      "pools: { fn: {} }\nroutes: [ { key: [ " + strings.Repeat("path,", 100_000) + " ] } ]\n",
		"colons":    "pools: { fn: {} }\n# " + strings.Repeat(":", maxMarks+1),
	} {
		start := time.Now()
		cfg, ds := parse("roost.yaml", []byte(text), testWorld(t))
		if cfg != nil || len(ds) != 1 || ds[0].Code != CodeTooMany && ds[0].Code != CodeTooLarge {
			t.Errorf("%s: %v", what, ds)
		}
		t.Logf("%s: %v", what, time.Since(start))
	}
}

func many(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func TestAPipeIsReadAndOneThatNobodyWritesToHoldsNobodyUp(t *testing.T) {
	name := filepath.Join(t.TempDir(), "roost.yaml")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if cfg, ds, err := Load(name); cfg != nil || err == nil && !ds.Failed() {
		t.Errorf("without a writer: %v, %v, %v", cfg, ds, err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		io.WriteString(w, "pools: { fn: { nodes: [ 'a:1' ] } }\n")
		w.Close()
	}()
	if cfg, ds, err := Load(fmt.Sprintf("/dev/fd/%d", r.Fd())); cfg == nil || err != nil { // as a shell's <(...)
		t.Errorf("with a writer: %v, %v", ds, err)
	}
}
